"""Swish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import SwishParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class Swish(Pointwise):
    """x · sigmoid(beta · x) (swish_layer.cpp)."""

    type = "Swish"
    settings = "swish_param"

    param: SwishParameter

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Sigmoid and Mul."""
        (x,) = bottoms
        beta = self.param.beta
        scaled = x if beta == 1 else b.node("Mul", x, b.literal(beta))
        return [b.node("Mul", x, b.node("Sigmoid", scaled))]
