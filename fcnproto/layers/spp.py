"""SPP."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Layer, Shape, require, show
from fcnproto.layers.spatial import Window
from fcnproto.proto.caffe_pb2 import SPPParameter


class SPP(Layer):
    """Spatial pyramid pooling: level l pools the map into 2^l × 2^l bins (spp_layer.cpp).

    Bottom and top: N × C × H × W → N × C · bins of all levels; with one level N × C × 1 × 1.
    """

    type = "SPP"
    settings = "spp_param"

    param: SPPParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """All levels' bins in one axis."""
        height = self.param.pyramid_height
        require(height > 0, "pyramid_height must be positive, found 0")
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        num, channels, *plane = bottoms[0]
        require(all(size > 0 for size in plane), f"the input is empty: {show(bottoms[0])}")
        for level in range(height):
            self._check_level(2**level, plane)
        if height == 1:
            return [(num, channels, 1, 1)]
        return [(num, channels * sum(4**level for level in range(height)))]

    def _check_level(self, bins: int, plane: Sequence[int]) -> None:
        windows = [level_window(bins, size) for size in plane]
        for window, size in zip(windows, plane, strict=True):
            require(
                window.pad < window.kernel,
                f"an input of size {size} cannot be pooled into {bins} bins: windows of"
                f" {window.kernel} would need a pad of {window.pad}; lower pyramid_height",
            )
        require(
            self.param.pool != SPPParameter.STOCHASTIC or not any(w.pad for w in windows),
            f"stochastic pooling cannot be padded, as {bins} bins of {show(tuple(plane))} need",
        )


def level_window(bins: int, size: int) -> Window:
    """The window that pools a line of `size` pixels into so many bins.

    Where its pad is smaller than its kernel, which Caffe demands, there are exactly so many.
    """
    kernel = -(-size // bins)
    return Window(kernel, stride=kernel, pad=(kernel * bins - size + 1) // 2)
