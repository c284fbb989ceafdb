"""Accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from fcnproto.layers.base import Kind, Layer, Tensors, Torch, axis_index, between, exactly, require
from fcnproto.layers.loss import check_labels
from fcnproto.proto.caffe_pb2 import AccuracyParameter
from fcnproto.types import Shape


class Accuracy(Layer):
    """How often the label is among the top_k classes (accuracy_layer.cpp).

    Bottoms: predictions with the classes on `axis`, and one label for each. Tops: a scalar, and if
    wanted the accuracy of each class.
    """

    type = "Accuracy"
    settings = "accuracy_param"
    bottoms = exactly(2)
    tops = between(1, 2)
    measures = True
    kind = Kind.LOSS

    param: AccuracyParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """A scalar, and one number for each class."""
        predictions, labels = bottoms
        require(prod(labels) > 0, "there are no labels")  # Caffe divides by their number
        axis = check_labels(predictions, labels, self.param.axis)
        classes, top_k = predictions[axis], self.param.top_k
        require(
            top_k <= classes,
            f"top_k must be at most the number of classes, {classes}, found {top_k}",
        )
        return [(), (classes,)][: max(1, len(self.proto.top))]

    def oddities(self) -> Iterator[str]:
        """A top_k of 0, among which no label is."""
        if self.param.top_k == 0:
            yield "top_k 0: the accuracy is always 0"

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return bottoms[0][axis_index(self.param.axis, bottoms[0])]

    @property
    def ignored_label(self) -> int | None:
        """accuracy_param's."""
        param = self.param
        return param.ignore_label if param.HasField("ignore_label") else None

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Whether fewer than top_k other classes score as much as the label's."""
        scores, labels = bottoms
        axis = axis_index(self.param.axis, tuple(scores.shape))
        classes = scores.shape[axis]
        scores = scores.movedim(axis, -1).reshape(-1, classes)
        labels = labels.reshape(-1).long()
        counted = t.torch.ones_like(labels, dtype=t.torch.bool)
        if self.param.HasField("ignore_label"):
            counted = labels != self.param.ignore_label
        scores, labels = scores[counted], labels[counted]
        own = scores.gather(1, labels[:, None])
        correct = (scores >= own).sum(1) - 1 < self.param.top_k
        hits = t.torch.bincount(labels[correct], minlength=classes)
        counts = t.torch.bincount(labels, minlength=classes)
        whole = hits.sum() / counts.sum().clamp(min=1)
        return [whole, hits / counts.clamp(min=1)][: max(1, len(self.proto.top))]
