"""What arrays and blobs look like: shapes, sizes, numbers, and how people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

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


class Shown:
    """A value that is shown as people read it, in a terminal and in a notebook."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape  # needed in notebooks only

        return f"<pre>{escape(str(self))}</pre>"
