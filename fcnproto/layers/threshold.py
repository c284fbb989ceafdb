"""Threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Pointwise,
    Tensors,
    Torch,
)
from fcnproto.proto.caffe_pb2 import ThresholdParameter

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Threshold(Pointwise):
    """1 where x > threshold, else 0 (threshold_layer.cpp)."""

    type = "Threshold"
    settings = "threshold_param"

    param: ThresholdParameter

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Greater."""
        return [b.floats(b.node("Greater", bottoms[0], b.literal(self.param.threshold)))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """A comparison; Caffe has no gradient of it."""
        (x,) = bottoms
        return [(x > self.param.threshold).to(x.dtype)]
