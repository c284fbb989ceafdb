"""Swish."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensor, Tensors, Torch
from fcnproto.proto.caffe_pb2 import SwishParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Swish(Pointwise):
    """x · sigmoid(beta · x) (swish_layer.cpp)."""

    type = "Swish"
    settings = "swish_param"

    param: SwishParameter

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The products with beta, unless that is 1, and with the sigmoid."""
        return prod(tops[0]) * (1 + (self.param.beta != 1))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Sigmoid and Mul."""
        (x,) = bottoms
        beta = self.param.beta
        scaled = x if beta == 1 else b.node("Mul", x, b.literal(beta))
        return [b.node("Mul", x, b.node("Sigmoid", scaled))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """x times a sigmoid."""
        (x,) = bottoms
        sigmoid = (x * self.param.beta).sigmoid()
        t.memory["sigmoid"] = sigmoid.detach()
        return [x * sigmoid]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """By the top, and by the sigmoid, which is kept from the forward pass."""
        scaled, sigmoid = self.param.beta * top, t.memory["sigmoid"].reshape(top.shape)
        return gradient * (scaled + sigmoid * (1 - scaled))
