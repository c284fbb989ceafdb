"""ImageData."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import require
from fcnproto.layers.reading import Form, Reading
from fcnproto.layers.source import DataLayer, new_size
from fcnproto.proto.caffe_pb2 import ImageDataParameter
from fcnproto.types import INT_MAX, Shape


class ImageData(DataLayer):
    """Images and labels from the files that a list names (image_data_layer.cpp)."""

    type = "ImageData"
    settings = "image_data_param"

    param: ImageDataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """N × C × H × W if the settings fix a size, and a label for each image."""
        self.check_transform()
        self.check_source()
        height, width = self.param.new_height, self.param.new_width
        require(
            (height > 0) == (width > 0) and max(height, width) <= INT_MAX,
            f"give both new_height and new_width, or neither, found {height} and {width}",
        )
        return [self._images(height, width), (self.batch_size(),)]

    def _images(self, height: int, width: int) -> Shape | None:
        crop = self.proto.transform_param.crop_size
        channels = 3 if self.param.is_color else 1
        if self.sized_by_fork() or not (crop or height):
            return self.images(channels)
        require(
            not (crop and height) or crop <= min(height, width),
            f"crop_size {crop} does not fit images of {height}×{width}",
        )
        return self.batch_size(), channels, crop or height, crop or width

    def reading(self) -> Reading:
        """Images, with a number each."""
        size, colour = new_size(self.param), self.param.is_color
        return Reading(
            Form.NUMBERS,
            self.param.source,
            self.batch_size(),
            self.transform(size, colour),
            roots=(self.param.root_folder, ""),
            shuffle=self.param.shuffle,
            skip=self.param.rand_skip,
        )
