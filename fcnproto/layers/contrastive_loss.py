"""ContrastiveLoss."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Shape, exactly, four_axes, require, show
from fcnproto.layers.loss import Loss


class ContrastiveLoss(Loss):
    """Pulls the vectors of similar pairs together and pushes others apart, up to `margin`.

    Bottoms: two batches of vectors, N × C each, and for each pair whether it is similar
    (contrastive_loss_layer.cpp).
    """

    type = "ContrastiveLoss"
    settings = "contrastive_loss_param"
    bottoms = exactly(3)

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
