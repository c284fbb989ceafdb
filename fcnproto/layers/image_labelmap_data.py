"""ImageLabelmapData, of HED and RCF."""

from __future__ import annotations

from fcnproto.layers.reading import Form, LabelMap, Reading
from fcnproto.layers.source import ImageMaps, new_size
from fcnproto.proto.caffe_pb2 import ImageDataParameter


class ImageLabelmapData(ImageMaps):
    """Images and maps of edges from files (HED, image_labelmap_data_layer.cpp).

    With scale_gt, greys from 128 on are 1 and others 0: the quotient by 255, rounded.
    """

    type = "ImageLabelmapData"
    fork = "hed"
    settings = "image_data_param"
    other_settings = ("transform_param", "image_label_map_data_param")

    param: ImageDataParameter

    def reading(self) -> Reading:
        """Pairs."""
        self.check_source()
        halves = self.proto.image_label_map_data_param.scale_gt
        return Reading(
            Form.PAIRS,
            self.param.source,
            self.batch_size(),
            self.transform(new_size(self.param), self.param.is_color),
            roots=(self.param.root_folder, self.param.root_folder),
            shuffle=self.param.shuffle,
            skip=self.param.rand_skip,
            label_map=LabelMap(greys=True, halves=halves),
        )
