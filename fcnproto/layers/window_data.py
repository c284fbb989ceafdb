"""WindowData."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import require
from fcnproto.layers.source import DataLayer
from fcnproto.proto.caffe_pb2 import WindowDataParameter
from fcnproto.types import Shape


class WindowData(DataLayer):
    """Windows of images, each warped to crop_size, and their labels (window_data_layer.cpp)."""

    type = "WindowData"
    settings = "window_data_param"

    param: WindowDataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """N × 3 × crop_size × crop_size (images are read in colour), and a label for each."""
        self.check_transform()
        self.check_source()
        transform = self.proto.transform_param
        require(transform.crop_size > 0, "transform_param's crop_size must be positive, found 0")
        require(
            len(transform.mean_value) in (0, 1, 3),
            f"give one mean_value or one for each of 3 channels, found {len(transform.mean_value)}",
        )
        batch = self.batch_size()
        return [(batch, 3, transform.crop_size, transform.crop_size), (batch,)]
