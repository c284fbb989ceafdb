"""Log."""

from __future__ import annotations

from collections.abc import Sequence
from math import (
    isfinite,
    log,
    prod,
)
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensor, Tensors, Torch, require
from fcnproto.proto.caffe_pb2 import LogParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Log(Pointwise):
    """The logarithm of shift + scale · x to a base, where −1 stands for e (log_layer.cpp)."""

    type = "Log"
    settings = "log_param"
    gradient_is_lost_in_place = True

    param: LogParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        base = self.param.base
        require(
            base == -1 or (base > 0 and base != 1 and isfinite(base)),
            f"base must be positive and not 1, or -1 for e, found {base:g}",
        )
        return super().output_shapes(bottoms)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the scale, unless it is 1."""
        return prod(tops[0]) if self.param.scale != 1 else 0

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Mul, Add and Log, then the factor of the base."""
        base, scale, shift = self.param.base, self.param.scale, self.param.shift
        (x,) = bottoms
        if scale != 1:
            x = b.node("Mul", x, b.literal(scale))
        if shift != 0:
            x = b.node("Add", x, b.literal(shift))
        x = b.node("Log", x)
        if base != -1:
            x = b.node("Mul", x, b.literal(1 / log(base)))
        return [x]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """log."""
        base = self.param.base
        rate = 1.0 if base == -1 else 1 / log(base)
        return [(bottoms[0] * self.param.scale + self.param.shift).log() * rate]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """In inverse proportion to shift + scale · bottom."""
        base = self.param.base
        rate = self.param.scale * (1.0 if base == -1 else 1 / log(base))
        return gradient * rate / (bottom * self.param.scale + self.param.shift)
