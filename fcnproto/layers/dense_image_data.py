"""DenseImageData, of SegNet and ENet."""

from __future__ import annotations

from dataclasses import replace

from fcnproto.layers.base import require
from fcnproto.layers.reading import Form, LabelMap, Reading
from fcnproto.layers.source import ImageMaps, new_size
from fcnproto.proto.caffe_pb2 import DenseImageDataParameter


class DenseImageData(ImageMaps):
    """Images and label maps from files (SegNet, dense_image_data_layer.cpp).

    Its own fields mirror and crop both; ENet's label_divide_factor shrinks label maps.
    """

    type = "DenseImageData"
    fork = "segnet"
    settings = "dense_image_data_param"

    param: DenseImageDataParameter

    def reading(self) -> Reading:
        """Pairs."""
        given, root = self.param, self.param.root_folder
        self.check_source()
        transform = self.transform(new_size(given), given.is_color)
        if given.crop_height and given.crop_width:
            crop = given.crop_height, given.crop_width
            require(
                given.label_divide_factor in (0, 1),
                "crop_height and crop_width do not go with label_divide_factor",
            )
            transform = replace(transform, crop=crop, crop_bottom=True, random=True)
        mean_file = transform.mean_file or given.mean_file
        transform = replace(transform, mirror=transform.mirror or given.mirror, mean_file=mean_file)
        return Reading(
            Form.PAIRS,
            given.source,
            self.batch_size(),
            transform,
            roots=(given.root_folder_image or root, given.root_folder_label or root),
            shuffle=given.shuffle,
            skip=given.rand_skip,
            label_map=LabelMap(given.label_divide_factor or 1),
        )
