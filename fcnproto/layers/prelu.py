"""PReLU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensors, Torch, Weight, four_axes, require
from fcnproto.layers.fillers import constant
from fcnproto.proto.caffe_pb2 import PReLUParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class PReLU(Pointwise):
    """max(x, 0) + slope · min(x, 0) (prelu_layer.cpp).

    Weights: one slope for each channel, or a single one with channel_shared; 0.25 unless filled.
    """

    type = "PReLU"
    zeros_are_sound = True
    settings = "prelu_param"

    param: PReLUParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        shape = bottoms[0]
        require(len(shape) >= 2, f"the input must have at least 2 axes, found {show(shape)}")
        require(prod(four_axes(shape)[1:]) > 0, f"the input's items are empty: {show(shape)}")
        return (shape,)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The slopes."""
        filler = self.param.filler if self.param.HasField("filler") else constant(0.25)
        return (Weight(() if self.param.channel_shared else (bottoms[0][1],), filler),)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the slope."""
        return prod(tops[0])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """PRelu."""
        (x,) = bottoms
        return [b.node("PRelu", x, b.per_channel(0, len(b.dims(x))))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """prelu."""
        return [t.functional.prelu(bottoms[0], weights[0].reshape(-1))]
