"""EuclideanLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Shape, require, show
from fcnproto.layers.loss import Loss


class EuclideanLoss(Loss):
    """Half the sum of squared differences, over the batch size (euclidean_loss_layer.cpp)."""

    type = "EuclideanLoss"

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        tops = super().output_shapes(bottoms)
        one, other = bottoms
        require(
            prod(one[1:]) == prod(other[1:]),
            f"both bottoms must have items of one size, found {show(one)} and {show(other)}",
        )
        return tops
