"""InfogainLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import (
    log,
    prod,
)
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from fcnproto.errors import LayerError
from fcnproto.layers.base import Tensors, Torch, axis_index, between, require, valued
from fcnproto.layers.loss import (
    LEAST_PROBABILITY,
    Labels,
    Loss,
    check_labels,
    summed,
)
from fcnproto.proto.caffe_pb2 import (
    BlobProto,
    InfogainLossParameter,
)
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    import numpy as np


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

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """Those of the scores."""
        return bottoms[0][axis_index(self.param.axis, bottoms[0])]

    @property
    def ignored_label(self) -> int | None:
        """loss_param's."""
        param = self.proto.loss_param
        return param.ignore_label if param.HasField("ignore_label") else None

    def sums(self, labels: Shape) -> int | None:
        """As loss_param says."""
        return summed(self.proto.loss_param.normalization, labels)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Log probabilities weighed by the label's row of the matrix."""
        scores, labels, *given = bottoms
        axis = axis_index(self.param.axis, tuple(scores.shape))
        classes = scores.shape[axis]
        if not given and "matrix" not in t.memory:
            t.memory["matrix"] = t.tensor(self._read_matrix(classes))
        matrix = (given[0] if given else t.memory["matrix"]).reshape(classes, classes)
        logarithms = t.functional.log_softmax(scores, axis)
        # Caffe takes the logarithm of no probability below its threshold.
        logarithms = valued(logarithms.clamp(min=log(LEAST_PROBABILITY)), logarithms)
        chosen = Labels.of(t, labels, self.proto.loss_param)
        rows = matrix[chosen.numbers]
        losses = -(rows * logarithms.movedim(axis, -1).reshape(-1, classes)).sum(1)
        outer = prod(scores.shape[:axis])
        total = losses.masked_fill(chosen.ignored, 0).sum()
        t.memory["mean"] = total.detach() / chosen.count.clamp(min=1)
        loss = total / chosen.divisor(self.proto.loss_param.normalization, outer)
        return [loss, logarithms.detach().exp()][: max(1, len(self.proto.top))]

    def _read_matrix(self, classes: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """The matrix in the file `source`, a binary BlobProto."""
        path = Path(self.param.source)
        try:
            with path.open("rb") as file:
                blob = BlobProto.FromString(file.read(_MOST_BYTES * (classes**2 + 16)))
        except (OSError, DecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no binary BlobProto"
            raise LayerError(f"its matrix {path} cannot be read: {reason}") from error
        import numpy as np

        values = blob.double_data or blob.data
        require(
            len(values) == classes**2,
            f"its matrix {path} must have {classes}×{classes} numbers, found {len(values)}",
        )
        return np.array(values, np.float32)


_MOST_BYTES = 16  # that a number takes: data and diff, as double
