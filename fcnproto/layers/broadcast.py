"""What Scale and Bias share: an operand that is broadcast over the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fcnproto.layers.base import Pointwise, Shape, axis_index, between, require, show


class Broadcast(Pointwise):
    """Combines the first bottom with a learned operand, or with the second bottom.

    The operand's axes are the bottom's from `axis` on; it is repeated along all others. A learned
    one has `num_axes` axes: −1 takes all that there are, 0 makes it a scalar.
    """

    bottoms = between(1, 2)

    param: Any

    def operand(self, bottoms: Sequence[Shape]) -> Shape:
        """The operand's shape; LayerError if it does not fit the first bottom."""
        bottom = bottoms[0]
        operand = bottoms[1] if len(bottoms) > 1 else self._learned(bottom)
        axis = self._axis(operand, bottom)
        covered = bottom[axis : axis + len(operand)]
        require(
            operand == covered,
            f"the operand must have the axes of {show(bottom)} from axis {axis} on, found"
            f" {show(operand)}",
        )
        return operand

    def around(self, bottoms: Sequence[Shape]) -> tuple[int, int]:
        """How many numbers of the bottom lie before the operand's axes, and how many after them."""
        bottom, operand = bottoms[0], self.operand(bottoms)
        axis = self._axis(operand, bottom)
        return prod(bottom[:axis]), prod(bottom[axis + len(operand) :])

    def _learned(self, bottom: Shape) -> Shape:
        axis, count = axis_index(self.param.axis, bottom), self.param.num_axes
        if count == -1:
            return bottom[axis:]
        require(count >= 0, f"num_axes must be at least 0, or -1 for all, found {count}")
        require(
            axis + count <= len(bottom),
            f"num_axes {count} from axis {axis} on goes past the {len(bottom)} axes of"
            f" {show(bottom)}",
        )
        return bottom[axis : axis + count]

    def _axis(self, operand: Shape, bottom: Shape) -> int:
        return axis_index(self.param.axis, bottom) if operand else 0
