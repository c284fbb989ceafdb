"""Eltwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import (
    partial,
    reduce,
)
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import InPlace, Kind, Pointwise, Tensors, Torch, at_least, require
from fcnproto.proto.caffe_pb2 import EltwiseParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Eltwise(Pointwise):
    """The product, greatest or (with a coefficient each) sum of its bottoms (eltwise_layer.cpp)."""

    type = "Eltwise"
    settings = "eltwise_param"
    bottoms = at_least(2)
    aligns_all_bottoms = True
    kind = Kind.FUSION

    param: EltwiseParameter

    @property
    def in_place(self) -> InPlace:
        """Sums and maxima start by filling the top, so that the bottom's values are lost."""
        works = self.param.operation == EltwiseParameter.PROD
        return InPlace.WORKS if works else InPlace.NONSENSE

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The shape that all bottoms have."""
        coefficients = len(self.param.coeff)
        require(
            coefficients in (0, len(bottoms)),
            f"coeff must be given once for each of {len(bottoms)} bottoms, found {coefficients}",
        )
        require(
            not (coefficients and self.param.operation == EltwiseParameter.PROD),
            f"a product takes no coeff, found {coefficients}",
        )
        for bottom in bottoms[1:]:
            require(
                bottom == bottoms[0],
                f"all bottoms must have one shape, found {show(bottoms[0])} and {show(bottom)}",
            )
        return super().output_shapes(bottoms)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The products; with coefficients those of each bottom."""
        if self.param.operation == EltwiseParameter.PROD:
            return prod(tops[0]) * (len(bottoms) - 1)
        summed = self.param.operation == EltwiseParameter.SUM
        return prod(tops[0]) * sum(coefficient != 1 for coefficient in self.param.coeff) * summed

    def brief(self) -> str:
        """What it makes of its bottoms."""
        return EltwiseParameter.EltwiseOp.Name(self.param.operation)

    def oddities(self) -> Iterator[str]:
        """Coefficients of a maximum, which Caffe does not read."""
        if self.param.operation == EltwiseParameter.MAX and self.param.coeff:
            yield "a maximum does not read coeff"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Mul; Max; or Add, Sub or Sum, after a Mul for each coefficient but 1."""
        if self.param.operation == EltwiseParameter.MAX:
            return [b.node("Max", *bottoms)]
        if self.param.operation == EltwiseParameter.PROD:
            return [reduce(partial(b.node, "Mul"), bottoms)]
        factors = self.param.coeff or [1] * len(bottoms)
        if list(factors) == [1, -1]:
            return [b.node("Sub", *bottoms)]
        terms = [
            x if factor == 1 else b.node("Mul", x, b.literal(factor))
            for x, factor in zip(bottoms, factors, strict=True)
        ]
        return [b.node("Add" if len(terms) == 2 else "Sum", *terms)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The bottoms one after the other; of equal maxima Caffe's own takes the gradient."""
        first, second, *rest = bottoms
        operation = self.param.operation
        if operation == EltwiseParameter.PROD:
            return [reduce(t.torch.mul, bottoms)]
        if operation == EltwiseParameter.MAX:
            top = t.torch.where(first > second, first, second)
            return [reduce(lambda top, x: t.torch.where(x > top, x, top), rest, top)]
        factors = list(self.param.coeff) or [1.0] * len(bottoms)
        scaled = (x * k if k != 1 else x for x, k in zip(bottoms, factors, strict=True))
        return [reduce(t.torch.add, scaled)]
