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
        bins = 0
        for level in range(height):
            rows, columns = self._pool(2**level, plane)
            if height == 1:
                return [(num, channels, rows, columns)]
            bins += rows * columns
        return [(num, channels * bins)]

    def _pool(self, bins: int, plane: Sequence[int]) -> tuple[int, int]:
        """How many windows one level has; Caffe's pad may make them fewer than the bins."""
        windows = [level_window(bins, size) for size in plane]
        for window, size in zip(windows, plane, strict=True):
            require(
                window.pad < window.kernel,
                f"an input of size {size} is too small for {bins} bins: lower pyramid_height",
            )
        clip = any(window.pad for window in windows)
        require(
            not (clip and self.param.pool == SPPParameter.STOCHASTIC),
            f"stochastic pooling cannot be padded, which {bins} bins of {show(tuple(plane))} need",
        )
        rows, columns = (
            window.pool(size, ceil=True, clip=clip)
            for window, size in zip(windows, plane, strict=True)
        )
        return rows, columns


def level_window(bins: int, size: int) -> Window:
    """The window that pools a line of `size` pixels into so many bins, or nearly."""
    kernel = -(-size // bins)
    return Window(kernel, stride=kernel, pad=(kernel * bins - size + 1) // 2)
