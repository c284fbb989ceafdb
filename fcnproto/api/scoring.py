"""The measures of a model, or of label maps, on a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fcnproto import datasets
from fcnproto.datasets import IGNORE, Reader
from fcnproto.datasets.measures import Classes, Score
from fcnproto.datasets.score import MapPairs, ModelPairs, Pairs
from fcnproto.errors import DataError, Problem
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.types import INT_MAX, path_of, whole
from fcnproto.zoo.legend import ClassesLike, Legend

if TYPE_CHECKING:
    from fcnproto.model.file import Model

Advance = Callable[[], object]


def _silent(_total: int) -> Advance:
    return lambda: None


def score(
    model: Segmenter | Model | str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    *,
    pred: str | PathLike[str] | None = None,
    truth: str | PathLike[str] | None = None,
    dataset: str | None = None,
    split: str | None = None,
    classes: ClassesLike | None = None,
    ignore: int = IGNORE,
    trimap: int | None = None,
    device: str = "auto",
) -> Score:
    """The measures of a model (or of the label maps in `pred`) on a dataset, or against `truth`.

    `data` is a dataset's folder; `dataset` names one that needs no files (shapes); `truth` is a
    folder of label maps, PNG or .npy, matched by name. `split` is by default the paper's. `classes`
    (how many, their names, or a file of them) are by default the model's or the dataset's, or as
    many as occur. `ignore` is the label that does not count, with `pred`. With `trimap`,
    only pixels at most so far from a boundary count.

    Raises DataError for label maps that do not fit, and where the model gives several label maps:
    `scores` measures each.
    """
    found = scores(
        model,
        data,
        pred=pred,
        truth=truth,
        dataset=dataset,
        split=split,
        classes=classes,
        ignore=ignore,
        trimap=trimap,
        device=device,
    )
    if len(found) != 1:
        raise DataError(f"it has label maps {', '.join(found)}: fcnproto.scores measures each")
    return next(iter(found.values()))


def scores(
    model: Segmenter | Model | str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    *,
    pred: str | PathLike[str] | None = None,
    truth: str | PathLike[str] | None = None,
    dataset: str | None = None,
    split: str | None = None,
    classes: ClassesLike | None = None,
    ignore: int = IGNORE,
    trimap: int | None = None,
    device: str = "auto",
    progress: Callable[[int], Advance] = _silent,
) -> Mapping[str, Score]:
    """As `score`, for each label map by the name that the dataset has for it.

    `progress` is told how many images there are, and gives what is called after each.
    """
    asked = Comparands(
        data=None if data is None else path_of(data, "data as a folder"),
        pred=None if pred is None else path_of(pred, "pred as a folder"),
        truth=None if truth is None else path_of(truth, "truth as a folder"),
        dataset=dataset,
        split=split,
        classes=classes,
        ignore=whole(ignore, "ignore", -INT_MAX),
        trimap=None if trimap is None else whole(trimap, "trimap", 1, 1000),
    )
    asked.check(model is not None)
    if model is not None and not isinstance(model, Segmenter):
        model = Segmenter(model, device=device)
    pairs = asked.pairs(model)
    return pairs.score(progress(len(pairs)))


@dataclass(frozen=True)
class Comparands:
    """What is to be compared, in values that mean the same on every machine."""

    data: Path | None = None
    pred: Path | None = None
    truth: Path | None = None
    dataset: str | None = None
    split: str | None = None
    classes: ClassesLike | None = None
    ignore: int = IGNORE
    trimap: int | None = None

    def check(self, has_model: bool) -> None:
        """Raise DataError if it is not clear what is compared with what."""
        if has_model == (self.pred is not None):
            raise DataError(
                "what is measured is a model, or label maps: give one of model and pred"
            )
        truths = sum(each is not None for each in (self.data, self.dataset, self.truth))
        if truths != 1 or (has_model and self.truth):
            raise DataError("give data or dataset, or with pred, truth")
        if self.split and self.truth:
            raise DataError("a split goes with data or dataset")
        if has_model and self.ignore != IGNORE:
            raise DataError(
                "the ignored label goes with pred: a dataset says itself what it ignores"
            )

    def absolute(self) -> Comparands:
        """The same for processes that work in other folders."""
        return replace(
            self,
            data=self.data and self.data.absolute(),
            pred=self.pred and self.pred.absolute(),
            truth=self.truth and self.truth.absolute(),
            classes=Path(self.classes).absolute()
            if isinstance(self.classes, str | PathLike)
            else self.classes,
        )

    def reader(self) -> Reader | None:
        """The dataset, if there is one."""
        if self.dataset is not None:
            return datasets.generated(self.dataset, self.split)
        return None if self.data is None else datasets.find(self.data, self.split)

    def pairs(self, segmenter: Segmenter | None) -> Pairs:
        """The pairs to be counted, of the model or of label maps."""
        against = self.reader() or self.truth
        assert against is not None
        legend = Legend.given(self.classes)
        names = () if isinstance(self.classes, int) else legend.names
        if self.pred is not None:
            numbers = Classes(len(legend.names) or None, self.ignore)
            return MapPairs.of(self.pred, against, numbers, self.trimap, names)
        assert segmenter is not None
        assert isinstance(against, Reader)
        _check_count(segmenter, legend)
        return ModelPairs(segmenter.runner, against, self.trimap, names)


def _check_count(segmenter: Segmenter, legend: Legend) -> None:
    """DataError where a model has other classes than those that are given."""
    count = len(legend.names)
    for head in segmenter.runner.maps:
        if count and head.classes not in (None, count):
            message = f"the model has {head.classes} classes, and {count} are given"
            raise DataError(Problem(message, str(segmenter.path)))
