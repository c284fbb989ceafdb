"""Sizes as formulas in the height and width of a net's image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fcnproto.errors import Severity
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import Shapes, walk
from fcnproto.types import INT_MAX, Shape


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

    @property
    def is_bounded(self) -> bool:
        """Whether its numbers are ones that a size can have."""
        numbers = self.factor, self.inner, self.divisor, self.outer
        return max(map(abs, numbers)) <= INT_MAX

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
    """The formula after a change by a number that is not a formula itself."""
    if size.formula is None or isinstance(number, Traced):
        return None
    if change is Formula.over and number <= 0:
        return None
    formula: Formula | None = change(size.formula, int(number))
    return formula if formula is not None and formula.is_bounded else None


Sizes = tuple["int | Formula", ...]
"""The axes of a shape: a number where it is fixed, a formula in H or W where it is not."""

_GROWTH = 37, 131
"""By how many rows and columns the image grows where formulas are found: no stride divides them."""


def formulas(graph: Graph, shapes: Shapes, images: Sequence[str]) -> dict[str, Sizes]:
    """The shapes of a graph's blobs as formulas in the height H and width W of its images.

    They are found at a larger size, where no kernel is too large for its input, and must hold for
    `shapes`. A blob is left out where they do not, or where its shape depends on H and W in another
    way. A net that takes no other size has formulas for its own. Where one gives no positive
    number, a kernel is larger than its input.
    """
    own = {blob: shape for blob in images if (shape := shapes.blobs[blob]) is not None}
    height, width = next(iter(own.values()))[2:]
    larger = {
        blob: (*shape[:2], height + _GROWTH[0], width + _GROWTH[1]) for blob, shape in own.items()
    }
    traced, problems = walk(graph, _traced(larger))
    if any(problem.severity is Severity.ERROR for problem in problems):
        traced, _ = walk(graph, _traced(own))
    values = {"H": height, "W": width}
    found: dict[str, Sizes] = {}
    for blob, shape in traced.blobs.items():
        sizes = [_formula(size) for size in shape or ()]
        known = tuple(size for size in sizes if size is not None)
        here = tuple(_value(size, values) for size in known)
        if shape is not None and len(known) == len(shape) and here == shapes.blobs[blob]:
            found[blob] = known
    return found


def _traced(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {
        blob: (
            *shape[:2],
            Traced(shape[2], Formula("H")),
            Traced(shape[3], Formula("W")),
        )
        for blob, shape in shapes.items()
    }


def _formula(size: int) -> int | Formula | None:
    return size.formula if isinstance(size, Traced) else size


def _value(size: int | Formula, values: Mapping[str, int]) -> int:
    return size(values[size.variable]) if isinstance(size, Formula) else size
