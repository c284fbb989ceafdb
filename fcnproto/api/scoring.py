"""The measures of a model, or of label maps, on a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from fcnproto import datasets
from fcnproto.datasets import IGNORE, Reader
from fcnproto.datasets.measures import Classes, Score
from fcnproto.datasets.score import score_folder, score_model
from fcnproto.errors import DataError, Problem
from fcnproto.model.file import Model
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.zoo.legend import ClassesLike, Legend

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
    if (model is None) == (pred is None):
        raise DataError("what is measured is a model, or label maps: give one of model and pred")
    if sum(each is not None for each in (data, dataset, truth)) != 1 or (model and truth):
        raise DataError("give data or dataset, or with pred, truth")
    if split and truth:
        raise DataError("a split goes with data or dataset")
    if model is not None and ignore != IGNORE:
        raise DataError("the ignored label goes with pred: a dataset says itself what it ignores")
    legend = Legend.given(classes)
    names = () if isinstance(classes, int) else legend.names
    reader = _reader(data, dataset, split)
    if pred is not None:
        against = reader if reader is not None else Path(truth or "")
        numbers = Classes(len(legend.names) or None, ignore)
        found = score_folder(Path(pred), against, numbers, trimap=trimap, progress=progress)
        return {"label": replace(found, classes=names or found.classes)}
    assert model is not None
    assert reader is not None
    segmenter = model if isinstance(model, Segmenter) else Segmenter(model, device=device)
    _check_count(segmenter, legend)
    measured = score_model(segmenter.runner, reader, trimap=trimap, progress=progress(len(reader)))
    return {top: replace(each, classes=names or each.classes) for top, each in measured.items()}


def _check_count(segmenter: Segmenter, legend: Legend) -> None:
    """DataError where a model has other classes than those that are given."""
    count = len(legend.names)
    for head in segmenter.runner.maps:
        if count and head.classes not in (None, count):
            message = f"the model has {head.classes} classes, and {count} are given"
            raise DataError(Problem(message, str(segmenter.path)))


def _reader(
    data: str | PathLike[str] | None, dataset: str | None, split: str | None
) -> Reader | None:
    if dataset is not None:
        return datasets.generated(dataset, split)
    return None if data is None else datasets.find(Path(data), split)
