"""ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensor, Tensors, Torch
from fcnproto.proto.caffe_pb2 import ReLUParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class ReLU(Pointwise):
    """max(x, 0) + negative_slope · min(x, 0) (relu_layer.cpp)."""

    type = "ReLU"
    settings = "relu_param"

    param: ReLUParameter

    @property
    def rectifies(self) -> bool:
        """Whether there is no slope."""
        return bool(self.param.negative_slope == 0)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the slope, if there is one."""
        return prod(tops[0]) if self.param.negative_slope else 0

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Relu, or LeakyRelu with a slope."""
        slope = self.param.negative_slope
        if slope == 0:
            return [b.node("Relu", bottoms[0])]
        return [b.node("LeakyRelu", bottoms[0], alpha=slope)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """relu or leaky_relu."""
        slope = self.param.negative_slope
        if slope == 0:
            return [t.functional.relu(bottoms[0])]
        return [t.functional.leaky_relu(bottoms[0], slope)]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """1 or the slope, by the bottom's sign."""
        slope = self.param.negative_slope
        if slope == 0:
            return t.torch.ops.aten.threshold_backward(gradient, bottom, 0)  # in one pass
        return gradient * t.torch.where(bottom > 0, 1.0, slope)
