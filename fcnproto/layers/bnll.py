"""BNLL."""

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


class BNLL(Pointwise):
    """log(1 + exp(x)), binomial normal log likelihood (bnll_layer.cpp)."""

    type = "BNLL"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Softplus."""
        return [b.node("Softplus", bottoms[0])]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """softplus."""
        return [t.functional.softplus(bottoms[0])]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """A sigmoid of the bottom."""
        return gradient * bottom.sigmoid()
