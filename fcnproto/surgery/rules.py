"""The rules by which an array becomes one of another shape, each a function of its own.

A rule gives None where it does not apply. None of them guesses: an array is reshaped only where
both shapes mean the same numbers in the same places, and grows only where the published nets have
grown theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

from fcnproto.errors import WeightsError
from fcnproto.types import Array, Shape, show

ClassesMap = Mapping[int, int]
"""For each class of the net that an old one becomes, the old one; both count from 0."""


class Action(Enum):
    """What became of a layer; of several things that did, the one that changed it most."""

    COPIED = "copied"
    SUFFIXED = "suffixed"
    TRANSPOSED = "transposed"
    RESHAPED = "reshaped"
    WIDENED = "widened"
    GENERATED = "generated"
    FILLER = "left at its filler"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Piece:
    """An array that fits, and what was done to it."""

    array: Array
    action: Action = Action.COPIED
    detail: str = ""


def same(array: Array, shape: Shape) -> Piece | None:
    """The net's own shape."""
    return Piece(array) if array.shape == shape else None


def reshaped(array: Array, shape: Shape) -> Piece | None:
    """O×I·kh·kw ↔ O×I×kh×kw, and axes of 1 in front: the same numbers in the same order."""
    legal = (
        _without_ones(array.shape) == _without_ones(shape)
        or _flattens(shape, _matrix(array.shape))
        or _flattens(array.shape, shape)
    )
    if not legal:
        return None
    return Piece(array.reshape(shape), Action.RESHAPED, f"{show(array.shape)} → {show(shape)}")


def _without_ones(shape: Shape) -> Shape:
    """A shape without the axes of 1 that old files and other tools put in front of it."""
    start = next((index for index, size in enumerate(shape) if size != 1), len(shape))
    return shape[start:]


def _matrix(shape: Shape) -> Shape:
    """What old files mean by 1×1×O×I."""
    return shape[2:] if len(shape) == 4 and shape[:2] == (1, 1) else shape


def _flattens(kernel: Shape, matrix: Shape) -> bool:
    """Whether a matrix O×I·kh·kw is a kernel flattened."""
    return (
        (len(kernel), len(matrix)) == (4, 2)
        and kernel[0] == matrix[0]
        and prod(kernel) == prod(matrix)
    )


def turned(array: Array, shape: Shape) -> Piece | None:
    """O×I for a layer that keeps its matrix as I×O."""
    if array.shape != shape[::-1] or len(shape) != 2:
        return None
    detail = f"{show(array.shape)} → {show(shape)}"
    return Piece(np.ascontiguousarray(array.T), Action.TRANSPOSED, detail)


def with_depth(array: Array, shape: Shape) -> Piece | None:
    """Color weights for color and depth: the fourth channel takes the mean of the three."""
    if len(shape) != 4 or array.shape != (shape[0], 3, *shape[2:]) or shape[1] != 4:
        return None
    depth = array.mean(axis=1, keepdims=True, dtype=np.float32)
    detail = f"{show(array.shape)} → {show(shape)}, channel 3 is the mean of the others"
    return Piece(np.concatenate([array, depth], axis=1), Action.WIDENED, detail)


def without_colour(array: Array, shape: Shape) -> Piece | None:
    """Color weights for gray images: what three equal channels add up to."""
    if len(shape) != 4 or array.shape != (shape[0], 3, *shape[2:]) or shape[1] != 1:
        return None
    detail = f"{show(array.shape)} → {show(shape)}, the sum of the three channels"
    return Piece(array.sum(axis=1, keepdims=True, dtype=np.float32), Action.RESHAPED, detail)


def regrouped(array: Array, shape: Shape) -> Piece | None:
    """C×C×k×k without anything between channels ↔ C×1×k×k, one group for each channel."""
    channels, _, *kernel = shape
    regrouped: Array | None
    if array.shape == (channels, 1, *kernel):
        regrouped = _spread(array)
    elif array.shape == (channels, channels, *kernel):
        regrouped = _diagonal(array)
        if regrouped is None:
            raise WeightsError(
                f"its weights {show(array.shape)} connect different channels,"
                f" which {show(shape)} in groups cannot"
            )
    else:
        return None
    return Piece(regrouped, Action.RESHAPED, f"{show(array.shape)} → {show(shape)}")


def _spread(array: Array) -> Array:
    channels = np.arange(array.shape[0])
    dense = np.zeros((array.shape[0], array.shape[0], *array.shape[2:]), np.float32)
    dense[channels, channels] = array[:, 0]
    return dense


def _diagonal(array: Array) -> Array | None:
    channels = np.arange(array.shape[0])
    kernels = array[channels, channels]
    if np.count_nonzero(array) != np.count_nonzero(kernels):
        return None
    return kernels[:, np.newaxis]


def widened(
    array: Array, shape: Shape, upsamples: bool, fresh: Callable[[], Array]
) -> Piece | None:
    """More classes: the old ones come first."""
    if not array.shape or not shape or array.shape[0] >= shape[0]:
        return None
    keep = {old: old for old in range(array.shape[0])}
    return rescored(array, shape, upsamples, keep, fresh)


def maps(classes: ClassesMap, old: Shape, new: Shape) -> bool:
    """Whether the first axes of two shapes have all the classes of a map."""
    return max(classes) < new[0] and max(classes.values()) < old[0]


def rescored(
    array: Array,
    shape: Shape,
    upsamples: bool,
    classes: ClassesMap,
    fresh: Callable[[], Array],
) -> Piece | None:
    """A score layer's array for other classes; what no old one becomes stays as `fresh` makes it.

    An upsampling kernel has the classes on both of its first axes, any other array on the first.
    """
    if not array.shape or not shape:
        return None
    if not maps(classes, array.shape, shape):
        return None
    new, old = list(classes), list(classes.values())
    detail = f"{show(array.shape)} → {show(shape)}"
    if upsamples:
        upsampling = _rescored_upsampling(array, shape, new, old, fresh)
        if upsampling is None:
            return None
        rearranged = upsampling
    elif array.shape[1:] == shape[1:]:
        rearranged = fresh()
        rearranged[new] = array[old]
    else:
        return None
    if list(classes) == list(range(array.shape[0])) == old:
        return Piece(rearranged, Action.WIDENED, f"{detail}, old classes first")
    return Piece(rearranged, Action.WIDENED, f"{detail}, classes mapped")


def _rescored_upsampling(
    array: Array, shape: Shape, new: list[int], old: list[int], fresh: Callable[[], Array]
) -> Array | None:
    if array.ndim != 4 or array.shape[2:] != shape[2:]:
        return None
    dense = _spread(array) if array.shape[1] == 1 else array
    if dense.shape[0] != dense.shape[1]:
        return None
    result = fresh()
    if shape[1] > 1:
        result[np.ix_(new, new)] = dense[np.ix_(old, old)]
        return result
    kernels = _diagonal(dense)
    if kernels is None:
        return None
    result[new] = kernels[old]
    return result
