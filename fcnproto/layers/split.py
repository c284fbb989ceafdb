"""Split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import InPlace, Pointwise, Tensors, Torch, at_least
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Split(Pointwise):
    """Its bottom, several times (split_layer.cpp).

    Caffe puts one in by itself wherever a blob has several readers.
    """

    type = "Split"
    hands_on = True
    tops = at_least(1)
    in_place = InPlace.REFUSED
    shares_memory = True  # Blob::ShareData

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape for each top."""
        return [bottoms[0]] * len(self.proto.top)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Its bottom."""
        return [bottoms[0]] * len(self.proto.top)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The same tensor for each top."""
        return [bottoms[0]] * len(self.proto.top)
