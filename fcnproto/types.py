"""What arrays and blobs look like: shapes, sizes, numbers, and how people write them."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from os import PathLike
from pathlib import Path
from reprlib import repr
from typing import TYPE_CHECKING, Any, TypeAlias

from fcnproto.errors import FcnprotoError, nearest

if TYPE_CHECKING:
    import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
"""Numbers of any kind."""
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
"""float32, as blobs and learned arrays are."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Shape = tuple[int, ...]
Dims = tuple[int | None, ...]
"""A shape that may be open: None where a size differs from run to run."""
INT_MAX = 2**31 - 1
"""The largest C int, which Caffe counts sizes with."""


def show(shape: Iterable[object]) -> str:
    """A shape as people write it, of sizes or their names: 1×3×500×500."""
    return "×".join(map(str, shape)) or "() (a scalar)"


def whole(value: Any, what: str, least: int = 0, most: int = INT_MAX) -> int:
    """What a caller gives as a whole number, numpy's too; FcnprotoError if it is none, or beyond.

    `what` is what it is called.
    """
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise FcnprotoError(f"{what} must be a whole number, found {repr(value)}")
    if number < least:
        raise FcnprotoError(f"{what} must be at least {least}, found {number}")
    if number > most:
        raise FcnprotoError(f"{what} must be at most {most}, found {number}")
    return number


def chosen(value: object, what: str, known: Iterable[str]) -> str:
    """What a caller chooses among words; FcnprotoError, with the nearest, if it is none of them."""
    words = tuple(known)
    if isinstance(value, str) and value in words:
        return value
    close = nearest(value, words) if isinstance(value, str) else ""
    raise FcnprotoError(f"{what} must be one of {', '.join(words)}, found {repr(value)}{close}")


def path_of(value: Any, what: str) -> Path:
    """A path that a caller gives; FcnprotoError if it is something else."""
    if not isinstance(value, str | PathLike):
        raise FcnprotoError(f"expected {what}, found {repr(value)}")
    return Path(value)


def words_of(words: str | Iterable[str]) -> tuple[str, ...]:
    """Words that a caller gives; a single one is not taken for its letters."""
    return (words,) if isinstance(words, str) else tuple(words)


def size_of(size: Any) -> tuple[int, int] | None:
    """A (height, width) in pixels that a caller gives, or None; FcnprotoError if it is neither."""
    if size is None:
        return None
    try:
        height, width = size
    except (TypeError, ValueError):
        raise FcnprotoError(f"a size is (height, width), found {repr(size)}") from None
    return whole(height, "a height", 1), whole(width, "a width", 1)


class Shown:
    """A value that is shown as people read it, in a terminal and in a notebook."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape  # needed in notebooks only

        return f"<pre>{escape(str(self))}</pre>"
