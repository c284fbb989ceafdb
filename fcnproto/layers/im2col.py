"""Im2col."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Tensors, Torch, Windowed, axis_index, require, shapes_of
from fcnproto.layers.convolution import (
    convolve,
    over_items,
    plane_windows,
    spatial_windows,
    written_kernels,
)
from fcnproto.layers.spatial import Window, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter
from fcnproto.types import Dims, Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Im2col(Windowed):
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

    def plane(self) -> tuple[Window, Window]:
        """Those of a convolution."""
        return plane_windows(self.param)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv in which each kernel picks one tap of one channel."""
        import numpy as np

        (x,) = bottoms
        axis, windows = spatial_windows(self.param, b.dims(x))
        channels = b.dims(x)[axis]
        kernels = [window.kernel for window in windows]
        one = np.eye(prod(kernels), dtype=np.float32).reshape(-1, 1, *kernels)
        taps = b.own(
            "taps", np.tile(written_kernels(one, windows), (channels or 1, 1, *[1] * len(kernels)))
        )

        def write(x: str, sizes: Dims) -> str:
            return convolve(b, x, sizes, windows, [taps], group=channels or 1)

        return [over_items(b, x, axis, write, channels=() if channels else (1,))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Windows unfolded along each axis."""
        (x,) = bottoms
        axis = axis_index(self.param.axis, tuple(x.shape))
        (top,) = self.output_shapes(shapes_of(bottoms))
        sizes = x.shape[axis + 1 :]
        windows = convolution_windows(self.param, len(sizes))
        outs = top[axis + 1 :]
        if not prod(outs):
            return [x.new_zeros(top)]
        edges = [
            (window.pad, (out - 1) * window.stride + window.extent - window.pad - size)
            for window, size, out in zip(windows, sizes, outs, strict=True)
        ]
        taps = t.functional.pad(x, [edge for pair in reversed(edges) for edge in pair])
        for place, window in enumerate(windows, axis + 1):
            taps = taps.unfold(place, window.extent, window.stride)
            pixels = t.torch.arange(window.kernel, device=x.device) * window.dilation
            taps = taps.index_select(-1, pixels)
        # Each unfold puts its taps last; they belong right after the channels.
        order = [*range(axis + 1), *range(x.dim(), taps.dim()), *range(axis + 1, x.dim())]
        return [taps.permute(order).reshape(top)]
