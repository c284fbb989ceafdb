"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Self

from fcnproto.layers.base import (
    Context,
    Kind,
    Tensor,
    Tensors,
    Torch,
    Windowed,
    between,
    exactly,
    require,
    shapes_of,
)
from fcnproto.layers.pooling_onnx import LOWEST, Pool
from fcnproto.layers.spatial import Window, pooling_windows
from fcnproto.proto.caffe_pb2 import (
    TRAIN,
    LayerParameter,
    PoolingParameter,
)
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Pooling(Windowed):
    """The maximum, the average or a random one of each window's pixels (pooling_layer.cpp).

    Bottom and top: N × C × H × W → N × C × H' × W'. MAX has a second top of the same shape if asked
    for one: the index of each maximum in its plane.
    """

    type = "Pooling"
    settings = "pooling_param"
    gives_places = 1
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
    def takes_largest(self) -> bool:
        """MAX."""
        return bool(self.param.pool == PoolingParameter.MAX)

    @property
    def pools_everything(self) -> bool:
        """Global pooling."""
        return self.param.global_pooling

    def without_padding(self) -> Self:
        """No pads, and a last window that is partial does not count."""

        def change(proto: LayerParameter) -> None:
            for name in ("pad", "pad_h", "pad_w"):
                proto.pooling_param.ClearField(name)
            proto.pooling_param.round_mode = PoolingParameter.FLOOR

        return self.with_settings(change)

    def gives_non_negative(self, bottom: bool) -> bool:
        """Where its bottom does, whatever it takes of it."""
        return bottom

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
        pool = Pool(b, x, pooling_windows(self.param, 0, 0), ceil=self.rounds_up)
        return pool.maxima(mask=wants_mask) if is_max else [pool.average()]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """max_pool2d, avg_pool2d, or a choice by chance."""
        (x,) = bottoms
        shapes = shapes_of(bottoms)
        windows, (*_, rows, columns) = t.sized(
            shapes,
            lambda: (pooling_windows(self.param, *x.shape[2:]), self.output_shapes(shapes)[0]),
        )
        if self.param.pool == PoolingParameter.MAX:
            if len(self.proto.top) == 1:
                return [maximum_in_torch(t, x, windows, (rows, columns))]
            return places_of_maximum_in_torch(t, x, windows, (rows, columns))
        if self.param.pool == PoolingParameter.AVE:
            return [average_in_torch(t, x, windows, (rows, columns))]
        return [chance_in_torch(t, x, windows, (rows, columns), draw=self.phase == TRAIN)]


def stochastic_obstacle(is_stochastic: bool) -> str | None:
    """What keeps STOCHASTIC pooling from being written."""
    # Even in TEST only Caffe's GPU code has it; there it is not random, but that is another rule.
    return (
        "STOCHASTIC pooling has no ONNX form (Caffe has it on GPUs only)" if is_stochastic else None
    )


def _place_of_maximum(b: Builder, x: str) -> str:
    """The index of each plane's maximum, N × C × 1 × 1."""
    place = b.node("ArgMax", b.reshape(x, [0, 0, -1]), axis=2)
    return b.node("Unsqueeze", b.floats(place), b.ints([3]))


def maximum_in_torch(t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int]) -> Tensor:
    """The maximum of each window, or −FLT_MAX of none; its gradient goes to the first of equals."""
    if 0 in outs:
        return x.new_zeros(*x.shape[:2], *outs)
    tops: Tensor = t.functional.max_pool2d(
        _fitted(t, x, windows, outs, LOWEST),
        [window.kernel for window in windows],
        [window.stride for window in windows],
    )
    return tops


def places_of_maximum_in_torch(
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
