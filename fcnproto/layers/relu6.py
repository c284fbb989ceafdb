"""ReLU6, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Pointwise,
    Tensors,
    Torch,
)
from fcnproto.proto.caffe_pb2 import ReLU6Parameter

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class ReLU6(Pointwise):
    """min(max(x, 0), 6), with negative_slope · x below 0 (MobileNet-YOLO, relu6_layer.cpp)."""

    type = "ReLU6"
    fork = "MobileNet-YOLO"
    settings = "relu6_param"

    param: ReLU6Parameter

    @property
    def rectifies(self) -> bool:
        """Whether there is no slope."""
        return bool(self.param.negative_slope == 0)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Clip, or LeakyRelu of what is at most 6."""
        slope = self.param.negative_slope
        if slope == 0:
            return [b.node("Clip", bottoms[0], b.literal(0), b.literal(6))]
        return [b.node("LeakyRelu", b.node("Min", bottoms[0], b.literal(6)), alpha=slope)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """leaky_relu and clamp."""
        return [t.functional.leaky_relu(bottoms[0], self.param.negative_slope).clamp(max=6)]
