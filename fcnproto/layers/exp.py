"""Exp."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from fcnproto.layers.base import Pointwise, Shape, require
from fcnproto.proto.caffe_pb2 import ExpParameter


class Exp(Pointwise):
    """base ^ (shift + scale · x), where base −1 stands for e (exp_layer.cpp)."""

    type = "Exp"
    settings = "exp_param"

    param: ExpParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        base = self.param.base
        require(
            base == -1 or (base > 0 and isfinite(base)),
            f"base must be positive, or -1 for e, found {base:g}",
        )
        return super().output_shapes(bottoms)
