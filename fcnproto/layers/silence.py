"""Silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, at_least, exactly
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Silence(Layer):
    """Takes blobs that nobody needs, so that they are no outputs of the net (silence_layer.cpp)."""

    type = "Silence"
    bottoms = at_least(1)
    tops = exactly(0)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """None: there are no tops."""
        return ()

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Nothing."""
        return ()

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Nothing."""
        return []
