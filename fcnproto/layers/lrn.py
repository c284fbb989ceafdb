"""LRN."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import InPlace, Pointwise, Shape, require, show
from fcnproto.layers.spatial import INT_MAX
from fcnproto.proto.caffe_pb2 import LRNParameter


class LRN(Pointwise):
    """Each number over a power of its neighbourhood's mean square (lrn_layer.cpp).

    ACROSS_CHANNELS: x / (k + alpha / local_size · Σ x²)^beta over local_size channels.
    WITHIN_CHANNEL: x / (1 + alpha · mean x²)^beta over a square of local_size pixels.
    """

    type = "LRN"
    settings = "lrn_param"
    in_place = InPlace.NONSENSE  # within a channel only the gradient is wrong

    param: LRNParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        size = self.param.local_size
        require(size % 2 == 1 and size <= INT_MAX, f"local_size must be odd, found {size}")
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        return (bottoms[0],)
