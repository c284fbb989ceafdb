"""SigmoidCrossEntropyLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Tensors, Torch, require
from fcnproto.layers.loss import (
    Labels,
    Loss,
    normalization,
    summed,
)
from fcnproto.proto.caffe_pb2 import LossParameter
from fcnproto.types import Shape, show


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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with each target."""
        return prod(bottoms[0])

    def sums(self, labels: Shape) -> int | None:
        """As loss_param says."""
        return summed(normalization(self.proto.loss_param, unset=LossParameter.BATCH_SIZE), labels)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """binary_cross_entropy_with_logits, less what is ignored."""
        scores, targets = bottoms
        targets = targets.detach().reshape(scores.shape)
        each = t.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        chosen = Labels.of(t, targets, self.proto.loss_param)
        total = each.reshape(-1).masked_fill(chosen.ignored, 0).sum()
        mode = normalization(self.proto.loss_param, unset=LossParameter.BATCH_SIZE)
        return [total / chosen.divisor(mode, len(scores))]
