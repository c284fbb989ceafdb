"""HingeLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Tensors, Torch
from fcnproto.layers.loss import Loss
from fcnproto.proto.caffe_pb2 import HingeLossParameter
from fcnproto.types import Shape


class HingeLoss(Loss):
    """Σ max(0, 1 − x) for the label's class and max(0, 1 + x) for the others, over the batch size.

    With norm L2 each is squared (hinge_loss_layer.cpp).
    """

    type = "HingeLoss"
    settings = "hinge_loss_param"

    param: HingeLossParameter

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return prod(bottoms[0][1:])

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Margins that are not kept, or their squares, summed over the batch size."""
        scores, labels = bottoms
        scores = scores.flatten(1)
        signs = t.torch.ones_like(scores)
        signs.scatter_(1, labels.reshape(-1, 1).long(), -1)
        lacks = (1 + signs * scores).clamp(min=0)
        if self.param.norm == HingeLossParameter.L2:
            lacks = lacks.square()
        return [lacks.sum() / len(scores)]
