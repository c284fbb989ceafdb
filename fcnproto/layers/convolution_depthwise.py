"""ConvolutionDepthwise, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Shape, Weight, require, show
from fcnproto.layers.convolution import convolve, operands_of
from fcnproto.layers.spatial import CoordMap, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class ConvolutionDepthwise(Layer):
    """Convolution of each channel with a kernel of its own (farmingyard/caffe-mobilenet).

    There are as many output channels as input channels: num_output and group are not read.
    Weights: C × 1 × kernel, and C biases unless bias_term is false.
    """

    type = "ConvolutionDepthwise"
    fork = "caffe-mobilenet"
    settings = "convolution_param"

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

    def coord_map(self) -> CoordMap:
        """Output (x, y) to the centre of its window in the input."""
        rows, columns = convolution_windows(self.param, 2)
        return CoordMap(rows.convolved_to_input(), columns.convolved_to_input())

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv with a group for each channel."""
        (x,) = bottoms
        windows = convolution_windows(self.param, 2)
        operands = operands_of(b, b.array(0), windows, bias=self.param.bias_term)
        return [convolve(b, x, b.dims(x)[2:], windows, operands, group=len(b.array(0)))]
