"""Im2col."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Layer, Shape, axis_index, require
from fcnproto.layers.convolution import plane_windows
from fcnproto.layers.spatial import CoordMap, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter


class Im2col(Layer):
    """Each window's pixels side by side in the channel axis (im2col_layer.cpp).

    Bottom and top: N × C × spatial axes → N × C · taps × spatial axes.
    """

    type = "Im2col"
    settings = "convolution_param"

    param: ConvolutionParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """As a convolution, with a channel for each tap of each input channel."""
        bottom = bottoms[0]
        axis = axis_index(self.param.axis, bottom)
        sizes = bottom[axis + 1 :]
        require(len(sizes) > 0, f"there must be a spatial axis after axis {self.param.axis}")
        windows = convolution_windows(self.param, len(sizes))
        outs = [window.convolve(size) for window, size in zip(windows, sizes, strict=True)]
        for window, size, out in zip(windows, sizes, outs, strict=True):
            require(out >= 0, f"{window} does not fit an input of size {size}")
        taps = prod(window.kernel for window in windows)
        return [(*bottom[:axis], bottom[axis] * taps, *outs)]

    def coord_map(self) -> CoordMap:
        """That of a convolution."""
        rows, columns = plane_windows(self.param)
        return CoordMap(rows.convolved_to_input(), columns.convolved_to_input())
