"""Gaussian kernels over the pixels of an image, with the field's four normalisations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from numbers import Real

import numpy as np

from fcnproto.crf.memory import COPIES, check_memory
from fcnproto.crf.permutohedral import Lattice
from fcnproto.errors import CrfError
from fcnproto.parallel import spread
from fcnproto.types import Array, show

_LEAST = np.float32(1e-20)  # what keeps the originals from dividing by 0


MOST_ITERATIONS = 1000
"""Of mean-field inference, which converges in some ten: a number out of a file bounds the time."""


class Normalization(StrEnum):
    """How a kernel K is made one whose sums are about 1; k = K 1, for each pixel."""

    NONE = "none"
    BEFORE = "before"
    """K D, D = 1 / k."""
    AFTER = "after"
    """D K."""
    SYMMETRIC = "symmetric"
    """√D K √D, as pydensecrf by default."""


@dataclass(frozen=True)
class Kernel:
    """A normalised kernel: values (C × N) are weighted, filtered and weighted again."""

    lattice: Lattice
    before: Array | None
    after: Array | None

    @classmethod
    def of(cls, features: Array, normalization: Normalization) -> Kernel:
        """The kernel of N pixels with d features each (N × d)."""
        lattice = Lattice.of(features)
        if normalization is Normalization.NONE:
            return cls(lattice, None, None)
        sums = lattice.filter(np.ones((1, len(features)), np.float32))[0] + _LEAST
        if normalization is Normalization.SYMMETRIC:
            root = 1 / np.sqrt(sums)
            return cls(lattice, root, root)
        inverse = 1 / sums
        is_after = normalization is Normalization.AFTER
        return cls(lattice, None if is_after else inverse, inverse if is_after else None)

    def __call__(self, values: Array) -> Array:
        """The filtered values, C × N."""
        return _scaled(self.lattice.filter(_scaled(values, self.before)), self.after)

    def transposed(self, values: Array) -> Array:
        """The transpose of the same linear map, applied to values C × N."""
        return _scaled(self.lattice.filter_transposed(_scaled(values, self.after)), self.before)


def _scaled(values: Array, weights: Array | None) -> Array:
    return values if weights is None else values * weights


def built(wanted: Sequence[tuple[Array, Normalization]]) -> list[Kernel]:
    """The kernels of several features of the same pixels, built at once on all cores."""
    kernels: dict[int, Kernel] = {}

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            kernels[number] = Kernel.of(*wanted[number])

    spread(work, range(len(wanted)))
    return [kernels[number] for number in range(len(wanted))]


def spatial_features(
    size: tuple[int, ...], deviations: tuple[float, float], first: tuple[int, int] = (0, 0)
) -> Array:
    """x and y of each pixel of a size H × W, in row-major order, in standard deviations (N × 2).

    `first` are the row and column of the first pixel.
    """
    (height, width), (top, left) = size, first
    y, x = np.mgrid[top : top + height, left : left + width].astype(np.float32)
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    return places / np.asarray(deviations, np.float32)


def bilateral_features(
    image: Array,
    deviations: tuple[float, float],
    channel_deviations: Sequence[float],
    first: tuple[int, int] = (0, 0),
) -> Array:
    """x, y and the channels of each pixel of an image (H × W × channels), in deviations."""
    height, width, channels = image.shape
    colours = np.asarray(image, np.float32).reshape(height * width, channels)
    scaled = colours / np.asarray(channel_deviations, np.float32)
    return np.concatenate([spatial_features((height, width), deviations, first), scaled], axis=1)


def softmax(scores: Array) -> Array:
    """Probabilities over the first axis, in place."""
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=0)
    return scores


def check_positive(name: str, *values: float) -> None:
    """CrfError unless all are finite and more than 0."""
    for value in values:
        if not isinstance(value, Real) or not (isfinite(value) and value > 0):
            raise CrfError(f"{name} must be a number greater than 0, found {value}")


def checked_scores(scores: Array, size: tuple[int, ...]) -> Array:
    """Scores (C × H × W) as float32; CrfError unless they have the image's size, and make a field.

    Their number is looked at before they are copied.
    """
    scores = np.asarray(scores)
    if scores.ndim != 3:
        shape = show(scores.shape)
        raise CrfError(f"scores must be classes × height × width, found {shape}")
    classes, *own = scores.shape
    if tuple(own) != size:
        raise CrfError(
            f"the image has {size[0]}×{size[1]} pixels, but its scores {own[0]}×{own[1]}"
        )
    if classes < 2:
        raise CrfError(f"a random field needs at least two classes, found {classes}")
    if own[0] * own[1] < 2:
        raise CrfError(f"a random field needs at least two pixels, found {own[0]}×{own[1]}")
    check_memory(classes, *own, copies=COPIES)
    if scores.dtype.kind not in "biuf":
        raise CrfError(f"the scores must be numbers, found {scores.dtype}")
    with np.errstate(over="ignore"):  # which is infinite then
        single = scores.astype(np.float32, copy=False)
    if not np.isfinite(single).all():
        raise CrfError("the scores are not all finite numbers (of float32)")
    return single
