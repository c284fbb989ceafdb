"""Concat."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    InPlace,
    Kind,
    Layer,
    Tensors,
    Torch,
    at_least,
    axis_index,
    axis_setting,
    identity_along,
    require,
)
from fcnproto.layers.spatial import CoordMap
from fcnproto.proto.caffe_pb2 import ConcatParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Concat(Layer):
    """Its bottoms one after the other along `axis` (concat_layer.cpp)."""

    type = "Concat"
    settings = "concat_param"
    bottoms = at_least(1)
    aligns_all_bottoms = True
    kind = Kind.FUSION

    param: ConcatParameter

    @property
    def shares_memory(self) -> bool:  # type: ignore[override]
        """Whether there is one bottom, which then is passed on as it is."""
        return len(self.proto.bottom) == 1

    @property
    def in_place(self) -> InPlace:
        """A single bottom is passed on as it is."""
        return InPlace.WORKS if len(self.proto.bottom) == 1 else InPlace.NONSENSE

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottoms' shape, but for their sizes along the axis, which are added up."""
        first = bottoms[0]
        axis = axis_index(axis_setting(self.param, "concat_dim"), first)
        for bottom in bottoms[1:]:
            require(
                len(bottom) == len(first)
                and bottom[:axis] + bottom[axis + 1 :] == first[:axis] + first[axis + 1 :],
                f"all bottoms must have one shape but for axis {axis}, found {show(first)} and "
                f"{show(bottom)}",
            )
        # Caffe lets a single bottom and its top share their memory, which an empty blob lacks.
        require(len(bottoms) > 1 or prod(first) > 0, f"its only bottom is empty: {show(first)}")
        size = sum(bottom[axis] for bottom in bottoms)
        return [(*first[:axis], size, *first[axis + 1 :])]

    def coord_map(self) -> CoordMap:
        """The identity, if the axis is not that of rows or columns."""
        return identity_along(axis_setting(self.param, "concat_dim"))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Concat; a single bottom is passed on."""
        if len(bottoms) == 1:
            return bottoms
        return [b.node("Concat", *bottoms, axis=axis_setting(self.param, "concat_dim"))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """cat."""
        axis = axis_index(axis_setting(self.param, "concat_dim"), tuple(bottoms[0].shape))
        return [t.torch.cat(list(bottoms), axis)]
