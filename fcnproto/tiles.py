"""Tiles: cutting an image so that each piece alone gives what the whole image gives there.

A tile is a rectangle of the output, and the larger one of the image that it depends on. It begins
where all strides of the net begin a new pixel, so that every pooling window of the tile is one of
the whole image too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Pair = tuple[int, int]
"""Of rows and of columns."""


@dataclass(frozen=True)
class Tiling:
    """How a net lets itself be tiled, for rows and columns."""

    stride: Pair
    """Tiles begin at multiples of it."""
    before: Pair
    after: Pair
    """How many pixels of the image before and after its own an output pixel depends on."""


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
