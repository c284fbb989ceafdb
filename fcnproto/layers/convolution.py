"""Convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from fcnproto.layers.base import (
    Kind,
    Pads,
    PerChannel,
    Tensor,
    Tensors,
    Torch,
    Weight,
    Windowed,
    at_least,
    axis_index,
    require,
    shapes_of,
)
from fcnproto.layers.spatial import Window, convolution_windows
from fcnproto.proto.caffe_pb2 import ConvolutionParameter
from fcnproto.types import Array, Dims, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder
    from fcnproto.types import Floats


class Convolution(Windowed):
    """Convolution over the axes after `axis`, in groups (base_conv_layer.cpp, conv_layer.cpp).

    Bottoms and tops: N × C × spatial axes → N × O × spatial axes, each with the same weights.
    Weights: O × C/group × kernel, and O biases unless bias_term is false.
    """

    type = "Convolution"
    settings = "convolution_param"
    bottoms = at_least(1)
    tops = at_least(1)
    top_per_bottom = True
    kind = Kind.CONVOLUTION
    convolves = True
    checks_blobs = True
    absorbs = True

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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The taps of a kernel for each number of the tops."""
        kernels = self.weights(bottoms)[0].shape
        return sum(map(prod, tops)) * prod(kernels[1:])

    def plane(self) -> tuple[Window, Window]:
        """The windows over rows and columns; LayerError if the axes are others."""
        return plane_windows(self.param)

    @property
    def zeros(self) -> Pads | None:
        """The windows' pads, before and after."""
        if self.windows_on_plane is None:
            return None
        rows, columns = self.windows_on_plane
        return rows.pad, columns.pad, rows.pad, columns.pad

    def brief(self) -> str:
        """The output channels and the windows."""
        return f"{self.param.num_output} of {super().brief()}"

    def oddities(self) -> Iterator[str]:
        """A dilation of 0, with which all taps of a kernel read one pixel."""
        if 0 in self.param.dilation:
            yield "dilation 0: all taps of its kernel read the same pixel"

    def output_axis(self, top: Shape) -> int:
        """`axis`."""
        return axis_index(self.param.axis, top)

    def with_output_factors(self, kernels: Array, factors: Array) -> Array:
        """Along the kernels' first axis."""
        return kernels * factors.reshape(-1, *[1] * (kernels.ndim - 1))

    def with_input_factors(
        self, kernels: Array, given: PerChannel, bottom: Shape
    ) -> tuple[Array, Array] | None:
        """W ∗ (a · x + b) is (W · a) ∗ x + Σ W · b, but where the image is padded with zeros.

        For to those around the image nothing is added.
        """
        import numpy as np

        axis, group = axis_index(self.param.axis, bottom), self.param.group
        if given.factors.ndim and given.axis != axis:
            return None
        if given.shifts.any() and any(map(_reads_zeros, self.windows(bottom))):
            return None
        factors, shifts = (
            np.broadcast_to(each, bottom[axis]).reshape(group, 1, -1, *[1] * (kernels.ndim - 2))
            for each in (given.factors, given.shifts)
        )
        pairs = kernels.reshape(group, -1, *kernels.shape[1:])
        bias = (pairs * shifts).sum(axis=tuple(range(2, pairs.ndim))).reshape(-1)
        return (pairs * factors).reshape(kernels.shape), bias

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv for each bottom, with one set of weights."""
        axis, windows = spatial_windows(self.param, b.dims(bottoms[0]))
        operands, group = self._operands(b, windows)

        def write(x: str, sizes: Dims) -> str:
            return self._write(b, x, sizes, windows, operands, group)

        return [over_items(b, bottom, axis, write) for bottom in bottoms]

    def windows(self, bottom: Shape) -> tuple[Window, ...]:
        """One window for each spatial axis of a bottom of this shape."""
        return convolution_windows(
            self.param, len(bottom) - axis_index(self.param.axis, bottom) - 1
        )

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """conv1d, conv2d or conv3d for each bottom, with one set of weights."""
        shapes = shapes_of(bottoms)
        axis = axis_index(self.param.axis, shapes[0])
        windows, top = t.sized(
            shapes, lambda: (self.windows(shapes[0]), self.output_shapes(shapes)[0])
        )
        if not prod(top):
            return [x.new_zeros(top) for x in bottoms]
        require(len(windows) <= 3, f"PyTorch convolves over 3 axes at most, found {len(windows)}")
        kernels, *biases = weights
        operands = _kernels_in_torch(kernels, windows), biases[0] if biases else None
        tops = []
        for x in bottoms:
            items = x.reshape(prod(shapes[0][:axis]), *shapes[0][axis:])
            items = items if windows else items[..., None]
            tops.append(self._convolve(t, items, as_written(windows), operands).reshape(top))
        return tops

    def _size(self, window: Window, size: int) -> int:
        return window.convolve(size)

    def _matrix(self, channels: int) -> tuple[int, int]:
        """The kernels' first two axes."""
        return self.param.num_output, channels // self.param.group

    def _operands(self, b: Builder, windows: Sequence[Window]) -> tuple[list[str], int]:
        """The kernels and biases as operators take them, and the number of groups."""
        return operands_of(b, b.array(0), windows, bias=self.param.bias_term), self.param.group

    def _write(
        self,
        b: Builder,
        x: str,
        sizes: Dims,
        windows: Sequence[Window],
        operands: Sequence[str],
        group: int,
    ) -> str:
        return convolve(b, x, sizes, windows, operands, group)

    def _check_channels(self, channels: int) -> None:
        outputs, group = self.param.num_output, self.param.group
        require(outputs > 0, "num_output must be positive, found 0")
        require(group > 0, "group must be positive, found 0")  # Caffe divides by it and crashes
        require(channels > 0, "the input must have channels, found 0")
        require(
            channels % group == 0, f"group {group} does not divide the {channels} input channels"
        )
        require(outputs % group == 0, f"group {group} does not divide num_output {outputs}")

    def _convolve(
        self,
        t: Torch,
        x: Tensor,
        windows: Sequence[Window],
        operands: tuple[Tensor, Tensor | None],
    ) -> Tensor:
        """A batch of items, convolved over all axes after the second."""
        return convolve_in_torch(t, x, windows, operands, self.param.group)


def plane_windows(param: ConvolutionParameter) -> tuple[Window, Window]:
    """The windows over an image's rows and columns; LayerError if the axes are others."""
    require(param.axis in (1, -3), f"axis {param.axis} is not that of an image's channels")
    rows, columns = convolution_windows(param, 2)
    return rows, columns


def spatial_windows(
    param: ConvolutionParameter, dims: Sequence[int | None]
) -> tuple[int, tuple[Window, ...]]:
    """The channel axis of a bottom with these axes, and a window for each axis after it."""
    axis = axis_index(param.axis, (1,) * len(dims))
    return axis, convolution_windows(param, len(dims) - axis - 1)


def over_items(
    b: Builder,
    value: str,
    axis: int,
    write: Callable[[str, Dims], str],
    *,
    channels: Sequence[int] = (),
) -> str:
    """What `write` makes of `value` seen as N × C × spatial axes, in the value's own axes.

    The axes before the channels, of which there may be none or several, are one while it is
    written, and where there is no spatial axis there is one of size 1. `channels` replaces their
    number. `write` is given the value and its spatial sizes.
    """
    dims = b.dims(value)
    sizes = dims[axis + 1 :]
    if axis == 1 and sizes and not channels:
        return write(value, sizes)
    batch = b.sizes(value, 0, axis) if axis else ""
    middle = channels or b.sizes(value, axis, axis + 1)
    after = b.sizes(value, axis + 1, len(dims)) if sizes else [1]
    made = write(b.node("Reshape", value, b.join([-1], middle, after)), sizes or (1,))
    spatial = b.sizes(made, 2, len(sizes) + 2) if sizes else ""
    return b.node("Reshape", made, b.join(batch, [-1], spatial))


def operands_of(b: Builder, kernels: Floats, windows: Sequence[Window], *, bias: bool) -> list[str]:
    """A layer's kernels, of which `kernels` may be another form, and its biases if any."""
    kernels = written_kernels(kernels, windows)
    weight = b.weight(0) if kernels is b.array(0) else b.own("weight", kernels)
    return [weight, b.weight(1)] if bias else [weight]


def written_kernels(kernels: Floats, windows: Sequence[Window]) -> Floats:
    """Kernels for the windows as they are written; the same array if that changes nothing.

    Taps with a dilation of 0 all read one pixel: they are summed into one.
    """
    stacked = tuple(axis for axis, window in enumerate(windows, 2) if window.dilation == 0)
    if stacked:
        kernels = kernels.sum(axis=stacked, keepdims=True)
    return kernels if windows else kernels[..., None]


def convolve(
    b: Builder,
    x: str,
    sizes: Dims,
    windows: Sequence[Window],
    operands: Sequence[str],
    group: int,
) -> str:
    """Conv of N × C × spatial axes of these sizes.

    Where the kernel is larger than the padded input by less than a stride, Caffe's division makes
    one output of it, whose taps read zeros past the end (conv_layer.cpp): here it is padded.
    """
    windows = as_written(windows)
    short = [_shortage(window, size) for window, size in zip(windows, sizes, strict=True)]
    if any(lack and size is None for lack, size in zip(short, sizes, strict=True)):
        x, short = _lengthened(b, x, windows), [0] * len(sizes)
    pads = [window.pad for window in windows]
    ends = [pad + lack for pad, lack in zip(pads, short, strict=True)]
    return b.node("Conv", x, *operands, **(settings_of(windows, group) | {"pads": pads + ends}))


def as_written(windows: Sequence[Window]) -> Sequence[Window]:
    """Windows as operators know them: with a dilation, and over one axis at least."""
    written = [
        replace(window, kernel=1, dilation=1) if window.dilation == 0 else window
        for window in windows
    ]
    return written or [Window(1)]


def settings_of(windows: Sequence[Window], group: int) -> dict[str, Any]:
    """The attributes of Conv and ConvTranspose."""
    dilations = [window.dilation for window in windows]
    return {
        "kernel_shape": [window.kernel for window in windows],
        "strides": [window.stride for window in windows],
        "pads": [window.pad for window in windows] * 2,
        "dilations": dilations if set(dilations) != {1} else None,
        "group": group if group != 1 else None,
    }


def _shortage(window: Window, size: int | None) -> int:
    """By how much a line of `size` pixels, or the shortest if it is open, is too short."""
    lack = window.extent - 2 * window.pad - (1 if size is None else size)
    return min(max(lack, 0), window.stride - 1)


def _lengthened(b: Builder, x: str, windows: Sequence[Window]) -> str:
    """Zeros at the end of each axis that is too short by less than a stride."""
    axes = len(windows) + 2
    least = b.ints([window.extent - 2 * window.pad for window in windows])
    lack = b.node("Max", b.node("Sub", least, b.sizes(x, 2, axes)), b.ints([0]))
    lack = b.node("Min", lack, b.ints([window.stride - 1 for window in windows]))
    return b.padded(x, range(2, axes), [0] * len(windows), lack)


def convolve_in_torch(
    t: Torch,
    x: Tensor,
    windows: Sequence[Window],
    operands: tuple[Tensor, Tensor | None],
    group: int,
) -> Tensor:
    """A batch convolved by kernels and biases; zeros are added where it is too short."""
    sizes = x.shape[2:]
    lacks = [_shortage(window, size) for window, size in zip(windows, sizes, strict=True)]
    if any(lacks):
        x = t.functional.pad(x, [edge for lack in reversed(lacks) for edge in (0, lack)])
    names = "conv1d", "conv2d", "conv3d"
    return getattr(t.functional, names[len(windows) - 1])(
        x,
        *operands,
        stride=[window.stride for window in windows],
        padding=[window.pad for window in windows],
        dilation=[window.dilation for window in windows],
        groups=group,
    )


def _kernels_in_torch(kernels: Tensor, windows: Sequence[Window]) -> Tensor:
    """The kernels; taps that all read one pixel, with a dilation of 0, are added up."""
    for axis, window in enumerate(windows, 2):
        if window.dilation == 0:
            kernels = kernels.sum(axis, keepdim=True)
    return kernels if windows else kernels[..., None]


def _reads_zeros(window: Window) -> bool:
    """Whether it may cover pixels outside: as padding, or past the end by less than a stride."""
    return window.pad > 0 or (window.extent > 1 and window.stride > 1)
