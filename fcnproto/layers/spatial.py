"""All arithmetic of kernels, strides, pads and dilations; nobody else divides by a stride.

Sizes and coordinates are per axis. An axis is a `Window`: a kernel that is moved over a line of
pixels. What real Caffe computes for each combination, odd ones included, is in
tests/golden/sizes.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from fcnproto.errors import LayerError
from fcnproto.types import INT_MAX


@dataclass(frozen=True)
class Affine:
    """A map between the coordinates of two blobs along one axis: x ↦ scale · x + shift.

    Exact, so that a half pixel is one half and not 0.49999.
    """

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)

    def __call__(self, x: Fraction | int) -> Fraction:
        """The coordinate that `x` is sent to."""
        return self.scale * x + self.shift

    def after(self, first: Affine) -> Affine:
        """The map that applies `first`, then this one.

        Raises LayerError where pixels become larger or smaller than any image has them.
        """
        if self.scale == 1:  # as most layers leave it: exact fractions are slow
            return Affine(first.scale, first.shift + self.shift if self.shift else first.shift)
        scale = self.scale * first.scale
        _check_scale(max(scale.numerator, scale.denominator))
        return Affine(scale, self.scale * first.shift + self.shift)

    def inverse(self) -> Affine:
        """The map back."""
        return Affine(1 / self.scale, -self.shift / self.scale)


@dataclass(frozen=True)
class CoordMap:
    """Where a pixel of a top lies in a bottom: one affine map for rows, one for columns."""

    rows: Affine = Affine()
    columns: Affine = Affine()

    def after(self, first: CoordMap) -> CoordMap:
        """The map that applies `first`, then this one."""
        return CoordMap(self.rows.after(first.rows), self.columns.after(first.columns))

    def inverse(self) -> CoordMap:
        """The map back."""
        return CoordMap(self.rows.inverse(), self.columns.inverse())


IDENTITY = CoordMap()

LARGEST_SCALE = 2**64
"""Of pixels in those of another blob: more than a stride and a size of Caffe's make together."""

Span = tuple[int, int]
"""The first and the last of some pixels in a row."""

LONGEST_PERIOD = 1024
"""Reaches of a longer period are not kept; no net that anyone trains comes near."""


@dataclass(frozen=True)
class Reach:
    """Which pixels of a bottom those of a top are computed from, along one axis.

    Pixel q · len(spans) + r of the top sees spans[r], moved by q · step: from the first pixel to
    the last, in the coordinates of the bottom, where padding lies outside; None if it sees nothing.
    A step of 0 stands for pixels that all see the same.
    """

    spans: tuple[Span | None, ...]
    step: int

    @property
    def stride(self) -> Fraction:
        """How far apart two neighbours of the top lie in the bottom, on average."""
        return Fraction(self.step, len(self.spans))

    @property
    def size(self) -> int:
        """How many pixels of the bottom a pixel of the top sees, at most."""
        return max((last - first + 1 for first, last in filter(None, self.spans)), default=0)

    def of(self, pixel: int) -> Span | None:
        """What one pixel of the top sees."""
        turns, rest = divmod(pixel, len(self.spans))
        span = self.spans[rest]
        return span and (span[0] + turns * self.step, span[1] + turns * self.step)

    def of_all(self, pixels: Span | None) -> Span | None:
        """What a row of pixels of the top sees, gaps between them included."""
        if pixels is None:
            return None
        first, last = pixels
        period = len(self.spans)
        # Whole turns later all is further on, so the ends are seen from the first or last turn.
        ends = {*range(first, min(first + period, last + 1))}
        ends |= {*range(max(last - period + 1, first), last + 1)}
        return hull(*map(self.of, ends))

    def after(self, top: Reach) -> Reach:
        """What the top of a layer sees in this one's bottom, given what it sees in this one's top.

        Raises LayerError if the period becomes longer than LONGEST_PERIOD.
        """
        _check_scale(top.step * self.step)
        turns = len(self.spans) // gcd(len(self.spans), top.step)
        _check_period(turns * len(top.spans))
        spans = (self.of_all(top.of(pixel)) for pixel in range(turns * len(top.spans)))
        return Reach(tuple(spans), self.step * (turns * top.step // len(self.spans)))

    def joined(self, other: Reach) -> Reach:
        """What pixels see that see what either says; LayerError if the strides differ."""
        if self.stride != other.stride:
            raise LayerError(f"strides of {self.stride} and {other.stride} meet in one blob")
        period = lcm(len(self.spans), len(other.spans))
        _check_period(period)
        spans = (hull(self.of(pixel), other.of(pixel)) for pixel in range(period))
        return Reach(tuple(spans), int(self.stride * period))


def _check_scale(scale: int) -> None:
    if scale > LARGEST_SCALE:
        raise LayerError("its strides and those before it come to more than any image has")


def hull(*spans: Span | None) -> Span | None:
    """The smallest span that holds all of several."""
    known = [span for span in spans if span is not None]
    if not known:
        return None
    return min(first for first, _ in known), max(last for _, last in known)


def _check_period(period: int) -> None:
    if period > LONGEST_PERIOD:
        raise LayerError(f"what its pixels see repeats only after {period} of them")


def shifted(shift: int = 0) -> Reach:
    """Each pixel of the top sees the one that lies so many further on in the bottom."""
    return Reach(((shift, shift),), 1)


def everything(size: int) -> Reach:
    """Each pixel of the top sees all `size` pixels of the bottom."""
    return Reach(((0, size - 1) if size else None,), 0)


@dataclass(frozen=True)
class Window:
    """A kernel of `kernel` taps, `dilation` apart, moved by `stride` over a padded line."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """How many pixels the kernel spans: d(k − 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    def convolve(self, size: int) -> int:
        """Output size of Convolution and Im2col (conv_layer.cpp).

        C's division truncates toward zero, so a kernel too large by less than a stride gives 1.
        """
        room = size + 2 * self.pad - self.extent
        return (room // self.stride if room >= 0 else -(-room // self.stride)) + 1

    def deconvolve(self, size: int) -> int:
        """Output size of Deconvolution (deconv_layer.cpp)."""
        return self.stride * (size - 1) + self.extent - 2 * self.pad

    def pool(self, size: int, *, ceil: bool, clip: bool) -> int:
        """Output size of Pooling, whose pad is smaller than its kernel (pooling_layer.cpp).

        With `clip`, which Caffe does when either axis is padded, a last window that would start
        past the image and its left pad is dropped; only rounding up makes such a one.
        """
        room = size + 2 * self.pad - self.kernel
        if not ceil:
            return room // self.stride + 1
        if clip:
            # The last window starts at the latest on the last pixel: this is the smaller of both
            # rooms whatever the size is, so sizes can be told as formulas (fcnproto/formula.py).
            room += min(self.kernel - self.pad - self.stride, 0)
        return -(-room // self.stride) + 1

    def convolved_to_input(self) -> Affine:
        """Where the centre of an output pixel's window lies in the input (Convolution, Pooling)."""
        return Affine(Fraction(self.stride), Fraction(self.extent - 1, 2) - self.pad)

    def deconvolved_to_input(self) -> Affine:
        """The same for Deconvolution, which is the way back of a convolution."""
        return self.convolved_to_input().inverse()

    def covered_by(self, pixel: int) -> Span:
        """The first and last input that an output's window covers (Convolution, Pooling)."""
        first = pixel * self.stride - self.pad
        return first, first + self.extent - 1

    def covering(self, pixel: int) -> Span:
        """The first and last output whose window covers an input, gaps of a dilation included."""
        there = pixel + self.pad
        return -(-(there - self.extent + 1) // self.stride), there // self.stride

    def within(self, first: int, last: int) -> Span:
        """The first and last output whose window covers none but these inputs, as ONNX has them.

        The last comes before the first if there is none.
        """
        return -(-(first + self.pad) // self.stride), self.covering(last - self.extent + 1)[1]

    def convolved_reach(self) -> Reach:
        """What the pixels of the output see of the input (Convolution, Pooling)."""
        return Reach((self.covered_by(0),), self.stride)

    def deconvolved_reach(self) -> Reach:
        """The same for Deconvolution: those input pixels whose kernel covers the output pixel."""
        _check_period(self.stride)
        return Reach(tuple(map(self._seen_by, range(self.stride))), 1)

    def _seen_by(self, pixel: int) -> Span | None:
        """The inputs x with stride · x + dilation · tap = pixel + pad for any of the taps."""
        there = pixel + self.pad
        period = self.stride // gcd(self.stride, self.dilation)
        for tap in range(min(period, self.kernel)):
            if (there - self.dilation * tap) % self.stride == 0:
                last_tap = tap + (self.kernel - 1 - tap) // period * period
                taps = (last_tap, tap)
                first, last = ((there - self.dilation * each) // self.stride for each in taps)
                return first, last
        return None

    @property
    def neutral_pad(self) -> Fraction:
        """The pad that puts the first window's centre on the first pixel: d(k − 1) / 2."""
        return Fraction(self.extent - 1, 2)

    def __str__(self) -> str:
        return f"kernel {self.kernel}, stride {self.stride}, pad {self.pad}" + (
            f", dilation {self.dilation}" if self.dilation != 1 else ""
        )


def convolution_windows(param: Any, axes: int) -> tuple[Window, ...]:
    """The windows that a ConvolutionParameter gives for `axes` spatial axes (base_conv_layer.cpp).

    Each of kernel, stride, pad and dilation is given once for all axes, once per axis, or (but for
    dilation) as _h and _w. Raises LayerError where Caffe aborts or crashes.
    """
    kernels = _per_axis(param, "kernel_size", ("kernel_h", "kernel_w"), axes, default=None)
    strides = _per_axis(param, "stride", ("stride_h", "stride_w"), axes, default=1)
    pads = _per_axis(param, "pad", ("pad_h", "pad_w"), axes, default=0)
    dilations = _per_axis(param, "dilation", None, axes, default=1)
    _check_ranges(kernel_size=kernels, stride=strides, pad=pads, dilation=dilations)
    return tuple(map(Window, kernels, strides, pads, dilations))


def _per_axis(
    param: Any, name: str, pair: tuple[str, str] | None, axes: int, default: int | None
) -> Sequence[int]:
    given = list(getattr(param, name))
    if pair is not None and any(param.HasField(field) for field in pair):
        both = " and ".join(pair)
        if axes != 2:
            raise LayerError(f"{both} need 2 spatial axes, the input has {axes}")
        if given:
            raise LayerError(f"give either {name} or {both}, not both")
        if name != "pad" and not all(param.HasField(field) for field in pair):
            # Caffe reads the missing one as 0: it refuses a kernel and crashes on a stride.
            raise LayerError(f"{both} must be given together")
        return [getattr(param, field) for field in pair]
    if len(given) == axes:
        return given
    if len(given) == 1:
        return given * axes
    if not given and default is not None:
        return [default] * axes
    raise LayerError(
        f"{name} must be given once, or once for each of {axes} spatial axes, found "
        + (_listed(given) or "none")
    )


def pooling_windows(param: Any, rows: int, columns: int) -> tuple[Window, Window]:
    """The windows that a PoolingParameter gives for a map of rows × columns (pooling_layer.cpp).

    Raises LayerError where Caffe aborts.
    """
    kernels = _pooling_kernels(param, rows, columns)
    strides = _pooling_pair(param, "stride")
    pads = _pooling_pair(param, "pad")
    _check_ranges(kernel=kernels, stride=strides, pad=pads)
    down, across = map(Window, kernels, strides, pads)
    for window in (down, across):
        if param.global_pooling and (window.pad, window.stride) != (0, 1):
            raise LayerError(f"global_pooling needs pad 0 and stride 1, found {window}")
        if window.pad and param.pool == param.STOCHASTIC:
            raise LayerError("stochastic pooling cannot be padded")
        if window.pad >= window.kernel:
            raise LayerError(f"pad must be smaller than the kernel, found {window}")
    return down, across


def _pooling_kernels(param: Any, rows: int, columns: int) -> tuple[int, int]:
    one = param.HasField("kernel_size")
    pair = param.HasField("kernel_h"), param.HasField("kernel_w")
    if param.global_pooling:
        if one or any(pair):
            raise LayerError(
                "global_pooling takes the whole map: remove kernel_size, kernel_h, kernel_w"
            )
        return rows, columns
    if one == all(pair):
        raise LayerError("give either kernel_size, or both kernel_h and kernel_w")
    return (param.kernel_size,) * 2 if one else (param.kernel_h, param.kernel_w)


def _pooling_pair(param: Any, name: str) -> tuple[int, int]:
    pair = f"{name}_h", f"{name}_w"
    given = [param.HasField(field) for field in pair]
    if not any(given):
        return (getattr(param, name),) * 2
    if param.HasField(name) or not all(given):
        raise LayerError(f"give either {name}, or both {name}_h and {name}_w")
    return getattr(param, pair[0]), getattr(param, pair[1])


def _check_ranges(**settings: Sequence[int]) -> None:
    """Kernels and strides are positive, and all fit the ints that Caffe keeps them in."""
    for name, values in settings.items():
        if name not in ("pad", "dilation") and 0 in values:
            raise LayerError(f"{name} must be positive, found {_listed(values)}")
        if any(value > INT_MAX for value in values):
            raise LayerError(f"{name} must be at most {INT_MAX}, found {_listed(values)}")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
