"""Tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, axis_index, identity_along, require
from fcnproto.layers.spatial import CoordMap
from fcnproto.proto.caffe_pb2 import TileParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Tile(Layer):
    """Its bottom `tiles` times, one after the other along `axis` (tile_layer.cpp)."""

    type = "Tile"
    settings = "tile_param"

    param: TileParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape, `tiles` times as long along the axis."""
        (bottom,) = bottoms
        axis = axis_index(self.param.axis, bottom)
        require(self.param.HasField("tiles"), "tiles must be given")
        require(self.param.tiles > 0, f"tiles must be positive, found {self.param.tiles}")
        return [(*bottom[:axis], bottom[axis] * self.param.tiles, *bottom[axis + 1 :])]

    def coord_map(self) -> CoordMap:
        """The identity, if the axis is not that of rows or columns."""
        return identity_along(self.param.axis)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Tile."""
        if self.param.tiles == 1:
            return bottoms
        repeats = [1] * len(b.dims(bottoms[0]))
        repeats[self.param.axis] = self.param.tiles
        return [b.node("Tile", bottoms[0], b.ints(repeats))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """cat."""
        (x,) = bottoms
        axis = axis_index(self.param.axis, tuple(x.shape))
        return [t.torch.cat([x] * self.param.tiles, axis)]
