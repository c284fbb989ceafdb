"""SegAccuracy."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Kind, Layer, Tensors, Torch, exactly, require
from fcnproto.proto.caffe_pb2 import SegAccuracyParameter
from fcnproto.types import Shape, show
from fcnproto.words import some


class SegAccuracy(Layer):
    """Pixel accuracy, mean accuracy and mean IU of a batch (DeepLab's seg_accuracy_layer.cpp).

    Bottoms: scores N×C×H×W and labels N×1×H×W. Top: 1×1×1×3. With `reset: false` the pixels of
    all passes count.
    """

    type = "SegAccuracy"
    fork = "pspnet"
    settings = "seg_accuracy_param"
    bottoms = exactly(2)
    measures = True
    kind = Kind.LOSS

    param: SegAccuracyParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """Three numbers."""
        scores, labels = bottoms
        require(
            len(scores) == 4 and labels == (scores[0], 1, *scores[2:]),
            f"there must be one label for each pixel, found {show(scores)} and {show(labels)}",
        )
        return [(1, 1, 1, 3)]

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return bottoms[0][1]

    @property
    def ignored_label(self) -> int | None:
        """seg_accuracy_param's."""
        ignored = sorted(set(self.param.ignore_label))
        require(len(ignored) <= 1, f"one label can be ignored here, found {some(ignored)}")
        return ignored[0] if ignored else None

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Means over the classes that occur and over all; the last of equal scores is the highest.

        The IU of a class that is neither there nor predicted is 1.
        """
        scores, labels = bottoms
        classes = scores.shape[1]
        predicted = classes - 1 - scores.flip(1).argmax(1)
        truth = labels[:, 0].long()
        ignored = self.ignored_label
        counted = t.torch.ones_like(truth, dtype=t.torch.bool)
        if ignored is not None:
            counted = truth != ignored
        pairs = truth[counted] * classes + predicted[counted]
        matrix = t.torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        if not self.param.reset:
            matrix = t.memory["matrix"] = matrix + t.memory.get("matrix", 0)
        hits, given = matrix.diag(), matrix.sum(1)
        union = given + matrix.sum(0) - hits
        recalls = (hits / given.clamp(min=1))[given > 0]
        ius = t.torch.where(union == hits, 1.0, hits / union.clamp(min=1))
        measures = [hits.sum() / matrix.sum(), recalls.mean(), ius.mean()]
        return [t.torch.stack([each.float() for each in measures]).reshape(1, 1, 1, 3)]
