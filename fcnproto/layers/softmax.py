"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Plane,
    Pointwise,
    Tensor,
    Tensors,
    Torch,
    all_of,
    axis_index,
    require,
)
from fcnproto.proto.caffe_pb2 import SoftmaxParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Softmax(Pointwise):
    """exp(x), divided by its sum over `axis` (softmax_layer.cpp)."""

    type = "Softmax"
    settings = "softmax_param"

    param: SoftmaxParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        axis = axis_index(self.param.axis, bottoms[0])
        require(bottoms[0][axis] > 0, f"axis {axis} has size 0 in {show(bottoms[0])}")
        return super().output_shapes(bottoms)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The quotient."""
        return prod(tops[0])

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixel itself, or all of the image where the axis is that of rows or columns."""
        if axis_index(self.param.axis, bottoms[0]) > 1 and len(bottoms[0]) == 4:
            return [all_of(bottoms[0])]
        return super().reaches(bottoms)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Softmax."""
        return [b.node("Softmax", bottoms[0], axis=self.param.axis)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """softmax."""
        (x,) = bottoms
        return [x.softmax(axis_index(self.param.axis, tuple(x.shape)))]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """top · (gradient − Σ gradient · top)."""
        axis = axis_index(self.param.axis, tuple(top.shape))
        return top * (gradient - (gradient * top).sum(axis, keepdim=True))
