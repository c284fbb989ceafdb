"""Eltwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING

from fcnproto.layers.base import InPlace, Pointwise, Shape, at_least, require, show
from fcnproto.proto.caffe_pb2 import EltwiseParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class Eltwise(Pointwise):
    """The product, greatest or (with a coefficient each) sum of its bottoms (eltwise_layer.cpp)."""

    type = "Eltwise"
    settings = "eltwise_param"
    bottoms = at_least(2)
    aligns_all_bottoms = True

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
