"""Im2col."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fcnproto.layers.base import Layer, Shape, axis_index, require
from fcnproto.layers.convolution import (
    convolve,
    over_items,
    plane_windows,
    spatial_windows,
    written_kernels,
)
from fcnproto.layers.spatial import CoordMap, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder, Dims


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

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv in which each kernel picks one tap of one channel."""
        (x,) = bottoms
        axis, windows = spatial_windows(self.param, b.dims(x))
        channels = b.dims(x)[axis]
        kernels = [window.kernel for window in windows]
        one = np.eye(prod(kernels), dtype=np.float32).reshape(-1, 1, *kernels)
        taps = b.own("taps", np.tile(written_kernels(one, windows), (channels or 1, 1, *[1] * len(kernels))))

        def write(x: str, sizes: Dims) -> str:
            return convolve(b, x, sizes, windows, [taps], group=channels or 1)

        return [over_items(b, x, axis, write, channels=() if channels else (1,))]
