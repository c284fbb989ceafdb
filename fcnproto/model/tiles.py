"""Tiles: cutting an image so that each piece alone gives what the whole image gives there.

A tile is a rectangle of the output, and the larger one of the image that it depends on. It begins
where all strides of the net begin a new pixel, so that every pooling window of the tile is one of
the whole image too.

What a deep layer sees is large, and a tile must have all of it around. So a net may be run in two
stages: the first gives, tile by tile, the blobs at which little is seen yet, and puts them together
to the maps of the whole image; the second runs on tiles of those maps. A rectangle [first, last) of
the image then stands for the pixels of a kept map that an image of this size would have, from
first / stride on, its padding included: a tile of the second stage is run as such an image, but
with true pixels in the place of the padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Pair = tuple[int, int]
"""Of rows and of columns."""


@dataclass(frozen=True)
class Kept:
    """A blob between the stages, for rows and columns.

    Its pixel p is computed from the image's from p · stride − before to p · stride + after. For
    images whose size is a multiple of the tiling's stride, it has size / stride + more pixels.
    """

    blob: str
    stride: Pair
    before: Pair
    after: Pair
    more: Pair


@dataclass(frozen=True)
class Stages:
    """The blobs that the first stage gives, and how the second is tiled by them."""

    kept: tuple[Kept, ...]
    before: Pair
    after: Pair
    """How many pixels before and after an output's own a tile of the second stage must have."""


@dataclass(frozen=True)
class Tiling:
    """How a net can be tiled, for rows and columns."""

    stride: Pair
    """Tiles begin at multiples of it."""
    before: Pair
    after: Pair
    """How many pixels of the image before and after its own an output pixel depends on."""
    stages: Stages | None = None
    """How it is run in two stages, if it can be."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis: the outputs [start, end), and the image's [first, last) for them."""

    start: int
    end: int
    first: int
    last: int


def spans(size: int, tile: int, stride: int, before: int, after: int) -> Iterator[Span]:
    """The tiles of `tile` pixels that cover an axis; the last may be shorter."""
    for start in range(0, size, tile):
        end = min(start + tile, size)
        first = max(0, (start - before) // stride * stride)
        yield Span(start, end, first, min(size, end + after))


def first_stage(size: int, tile: int, tiling: Tiling, axis: int) -> Iterator[Span]:
    """The first stage's tiles along an axis of the image.

    Tile [start, end) is to give of each kept map the pixels [start / stride, end / stride), and the
    last tile all that are left.
    """
    stages, stride = _stages(tiling), tiling.stride[axis]
    # Every kept map goes at least so far; as many tiles as the image alone would need share that.
    common = min(
        _whole_size(size, stride) + kept.more[axis] * kept.stride[axis] for kept in stages.kept
    )
    count = -(-size // _whole(tile, stride))
    tile = -(-max(common, 1) // (count * stride)) * stride
    starts = range(0, max(common, 1), tile)
    for start in starts:
        is_last = start == starts[-1]
        before = max(0, *(kept.before[axis] for kept in stages.kept))
        # What surrounds an image may go on for longer than it reaches; there must be some of it.
        first = max(0, _whole_size(min(start - before, size - 1), stride))
        end = start + tile
        needed = max(_last_needed(kept, axis, end, stride) for kept in stages.kept)
        last = size if is_last else min(size, max(needed, first + 1))
        yield Span(start, size if is_last else end, first, last)


def second_stage(size: int, tile: int, tiling: Tiling, axis: int) -> Iterator[Span]:
    """The second stage's tiles along an axis, each as a part [first, last) of the image."""
    stages, stride = _stages(tiling), tiling.stride[axis]
    tile = _whole(tile, stride)
    for span in spans(size, tile, stride, stages.before[axis], stages.after[axis]):
        last = min(size, -(-span.last // stride) * stride)
        yield Span(span.start, span.end, span.first, last)


def of_map(kept: Kept, axis: int, span: Span, size: int) -> tuple[int, int | None]:
    """The pixels of a kept map that a second stage's tile is run on; None is the map's end."""
    stride = kept.stride[axis]
    end = None if span.last == size else span.last // stride + kept.more[axis]
    return span.first // stride, end


def _last_needed(kept: Kept, axis: int, end: int, stride: int) -> int:
    """Where a tile must end at the earliest that has and sees all of a kept map before `end`."""
    step = kept.stride[axis]
    seen = end - step + kept.after[axis] + 1
    had = -(-(end - step * kept.more[axis]) // stride) * stride
    return max(seen, had)


def _stages(tiling: Tiling) -> Stages:
    assert tiling.stages is not None, "a tiling of two stages"
    return tiling.stages


def _whole(tile: int, stride: int) -> int:
    return max(stride, _whole_size(tile, stride))


def _whole_size(size: int, stride: int) -> int:
    return size // stride * stride
