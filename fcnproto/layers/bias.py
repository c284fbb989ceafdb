"""Bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, PerChannel, Tensors, Torch, Weight, axis_index, require
from fcnproto.layers.broadcast import Broadcast
from fcnproto.proto.caffe_pb2 import BiasParameter
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Bias(Broadcast):
    """Adds an operand, learned or the second bottom (bias_layer.cpp)."""

    type = "Bias"
    zeros_are_sound = True
    settings = "bias_param"
    kind = Kind.NORMALIZATION

    param: BiasParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's shape."""
        _, after = self.around(bottoms)
        require(after > 0, f"the axes after the operand are empty in {show(bottoms[0])}")
        return (bottoms[0],)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The operand, unless it is a bottom."""
        if len(bottoms) > 1:
            return ()
        return (Weight(self.operand(bottoms), self.param.filler),)

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel:
        """Its learned shifts."""
        (shifts,) = arrays
        axis = axis_index(self.param.axis, bottom) if shifts.ndim else 0
        return PerChannel(0 * shifts + 1, shifts, axis)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Add."""
        x, *given = bottoms
        operand = self._given_operand(b, given[0], x) if given else self._learned_operand(b, 0, x)
        return [b.node("Add", x, operand)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Add."""
        x, *given = bottoms
        return [x + self.spread(given[0] if given else weights[0], x)]
