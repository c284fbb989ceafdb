"""How Pooling is written in ONNX: Caffe's windows by the operators' rules for their ends."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from fcnproto.layers.spatial import Window

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

LOWEST = -3.4028234663852886e38
"""−FLT_MAX, Caffe's maximum of no pixels."""

PLANE = range(2, 4)
"""The axes of rows and columns."""

_DROPS_SINCE = 22
"""Since this opset ceil_mode drops a window that starts past the end; onnxruntime always did."""


class Pool:
    """Windows moved over the rows and columns of a value N × C × H × W.

    With `ceil` a last window that is only partly on the image counts too. If there is padding
    along either axis, Caffe then drops a window that starts past the image and its left pad; if
    there is none it keeps it, though it has no pixels.
    """

    def __init__(self, b: Builder, x: str, windows: Sequence[Window], *, ceil: bool) -> None:
        self.b = b
        self.x = x
        self.windows = windows
        self.sizes = b.dims(x)[2:]
        self.ceil = ceil and any(window.stride > 1 for window in windows)
        self.is_padded = any(window.pad for window in windows)

    def maxima(self, *, mask: bool) -> list[str]:
        """The maximum of each window, and if asked for, as floats, its index in the plane.

        Those of no pixels are −FLT_MAX and −1.
        """
        tops = self._pooled("MaxPool", 1 + mask)
        if mask:
            # ONNX counts through the whole tensor.
            tops[1] = self.b.floats(self.b.node("Mod", tops[1], self._area()))
        if not self._may_be_empty:
            return tops
        empty = self._empty_windows()
        return [
            self.b.padded(top, PLANE, [0, 0], empty, fill)
            for top, fill in zip(tops, (LOWEST, -1), strict=False)
        ]

    def average(self) -> str:
        """The average of each window, in which the padding counts, but not what lies past it.

        AveragePool counts both or neither, or at least it does so in cuDNN. So where a window may
        reach past the padding, that is made part of the image.
        """
        if not self._may_reach_past_padding:
            counted = 1 if self.is_padded else None
            return self.b.node("AveragePool", self.x, **self._settings(), count_include_pad=counted)
        if self.is_padded:
            return self._average_of_padded()
        (top,) = self._pooled("AveragePool", 1)
        return self._with_empty_averages(top) if self._may_be_empty else top

    def _pooled(self, kind: str, outputs: int) -> list[str]:
        """The operator's outputs for the windows that start on the image, whatever the opset."""
        tops = self.b.node_with(kind, [self.x], outputs, **self._settings())
        if self.b.opset >= _DROPS_SINCE:
            return tops
        return [self._kept(top) for top in tops]

    def _average_of_padded(self) -> str:
        pads = [window.pad for window in self.windows]
        padded = self.b.padded(self.x, PLANE, pads, pads)
        if self.b.opset >= 18:
            top = self.b.node("AveragePool", padded, **self._settings(is_written=True))
        else:
            # onnxruntime would take the Pad back into the pooling, but not over a change of sign.
            negative = self.b.node("Neg", padded)
            top = self.b.node("AveragePool", negative, **self._settings(is_written=True))
            top = self.b.node("Neg", top)
        return self._kept(top)

    def _settings(self, *, is_written: bool = False) -> dict[str, Any]:
        """The attributes of MaxPool and AveragePool; `is_written` if the padding is written out.

        Where the sizes are known so is where the last windows end, and nothing is left to round.
        """
        import numpy as np

        kernels = [window.kernel for window in self.windows]
        strides = [window.stride for window in self.windows]
        pads = np.array([window.pad for window in self.windows])
        sizes = self._fixed_sizes()
        ends = pads
        if self.ceil and sizes is not None:
            lasts = (np.array(self._counts(sizes)) - 1) * strides + kernels - pads
            ends = np.maximum(pads, lasts - sizes)
        written = pads if is_written else np.zeros_like(pads)
        return {
            "kernel_shape": kernels,
            "strides": strides,
            "pads": [*(pads - written).tolist(), *(ends - written).tolist()],
            "ceil_mode": 1 if self.ceil and sizes is None else None,
        }

    def _kept(self, top: str) -> str:
        """`top` without windows that start past the image and its left pad."""
        if not self._may_start_past_end or self._fixed_sizes() is not None:
            return top
        b = self.b
        reach = [window.pad + window.stride - 1 for window in self.windows]
        counts = b.node("Add", b.sizes(self.x, 2, 4), b.ints(reach))
        counts = b.node("Div", counts, b.ints([window.stride for window in self.windows]))
        return b.node("Slice", top, b.ints([0, 0]), counts, b.ints(PLANE))

    def _with_empty_averages(self, top: str) -> str:
        """Averages, and those of windows without pixels: 0 over what Caffe counts there.

        That is the way back from the start to the image's end: −0, or NaN if it is no way at all.
        """
        b = self.b
        top = b.padded(top, PLANE, [0, 0], self._empty_windows())
        rows, columns = map(self._divisors, PLANE)
        rows = b.node("Unsqueeze", rows, b.ints([1]))
        return b.node("Div", top, b.floats(b.node("Mul", rows, columns)))

    def _divisors(self, axis: int) -> str:
        """For each window along an axis 1, or the way back if it starts past the image."""
        import numpy as np

        b, size, window = self.b, self.sizes[axis - 2], self.windows[axis - 2]
        past = window.stride - window.kernel
        if size is not None:
            ways = size - np.arange(0, size + past, window.stride)
            return b.ints(np.minimum(ways, 1).tolist())
        zero, one, stride = (b.literal(number, np.int64) for number in (0, 1, window.stride))
        length = b.node("Squeeze", b.sizes(self.x, axis, axis + 1))
        starts = b.node("Range", zero, b.node("Add", length, b.literal(past, np.int64)), stride)
        return b.node("Min", b.node("Sub", length, starts), one)

    def _empty_windows(self) -> str:
        """1 for rows, and for columns, where a last window has no pixels, else 0."""
        b, sizes = self.b, self._fixed_sizes()
        if sizes is not None:
            return b.ints(
                [starts_past_end(*each) for each in zip(self.windows, sizes, strict=True)]
            )
        kernels = b.ints([window.kernel for window in self.windows])
        past = b.node("Sub", kernels, b.sizes(self.x, 2, 4))
        past = b.node("Mod", past, b.ints([window.stride for window in self.windows]))
        return b.node("Min", b.node("Div", past, kernels), b.ints([1]))

    def _area(self) -> str:
        """The number of pixels of a plane."""
        sizes = self._fixed_sizes()
        if sizes is not None:
            return self.b.ints([prod(sizes)])
        return self.b.node("ReduceProd", self.b.sizes(self.x, 2, 4), keepdims=1)

    def _fixed_sizes(self) -> list[int] | None:
        """The sizes of rows and columns; None if one is open."""
        fixed = [size for size in self.sizes if size is not None]
        return fixed if len(fixed) == len(self.sizes) else None

    def _counts(self, sizes: Sequence[int]) -> list[int]:
        """How many windows there are that start before the end of the image and its left pad."""
        return [
            window.pool(size, ceil=True, clip=True)
            for window, size in zip(self.windows, sizes, strict=True)
        ]

    @property
    def _may_reach_past_padding(self) -> bool:
        """Whether a last window may reach past the padding at the end."""
        return self.ceil and any(
            window.stride > 1
            if size is None
            else (size + 2 * window.pad - window.kernel) % window.stride > 0
            for window, size in zip(self.windows, self.sizes, strict=True)
        )

    @property
    def _may_start_past_end(self) -> bool:
        """Whether a last window may start past the image and its left pad."""
        return self.ceil and any(map(starts_past_end, self.windows, self.sizes))

    @property
    def _may_be_empty(self) -> bool:
        """Whether there may be a window without pixels."""
        return not self.is_padded and self._may_start_past_end


def starts_past_end(window: Window, size: int | None) -> bool:
    """Whether rounding up makes a window that starts past the line and its left pad.

    Whether it can, for some size, if that is open.
    """
    if size is None:
        return window.stride > window.kernel - window.pad
    kept, made = (window.pool(size, ceil=True, clip=clip) for clip in (True, False))
    return kept < made
