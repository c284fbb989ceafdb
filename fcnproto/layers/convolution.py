"""Convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fcnproto.layers.base import Layer, Shape, Weight, at_least, axis_index, require, show
from fcnproto.layers.spatial import CoordMap, Window, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter


class Convolution(Layer):
    """Convolution over the axes after `axis`, in groups (base_conv_layer.cpp, conv_layer.cpp).

    Bottoms and tops: N × C × spatial axes → N × O × spatial axes, each with the same weights.
    Weights: O × C/group × kernel, and O biases unless bias_term is false.
    """

    type = "Convolution"
    settings = "convolution_param"
    bottoms = at_least(1)
    tops = at_least(1)
    top_per_bottom = True

    param: ConvolutionParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The batch axes kept, then num_output, then each spatial axis's size."""
        first = bottoms[0]
        axis = axis_index(self.param.axis, first)
        windows = self.windows(first)
        self._check_channels(first[axis])
        for bottom in bottoms[1:]:
            require(
                bottom == first,
                f"all bottoms must have one shape, found {show(first)} and {show(bottom)}",
            )
        sizes = first[axis + 1 :]
        outs = tuple(map(self._size, windows, sizes))
        for size, window, out in zip(sizes, windows, outs, strict=True):
            # Without a bias Caffe makes an empty blob of size 0; with one it aborts.
            require(
                out >= (1 if self.param.bias_term else 0),
                f"{window} does not fit an input of size {size}",
            )
        return [(*first[:axis], self.param.num_output, *outs)] * len(bottoms)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The kernels, and the biases if there are any."""
        channels = bottoms[0][axis_index(self.param.axis, bottoms[0])]
        self._check_channels(channels)
        kernels = tuple(window.kernel for window in self.windows(bottoms[0]))
        weights = [Weight((*self._matrix(channels), *kernels), self.param.weight_filler)]
        if self.param.bias_term:
            weights.append(Weight((self.param.num_output,), self.param.bias_filler))
        return weights

    def oddities(self) -> Iterator[str]:
        """A dilation of 0, with which all taps of a kernel read one pixel."""
        if 0 in self.param.dilation:
            yield "dilation 0: all taps of its kernel read the same pixel"

    def coord_map(self) -> CoordMap:
        """Output (x, y) to the centre of its window in the input."""
        rows, columns = plane_windows(self.param)
        return CoordMap(rows.convolved_to_input(), columns.convolved_to_input())

    def windows(self, bottom: Shape) -> tuple[Window, ...]:
        """One window for each spatial axis of a bottom of this shape."""
        return convolution_windows(
            self.param, len(bottom) - axis_index(self.param.axis, bottom) - 1
        )

    def _size(self, window: Window, size: int) -> int:
        return window.convolve(size)

    def _matrix(self, channels: int) -> tuple[int, int]:
        """The kernels' first two axes."""
        return self.param.num_output, channels // self.param.group

    def _check_channels(self, channels: int) -> None:
        outputs, group = self.param.num_output, self.param.group
        require(outputs > 0, "num_output must be positive, found 0")
        require(group > 0, "group must be positive, found 0")  # Caffe divides by it and crashes
        require(channels > 0, "the input must have channels, found 0")
        require(
            channels % group == 0, f"group {group} does not divide the {channels} input channels"
        )
        require(outputs % group == 0, f"group {group} does not divide num_output {outputs}")


def plane_windows(param: ConvolutionParameter) -> tuple[Window, Window]:
    """The windows over an image's rows and columns; LayerError if the axes are others."""
    require(param.axis in (1, -3), f"axis {param.axis} is not that of an image's channels")
    rows, columns = convolution_windows(param, 2)
    return rows, columns
