"""AbsVal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    InPlace,
    Pointwise,
    Tensors,
    Torch,
)

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class AbsVal(Pointwise):
    """|x| (absval_layer.cpp)."""

    type = "AbsVal"
    in_place = InPlace.REFUSED

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Abs."""
        return [b.node("Abs", bottoms[0])]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Torch's abs."""
        return [bottoms[0].abs()]
