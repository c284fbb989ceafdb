"""Scores made finer: by the mean field that belongs to a model, or by a dense CRF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fcnproto.crf.dense_crf import DenseCRF
from fcnproto.crf.mean_field import OnScores
from fcnproto.crf.presets import preset
from fcnproto.crf.windows import Window, in_windows
from fcnproto.errors import FcnprotoError
from fcnproto.model.metadata import Metadata
from fcnproto.types import Array

NONE, CRF = "none", "crf"

_LEAST = 1e-20  # a probability whose logarithm is a number


@dataclass(frozen=True)
class Refining:
    """What is made of a model's scores: its own mean fields, by score blob, or a dense CRF.

    The scores of a dense CRF are the logarithms of its marginals.
    """

    fields: Mapping[str, OnScores]
    crf: DenseCRF | None = None

    @classmethod
    def of(cls, text: str | DenseCRF | None, metadata: Metadata) -> Refining:
        """From `--refine`: none, crf, crf:PRESET or crf:FILE.toml; None is the model's own.

        Raises FcnprotoError for anything else.
        """
        if text is None:
            return cls(metadata.mean_fields)
        if isinstance(text, DenseCRF):
            return cls({}, text)
        kind, _, name = str(text).partition(":")
        if text == NONE:
            return cls({})
        if kind != CRF:
            raise FcnprotoError(
                f"--refine is none, crf, crf:PRESET or crf:FILE.toml, found '{text}'"
            )
        return cls({}, preset(name))

    def __bool__(self) -> bool:
        return bool(self.fields) or self.crf is not None

    def said(self, metadata: Metadata) -> Iterator[str]:
        """For each mean field of the model a line that says whether it is applied."""
        for blob, on in metadata.mean_fields.items():
            if blob in self.fields:
                yield f"mean field '{on.top}' is applied to '{blob}'; --refine none leaves it out"
            else:
                yield f"mean field '{on.top}' of '{blob}' is left out"

    def __call__(
        self,
        scores: Mapping[str, Array],
        picture: Mapping[str, Array],
        metadata: Metadata,
        tile: int | None,
    ) -> dict[str, Array]:
        """The scores (C × H × W of each blob) of one picture, refined.

        With `tile` the field is computed in windows of so many pixels or more, which overlap.
        """
        refined: dict[str, Array] = {}
        for blob, score in scores.items():
            if blob in metadata.starts:
                continue
            if self.crf is not None:
                refined[blob] = _by_crf(self.crf, score, _colour(picture), tile)
            elif blob in self.fields:
                refined[blob] = _by_mean_field(
                    self.fields[blob], score, scores, picture, metadata, tile
                )
            else:
                refined[blob] = score
        return refined


def _by_crf(crf: DenseCRF, score: Array, image: Array, tile: int | None) -> Array:
    def refine(part: Array, window: Window) -> Array:
        marginals = crf.refine(part, image[window], (window[0].start, window[1].start))
        return np.log(np.maximum(marginals, np.float32(_LEAST), out=marginals), out=marginals)

    return in_windows(score, refine, *_windows(score, tile, crf.reach))


def _by_mean_field(
    on: OnScores,
    score: Array,
    scores: Mapping[str, Array],
    picture: Mapping[str, Array],
    metadata: Metadata,
    tile: int | None,
) -> Array:
    image = as_input(picture[on.image], metadata, on.image)
    start = scores[on.start]

    def refine(part: Array, window: Window) -> Array:
        first = window[0].start, window[1].start
        area = (slice(None), *window)
        return on.field(part, start[area], image[area], on.weights, first)

    return in_windows(score, refine, *_windows(score, tile, on.field.reach))


def _windows(score: Array, tile: int | None, reach: int) -> tuple[int, int]:
    """The side of a window and what is seen around it; without tiles all is one window.

    A window is as large as what is seen on both sides of it, or the surroundings would cost more.
    """
    return (max(score.shape), reach) if tile is None else (max(tile, 2 * reach), reach)


def _colour(picture: Mapping[str, Array]) -> Array:
    """The picture's colour image."""
    for image in picture.values():
        if image.ndim == 3:
            return image
    raise FcnprotoError("a dense CRF needs a colour image, and this model takes depth only")


def as_input(image: Array, metadata: Metadata, blob: str) -> Array:
    """An image H × W × 3 uint8 RGB, or a map of depth, as a net takes it: C × H × W."""
    mean = np.asarray(metadata.mean[blob], np.float32)
    scale = np.float32(metadata.scale.get(blob, 1))
    if image.ndim == 2:
        known = image > 0
        logarithm = np.log(image, out=np.zeros_like(image), where=known)
        return scale * np.where(known, logarithm - mean, np.float32(0))[np.newaxis]
    if len(mean) == 1:
        grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
        return scale * (grey[np.newaxis] - mean)
    ordered = image[:, :, ::-1] if metadata.is_color(blob) else image
    values = scale * (ordered.astype(np.float32) - mean)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
