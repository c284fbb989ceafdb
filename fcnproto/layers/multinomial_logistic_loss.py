"""MultinomialLogisticLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Tensors, Torch, four_axes, require, valued
from fcnproto.layers.loss import (
    LEAST_PROBABILITY,
    Loss,
)
from fcnproto.types import Shape, show


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

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return prod(bottoms[0][1:])

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Minus the label's log probability, over the batch size."""
        probabilities, labels = bottoms
        own = probabilities.flatten(1).gather(1, labels.reshape(-1, 1).long())
        # Caffe's gradient below the threshold is that of the threshold.
        least = own.detach().clamp(min=LEAST_PROBABILITY)
        return [valued(-least.log(), -own / least).sum() / len(probabilities)]
