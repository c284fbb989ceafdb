"""Bias."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Shape, Weight, require, show
from fcnproto.layers.broadcast import Broadcast
from fcnproto.proto.caffe_pb2 import BiasParameter


class Bias(Broadcast):
    """Adds an operand, learned or the second bottom (bias_layer.cpp)."""

    type = "Bias"
    settings = "bias_param"

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
