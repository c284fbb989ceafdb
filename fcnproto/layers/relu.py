"""ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import ReLUParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class ReLU(Pointwise):
    """max(x, 0) + negative_slope · min(x, 0) (relu_layer.cpp)."""

    type = "ReLU"
    settings = "relu_param"

    param: ReLUParameter

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Relu, or LeakyRelu with a slope."""
        slope = self.param.negative_slope
        if slope == 0:
            return [b.node("Relu", bottoms[0])]
        return [b.node("LeakyRelu", bottoms[0], alpha=slope)]
