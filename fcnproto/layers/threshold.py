"""Threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import ThresholdParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class Threshold(Pointwise):
    """1 where x > threshold, else 0 (threshold_layer.cpp)."""

    type = "Threshold"
    settings = "threshold_param"

    param: ThresholdParameter

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Greater."""
        return [b.floats(b.node("Greater", bottoms[0], b.literal(self.param.threshold)))]
