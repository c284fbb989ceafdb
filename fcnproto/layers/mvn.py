"""MVN."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Kind,
    Plane,
    Pointwise,
    Tensors,
    Torch,
    all_of,
    four_axes,
    require,
    valued,
)
from fcnproto.proto.caffe_pb2 import MVNParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class MVN(Pointwise):
    """Each plane, or each item with across_channels, less its mean (mvn_layer.cpp).

    With normalize_variance divided by its deviation plus eps.
    """

    type = "MVN"
    settings = "mvn_param"
    kind = Kind.NORMALIZATION

    param: MVNParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape, always with 4 axes."""
        shape = four_axes(bottoms[0])
        averaged = shape[1:] if self.param.across_channels else shape[2:]
        require(prod(averaged) > 0, f"there is nothing to average in {show(bottoms[0])}")
        return (shape,)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The squares, and the quotient."""
        return 2 * prod(tops[0]) if self.param.normalize_variance else 0

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """All of a plane, whose mean is taken."""
        return [all_of(bottoms[0])]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Its formula; eps is added to the deviation, which no operator does."""
        x = b.four_axes(bottoms[0])
        axes = [1, 2, 3] if self.param.across_channels else [2, 3]
        centred = b.node("Sub", x, b.reduce("ReduceMean", x, axes))
        if not self.param.normalize_variance:
            return [centred]
        squares = b.node("Mul", centred, centred)
        deviation = b.node("Sqrt", b.reduce("ReduceMean", squares, axes))
        eps = b.literal(self.param.eps)
        return [b.node("Div", centred, b.node("Add", deviation, eps))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Mean and deviation over the averaged axes.

        Caffe goes back as if eps were added to nothing, which matters where a plane is even.
        """
        x = bottoms[0].reshape(four_axes(tuple(bottoms[0].shape)))
        axes = (1, 2, 3) if self.param.across_channels else (2, 3)
        centred = x - x.mean(axes, keepdim=True)
        if not self.param.normalize_variance:
            return [centred]
        deviation = centred.detach().square().mean(axes, keepdim=True).sqrt() + self.param.eps
        top = (centred / deviation).detach()
        course = (centred - top * (top * x).mean(axes, keepdim=True)) / deviation
        return [valued(top, course)]
