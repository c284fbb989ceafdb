"""SigmoidCrossEntropyLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Shape, require, show
from fcnproto.layers.loss import Loss


class SigmoidCrossEntropyLoss(Loss):
    """The cross entropy of sigmoid(x) and a target between 0 and 1 for each number.

    loss_param says which target is ignored and what the sum is divided by: the batch size unless
    told (sigmoid_cross_entropy_loss_layer.cpp).
    """

    type = "SigmoidCrossEntropyLoss"
    settings = "loss_param"
    other_settings = ("sigmoid_param",)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        scores, targets = bottoms
        tops = super().output_shapes(bottoms)
        require(
            prod(scores) == prod(targets),
            f"there must be as many targets as scores, found {show(scores)} and {show(targets)}",
        )
        return tops
