"""Sizes as formulas in the height and width of a net's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fcnproto.errors import Severity
from fcnproto.graph import Graph
from fcnproto.layers.base import Shape
from fcnproto.shapes import walk


@dataclass(frozen=True)
class Formula:
    """factor · ⌊(variable + inner) / divisor⌋ + outer.

    What convolving, pooling, upsampling and cropping make of a size has this form: floors within
    floors are one floor.
    """

    variable: str
    factor: int = 1
    inner: int = 0
    divisor: int = 1
    outer: int = 0

    def __call__(self, value: int) -> int:
        """The size where the variable has this value."""
        return self.factor * ((value + self.inner) // self.divisor) + self.outer

    def plus(self, number: int) -> Formula:
        """The formula of the size and a number."""
        return self._with(outer=self.outer + number)

    def times(self, number: int) -> Formula:
        """The formula of so many times the size."""
        return self._with(factor=self.factor * number, outer=self.outer * number)

    def over(self, number: int) -> Formula | None:
        """The formula of ⌊size / number⌋ for a positive number; None if it has another form."""
        if self.factor % number == 0:
            return self._with(factor=self.factor // number, outer=self.outer // number)
        size = abs(self.factor)
        if not size or number % size:
            return None
        rest = number // size
        if self.factor > 0:
            inner, sign = self.outer // size, 1
        else:  # ⌊−y / n⌋ = −⌈y / n⌉ = −⌊(y + n − 1) / n⌋
            inner, sign = rest - 1 - self.outer // size, -1
        return Formula(
            self.variable, sign, self.inner + self.divisor * inner, self.divisor * rest, 0
        )

    def __str__(self) -> str:
        turns, inner = divmod(self.inner, self.divisor)
        outer = self.outer + self.factor * turns
        if self.divisor == 1:
            text = self.variable
        elif inner == 0:
            text = f"⌊{self.variable}/{self.divisor}⌋"
        elif inner == self.divisor - 1:
            text = f"⌈{self.variable}/{self.divisor}⌉"
        else:
            text = f"⌊({self.variable} + {inner})/{self.divisor}⌋"
        if self.factor != 1:
            text = f"{self.factor} {text}"
        return text if outer == 0 else f"{text} {'+' if outer > 0 else '−'} {abs(outer)}"

    def _with(self, **changes: int) -> Formula:
        return Formula(**{**self.__dict__, **changes})


class Traced(int):
    """A size that remembers its formula through the arithmetic of layers, None once it is lost.

    Layers compute with it as with any number, so no layer's arithmetic is written twice.
    """

    formula: Formula | None

    def __new__(cls, value: int, formula: Formula | None) -> Traced:
        """A number that has this formula."""
        self = super().__new__(cls, value)
        self.formula = formula
        return self

    def is_opposite(self, other: Traced) -> bool:
        """Whether the two cancel out, whatever the variable is."""
        return self.formula is not None and self.formula.times(-1) == other.formula

    def __add__(self, other: int) -> int:
        if isinstance(other, Traced) and self.is_opposite(other):
            return 0  # as where a window is as large as the map
        return Traced(int(self) + int(other), _apply(self, Formula.plus, other))

    def __mul__(self, other: int) -> Traced:
        return Traced(int(self) * int(other), _apply(self, Formula.times, other))

    def __floordiv__(self, other: int) -> Traced:
        return Traced(int(self) // int(other), _apply(self, Formula.over, other))

    def __neg__(self) -> Traced:
        return self * -1

    def __sub__(self, other: int) -> int:
        return self + -other

    def __rsub__(self, other: int) -> int:
        return -self + other

    def __mod__(self, other: int) -> Traced:
        return Traced(int(self) % int(other), None)

    def __rfloordiv__(self, other: int) -> Traced:
        return Traced(int(other) // int(self), None)

    def __rmod__(self, other: int) -> Traced:
        return Traced(int(other) % int(self), None)

    __radd__ = __add__
    __rmul__ = __mul__


def _apply(size: Traced, change: Any, number: int) -> Formula | None:
    """The formula after a change by a number that is none itself."""
    if size.formula is None or isinstance(number, Traced):
        return None
    if change is Formula.over and number <= 0:
        return None
    formula: Formula | None = change(size.formula, int(number))
    return formula


Sizes = tuple["int | Formula", ...]
"""The axes of a shape: a number where it is fixed, a formula in H or W where it is not."""

_GROWTH = 37, 131
"""By how many rows and columns the image grows where formulas are tried: no stride divides them."""


def formulas(graph: Graph, image: Mapping[str, Shape]) -> dict[str, Sizes]:
    """The shapes of a graph's blobs as formulas in the height H and width W of its images.

    `image` has the shapes of the inputs that have this height and width. A blob is left out where
    its shape is unknown, depends on H and W in another way, or is not what the formulas say at
    a larger size.
    """
    traced, _ = walk(graph, {blob: _traced(shape) for blob, shape in image.items()})
    found = {
        blob: tuple(_formula(size) for size in shape)
        for blob, shape in traced.blobs.items()
        if shape is not None
    }
    height, width = next(iter(image.values()))[2:]
    values = {"H": height + _GROWTH[0], "W": width + _GROWTH[1]}
    larger = {blob: (*shape[:2], *values.values()) for blob, shape in image.items()}
    shapes, problems = walk(graph, larger)
    if not any(problem.severity is Severity.ERROR for problem in problems):
        found = {
            blob: sizes
            for blob, sizes in found.items()
            if shapes.blobs[blob] == tuple(_value(size, values) for size in sizes)
        }
    return {
        blob: tuple(size for size in sizes if size is not None)
        for blob, sizes in found.items()
        if None not in sizes
    }


def _traced(shape: Shape) -> Shape:
    height, width = shape[2:]
    return (*shape[:2], Traced(height, Formula("H")), Traced(width, Formula("W")))


def _formula(size: int) -> int | Formula | None:
    return size.formula if isinstance(size, Traced) else size


def _value(size: int | Formula | None, values: Mapping[str, int]) -> int | None:
    return size(values[size.variable]) if isinstance(size, Formula) else size
