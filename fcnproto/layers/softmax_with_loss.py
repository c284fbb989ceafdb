"""SoftmaxWithLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import (
    log,
    prod,
)

from fcnproto.layers.base import Tensors, Torch, axis_index, between, require, valued
from fcnproto.layers.loss import (
    Labels,
    Loss,
    check_labels,
    normalization,
    summed,
)
from fcnproto.proto.caffe_pb2 import SoftmaxParameter
from fcnproto.types import Shape, show
from fcnproto.words import some


class SoftmaxWithLoss(Loss):
    """The mean −log softmax(x)[label] (softmax_loss_layer.cpp).

    Bottoms: scores with the classes on softmax_param's axis, and one label for each.
    loss_param says which label is ignored and what the sum is divided by.
    """

    type = "SoftmaxWithLoss"
    settings = "softmax_param"
    other_settings = ("loss_param", "softmaxloss_param")
    tops = between(1, 2)

    param: SoftmaxParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        scores, labels = bottoms
        tops = super().output_shapes(bottoms)
        several = sorted(set(self.proto.softmaxloss_param.ignore_label))
        require(
            not several,
            f"softmaxloss_param ignores the labels {some(several)}, and one can be ignored here:"
            " give its number to the pixels of the others",
        )
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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The softmax's quotient."""
        return prod(bottoms[0])

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return bottoms[0][axis_index(self.param.axis, bottoms[0])]

    @property
    def ignored_label(self) -> int | None:
        """loss_param's."""
        param = self.proto.loss_param
        require(
            not param.HasField("pre_fixed_normalizer"),
            "pre_fixed_normalizer is of a fork whose rule is not known here: use normalization",
        )
        return param.ignore_label if param.HasField("ignore_label") else None

    def sums(self, labels: Shape) -> int | None:
        """As loss_param says."""
        return summed(normalization(self.proto.loss_param), labels)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Minus the label's log probability.

        Caffe takes the logarithm of no probability below the smallest float, but goes back as if it
        did. SegNet's class_weighting weighs each label's loss.
        """
        scores, labels = bottoms
        param = self.proto.loss_param
        axis = axis_index(self.param.axis, tuple(scores.shape))
        chosen = Labels.of(t, labels, param)
        place = [*scores.shape[:axis], 1, *scores.shape[axis + 1 :]]
        logarithms = t.functional.log_softmax(scores, axis)
        losses = -logarithms.gather(axis, chosen.numbers.reshape(place)).reshape(-1)
        losses = valued(losses.clamp(max=-log(_SMALLEST)), losses)
        if param.weight_by_label_freqs:
            factors = list(param.class_weighting)
            require(
                len(factors) == scores.shape[axis],
                f"class_weighting must be given once for each of {scores.shape[axis]} classes,"
                f" found {len(factors)}",
            )
            losses = losses * t.tensor(factors)[chosen.numbers]
        total = losses.masked_fill(chosen.ignored, 0).sum()
        t.memory["mean"] = total.detach() / chosen.count.clamp(min=1)
        outer = prod(scores.shape[:axis])
        return [total / chosen.divisor(normalization(param), outer)]


_SMALLEST = 1.1754943508222875e-38  # FLT_MIN
