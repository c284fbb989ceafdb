"""ConvolutionDepthwise, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, Tensors, Torch, Weight, Windowed, require
from fcnproto.layers.convolution import (
    convolve,
    convolve_in_torch,
    operands_of,
)
from fcnproto.layers.spatial import Window, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class ConvolutionDepthwise(Windowed):
    """Convolution of each channel with a kernel of its own (farmingyard/caffe-mobilenet).

    There are as many output channels as input channels: num_output and group are not read.
    Weights: C × 1 × kernel, and C biases unless bias_term is false.
    """

    type = "ConvolutionDepthwise"
    fork = "caffe-mobilenet"
    settings = "convolution_param"
    kind = Kind.CONVOLUTION
    absorbs = True

    param: ConvolutionParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × the size of a convolution."""
        (bottom,) = bottoms
        require(len(bottom) == 4, f"4 axes (N × C × H × W) are needed, found {show(bottom)}")
        windows = convolution_windows(self.param, 2)
        sizes = [window.convolve(size) for window, size in zip(windows, bottom[2:], strict=True)]
        for window, size, out in zip(windows, bottom[2:], sizes, strict=True):
            require(out > 0, f"{window} does not fit an input of size {size}")
        return [(*bottom[:2], *sizes)]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The kernels, and the biases if there are any."""
        channels = bottoms[0][1]
        kernels = (window.kernel for window in convolution_windows(self.param, 2))
        weights = [Weight((channels, 1, *kernels), self.param.weight_filler)]
        if self.param.bias_term:
            weights.append(Weight((channels,), self.param.bias_filler))
        return weights

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The taps of a kernel for each number of the top."""
        kernels = self.weights(bottoms)[0].shape
        return prod(tops[0]) * prod(kernels[1:])

    def plane(self) -> tuple[Window, Window]:
        """The windows over rows and columns."""
        rows, columns = convolution_windows(self.param, 2)
        return rows, columns

    def output_axis(self, top: Shape) -> int:
        """The channels'."""
        return 1

    def with_output_factors(self, kernels: Array, factors: Array) -> Array:
        """A factor for each kernel."""
        return kernels * factors.reshape(-1, 1, 1, 1)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv with a group for each channel."""
        (x,) = bottoms
        windows = convolution_windows(self.param, 2)
        operands = operands_of(b, b.array(0), windows, bias=self.param.bias_term)
        return [convolve(b, x, b.dims(x)[2:], windows, operands, group=len(b.array(0)))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """conv2d with a group for each channel."""
        (x,), (kernels, *biases) = bottoms, weights
        operands = kernels, biases[0] if biases else None
        windows = convolution_windows(self.param, 2)
        return [convolve_in_torch(t, x, windows, operands, x.shape[1])]
