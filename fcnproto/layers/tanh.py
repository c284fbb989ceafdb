"""TanH."""

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


class TanH(Pointwise):
    """tanh(x) (tanh_layer.cpp)."""

    type = "TanH"
    settings = "tanh_param"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Tanh."""
        return [b.node("Tanh", bottoms[0])]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """tanh."""
        return [bottoms[0].tanh()]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """1 − top²."""
        return gradient * (1 - top.square())
