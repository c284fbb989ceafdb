"""The dense CRF (Krähenbühl and Koltun 2011): every pixel a neighbour of every other.

Mean-field inference, as pydensecrf and DeepLab's own program compute it:

    Q(0) = softmax(−U),    Q(t) = softmax(−U − Σₖ μₖ(K̃ₖ Q(t−1)))

with unary energies U, normalised kernels K̃ₖ of the terms, and their compatibilities μₖ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

from fcnproto.crf.kernels import (
    MOST_ITERATIONS,
    Kernel,
    Normalization,
    bilateral_features,
    built,
    check_positive,
    checked_scores,
    softmax,
    spatial_features,
)
from fcnproto.crf.memory import COPIES, check_memory
from fcnproto.errors import CrfError
from fcnproto.types import Array, show

Compatibility: TypeAlias = "float | Array"
"""A number w: Potts, μ(X) = −w X, so that w > 0 smooths. A vector v (C): μ(X) = diag(v) X. A matrix
V (C × C): μ(X) = (V + Vᵀ)/2 X. Both as given: −3 on a diagonal attracts as Potts 3 does."""
Deviations = float | tuple[float, float]
"""Standard deviations in pixels along x and y, or one for both."""

CLIP = 1e-5
"""The least probability that a score stands for, as in pydensecrf's unary_from_softmax."""


@dataclass(frozen=True)
class Gaussian:
    """A term that makes near pixels agree: pydensecrf's addPairwiseGaussian."""

    sxy: Deviations
    compat: Compatibility
    normalization: str = Normalization.SYMMETRIC

    def __post_init__(self) -> None:
        check_positive("sxy of a Gaussian term", *_several(self.sxy, 2))
        _check_compat(self.compat)
        _check_normalization(self.normalization)

    def features(self, image: Array, first: tuple[int, int] = (0, 0)) -> Array:
        """x and y of each pixel, in standard deviations."""
        return spatial_features(image.shape[:2], _several(self.sxy, 2), first)


@dataclass(frozen=True)
class Bilateral:
    """A term that makes near pixels of like colours agree: pydensecrf's addPairwiseBilateral.

    `srgb` are standard deviations of the channels, on the image's own scale: 0 to 255.
    """

    sxy: Deviations
    srgb: float | tuple[float, ...]
    compat: Compatibility
    normalization: str = Normalization.SYMMETRIC

    def __post_init__(self) -> None:
        check_positive("sxy of a bilateral term", *_several(self.sxy, 2))
        check_positive("srgb of a bilateral term", *np.ravel(self.srgb))
        _check_compat(self.compat)
        _check_normalization(self.normalization)

    def features(self, image: Array, first: tuple[int, int] = (0, 0)) -> Array:
        """x, y and the channels of each pixel, in standard deviations."""
        deviations = _several(self.srgb, image.shape[2])
        return bilateral_features(image, _several(self.sxy, 2), deviations, first)


Term = Gaussian | Bilateral


@dataclass(frozen=True)
class Field:
    """A dense CRF on one image: its kernels are built once, for any number of inferences."""

    size: tuple[int, int]
    terms: tuple[Term, ...]
    kernels: tuple[Kernel, ...]
    iterations: int

    def infer(self, unary: Array) -> Array:
        """The marginals Q (C × H × W float32) for unary energies U = −log p (C × H × W)."""
        unary = checked_scores(unary, self.size)
        classes = len(unary)
        compats = [_compat(term, classes) for term in self.terms]
        logits = -unary.reshape(classes, -1)
        q = softmax(logits.copy())
        for _ in range(self.iterations):
            votes = logits.copy()
            for kernel, compat in zip(self.kernels, compats, strict=True):
                votes -= _penalty(compat, kernel(q))
            q = softmax(votes)
        marginals: Array = q.reshape(unary.shape)
        return marginals

    def refine(self, scores: Array, clip: float = CLIP) -> Array:
        """As `infer`, for a net's scores (C × H × W, before the softmax)."""
        return self.infer(unary_from_scores(checked_scores(scores, self.size), clip))


@dataclass(frozen=True)
class DenseCRF:
    """A fully connected random field: its terms, and the number of mean-field iterations.

    `DenseCRF([Gaussian(3, 3), Bilateral(80, 13, 10)]).refine(scores, image)` gives each pixel's
    marginals. Raises CrfError for settings that make no field.
    """

    terms: Sequence[Term]
    iterations: int = 10
    clip: float = CLIP
    """The least probability that scores stand for; 0 for none."""

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, Integral) or self.iterations < 0:
            raise CrfError(f"iterations must not be negative, found {self.iterations}")
        if self.iterations > MOST_ITERATIONS:
            message = f"iterations must be at most {MOST_ITERATIONS}, found {self.iterations}"
            raise CrfError(message)
        if not isinstance(self.clip, Real) or not 0 <= self.clip < 1:
            raise CrfError(f"clip must be a probability below 1, found {self.clip}")
        if not isinstance(self.terms, Iterable) or not all(
            isinstance(term, Gaussian | Bilateral) for term in self.terms
        ):
            raise CrfError(f"expected terms Gaussian and Bilateral in a list, found {self.terms}")
        object.__setattr__(self, "terms", tuple(self.terms))

    @property
    def reach(self) -> int:
        """How far apart pixels are that matter to each other: three deviations of the widest."""
        widest = max((max(_several(term.sxy, 2)) for term in self.terms), default=0)
        return ceil(3 * widest)

    def on(self, image: Array, first: tuple[int, int] = (0, 0)) -> Field:
        """The field on one image (H × W × 3 uint8, or numbers of any kind and channels).

        `first` is the row and column of its first pixel, if it is a part of a larger image.
        """
        image = np.asarray(image)
        if image.ndim == 2:
            image = image[:, :, np.newaxis]
        if image.ndim != 3 or 0 in image.shape:
            shape = show(image.shape)
            raise CrfError(f"an image must be height × width × channels, found {shape}")
        if not np.isfinite(image).all():
            raise CrfError("the image's values are not all finite numbers")
        height, width, _ = image.shape
        kernels = built(
            [
                (term.features(image, first), Normalization(term.normalization))
                for term in self.terms
            ]
        )
        return Field((height, width), tuple(self.terms), tuple(kernels), self.iterations)

    def infer(self, unary: Array, image: Array) -> Array:
        """The marginals Q (C × H × W float32) for unary energies (C × H × W) on an image."""
        unary = checked_scores(unary, np.shape(image)[:2])
        return self.on(image).infer(unary)

    def refine(self, scores: Array, image: Array, first: tuple[int, int] = (0, 0)) -> Array:
        """The marginals (C × H × W float32) for a net's scores, before the softmax."""
        scores = checked_scores(scores, np.shape(image)[:2])
        return self.on(image, first).refine(scores, self.clip)


# Unary energies -----------------------------------------------------------------------------


def unary_from_scores(scores: Array, clip: float = CLIP) -> Array:
    """−log of the softmax over the first axis, whose probabilities are at least `clip`."""
    shifted = np.asarray(scores, np.float32) - np.max(scores, axis=0)
    shifted -= np.log(np.exp(shifted).sum(axis=0))
    if clip > 0:
        np.maximum(shifted, np.float32(np.log(clip)), out=shifted)
    unary: Array = -shifted
    return unary


def unary_from_softmax(
    probabilities: Array, scale: float | None = None, clip: float | None = CLIP
) -> Array:
    """−log of probabilities (C × …), as pydensecrf's.

    `scale` trusts them only so far: scale · p + (1 − scale) / C. `clip` is the least that counts.
    """
    values = np.asarray(probabilities, np.float32)
    if scale is not None:
        if not 0 < scale <= 1:
            raise CrfError(f"scale must be more than 0 and at most 1, found {scale:g}")
        values = np.float32(scale) * values + np.float32((1 - scale) / len(values))
    if clip is not None:
        values = np.clip(values, np.float32(clip), np.float32(1))
    return -np.log(values)


def unary_from_labels(
    labels: Array, classes: int, certainty: float, zero_unsure: bool = True
) -> Array:
    """Energies C × H × W of hard labels H × W, each right with probability `certainty`.

    With `zero_unsure`, as pydensecrf's: label 0 says nothing, and label 1 is the first class.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "ui":
        raise CrfError(f"labels must be whole numbers, found {labels.dtype}")
    if classes < 2:
        raise CrfError(f"a random field needs at least two classes, found {classes}")
    if not 0 < certainty < 1:
        raise CrfError(f"the certainty of labels must lie between 0 and 1, found {certainty:g}")
    check_memory(classes, *labels.shape, copies=COPIES)
    largest = classes if zero_unsure else classes - 1
    if labels.size and not (labels.min() >= 0 and labels.max() <= largest):
        raise CrfError(
            f"labels must be 0 to {largest}, found {int(labels.min())} to {int(labels.max())}"
        )
    others = -np.log((1 - certainty) / (classes - 1))
    unary = np.full((classes, *labels.shape), others, np.float32)
    places = labels.astype(np.int64) - int(zero_unsure)
    np.put_along_axis(
        unary, np.maximum(places, 0)[np.newaxis], np.float32(-np.log(certainty)), axis=0
    )
    if zero_unsure:
        unary[:, labels == 0] = -np.log(1 / classes)
    return unary


def _several(value: float | Sequence[float], count: int) -> tuple[Any, ...]:
    values = (value,) * count if np.ndim(value) == 0 else tuple(np.ravel(value))
    if len(values) != count:
        raise CrfError(f"expected one standard deviation or {count}, found {len(values)}")
    return values


def _check_normalization(name: str) -> None:
    if name not in [*Normalization]:
        raise CrfError(f"normalization must be one of {', '.join(Normalization)}, found '{name}'")


def _check_compat(compat: Compatibility) -> None:
    try:
        with np.errstate(over="ignore"):  # which is infinite then
            values = np.asarray(compat, np.float32)
    except ValueError as error:
        message = "a compatibility is a number, C numbers or C × C of them, found rows unlike"
        raise CrfError(message) from error
    if values.ndim > 2 or (values.ndim == 2 and values.shape[0] != values.shape[1]):
        shape = show(values.shape)
        raise CrfError(f"a compatibility is a number, C numbers or C × C of them, found {shape}")
    if not np.isfinite(values).all():
        raise CrfError("a compatibility must be finite numbers")


def _compat(term: Term, classes: int) -> Array:
    """A term's compatibility as an array of no, one or two axes of classes; CrfError if of others.

    Only the symmetric part of a matrix counts.
    """
    values = np.asarray(term.compat, np.float32)
    if values.ndim and len(values) != classes:
        raise CrfError(f"a compatibility is for {len(values)} classes, the scores have {classes}")
    return (values + values.T) / 2 if values.ndim == 2 else values


def _penalty(compat: Array, filtered: Array) -> Array:
    """μ(X) of filtered marginals X (C × N), which may be overwritten."""
    if compat.ndim == 2:
        penalty: Array = compat @ filtered
        return penalty
    filtered *= compat[:, np.newaxis] if compat.ndim else -compat
    return filtered
