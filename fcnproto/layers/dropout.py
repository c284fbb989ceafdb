"""Dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import TRAIN, DropoutParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class Dropout(Pointwise):
    """In training each value is 0 or scaled by 1 / (1 − ratio), else kept (dropout_layer.cpp).

    With SegNet's sample_weights_test values are dropped at random in the TEST phase as well.
    """

    type = "Dropout"
    settings = "dropout_param"

    param: DropoutParameter

    def oddities(self) -> Iterator[str]:
        """A ratio outside 0 … 1, which Caffe checks in debug builds only; dropping in TEST."""
        if not 0 < self.param.dropout_ratio < 1:
            yield f"dropout_ratio should lie between 0 and 1, found {self.param.dropout_ratio:g}"
        if self.param.sample_weights_test:
            yield "sample_weights_test drops values at random in the TEST phase too"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Nothing."""
        return bottoms

    def obstacle(self) -> str | None:
        """What it drops at random: no two runs would agree, nor with Caffe's."""
        if self.phase == TRAIN:
            return "in the TRAIN phase it drops values at random"
        if self.param.sample_weights_test:
            return "sample_weights_test drops values at random in the TEST phase too"
        return None
