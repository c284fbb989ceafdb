"""SoftmaxWithLoss."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Shape, between, require, show
from fcnproto.layers.loss import Loss, check_labels
from fcnproto.proto.caffe_pb2 import SoftmaxParameter


class SoftmaxWithLoss(Loss):
    """The mean −log softmax(x)[label] (softmax_loss_layer.cpp).

    Bottoms: scores with the classes on softmax_param's axis, and one label for each.
    loss_param says which label is ignored and what the sum is divided by.
    """

    type = "SoftmaxWithLoss"
    settings = "softmax_param"
    other_settings = ("loss_param",)
    tops = between(1, 2)

    param: SoftmaxParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        scores, labels = bottoms
        tops = super().output_shapes(bottoms)
        axis = check_labels(scores, labels, self.param.axis)
        require(scores[axis] > 0, f"there are no classes on axis {axis} of {show(scores)}")
        # Caffe hands its loss_weights on to the Softmax inside, which has one top: none, one and
        # two of them are refused, each in another place.
        require(
            len(self.proto.top) < 2,
            "Caffe refuses a second top, whatever its loss_weight: add a Softmax layer for the"
            " probabilities",
        )
        return tops
