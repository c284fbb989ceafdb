"""ImageLabelData, of dilated nets and NVIDIA's Caffe."""

from __future__ import annotations

from dataclasses import replace

from fcnproto.layers.base import require
from fcnproto.layers.reading import Form, LabelMap, Reading
from fcnproto.layers.source import ImageMaps
from fcnproto.proto.caffe_pb2 import ImageLabelDataParameter


class ImageLabelData(ImageMaps):
    """Images and label maps from two lists (fyu/caffe-dilation, image_label_data_layer.cpp).

    With a backend these are two databases (NVCaffe). label_slice says which labels of a crop are
    learned: from its offset on, every stride-th, dim of them.
    """

    type = "ImageLabelData"
    fork = "dilation, nvcaffe"
    settings = "image_label_data_param"

    param: ImageLabelDataParameter

    def reading(self) -> Reading:
        """Two lists, or two databases."""
        given = self.param
        require(
            bool(given.image_list_path and given.label_list_path),
            "image_list_path and label_list_path must each name a list",
        )
        alone = not (given.image_dir or given.label_dir)
        roots = (given.data_dir,) * 2 if alone else (given.image_dir, given.label_dir)
        databases = given.HasField("backend")
        padding = ImageLabelDataParameter.Padding.Name(given.padding).lower()
        transform = self.transform(
            pad="" if databases else padding, colour=None if databases else True
        )
        if given.rand_scale:
            transform = replace(transform, between=(given.min_scale, given.max_scale))
        return Reading(
            Form.DATABASES if databases else Form.PAIRS,
            given.image_list_path,
            self.batch_size(),
            transform,
            given.label_list_path,
            roots,
            given.shuffle,
            given.rand_skip,
            self._sliced(),
        )

    def _sliced(self) -> LabelMap:
        """Which labels are learned; LayerError unless each field has a height and a width."""
        given = self.param.label_slice
        for name in ("dim", "stride", "offset"):
            count = len(getattr(given, name))
            require(count in (0, 2), f"label_slice needs two {name}, found {count}")
        dim, stride, offset = (tuple(each) for each in (given.dim, given.stride, given.offset))
        usual = LabelMap()
        return LabelMap(
            offset=(offset[0], offset[1]) if offset else usual.offset,
            stride=(stride[0], stride[1]) if stride else usual.stride,
            dim=(dim[0], dim[1]) if dim else None,
        )
