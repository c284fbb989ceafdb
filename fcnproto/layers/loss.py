"""What losses and Accuracy share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Layer, Shape, axis_index, exactly, require, show


class Loss(Layer):
    """A scalar from a prediction and what it should be (loss_layer.cpp).

    The top may be left out; its loss_weight is 1 unless given.
    """

    bottoms = exactly(2)
    auto_top = True
    measures = True

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
