"""Axpy, of SENet."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, Layer, Tensors, Torch, exactly, require
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Axpy(Layer):
    """a · x + y, with one a for each channel (SENet, axpy_layer.cpp).

    Bottoms: a of N × C or N × C × 1 × 1, then x and y of N × C × …
    """

    type = "Axpy"
    fork = "SENet"
    bottoms = exactly(3)
    kind = Kind.FUSION

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The shape of x and y."""
        a, x, y = bottoms
        require(len(a) >= 2 and len(x) >= 2, f"a and x need 2 axes, found {show(a)} and {show(x)}")
        require(a[:2] == x[:2], f"a must have N × C = {show(x[:2])}, found {show(a[:2])}")
        require(len(a) != 4 or a[2:] == (1, 1), f"a must be N × C × 1 × 1, found {show(a)}")
        require(x == y, f"x and y must have one shape, found {show(x)} and {show(y)}")
        return [x]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A product for each number."""
        return prod(tops[0])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Mul and Add."""
        a, x, y = bottoms
        others = len(b.dims(x)) - 2
        if b.dims(a)[2:] != (1,) * others:
            a = b.reshape(a, [0, 0, *[1] * others])
        return [b.node("Add", b.node("Mul", a, x), y)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Multiply and add."""
        a, x, y = bottoms
        return [a.reshape(*x.shape[:2], *[1] * (x.dim() - 2)) * x + y]
