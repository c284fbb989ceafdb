"""Pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.layers.base import (
    Context,
    Kind,
    Shape,
    Tensor,
    Tensors,
    Torch,
    Windowed,
    between,
    exactly,
    require,
    shapes_of,
    show,
)
from fcnproto.layers.spatial import Window, pooling_windows
from fcnproto.proto.caffe_pb2 import (
    TRAIN,
    LayerParameter,
    PoolingParameter,
)

if TYPE_CHECKING:
    from fcnproto.builder import Builder

LOWEST = -3.4028234663852886e38
"""−FLT_MAX, Caffe's maximum of no pixels."""

PLANE = range(2, 4)
"""The axes of rows and columns."""


class Pooling(Windowed):
    """The maximum, the average or a random one of each window's pixels (pooling_layer.cpp).

    Bottom and top: N × C × H × W → N × C × H' × W'. MAX has a second top of the same shape if asked
    for one: the index of each maximum in its plane.
    """

    type = "Pooling"
    settings = "pooling_param"
    kind = Kind.POOLING

    param: PoolingParameter

    def __init__(self, proto: LayerParameter, context: Context = Context()) -> None:
        super().__init__(proto, context)
        if self.param.pool == PoolingParameter.MAX:
            self.tops = between(1, 2)
        else:
            self.tops = exactly(1)

    @property
    def rounds_up(self) -> bool:
        """Whether a last, partial window counts: Caffe's round_mode, or the ceil_mode of forks."""
        return self.param.round_mode == PoolingParameter.CEIL and self.param.ceil_mode

    @property
    def is_disjoint(self) -> bool:
        """Whether no pixel lies in two windows."""
        if self.param.global_pooling:
            return True
        return all(w.stride >= w.kernel for w in pooling_windows(self.param, 0, 0))

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """Each plane pooled; the second top, if there is one, likewise."""
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        num, channels, *plane = bottoms[0]
        windows = pooling_windows(self.param, *plane)
        clip = any(window.pad for window in windows)
        outs = [
            window.pool(size, ceil=self.rounds_up, clip=clip)
            for window, size in zip(windows, plane, strict=True)
        ]
        for window, size, out in zip(windows, plane, outs, strict=True):
            require(out >= 0, f"{window} does not fit an input of size {size}")
        return [(num, channels, *outs)] * max(1, len(self.proto.top))

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A division for each average."""
        # STOCHASTIC pooling in TEST weighs each number of a window by itself, over their sum.
        each = {PoolingParameter.MAX: 0, PoolingParameter.AVE: 1}.get(self.param.pool)
        if each is None:
            rows, columns = pooling_windows(self.param, *bottoms[0][2:])
            each = rows.kernel * columns.kernel + 1
        return prod(tops[0]) * each

    def plane(self) -> tuple[Window, Window]:
        """The windows over rows and columns; LayerError with global pooling."""
        require(
            not self.param.global_pooling,
            "where global pooling's one pixel lies depends on the size of its input",
        )
        return pooling_windows(self.param, 0, 0)

    def brief(self) -> str:
        """What it takes of each window, and the windows."""
        kind = PoolingParameter.PoolMethod.Name(self.param.pool)
        return f"{kind} {super().brief() or 'of the whole map'}"

    def obstacle(self) -> str | None:
        """Random pooling."""
        return stochastic_obstacle(self.param.pool == PoolingParameter.STOCHASTIC)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """MaxPool or AveragePool, or the global ones."""
        (x,) = bottoms
        is_max, wants_mask = self.param.pool == PoolingParameter.MAX, len(self.proto.top) > 1
        if self.param.global_pooling:
            top = b.node("GlobalMaxPool" if is_max else "GlobalAveragePool", x)
            return [top, _place_of_maximum(b, x)] if wants_mask else [top]
        windows = pooling_windows(self.param, 0, 0)
        if is_max:
            return max_pool(b, x, windows, ceil=self.rounds_up, mask=wants_mask)
        return [average_pool(b, x, windows, ceil=self.rounds_up)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """max_pool2d, avg_pool2d, or a choice by chance."""
        (x,) = bottoms
        windows = pooling_windows(self.param, *x.shape[2:])
        (*_, rows, columns), *_ = self.output_shapes(shapes_of(bottoms))
        if self.param.pool == PoolingParameter.MAX:
            both = maximum_in_torch(t, x, windows, (rows, columns))
            return both[: len(self.proto.top)]
        if self.param.pool == PoolingParameter.AVE:
            return [average_in_torch(t, x, windows, (rows, columns))]
        return [chance_in_torch(t, x, windows, (rows, columns), draw=self.phase == TRAIN)]


def stochastic_obstacle(is_stochastic: bool) -> str | None:
    """What keeps STOCHASTIC pooling from being written."""
    # Even in TEST only Caffe's GPU code has it; there it is not random, but that is another rule.
    return (
        "STOCHASTIC pooling has no ONNX form (Caffe has it on GPUs only)" if is_stochastic else None
    )


def max_pool(
    b: Builder, x: str, windows: Sequence[Window], *, ceil: bool, mask: bool = False
) -> list[str]:
    """The maximum of each window, and if asked for, as floats, its index in the plane.

    MaxPool's ceil_mode leaves out a window that starts past the image, as Caffe does where there
    is padding. Where there is none, Caffe keeps it: the maximum is −FLT_MAX, its index −1.
    """
    tops = b.node_with("MaxPool", [x], 1 + mask, **_settings(windows, ceil=ceil))
    if mask:
        # ONNX counts through the whole tensor.
        tops[1] = b.floats(b.node("Mod", tops[1], _area(b, x)))
    if not (ceil and _can_be_outside(b, x, windows)):
        return tops
    outside = _windows_outside(b, x, windows)
    return [
        b.padded(top, PLANE, [0, 0], outside, fill)
        for top, fill in zip(tops, (LOWEST, -1), strict=False)
    ]


def average_pool(b: Builder, x: str, windows: Sequence[Window], *, ceil: bool) -> str:
    """The average of each window, in which the padding counts, but not what lies past it.

    With ceil_mode AveragePool leaves out what lies past only as long as it leaves out the padding
    too: cuDNN knows no third way. So the padding is then made part of the image.
    """
    is_padded = any(window.pad for window in windows)
    if not (ceil and _can_be(_past_padding, b, x, windows)):
        settings = _settings(windows, ceil=False)
        return b.node("AveragePool", x, **settings, count_include_pad=1 if is_padded else None)
    if not is_padded:
        top = b.node("AveragePool", x, **_settings(windows, ceil=True))
        return _with_empty_windows(b, x, top, windows) if _can_be_outside(b, x, windows) else top
    pads = [window.pad for window in windows]
    bare = [Window(window.kernel, window.stride) for window in windows]
    top = b.node("AveragePool", b.padded(x, PLANE, pads, pads), **_settings(bare, ceil=True))
    if not _can_be(_in_padding, b, x, windows):
        return top
    return b.node("Slice", top, b.ints([0, 0]), _kept(b, x, windows), b.ints(PLANE))


def _kept(b: Builder, x: str, windows: Sequence[Window]) -> str:
    """How many windows start before the padding at the end, which are those that Caffe keeps."""
    sizes = _fixed(b.dims(x)[2:])
    if sizes is not None:
        outs = [w.pool(size, ceil=True, clip=True) for w, size in zip(windows, sizes, strict=True)]
        return b.ints(outs)
    reach = b.node("Add", b.sizes(x, 2, 4), b.ints([w.pad + w.stride - 1 for w in windows]))
    return b.node("Div", reach, b.ints([w.stride for w in windows]))


def _with_empty_windows(b: Builder, x: str, top: str, windows: Sequence[Window]) -> str:
    """Averages, and those of windows that start past the image: 0 over what Caffe counts there.

    That is the way back from the start to the image's end: −0, or NaN if it is no way at all.
    """
    top = b.padded(top, PLANE, [0, 0], _windows_outside(b, x, windows))
    rows, columns = (_divisors(b, x, axis, window) for axis, window in enumerate(windows, 2))
    rows = b.node("Unsqueeze", rows, b.ints([1]))
    return b.node("Div", top, b.floats(b.node("Mul", rows, columns)))


def _divisors(b: Builder, x: str, axis: int, window: Window) -> str:
    """For each window along an axis 1, or the way back if it starts past the image."""
    known = b.dims(x)[axis]
    if known is not None:
        starts = np.arange(0, known - window.kernel + window.stride, window.stride)
        return b.ints(np.minimum(known - starts, 1).tolist())
    size = b.node("Squeeze", b.sizes(x, axis, axis + 1))
    limit = b.node("Add", size, b.literal(window.stride - window.kernel, np.int64))
    zero, stride = b.literal(0, np.int64), b.literal(window.stride, np.int64)
    left = b.node("Sub", size, b.node("Range", zero, limit, stride))
    return b.node("Min", left, b.literal(1, np.int64))


def _windows_outside(b: Builder, x: str, windows: Sequence[Window]) -> str:
    """1 for rows, and for columns, where a last window starts past the image, else 0."""
    sizes = _fixed(b.dims(x)[2:])
    if sizes is not None:
        return b.ints(
            [_in_padding(window, size) for window, size in zip(windows, sizes, strict=True)]
        )
    kernels = b.ints([window.kernel for window in windows])
    past = b.node("Sub", kernels, b.sizes(x, 2, 4))
    past = b.node("Mod", past, b.ints([window.stride for window in windows]))
    return b.node("Min", b.node("Div", past, kernels), b.ints([1]))


def _area(b: Builder, x: str) -> str:
    """The number of pixels of a plane."""
    sizes = _fixed(b.dims(x)[2:])
    if sizes is not None:
        return b.ints([prod(sizes)])
    return b.node("ReduceProd", b.sizes(x, 2, 4), keepdims=1)


def _fixed(sizes: Sequence[int | None]) -> list[int] | None:
    """Sizes that are all fixed; None if one is open."""
    fixed = [size for size in sizes if size is not None]
    return fixed if len(fixed) == len(sizes) else None


def _place_of_maximum(b: Builder, x: str) -> str:
    """The index of each plane's maximum, N × C × 1 × 1."""
    place = b.node("ArgMax", b.reshape(x, [0, 0, -1]), axis=2)
    return b.node("Unsqueeze", b.floats(place), b.ints([3]))


def _settings(windows: Sequence[Window], *, ceil: bool) -> dict[str, Any]:
    """The attributes of MaxPool and AveragePool; with a stride of 1 there is nothing to round."""
    return {
        "kernel_shape": [window.kernel for window in windows],
        "strides": [window.stride for window in windows],
        "pads": [window.pad for window in windows] * 2,
        "ceil_mode": 1 if ceil and any(window.stride > 1 for window in windows) else None,
    }


def _can_be(
    test: Callable[[Window, int | None], bool], b: Builder, x: str, windows: Sequence[Window]
) -> bool:
    """Whether something holds for rows or columns, at some size of them if it is open."""
    return any(test(window, size) for window, size in zip(windows, b.dims(x)[2:], strict=True))


def _past_padding(window: Window, size: int | None) -> bool:
    """Whether the last window may reach past the padding, when rounding up."""
    if size is None:
        return window.stride > 1
    return (size + 2 * window.pad - window.kernel) % window.stride > 0


def _in_padding(window: Window, size: int | None) -> bool:
    """Whether a last window may start in the padding at the end, when rounding up."""
    if size is None:
        return window.stride > window.kernel - window.pad
    kept, all_ = (window.pool(size, ceil=True, clip=clip) for clip in (True, False))
    return kept < all_


def _can_be_outside(b: Builder, x: str, windows: Sequence[Window]) -> bool:
    """Whether a last window may lie past the image, which padding along either axis rules out."""
    return not any(window.pad for window in windows) and _can_be(_in_padding, b, x, windows)


def maximum_in_torch(
    t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int]
) -> list[Tensor]:
    """The first maximum of each window and its index in the plane, or −FLT_MAX and −1 of none."""
    if 0 in outs:
        return [x.new_zeros(*x.shape[:2], *outs)] * 2
    fitted = _fitted(t, x, windows, outs, LOWEST)
    tops, places = t.functional.max_pool2d(
        fitted,
        [window.kernel for window in windows],
        [window.stride for window in windows],
        return_indices=True,
    )
    rows = places // fitted.shape[3] - windows[0].pad
    columns = places % fitted.shape[3] - windows[1].pad
    height, width = x.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return [tops, t.torch.where(inside, rows * width + columns, -1).to(x.dtype)]


def average_in_torch(t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int]) -> Tensor:
    """The average of each window, in which the padding counts, but not what lies past it."""
    if 0 in outs:
        return x.new_zeros(*x.shape[:2], *outs)
    sums = t.functional.avg_pool2d(
        _fitted(t, x, windows, outs, 0),
        [window.kernel for window in windows],
        [window.stride for window in windows],
        divisor_override=1,
    )
    counts = []
    for window, size, out in zip(windows, x.shape[2:], outs, strict=True):
        starts = t.torch.arange(out, device=x.device) * window.stride - window.pad
        counts.append((starts + window.kernel).clamp(max=size + window.pad) - starts)
    return sums / (counts[0][:, None] * counts[1])


def chance_in_torch(
    t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int], *, draw: bool
) -> Tensor:
    """A value of each window, drawn with odds as its size, or without a draw its expectation."""
    values = _fitted(t, x, windows, outs, 0)
    for axis, window in enumerate(windows, 2):
        values = values.unfold(axis, window.kernel, window.stride)
    values = values.flatten(-2)
    sums = values.sum(-1)
    if not draw:
        return values.square().sum(-1) / (sums + _SMALLEST)
    drawn = t.torch.rand(sums.shape, generator=t.generator, device=x.device) * sums.detach()
    below = values.detach().cumsum(-1) < drawn[..., None]
    chosen = below.sum(-1, keepdim=True).clamp(max=values.shape[-1] - 1)
    return values.gather(-1, chosen)[..., 0]


_SMALLEST = 1.1754943508222875e-38  # FLT_MIN


def _fitted(
    t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int], fill: float
) -> Tensor:
    """The planes with their padding, filled up or cut so that the windows end where they end."""
    edges = [
        (window.pad, (out - 1) * window.stride + window.kernel - window.pad - size)
        for window, size, out in zip(windows, x.shape[2:], outs, strict=True)
    ]
    flat = [edge for pair in reversed(edges) for edge in pair]
    return t.functional.pad(x, flat, value=fill) if any(flat) else x
