"""MemoryData."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import between, require
from fcnproto.layers.source import DataLayer
from fcnproto.proto.caffe_pb2 import MemoryDataParameter
from fcnproto.types import Shape


class MemoryData(DataLayer):
    """Data and labels that a program hands over (memory_data_layer.cpp)."""

    type = "MemoryData"
    settings = "memory_data_param"
    other_settings = ("transform_param",)
    tops = between(2, 3)

    param: MemoryDataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × H × W as the settings say, a label for each item, and with DeepLab its sizes."""
        self.check_transform()
        for name in ("batch_size", "channels", "height", "width"):
            require(getattr(self.param, name) > 0, f"{name} must be positive, found 0")
        batch = self.param.batch_size
        shapes = [
            (batch, self.param.channels, self.param.height, self.param.width),
            (batch,),
            (batch, 1, 1, 2),
        ]
        return shapes[: len(self.proto.top)]
