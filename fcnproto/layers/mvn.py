"""MVN."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Shape, four_axes, require, show
from fcnproto.proto.caffe_pb2 import MVNParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class MVN(Pointwise):
    """Each plane, or each item with across_channels, less its mean (mvn_layer.cpp).

    With normalize_variance divided by its deviation plus eps.
    """

    type = "MVN"
    settings = "mvn_param"

    param: MVNParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape, always with 4 axes."""
        shape = four_axes(bottoms[0])
        averaged = shape[1:] if self.param.across_channels else shape[2:]
        require(prod(averaged) > 0, f"there is nothing to average in {show(bottoms[0])}")
        return (shape,)

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
