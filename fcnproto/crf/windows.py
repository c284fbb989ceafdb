"""A random field on an image that is larger than memory allows: in windows that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fcnproto.types import Array

Window = tuple[slice, slice]
"""Rows and columns of an image."""


def in_windows(
    scores: Array, refine: Callable[[Array, Window], Array], side: int, reach: int
) -> Array:
    """What `refine` makes of scores (C × H × W), window by window.

    Each window of `side` pixels is seen with `reach` pixels around it, and only the window is kept:
    the field is cut where pixels no longer matter to each other much. An image that is no larger
    than one window with its surroundings is seen whole, which is exact.
    """
    height, width = scores.shape[1:]
    if max(height, width) <= side + 2 * reach:
        return refine(scores, (slice(0, height), slice(0, width)))
    result = np.empty_like(scores, dtype=np.float32)
    for rows in _spans(height, side):
        for columns in _spans(width, side):
            seen = (
                _around(rows, height, reach),
                _around(columns, width, reach),
            )
            part = refine(scores[(slice(None), *seen)], seen)
            result[:, rows, columns] = part[:, _within(rows, seen[0]), _within(columns, seen[1])]
    return result


def _spans(size: int, side: int) -> Iterator[slice]:
    for start in range(0, size, side):
        yield slice(start, min(start + side, size))


def _around(span: slice, size: int, reach: int) -> slice:
    return slice(max(0, span.start - reach), min(size, span.stop + reach))


def _within(span: slice, seen: slice) -> slice:
    return slice(span.start - seen.start, span.stop - seen.start)
