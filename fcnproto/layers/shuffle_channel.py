"""ShuffleChannel, of ShuffleNet."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import InPlace, Pointwise, Shape, c_int, nchw, require
from fcnproto.proto.caffe_pb2 import ShuffleChannelParameter


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
