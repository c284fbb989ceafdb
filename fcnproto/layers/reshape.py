"""Reshape."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.errors import LayerError
from fcnproto.layers.base import InPlace, Layer, Tensors, Torch, c_int, require, shapes_of
from fcnproto.proto.caffe_pb2 import ReshapeParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Reshape(Layer):
    """The same values in another shape (reshape_layer.cpp).

    `shape` takes the place of `num_axes` axes from `axis` on. In it 0 stands for the bottom's size
    at that place, and one −1 for what is left over.
    """

    type = "Reshape"
    hands_on = True
    settings = "reshape_param"
    in_place = InPlace.REFUSED
    shares_memory = True  # Blob::ShareData

    param: ReshapeParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape with `shape` in the place of some axes."""
        (bottom,) = bottoms
        require(prod(bottom) > 0, f"its bottom is empty: {show(bottom)}")  # Caffe shares its memory
        self._check_replaced(bottom)
        start, end = self._replaced(len(bottom))
        sizes = [c_int(size) for size in self.param.shape.dim]
        found = f"shape {show(tuple(sizes))}"
        require(all(size >= -1 for size in sizes), f"{found} has a size below -1")
        require(sizes.count(-1) <= 1, f"{found} has -1 more than once")
        for place, size in enumerate(sizes):
            if size == 0:
                require(
                    start + place < len(bottom),
                    f"{found}, from axis {start} on, has a 0 where {show(bottom)} has no axis",
                )
                sizes[place] = bottom[start + place]
        top = [*bottom[:start], *sizes, *bottom[end:]]
        if -1 in sizes:
            top[start + sizes.index(-1)] = _left_over(bottom, top)
        require(
            prod(top) == prod(bottom),
            f"{show(bottom)} has {prod(bottom)} values, {show(tuple(top))} would have {prod(top)}",
        )
        return [tuple(top)]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Reshape."""
        (x,) = bottoms
        start, end = self._replaced(len(b.dims(x)))
        sizes = [c_int(size) for size in self.param.shape.dim]
        return [b.reshape(x, [*[0] * start, *sizes], end)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """reshape."""
        return [bottoms[0].reshape(self.output_shapes(shapes_of(bottoms))[0])]

    def _replaced(self, axes: int) -> tuple[int, int]:
        """The first of a bottom's axes that `shape` replaces, and the one after the last."""
        axis, count = self.param.axis, self.param.num_axes
        start = axis if axis >= 0 else axes + axis + 1  # -1 is after the last axis, not the last
        return start, axes if count == -1 else start + count

    def _check_replaced(self, bottom: Shape) -> None:
        axis, count, axes = self.param.axis, self.param.num_axes, len(bottom)
        start, end = self._replaced(axes)
        if not 0 <= start <= axes:
            raise LayerError(f"axis {axis} is out of range for a blob of shape {show(bottom)}")
        require(count >= -1, f"num_axes must not be negative, or -1 for all, found {count}")
        require(end <= axes, f"{show(bottom)} has not num_axes {count} axes from axis {start} on")


def _left_over(bottom: Shape, top: Sequence[int]) -> int:
    """What −1 in `top` stands for."""
    others = -prod(top)
    require(
        prod(bottom) % others == 0,
        f"the {prod(bottom)} values of {show(bottom)} cannot be divided by {others}, the product "
        f"of the other sizes",
    )
    return prod(bottom) // others
