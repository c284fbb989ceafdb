"""The measures of one confusion matrix over a whole set, and how they are written.

With n_ij pixels of class i predicted as j and t_i = Σ_j n_ij (Long, Shelhamer and Darrell 2015,
section 5): pixel accuracy Σ n_ii / Σ t_i, mean accuracy over classes n_ii / t_i, mean IU over
classes n_ii / (t_i + Σ_j n_ji − n_ii), frequency weighted IU Σ t_i·IU_i / Σ t_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.datasets.base import IGNORE
from fcnproto.errors import DataError
from fcnproto.types import Array, Shown

if TYPE_CHECKING:
    from PIL import Image

MOST_CLASSES = 4096
"""So that a confusion matrix stays small."""


@dataclass(frozen=True, repr=False, eq=False)
class Score(Shown):
    """The measures of a confusion matrix: `confusion[i, j]` pixels of class i predicted as j.

    The matrix is classes × classes, int64. A measure of nothing is NaN.
    """

    confusion: Array
    classes: tuple[str, ...] = ()
    """The names of the classes, as far as they are known."""

    @property
    def pixels(self) -> Array:
        """How many pixels each class has, t_i."""
        pixels: Array = self.confusion.sum(axis=1)
        return pixels

    @property
    def accuracies(self) -> Array:
        """Each class's share of pixels that are predicted right; NaN if it has none."""
        return _ratios(self.confusion.diagonal(), self.pixels)

    @property
    def ius(self) -> Array:
        """Each class's intersection over union; NaN if it is neither there nor predicted."""
        right = self.confusion.diagonal()
        return _ratios(right, self.pixels + self.confusion.sum(axis=0) - right)

    @property
    def pixel_accuracy(self) -> float:
        """The share of all pixels that are predicted right."""
        return float(_ratios(self.confusion.diagonal().sum(), self.pixels.sum()))

    @property
    def mean_accuracy(self) -> float:
        """The mean over classes that are there, of each one's accuracy."""
        return _mean(self.accuracies)

    @property
    def mean_iu(self) -> float:
        """The mean IU over classes that are there or predicted."""
        return _mean(self.ius)

    @property
    def frequency_weighted_iu(self) -> float:
        """The IU of each class, weighted with its pixels."""
        weighted = np.where(self.pixels > 0, self.ius, 0) * self.pixels
        return float(_ratios(weighted.sum(), self.pixels.sum()))

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each class: its number where it has none."""
        count = len(self.confusion)
        return (*self.classes, *map(str, range(len(self.classes), count)))[:count]

    def __str__(self) -> str:
        names = self.names
        width = max(map(len, (*names, *MEASURES.values())))
        lines = [
            f"{title:<{width}}  {_percent(getattr(self, key))}" for key, title in MEASURES.items()
        ]
        lines += ["", f"{'class':<{width}}  accuracy      IU  pixels"]
        rows = zip(names, self.accuracies, self.ius, self.pixels, strict=True)
        lines += [
            f"{name:<{width}}   {_percent(accuracy)} {_percent(iu)}  {pixels}"
            for name, accuracy, iu, pixels in rows
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for JSON; measures of nothing are None."""
        measures = {key: _number(getattr(self, key)) for key in MEASURES}
        rows = zip(self.names, self.accuracies, self.ius, self.pixels, strict=True)
        per_class = [
            {
                "class": index,
                "name": name,
                "accuracy": _number(accuracy),
                "iu": _number(iu),
                "pixels": int(pixels),
            }
            for index, (name, accuracy, iu, pixels) in enumerate(rows)
        ]
        return {**measures, "per_class": per_class}

    def picture(self) -> Image.Image:
        """The confusion matrix, drawn."""
        from fcnproto.datasets.confusion_picture import draw  # Pillow is needed here only

        return draw(self.confusion, self.names, f"mean IU {_percent(self.mean_iu).strip()}")

    def _repr_html_(self) -> str:
        from base64 import b64encode  # needed in notebooks only

        from fcnproto.runtime.images import png_of

        data = b64encode(png_of(self.picture())).decode()
        return f'{super()._repr_html_()}<img alt="" src="data:image/png;base64,{data}">'


MEASURES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iu": "mean IU",
    "frequency_weighted_iu": "frequency weighted IU",
}
"""The four measures of the paper: attributes of a Score, and how they are called."""


def _percent(value: float) -> str:
    return f"{'–':>7}" if math.isnan(value) else f"{value * 100:6.2f}%"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _ratios(part: Any, whole: Any) -> Array:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratios: Array = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratios


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


# Counting ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classes:
    """Which numbers are classes: 0 to `count` − 1, all but `ignore` if there is no count."""

    count: int | None = None
    ignore: int = IGNORE

    def __post_init__(self) -> None:
        if self.count is not None and not 1 <= self.count <= MOST_CLASSES:
            raise DataError(f"there can be 1 to {MOST_CLASSES} classes, found {self.count}")
        if abs(self.ignore) > MOST_CLASSES:
            raise DataError(f"the ignored label can be up to {MOST_CLASSES}, found {self.ignore}")

    @property
    def values(self) -> range:
        """All numbers that count as different; those of a byte among them."""
        last = max(255, self.ignore, (self.count or 0) - 1)
        return range(min(0, self.ignore), last + 1)

    def empty(self) -> Array:
        """Counts of pairs of values, all 0."""
        return np.zeros((len(self.values), len(self.values)), np.int64)

    def pairs(self, truth: Array, prediction: Array) -> Array:
        """How many pixels have each pair of values; both maps hold nothing else."""
        values = self.values
        width = len(values)
        if truth.dtype == prediction.dtype == np.uint8 and width == 256:
            joint: Array = truth.astype(np.uint16) << np.uint16(8) | prediction
        else:
            first = values[0]
            joint = (truth.astype(np.intp) - first) * width + prediction.astype(np.intp) - first
        return np.bincount(joint.ravel(), minlength=width**2).reshape(width, width)

    def score(self, pairs: Array) -> Score:
        """What counts of pairs say; without a count, as many classes as there are."""
        start = -self.values[0]
        if self.count is not None:
            classes = slice(start, start + self.count)
            confusion = pairs[classes, classes].copy()
            if 0 <= self.ignore < self.count:
                confusion[self.ignore] = 0
            return Score(confusion)
        scored = self._scored(pairs)
        there = np.flatnonzero(scored.any(axis=0) | scored.any(axis=1)) - start
        last = int(max(there, default=0))
        classes = slice(start, start + last + 1)
        return Score(scored[classes, classes])

    def wrong_truth(self, pairs: Array) -> list[int]:
        """The values in a truth that are neither classes nor ignored."""
        return self._outside(self._scored(pairs).any(axis=1))

    def wrong_prediction(self, pairs: Array) -> list[int]:
        """The values predicted for pixels that count, and which are no classes."""
        scored = self._scored(pairs)
        found = self._outside(scored.any(axis=0))
        predicts_ignore = scored[:, self.ignore - self.values[0]].any()
        if predicts_ignore and not 0 <= self.ignore < (self.count or 0):
            found = sorted({*found, self.ignore})
        return found

    def _scored(self, pairs: Array) -> Array:
        """The pairs of pixels that are not ignored."""
        scored = pairs.copy()
        scored[self.ignore - self.values[0]] = 0
        return scored

    def _outside(self, there: Any) -> list[int]:
        values = [self.values[index] for index in np.flatnonzero(there)]
        return [
            value
            for value in values
            if value < 0 or (self.count is not None and value >= self.count)
        ]

    def __str__(self) -> str:
        if self.count is None:
            return f"the classes are not negative, and {self.ignore} is ignored"
        return (
            f"there are {self.count} classes, 0 to {self.count - 1}, and {self.ignore} is ignored"
        )
