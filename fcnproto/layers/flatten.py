"""Flatten."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import InPlace, Layer, Tensors, Torch, axis_index, require, shapes_of
from fcnproto.proto.caffe_pb2 import FlattenParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Flatten(Layer):
    """The axes from `axis` to `end_axis`, both included, made one (flatten_layer.cpp)."""

    type = "Flatten"
    hands_on = True
    settings = "flatten_param"
    in_place = InPlace.REFUSED
    shares_memory = True  # Blob::ShareData

    param: FlattenParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape with one axis for those that are flattened."""
        (bottom,) = bottoms
        start = axis_index(self.param.axis, bottom)
        after = axis_index(self.param.end_axis, bottom) + 1
        # No axis at all may be flattened: that puts in an axis of size 1.
        require(
            start <= after,
            f"axis {start} comes more than one after end_axis {after - 1} of {show(bottom)}",
        )
        return [(*bottom[:start], prod(bottom[start:after]), *bottom[after:])]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Reshape; Flatten, where it is all but the first axis."""
        (x,) = bottoms
        dims = b.dims(x)
        start = range(len(dims))[self.param.axis]
        after = range(len(dims))[self.param.end_axis] + 1
        if start + 1 == after:
            return bottoms
        if start == after:
            return [b.node("Unsqueeze", x, b.ints([start]))]
        if start == 1 and after == len(dims):
            return [b.node("Flatten", x)]
        return [b.reshape(x, [*[0] * start, -1], after)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """reshape."""
        return [bottoms[0].reshape(self.output_shapes(shapes_of(bottoms))[0])]
