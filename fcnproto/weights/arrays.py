"""What all weight formats share: the types, float32, the limit on what a file may unfold to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fcnproto.errors import Problem, WeightsError
from fcnproto.types import Floats

Arrays = dict[str, Floats]
"""Arrays under the keys that their file gives them."""
Weights = dict[str, list[Floats]]
"""Each layer's learned arrays, float32, in Caffe's order and Caffe's layout.

A layer that a file lists without arrays has an empty list. An array without values stands for one
that the file leaves to another layer, which shares it.
"""

MOST_AXES = 32  # blob.hpp, kMaxBlobAxes
MOST_ARRAYS = 1000  # that a layer may have; Caffe's recurrent ones have eight

NO_LAYER = "it holds no layer: Caffe loads it without a word, and loads nothing"

FREE_SIZE = 256 * 2**20
EXPANSION = 20
"""A compressed file may unfold to FREE_SIZE bytes, or to EXPANSION times its own size if that is
more. Trained weights shrink by a tenth, nets pruned to a tenth of their weights by ten times; what
unfolds further was made to fill the memory.
"""

_KEY = re.compile(r"(?P<layer>.*)/(?P<index>0|[1-9][0-9]{0,4})", re.DOTALL)


def broken(path: Path, message: str, layer: str | None = None) -> WeightsError:
    """The error for a file that cannot be read."""
    return WeightsError(Problem(message, str(path), layer=layer))


def check_unfolded(path: Path, size: int) -> None:
    """Raise WeightsError if a file claims to hold more bytes than it may unfold to."""
    limit = max(FREE_SIZE, EXPANSION * path.stat().st_size)
    if size > limit:
        raise broken(
            path,
            f"it claims to unfold to {_bytes(size)}, and a file of {_bytes(path.stat().st_size)}"
            f" may unfold to {_bytes(limit)}; if you trust it, save it again uncompressed",
        )


def _bytes(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 2**60 else f"{size:.1e} bytes"
    return f"{size} bytes"


def as_float32(array: npt.NDArray[np.generic]) -> Floats:
    """The array as Caffe holds it: float32, in C order; too large doubles become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.require(array, np.float32, ["C", "A", "W"]).reshape(array.shape)


def check_dtype(path: Path, key: str, dtype: np.dtype[np.generic]) -> None:
    """Raise WeightsError unless the type is one of numbers."""
    if dtype.kind not in "fiu":
        raise broken(path, f"'{key}' holds {dtype}, expected numbers")


def keyed(weights: Mapping[str, list[Floats]]) -> Iterator[tuple[str, Floats]]:
    """Each array with its key, `<layer>/<i>`."""
    for layer, arrays in weights.items():
        for index, array in enumerate(arrays):
            yield f"{layer}/{index}", array


def split_key(key: str) -> tuple[str, int] | None:
    """The layer and the array's number that a key of ours names; None for another style."""
    match = _KEY.fullmatch(key)
    return None if match is None else (match["layer"], int(match["index"]))


def by_layer(path: Path, arrays: Arrays) -> Weights | None:
    """Arrays under keys `<layer>/<i>` as weights; None if a key is of another style.

    Raises WeightsError where a layer's arrays are not numbered 0, 1, ….
    """
    found: dict[str, dict[int, Floats]] = {}
    for key, array in arrays.items():
        place = split_key(key)
        if place is None:
            return None
        found.setdefault(place[0], {})[place[1]] = array
    weights: Weights = {}
    for layer, numbered in found.items():
        if sorted(numbered) != list(range(len(numbered))):
            numbers = ", ".join(map(str, sorted(numbered)))
            raise broken(path, f"expected arrays 0, 1, …, found {numbers}", layer)
        weights[layer] = [numbered[index] for index in range(len(numbered))]
    return weights
