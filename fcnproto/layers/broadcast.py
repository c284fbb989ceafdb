"""What Scale and Bias share: an operand that is broadcast over the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from fcnproto.layers.base import Plane, Pointwise, Tensor, axis_index, between, require
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Broadcast(Pointwise):
    """Combines the first bottom with a learned operand, or with the second bottom.

    The operand's axes are the bottom's from `axis` on; it is repeated along all others. A learned
    one has `num_axes` axes: −1 takes all that there are, 0 makes it a scalar.
    """

    bottoms = between(1, 2)

    param: Any

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The same pixel; of a second bottom that has other axes, all."""
        own, *operand = super().reaches(bottoms)
        return [own] * 2 if bottoms[0] == bottoms[-1] and operand else [own, *operand]

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

    def spread(self, operand: Tensor, x: Tensor) -> Tensor:
        """The operand with as many axes as PyTorch needs to repeat it over `x`."""
        axis = self._axis(tuple(operand.shape), tuple(x.shape))
        return operand.reshape(*operand.shape, *[1] * (x.dim() - axis - operand.dim()))

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

    def _learned_operand(self, b: Builder, index: int, bottom: str) -> str:
        """A weight of the operand's shape, with the axes that its broadcasting needs."""
        array = b.array(index)
        after = self._axes_after(array.ndim, len(b.dims(bottom)))
        return (
            b.own(str(index), array.reshape(*array.shape, *[1] * after))
            if after
            else b.weight(index)
        )

    def _given_operand(self, b: Builder, operand: str, bottom: str) -> str:
        """The second bottom, likewise."""
        axes = len(b.dims(operand))
        after = range(axes, axes + self._axes_after(axes, len(b.dims(bottom))))
        return b.node("Unsqueeze", operand, b.ints(after)) if after else operand

    def _axes_after(self, axes: int, rank: int) -> int:
        """How many of the bottom's axes lie after the operand's; 0 if that is a scalar."""
        return rank - axis_index(self.param.axis, (1,) * rank) - axes if axes else 0
