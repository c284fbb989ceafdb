"""What arrays and blobs look like: shapes, sizes, numbers, and how people write them."""

from __future__ import annotations

Shape = tuple[int, ...]
Dims = tuple[int | None, ...]
"""A shape that may be open: None where a size differs from run to run."""
INT_MAX = 2**31 - 1
"""The largest C int, which Caffe counts sizes with."""


def show(shape: Shape) -> str:
    """A shape as people write it: 1×3×500×500."""
    return "×".join(map(str, shape)) or "() (a scalar)"
