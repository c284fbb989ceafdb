"""What losses and Accuracy share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fcnproto.layers.base import Kind, Layer, Tensor, Torch, axis_index, exactly, require
from fcnproto.proto.caffe_pb2 import LossParameter
from fcnproto.types import Shape, show


class Loss(Layer):
    """A scalar from a prediction and what it should be (loss_layer.cpp).

    The top may be left out; its loss_weight is 1 unless given.
    """

    bottoms = exactly(2)
    auto_top = True
    measures = True
    kind = Kind.LOSS

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar."""
        prediction, truth = bottoms[:2]
        require(
            len(prediction) > 0 and prediction[:1] == truth[:1],
            f"both bottoms must have one first axis, the batch, found {show(prediction)} and"
            f" {show(truth)}",
        )
        return ((),)


def check_labels(predictions: Shape, labels: Shape, axis: int) -> int:
    """The axis of the classes; LayerError unless there is one label for each prediction."""
    index = axis_index(axis, predictions)
    wanted = prod(predictions[:index]) * prod(predictions[index + 1 :])
    require(
        prod(labels) == wanted,
        f"there must be one label for each prediction: {show(predictions)} with classes on axis"
        f" {index} needs {wanted}, found {prod(labels)} ({show(labels)})",
    )
    return index


LEAST_PROBABILITY = 1e-20
"""Losses of probabilities take the logarithm of no smaller one (kLOG_THRESHOLD)."""


@dataclass(frozen=True)
class Labels:
    """The labels of a batch as PyTorch needs them, flat: one number each, 0 where it is ignored."""

    numbers: Tensor
    ignored: Tensor
    count: Tensor
    """How many are not ignored."""

    @classmethod
    def of(cls, t: Torch, labels: Tensor, param: LossParameter) -> Labels:
        """Labels, and which of them loss_param's ignore_label leaves out."""
        numbers = labels.detach().reshape(-1).long()
        ignored = t.torch.zeros_like(numbers, dtype=t.torch.bool)
        if param.HasField("ignore_label"):
            ignored = numbers == param.ignore_label
        return cls(numbers.masked_fill(ignored, 0), ignored, (~ignored).sum())

    def divisor(self, mode: int, outer: int) -> Tensor:
        """What the sum of losses is divided by (GetNormalizer); `outer` is the batch size."""
        if mode == LossParameter.VALID:
            return self.count.clamp(min=1)
        sizes: dict[int, int] = {
            LossParameter.FULL: len(self.numbers),
            LossParameter.BATCH_SIZE: outer,
            LossParameter.NONE: 1,
        }
        require(mode in sizes, "normalization PRE_FIXED is of a fork whose rule is not known here")
        return max(1, sizes[mode])


def summed(mode: int, labels: Shape) -> int:
    """Over how many labels a loss is a sum that is divided as `mode` says."""
    sizes: dict[int, int] = {
        LossParameter.BATCH_SIZE: prod(labels[1:]),
        LossParameter.NONE: prod(labels),
    }
    return sizes.get(mode, 1)


def normalization(param: LossParameter, unset: int = LossParameter.VALID) -> int:
    """What a loss is divided by, as its settings say it in the new way or in the old."""
    if not param.HasField("normalization") and param.HasField("normalize"):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return param.normalization if param.HasField("normalization") else unset
