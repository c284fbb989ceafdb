"""Slice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    InPlace,
    Layer,
    Tensors,
    Torch,
    at_least,
    axis_index,
    axis_setting,
    identity_along,
    require,
    shapes_of,
)
from fcnproto.layers.spatial import CoordMap
from fcnproto.proto.caffe_pb2 import SliceParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Slice(Layer):
    """Its bottom cut along `axis`, at each slice_point or into equal parts (slice_layer.cpp)."""

    type = "Slice"
    hands_on = True
    settings = "slice_param"
    tops = at_least(1)

    param: SliceParameter

    @property
    def shares_memory(self) -> bool:  # type: ignore[override]
        """Whether there is one top, which then is passed on as it is."""
        return len(self.proto.top) == 1

    @property
    def in_place(self) -> InPlace:
        """A single top is the bottom as it is; else the first slice would shrink the bottom."""
        return InPlace.WORKS if len(self.proto.top) == 1 else InPlace.REFUSED

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape, but for the sizes of the slices along the axis."""
        (bottom,) = bottoms
        axis = axis_index(axis_setting(self.param, "slice_dim"), bottom)
        points, tops = list(self.param.slice_point), len(self.proto.top)
        sizes = self._cut(bottom[axis], points) if points else self._divide(bottom[axis])
        # Caffe lets the bottom and a single top share their memory, which an empty blob lacks.
        require(tops > 1 or prod(bottom) > 0, f"its bottom is empty: {show(bottom)}")
        return [(*bottom[:axis], size, *bottom[axis + 1 :]) for size in sizes]

    def coord_map(self) -> CoordMap:
        """The identity, if the axis is not that of rows or columns."""
        return identity_along(axis_setting(self.param, "slice_dim"))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Split; a Slice for each top, where points cut an open size; else the bottom itself."""
        (x,) = bottoms
        tops, points = len(self.proto.top), list(self.param.slice_point)
        if tops == 1:
            return bottoms
        axis = axis_setting(self.param, "slice_dim")
        size = b.dims(x)[axis]
        if not points:
            return b.parts(x, tops, axis)
        if size is not None:
            sizes = self._cut(size, points)
            return b.node_with("Split", [x, b.ints(sizes)], tops, axis=axis)
        bounds = [b.ints([point]) for point in (0, *points, 2**63 - 1)]
        return [b.node("Slice", x, *cut, b.ints([axis])) for cut in pairwise(bounds)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """split."""
        axis = axis_index(axis_setting(self.param, "slice_dim"), tuple(bottoms[0].shape))
        sizes = [shape[axis] for shape in self.output_shapes(shapes_of(bottoms))]
        return list(t.torch.split(bottoms[0], sizes, axis))

    def _divide(self, size: int) -> list[int]:
        tops = len(self.proto.top)
        require(size % tops == 0, f"its {tops} tops do not divide the size {size} evenly")
        return [size // tops] * tops

    def _cut(self, size: int, points: list[int]) -> list[int]:
        """The sizes between the points; only the last may be 0."""
        tops = len(self.proto.top)
        require(
            len(points) == tops - 1,
            f"{tops} tops need {tops - 1} slice_point, found {len(points)}",
        )
        require(tops <= size, f"a size of {size} cannot be cut into {tops} tops")
        found = ", ".join(map(str, points))
        require(
            all(low < high for low, high in pairwise((0, *points))),
            f"slice_point must be positive and rise, found {found}",
        )
        require(points[-1] <= size, f"slice_point must be at most the size {size}, found {found}")
        return [high - low for low, high in pairwise((0, *points, size))]
