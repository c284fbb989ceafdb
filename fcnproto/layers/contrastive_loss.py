"""ContrastiveLoss."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Tensors, Torch, exactly, four_axes, require
from fcnproto.layers.loss import Loss
from fcnproto.proto.caffe_pb2 import ContrastiveLossParameter
from fcnproto.types import Shape, show


class ContrastiveLoss(Loss):
    """Pulls the vectors of similar pairs together and pushes others apart, up to `margin`.

    Bottoms: two batches of vectors, N × C each, and for each pair whether it is similar
    (contrastive_loss_layer.cpp).
    """

    type = "ContrastiveLoss"
    settings = "contrastive_loss_param"
    bottoms = exactly(3)

    param: ContrastiveLossParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        one, other, similar = map(four_axes, bottoms)
        for shape, found in zip((one, other), bottoms[:2], strict=True):
            require(shape[2:] == (1, 1), f"the vectors must be N × C, found {show(found)}")
        require(
            one[1] == other[1],
            f"the vectors must be of one length, found {show(bottoms[0])} and {show(bottoms[1])}",
        )
        require(
            similar[1:] == (1, 1, 1),
            f"there must be one label for each pair, found {show(bottoms[2])}",
        )
        return super().output_shapes(bottoms)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Half the mean of squared distances, or of what they lack to the margin.

        Caffe divides by the distance plus 1e-4 where it goes back, so that gradient is not quite
        the loss's own.
        """
        one, other, similar = bottoms
        difference = (one - other).flatten(1)
        squared = difference.square().sum(1)
        if self.param.legacy_version:
            apart = (self.param.margin - squared).clamp(min=0)
        else:
            distance = squared.detach().sqrt()
            lack = (self.param.margin - distance).clamp(min=0)
            slope = -2 * lack / (distance + _NEAR)
            course = (slope[:, None] * difference.detach() * difference).sum(1)
            apart = lack.square() + (course - course.detach())
        losses = t.torch.where(similar.reshape(-1).long() != 0, squared, apart)
        return [losses.sum() / (2 * len(one))]


_NEAR = 1e-4
