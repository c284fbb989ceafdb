"""Transforms with which a short convolution takes as few products as it has inputs.

Toom and Cook: a polynomial of degree n − 1 is known by its values at n points, one of which may be
infinity (its leading coefficient). So the product of two polynomials takes n products of values;
transposed, that is a sliding product of a line of n numbers with a kernel (Winograd 1980; Lavin and
Gray 2016, "Fast algorithms for convolutional neural networks").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Transforms:
    """y = Aᵀ[(G g) ⊙ (Bᵀ d)] is y[i] = Σ g[j] d[i + j], for `outputs` numbers y at once.

    `output` is Aᵀ, outputs × size; `kernel` is G, size × taps; `input` is Bᵀ, size × size, where
    size = outputs + taps − 1.
    """

    output: Matrix
    kernel: Matrix
    input: Matrix

    @property
    def outputs(self) -> int:
        """How many numbers come out at once."""
        return len(self.output)

    @property
    def taps(self) -> int:
        """The length of the kernel."""
        return len(self.kernel[0])

    @property
    def size(self) -> int:
        """How many numbers go in, and how many products are taken."""
        return len(self.input)


def toom_cook(outputs: int, taps: int, points: Sequence[Fraction]) -> Transforms:
    """The transforms that belong to some points, which all differ, and to infinity after them.

    There are outputs + taps − 2 points. The rows of Bᵀ, which is the transposed inverse of the
    Vandermonde matrix, are scaled to the smallest whole numbers, and those of G by as much the
    other way: then Bᵀ, and with points such as 2 or ½ Aᵀ too, are exact in floating point.
    """
    size = outputs + taps - 1
    if len(set(points)) != size - 1 or len(points) != size - 1:
        raise ValueError(f"{size - 1} points that differ are needed, found {len(points)}")
    input_rows = _transposed(_inverse(_values(points, size)))
    scales = [_to_primitive(row) for row in input_rows]
    return Transforms(
        output=_transposed(_values(points, outputs)),
        kernel=tuple(
            tuple(value / scale for value in row)
            for row, scale in zip(_values(points, taps), scales, strict=True)
        ),
        input=tuple(
            tuple(value * scale for value in row)
            for row, scale in zip(input_rows, scales, strict=True)
        ),
    )


def _values(points: Sequence[Fraction], length: int) -> Matrix:
    """The matrix that takes `length` coefficients to the values at the points and at infinity."""
    finite = (tuple(point**power for power in range(length)) for point in points)
    infinity = (*[Fraction(0)] * (length - 1), Fraction(1))
    return (*finite, infinity)


def _inverse(matrix: Matrix) -> Matrix:
    """The inverse, by Gauss and Jordan."""
    size = len(matrix)
    rows = [
        [*row, *(Fraction(index == column) for column in range(size))]
        for index, row in enumerate(matrix)
    ]
    for column in range(size):
        pivot = next(index for index in range(column, size) if rows[index][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        first = rows[column][column]
        rows[column] = [value / first for value in rows[column]]
        for index in range(size):
            factor = rows[index][column]
            if index != column and factor:
                pairs = zip(rows[index], rows[column], strict=True)
                rows[index] = [value - factor * other for value, other in pairs]
    return tuple(tuple(row[size:]) for row in rows)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _to_primitive(row: Sequence[Fraction]) -> Fraction:
    """The factor that makes a row the smallest whole numbers of its direction."""
    whole = lcm(*(value.denominator for value in row))
    return Fraction(whole, gcd(*(int(value * whole) for value in row)))
