"""InfogainLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Shape, between, require, show
from fcnproto.layers.loss import Loss, check_labels
from fcnproto.proto.caffe_pb2 import InfogainLossParameter


class InfogainLoss(Loss):
    """The mean −Σ_k H[label, k] log softmax(x)[k] (infogain_loss_layer.cpp).

    Bottoms: scores with the classes on `axis`, one label for each, and the matrix H, classes ×
    classes, which is read from the file `source` if it is not a bottom. Tops: a scalar, and if
    wanted the probabilities.
    """

    type = "InfogainLoss"
    settings = "infogain_loss_param"
    other_settings = ("loss_param", "softmax_param")
    bottoms = between(2, 3)
    tops = between(1, 2)

    param: InfogainLossParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar, and the scores' shape."""
        scores, labels, *matrix = bottoms
        tops = super().output_shapes(bottoms)
        classes = scores[check_labels(scores, labels, self.param.axis)]
        require(classes > 0, f"there are no classes in {show(scores)}")
        require(
            not self.proto.loss_param.HasField("normalize"),
            "loss_param's normalize is refused here: use normalization",
        )
        if matrix:
            require(
                prod(matrix[0]) == classes**2,
                f"the infogain matrix must be {classes}×{classes}, found {show(matrix[0])}",
            )
        else:
            require(
                self.param.HasField("source"),
                "the infogain matrix is missing: give source, or a third bottom",
            )
        if len(self.proto.top) < 2:
            return tops
        require(
            len(self.proto.loss_weight) > 0,
            "with a second top loss_weight must be given, once for each",
        )
        return [*tops, scores]
