"""Permute, of SSD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, require
from fcnproto.layers.spatial import IDENTITY, CoordMap
from fcnproto.proto.caffe_pb2 import PermuteParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Permute(Layer):
    """Its bottom's axes in another order (SSD, permute_layer.cpp).

    `order` names the bottom's axes that come first; the others follow in rising order.
    """

    type = "Permute"
    hands_on = True
    fork = "ssd"
    settings = "permute_param"

    param: PermuteParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's sizes in that order."""
        (bottom,) = bottoms
        first = list(self.param.order)
        require(
            all(axis < len(bottom) for axis in first),
            f"order {first} names an axis that {show(bottom)} does not have",
        )
        require(len(set(first)) == len(first), f"order {first} names an axis twice")
        return [tuple(bottom[axis] for axis in self.order(len(bottom)))]

    def coord_map(self) -> CoordMap:
        """The identity, if rows and columns stay the last axes of an N × C × H × W blob."""
        order = self.order(4)
        require(order[2:] == (2, 3), f"order {list(order)} moves an image's rows and columns")
        return IDENTITY

    def order(self, axes: int) -> tuple[int, ...]:
        """Which of the bottom's `axes` axes each axis of the top is."""
        first = tuple(self.param.order)
        return first + tuple(axis for axis in range(axes) if axis not in first)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Transpose."""
        order = self.order(len(b.dims(bottoms[0])))
        if list(order) == sorted(order):
            return bottoms
        return [b.node("Transpose", bottoms[0], perm=order)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """permute."""
        return [bottoms[0].permute(self.order(bottoms[0].dim()))]
