"""Filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, at_least, require
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

BOOL = 9  # TensorProto.BOOL


class Filter(Layer):
    """The items of each bottom but the last for which the last is not 0 (filter_layer.cpp)."""

    type = "Filter"
    bottoms = at_least(2)
    tops = at_least(1)
    items_by_data = True

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottoms' shapes: how many items pass depends on the data, Caffe starts with all."""
        *items, selector = bottoms
        require(
            len(self.proto.top) == len(items),
            f"there must be a top for each bottom but the last: {len(items)}, found"
            f" {len(self.proto.top)}",
        )
        require(
            len(selector) > 0 and all(size == 1 for size in selector[1:]),
            f"the last bottom, which selects, must be N × 1 × 1 …, found {show(selector)}",
        )
        require(selector[0] > 0, "there are no items to select from")
        for shape in items:
            require(
                shape[:1] == selector[:1],
                f"each bottom must have the selector's {selector[0]} items, found {show(shape)}",
            )
        return items

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Compress, by which items of the selector are not 0."""
        *items, selector = bottoms
        chosen = b.node("Cast", b.reshape(selector, [-1]), to=BOOL)
        return [b.node("Compress", item, chosen, axis=0) for item in items]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The items that are selected."""
        *items, selector = bottoms
        chosen = selector.reshape(-1) != 0
        return [item[chosen] for item in items]
