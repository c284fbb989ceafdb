"""MultinomialLogisticLoss."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Shape, four_axes, require, show
from fcnproto.layers.loss import Loss


class MultinomialLogisticLoss(Loss):
    """The mean −log p[label] of probabilities (multinomial_logistic_loss_layer.cpp)."""

    type = "MultinomialLogisticLoss"

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        tops = super().output_shapes(bottoms)
        labels = four_axes(bottoms[1])
        require(
            all(size == 1 for size in labels[1:]),
            f"there must be one label for each item, found {show(bottoms[1])}",
        )
        return tops
