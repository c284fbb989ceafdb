"""EuclideanLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Tensors, Torch, require
from fcnproto.layers.loss import Loss
from fcnproto.types import Shape, show


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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The squares."""
        return prod(bottoms[0])

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The sum of squares over twice the batch size."""
        one, other = bottoms
        return [(one - other.reshape(one.shape)).square().sum() / (2 * len(one))]
