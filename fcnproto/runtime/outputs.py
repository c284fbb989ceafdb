"""What a model gives: scores and labels, told by its outputs; labels of scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fcnproto.errors import FcnprotoError
from fcnproto.model.metadata import Blobs, Metadata
from fcnproto.runtime.session import Session, Value
from fcnproto.types import Array, show

LABELS = "labels"


@dataclass(frozen=True)
class LabelMap:
    """A label map that a model gives: the score blob, and the outputs of the scores and labels."""

    blob: str
    score: str | None
    labels: str | None
    classes: int | None
    dtype: np.dtype[Any]
    """What its labels are held in: uint8, or uint16 where there may be more than 256."""


def label_maps(session: Session) -> tuple[LabelMap, ...]:
    """The label maps that a model gives, by its outputs of scores and of labels.

    Raises FcnprotoError if what it says of itself makes no sense.
    """
    about = Metadata.from_props(session.metadata, session.path)
    maps = {}
    for value in session.outputs:
        if len(value.sizes) != 4 or value.dtype.kind != "f" or value.name in about.no_scores:
            continue
        classes = fixed(value.sizes[1])
        if value.name in about.label_maps:
            classes = about.label_maps[value.name]
            maps[value.name] = LabelMap(value.name, None, value.name, classes, kind_of(classes))
            continue
        if classes is not None and classes > MOST_CLASSES:
            continue
        if classes == 1:
            if value.name not in about.thresholds:
                continue  # one number for each pixel, such as its depth
            classes = 2
        maps[value.name] = LabelMap(value.name, value.name, None, classes, kind_of(classes))
    for value in session.outputs:
        if len(value.sizes) != 3 or value.dtype.kind not in "ui":
            continue
        # As export names them: labels, or score_labels where there are several.
        blob = value.name.removesuffix("_labels")
        known = maps or about.classes
        if value.name == LABELS and len(known) == 1:
            (blob,) = known
        dtype = value.dtype if value.dtype == np.uint8 else np.dtype(np.uint16)
        scored = maps.get(blob, LabelMap(blob, None, None, None, dtype))
        maps[blob] = replace(scored, labels=value.name)
    return tuple(maps.values())


def blobs_of(session: Session) -> Blobs:
    """The channels and classes of a model's inputs and score blobs."""
    return Blobs(
        {
            value.name: fixed(value.sizes[3 if is_image(value) else 1]) or 3
            for value in session.inputs
            if len(value.sizes) == 4
        },
        {each.blob: each.classes for each in label_maps(session)},
    )


def is_image(value: Value) -> bool:
    """Whether an input takes images as they are: N×H×W×3 uint8 RGB."""
    return value.dtype == np.uint8


def plane_of(value: Value) -> tuple[int, int]:
    """The axes of an input's rows and columns."""
    return (1, 2) if is_image(value) else (2, 3)


def fixed(size: int | str | None) -> int | None:
    """A size, if it is one and not the name of an open one."""
    return size if isinstance(size, int) and size > 0 else None


MOST_CLASSES = 2**16
"""So many a label map can number."""


def kind_of(classes: int | None) -> np.dtype[Any]:
    """The type that labels of so many classes are held in."""
    return np.dtype(np.uint8 if classes is None or classes <= 2**8 else np.uint16)


def labels_in(numbers: Array, classes: int) -> Array:
    """The labels that a model gives as numbers itself, in the first channel: N×C×H×W → N×H×W.

    Raises FcnprotoError for what is no class.
    """
    labels = np.rint(_filled(numbers)[:, 0])
    if not ((labels >= 0) & (labels < classes)).all():
        raise FcnprotoError(f"the model gives labels that are none of its {classes} classes")
    found: Array = labels.astype(kind_of(classes))
    return found


def _filled(score: Array) -> Array:
    """The scores, if there are any."""
    if not score.size:
        raise FcnprotoError(f"the model gives scores without elements: {show(score.shape)}")
    return score


def labels_of(score: Array) -> Array:
    """The class of the highest score, the first of equal ones: N×C×H×W → N×H×W.

    A plane at a time, since numpy's argmax along axis 1 steps through memory. Raises FcnprotoError
    where there are no classes, or where the highest score is no finite number.
    """
    _filled(score)
    kind = kind_of(score.shape[1])
    best = score[:, 0].copy()
    labels: Array = np.zeros(best.shape, kind)
    higher = np.empty(best.shape, bool)
    for index in range(1, score.shape[1]):
        plane = score[:, index]
        np.greater(plane, best, out=higher)
        np.copyto(labels, kind.type(index), where=higher)
        np.maximum(best, plane, out=best)
    if not np.isfinite(best).all():
        raise FcnprotoError(
            "the model gives scores that are infinite or not a number: its weights have diverged,"
            " or its mean is not finite"
        )
    return labels
