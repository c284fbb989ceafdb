"""ShuffleChannel, of ShuffleNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import InPlace, Pointwise, Tensors, Torch, c_int, nchw, require
from fcnproto.proto.caffe_pb2 import ShuffleChannelParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class ShuffleChannel(Pointwise):
    """Channels seen as group × C/group, transposed (ShuffleNet, shuffle_channel_layer.cpp).

    Channel i · C/group + j of the bottom becomes channel j · group + i of the top.
    """

    type = "ShuffleChannel"
    fork = "ShuffleNet"
    settings = "shuffle_channel_param"
    in_place = InPlace.REFUSED

    param: ShuffleChannelParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape, as N × C × H × W."""
        shape = nchw(bottoms[0])
        group = self.param.group
        require(c_int(group) > 0, f"group must be positive, found {group}")
        require(shape[1] % group == 0, f"group {group} does not divide the {shape[1]} channels")
        return [shape]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Gather along the channels."""
        (x,) = bottoms
        dims, group = (*b.dims(x), 1)[:4], self.param.group
        if dims[1] is None:
            order = self._open_order(b, x)
        else:
            size = dims[1] // group
            order = b.ints([i * size + j for j in range(size) for i in range(group)])
        if len(b.dims(x)) < 4:
            x = b.node("Unsqueeze", x, b.ints(range(len(b.dims(x)), 4)))
        return [b.node("Gather", x, order, axis=1)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """transpose."""
        num, channels, height, width = nchw(tuple(bottoms[0].shape))
        group = self.param.group
        grouped = bottoms[0].reshape(num, group, channels // group, height, width)
        return [grouped.transpose(1, 2).reshape(num, channels, height, width)]

    def _open_order(self, b: Builder, x: str) -> str:
        """The bottom's channel for each of the top's, where their number is open."""
        channels = b.node("Squeeze", b.sizes(x, 1, 2))
        rising = b.node("Range", b.literal(0, "int64"), channels, b.literal(1, "int64"))
        groups = b.node("Reshape", rising, b.ints([self.param.group, -1]))
        return b.node("Reshape", b.node("Transpose", groups), b.ints([-1]))
