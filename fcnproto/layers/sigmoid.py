"""Sigmoid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Pointwise,
    Tensor,
    Tensors,
    Torch,
)

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Sigmoid(Pointwise):
    """1 / (1 + exp(−x)) (sigmoid_layer.cpp)."""

    type = "Sigmoid"
    settings = "sigmoid_param"
    decides_at = 0.5

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Sigmoid."""
        return [b.node("Sigmoid", bottoms[0])]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """sigmoid."""
        return [bottoms[0].sigmoid()]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """top · (1 − top)."""
        return gradient * top * (1 - top)
