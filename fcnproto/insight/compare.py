"""Label maps of several models side by side, with the truth and the score of each where labels are
given: figure 4 of Long, Shelhamer and Darrell 2015, for any models and images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.datasets import IGNORE
from fcnproto.datasets.map_sets import Folder
from fcnproto.datasets.measures import MEASURES, Classes, Score
from fcnproto.datasets.pictures import read_labels
from fcnproto.datasets.score import counted_pair
from fcnproto.errors import DataError, FcnprotoError, Problem
from fcnproto.runtime.images import png_of
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.segmenter import ImageLike, Segmenter
from fcnproto.runtime.sheet import Captioned, Cell, sheet
from fcnproto.types import Array, Colour, Shown, show
from fcnproto.words import columns
from fcnproto.zoo.legend import name_of

MOST_ROWS = 6
"""So many images are drawn; all are scored."""
_IGNORED = (224, 224, 192)
"""PASCAL VOC's colour for what does not count."""


@dataclass(frozen=True, eq=False)
class Row:
    """An image, what each model says of it, and the truth."""

    title: str
    image: Array
    """H×W×3 uint8 RGB."""
    labels: tuple[Array, ...]
    """Each model's, H×W."""
    truth: Array | None
    """H×W, None where no labels are given."""
    ious: tuple[float, ...]
    """Each model's mean IU on this image; none without a truth."""


@dataclass(frozen=True, repr=False, eq=False)
class SideBySide(Shown):
    """Models compared: their label maps of the first images, and their scores on all."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    scores: tuple[Score, ...]
    """Each model's; none where no labels are given."""
    classes: tuple[str, ...]
    palettes: tuple[Sequence[Colour], ...]
    """Each model's colours."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with images that were left out."""

    def picture(self) -> Image.Image:
        """A row for each image: itself, each model's label map, the truth; and a legend."""
        titles = ["image"]
        for index, model in enumerate(self.models):
            iu = f": mean IU {self.scores[index].mean_iu:.1%}" if self.scores else ""
            titles.append(f"{model}{iu}")
        has_truth = any(row.truth is not None for row in self.rows)
        rows = [self._cells(row) for row in self.rows]
        legend = [
            (name_of(number, self.classes), colour)
            for number, colour in enumerate(self.palettes[0][: len(self.classes) or None])
            if number in self._there
        ]
        return sheet(
            [*titles, *["truth"] * has_truth],
            rows,
            [name for name, _ in legend],
            [colour for _, colour in legend],
        )

    def _cells(self, row: Row) -> list[Cell]:
        cells: list[Cell] = [Captioned(Image.fromarray(row.image), Path(row.title).name)]
        for index, labels in enumerate(row.labels):
            caption = f"mean IU {row.ious[index]:.1%}" if row.ious else ""
            cells.append(Captioned(_drawn(labels, self.palettes[index]), caption))
        if row.truth is not None:
            cells.append(_drawn(row.truth, self.palettes[0]))
        return cells

    @property
    def _there(self) -> set[int]:
        """The classes that are drawn anywhere."""
        maps = [each for row in self.rows for each in (*row.labels, row.truth) if each is not None]
        return {int(number) for each in maps for number in np.unique(each)} - {IGNORE}

    def as_json(self) -> dict[str, Any]:
        """The scores for JSON, of all images and of each that is drawn."""
        return {
            "scores": {
                model: score.as_json()
                for model, score in zip(self.models, self.scores, strict=bool(self.scores))
            },
            "images": [
                {
                    "image": row.title,
                    "mean_iu": dict(zip(self.models, row.ious, strict=bool(row.ious))),
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        if not self.scores:
            return "\n".join(self.models)
        rows = [("", *MEASURES.values())]
        rows += [
            (model, *(f"{getattr(score, measure):.2%}" for measure in MEASURES))
            for model, score in zip(self.models, self.scores, strict=True)
        ]
        return "\n".join(columns(rows, right=range(1, len(rows[0]))))

    def _repr_png_(self) -> bytes:
        return png_of(self.picture())


def _drawn(labels: Array, palette: Sequence[Colour]) -> Image.Image:
    """A label map in its colours."""
    table = np.zeros((max(256, int(labels.max(initial=0)) + 1), 3), np.uint8)
    table[: len(palette)] = np.array(palette, np.uint8).reshape(-1, 3)[: len(table)]
    table[IGNORE] = _IGNORED
    return Image.fromarray(table[labels])


def compare(
    segmenters: Mapping[str, Segmenter],
    images: Sequence[ImageLike],
    truths: Sequence[Array | Path | None],
    progress: Callable[[], object] = lambda: None,
) -> SideBySide:
    """Segment images by several models, and score each where truths are given (H×W, or files).

    An image that cannot be read, or whose truth does not fit, is left out and is a problem of the
    result. Raises FcnprotoError if no image is left, or if a model takes more than one image.
    """
    _check_kinds(segmenters)
    numbers = [Classes(each.runner.maps[0].classes) for each in segmenters.values()]
    totals = [each.empty() for each in numbers]
    rows: list[Row] = []
    problems: list[Problem] = []
    streams = [segmenter.stream(images) for segmenter in segmenters.values()]
    done = 0
    for truth, results in zip(truths, _together(streams), strict=True):
        progress()
        wrong = next((each.error.problems for each in results if each.error is not None), ())
        if wrong:
            problems += wrong
            continue
        try:
            true = None if truth is None else _read(truth)
            pairs = [] if true is None else _pairs(numbers, results, true, str(truth))
        except DataError as error:
            problems += error.problems
            continue
        for total, pair in zip(totals, pairs, strict=bool(pairs)):
            total += pair
        done += 1
        if len(rows) < MOST_ROWS:
            ious = tuple(
                each.score(pair).mean_iu for each, pair in zip(numbers, pairs, strict=bool(pairs))
            )
            labels = tuple(result.labels for result in results)
            rows.append(Row(results[0].title, results[0].image, labels, true, ious))
    if not done:
        raise FcnprotoError(*problems)
    first = next(iter(segmenters.values()))
    names = tuple(next(iter(first.metadata.classes.values()), ()))
    scored = any(truth is not None for truth in truths)
    return SideBySide(
        tuple(segmenters),
        tuple(rows),
        tuple(each.score(total) for each, total in zip(numbers, totals, strict=True))
        if scored
        else (),
        names,
        tuple(each.runner.palette for each in segmenters.values()),
        tuple(problems),
    )


def _check_kinds(segmenters: Mapping[str, Segmenter]) -> None:
    wrong = [
        Problem(f"it takes {' and '.join(each.kinds)} of each scene: one image is compared", name)
        for name, each in segmenters.items()
        if len(each.kinds) != 1
    ]
    if wrong:
        raise FcnprotoError(*wrong)


def _together(streams: Sequence[Iterator[Segmentation]]) -> Iterator[tuple[Segmentation, ...]]:
    return zip(*streams, strict=True)


def _read(truth: Array | Path) -> Array:
    return read_labels(truth) if isinstance(truth, Path) else np.asarray(truth)


def _pairs(
    numbers: Sequence[Classes], results: Sequence[Segmentation], truth: Array, path: str
) -> list[Array]:
    """Each model's pairs of truth and prediction on one image; DataError if they do not fit."""
    title = results[0].title
    if truth.ndim != 2 or truth.dtype.kind not in "ui":
        message = f"expected labels H×W of whole numbers, found {truth.dtype} {show(truth.shape)}"
        raise DataError(Problem(message, title))
    named = path if "\n" not in path and len(path) < 1000 else "that is given"
    found = [
        counted_pair(each, truth, result.labels, named, title)
        for each, result in zip(numbers, results, strict=True)
    ]
    wrong = dict.fromkeys(problem for _, problems in found for problem in problems)
    if wrong:
        raise DataError(*wrong)
    return [pairs for pairs, _ in found]


def found_by_name(folder: Path, titles: Sequence[str]) -> list[Path]:
    """The label map of each image in a folder, by its name; DataError with all that are missing."""
    maps = Folder(folder)
    names = set(maps.names)
    missing = [
        Problem(f"there is no label map '{Path(title).stem}' in {folder} for it", title)
        for title in titles
        if Path(title).stem not in names
    ]
    if missing:
        raise DataError(*missing)
    return [Path(maps.path(Path(title).stem)) for title in titles]
