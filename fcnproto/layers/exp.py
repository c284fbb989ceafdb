"""Exp."""

from __future__ import annotations

from collections.abc import Sequence
from math import (
    e,
    isfinite,
    log,
    prod,
)
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensor, Tensors, Torch, require
from fcnproto.layers.power import c_power
from fcnproto.proto.caffe_pb2 import ExpParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the scale, unless it is 1."""
        return prod(tops[0]) if self.param.scale != 1 else 0

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Exp of a product; base ^ shift is a factor, as in Caffe."""
        base = e if self.param.base == -1 else self.param.base
        inner, outer = self.param.scale * log(base), c_power(base, self.param.shift)
        (x,) = bottoms
        if inner != 1:
            x = b.node("Mul", x, b.literal(inner))
        x = b.node("Exp", x)
        if outer != 1:
            x = b.node("Mul", x, b.literal(outer))
        return [x]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """exp."""
        base = self.param.base
        rate = 1.0 if base == -1 else log(base)
        return [((bottoms[0] * self.param.scale + self.param.shift) * rate).exp()]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """In proportion to the top."""
        base = self.param.base
        return gradient * top * (self.param.scale * (1.0 if base == -1 else log(base)))
