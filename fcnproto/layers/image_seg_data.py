"""ImageSegData, of DeepLab and PSPNet."""

from __future__ import annotations

from fcnproto.layers.base import exactly
from fcnproto.layers.reading import Form, LabelMap, Reading
from fcnproto.layers.source import ImageMaps, new_size
from fcnproto.proto.caffe_pb2 import ImageDataParameter


class ImageSegData(ImageMaps):
    """Images, label maps and sizes from files (DeepLab, image_seg_data_layer.cpp).

    Both are cut out at the same place; what is smaller is made larger with the mean, and with
    ignore_label. The third top has each image's height and width.
    """

    type = "ImageSegData"
    fork = "pspnet"
    settings = "image_data_param"
    tops = exactly(3)
    auto_top = True

    param: ImageDataParameter

    def reading(self) -> Reading:
        """Pairs; or images with numbers, or alone, as label_type says."""
        form = {
            ImageDataParameter.PIXEL: Form.PAIRS,
            ImageDataParameter.IMAGE: Form.NUMBERS,
            ImageDataParameter.NONE: Form.IMAGES,
        }[self.param.label_type]
        self.check_source()
        return Reading(
            form,
            self.param.source,
            self.batch_size(),
            self.transform(new_size(self.param), self.param.is_color, pad="mean"),
            roots=(self.param.root_folder, self.param.root_folder),
            shuffle=self.param.shuffle,
            skip=self.param.rand_skip,
            label_map=LabelMap(ignored=self.param.ignore_label),
        )
