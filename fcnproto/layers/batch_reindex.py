"""BatchReindex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, exactly, require
from fcnproto.layers.spatial import IDENTITY, CoordMap
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class BatchReindex(Layer):
    """The items of a batch in another order, some twice, some left out (batch_reindex_layer.cpp).

    Bottoms: N × …, and K indices into the N items. Top: K × …
    """

    type = "BatchReindex"
    bottoms = exactly(2)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's shape, with as many items as there are indices."""
        data, indices = bottoms
        require(len(indices) == 1, f"the indices must have 1 axis, found {show(indices)}")
        return [(indices[0], *data[1:])]

    def coord_map(self) -> CoordMap:
        """The identity."""
        return IDENTITY

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Gather."""
        data, indices = bottoms
        return [b.node("Gather", data, b.indices(indices))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The items that the indices name."""
        data, indices = bottoms
        return [data.index_select(0, indices.long())]
