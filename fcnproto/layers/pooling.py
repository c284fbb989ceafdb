"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Context, Layer, Shape, between, exactly, require, show
from fcnproto.layers.spatial import CoordMap, pooling_windows
from fcnproto.proto.caffe_pb2 import LayerParameter, PoolingParameter


class Pooling(Layer):
    """The maximum, the average or a random one of each window's pixels (pooling_layer.cpp).

    Bottom and top: N × C × H × W → N × C × H' × W'. MAX has a second top of the same shape if asked
    for one: the index of each maximum in its plane.
    """

    type = "Pooling"
    settings = "pooling_param"

    param: PoolingParameter

    def __init__(self, proto: LayerParameter, context: Context = Context()) -> None:
        super().__init__(proto, context)
        if self.param.pool == PoolingParameter.MAX:
            self.tops = between(1, 2)
        else:
            self.tops = exactly(1)

    @property
    def rounds_up(self) -> bool:
        """Whether a last, partial window counts: Caffe's round_mode, or the ceil_mode of forks."""
        return self.param.round_mode == PoolingParameter.CEIL and self.param.ceil_mode

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """Each plane pooled; the second top, if there is one, likewise."""
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        num, channels, *plane = bottoms[0]
        windows = pooling_windows(self.param, *plane)
        clip = any(window.pad for window in windows)
        outs = [
            window.pool(size, ceil=self.rounds_up, clip=clip)
            for window, size in zip(windows, plane, strict=True)
        ]
        for window, size, out in zip(windows, plane, outs, strict=True):
            require(out >= 0, f"{window} does not fit an input of size {size}")
        return [(num, channels, *outs)] * max(1, len(self.proto.top))

    def coord_map(self) -> CoordMap:
        """Output (x, y) to the centre of its window in the input."""
        require(
            not self.param.global_pooling,
            "where global pooling's one pixel lies depends on the size of its input",
        )
        rows, columns = pooling_windows(self.param, 0, 0)
        return CoordMap(rows.convolved_to_input(), columns.convolved_to_input())
