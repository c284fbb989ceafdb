"""Scale."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, PerChannel, Tensors, Torch, Weight, axis_index, require
from fcnproto.layers.broadcast import Broadcast
from fcnproto.layers.fillers import constant
from fcnproto.proto.caffe_pb2 import ScaleParameter
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Scale(Broadcast):
    """Multiplies by an operand, learned or the second bottom (scale_layer.cpp).

    With bias_term a learned operand of the same shape is added as well.
    """

    type = "Scale"
    settings = "scale_param"
    kind = Kind.NORMALIZATION

    param: ScaleParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's shape."""
        before, after = self.around(bottoms)
        # Caffe keeps a row of ones to sum with, and aborts if it, or the one of the bias, is empty.
        filled = after if self.param.bias_term else max(before, after)
        require(filled > 0, f"the axes around the operand are empty in {show(bottoms[0])}")
        if self.param.bias_term:
            axis_index(self.param.axis, bottoms[0])  # which Caffe reads though a scalar has none
        return (bottoms[0],)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The factors, unless they are a bottom, then the biases if there are any."""
        shape = self.operand(bottoms)
        weights = []
        if len(bottoms) == 1:
            filler = self.param.filler if self.param.HasField("filler") else constant(1)
            weights.append(Weight(shape, filler))
        if self.param.bias_term:
            weights.append(Weight(shape, self.param.bias_filler))
        return weights

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A product for each number."""
        return prod(tops[0])

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel:
        """Its learned factors, and biases if there are any."""
        factors, *shifts = arrays
        axis = axis_index(self.param.axis, bottom) if factors.ndim else 0
        return PerChannel(factors, shifts[0] if shifts else 0 * factors, axis)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Mul, then Add with bias_term."""
        x, *given = bottoms
        operand = self._given_operand(b, given[0], x) if given else self._learned_operand(b, 0, x)
        top = b.node("Mul", x, operand)
        if self.param.bias_term:
            top = b.node("Add", top, self._learned_operand(b, 0 if given else 1, x))
        return [top]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Multiply, and add the biases if there are any."""
        x, *given = bottoms
        top = x * self.spread(given[0] if given else weights[0], x)
        return [top + self.spread(weights[-1], x) if self.param.bias_term else top]
