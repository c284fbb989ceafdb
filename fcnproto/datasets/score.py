"""How good label maps and models are: pairs of maps counted over a whole set, on all cores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcnproto.datasets import IGNORE, Reader
from fcnproto.datasets.map_sets import Folder, Maps, Truth
from fcnproto.datasets.measures import MOST_CLASSES, Classes, Score
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.parallel import ahead, spread
from fcnproto.types import Array, show
from fcnproto.words import some

if TYPE_CHECKING:  # a runtime is heavy, and readers are listed with this module
    from fcnproto.runtime.outputs import LabelMap
    from fcnproto.runtime.runner import Runner

Progress = Callable[[], object]


def _silent() -> None:
    pass


def confusion(truth: Array, prediction: Array, classes: int, ignore: int = IGNORE) -> Array:
    """The confusion matrix (classes × classes, int64; rows are the truth) of one pair of maps.

    Raises DataError if their sizes differ, or if one holds what is no class.
    """
    numbers = Classes(classes, ignore)
    pairs, problems = counted_pair(numbers, truth, prediction, "truth", "prediction")
    if problems:
        raise DataError(*problems)
    return numbers.score(pairs).confusion


def counted_pair(
    classes: Classes, truth: Array, prediction: Array, truth_path: str, prediction_path: str
) -> tuple[Array, list[Problem]]:
    """The pairs of two maps, and what is wrong with them; none are counted then.

    The paths are what problems name.
    """
    if truth.shape != prediction.shape:
        message = f"is {show(prediction.shape)}, and the truth {truth_path} is {show(truth.shape)}"
        return classes.empty(), [Problem(message, prediction_path)]
    maps = ((truth, truth_path), (prediction, prediction_path))
    problems = [problem for each, path in maps for problem in _beyond(classes, each, path)]
    if problems:
        return classes.empty(), problems
    pairs = classes.pairs(truth, prediction)
    wrong = (
        (classes.wrong_truth(pairs), truth_path),
        (classes.wrong_prediction(pairs), prediction_path),
    )
    problems = [_no_class(classes, values, path) for values, path in wrong if values]
    return pairs, problems


def _beyond(classes: Classes, labels: Array, path: str) -> Iterator[Problem]:
    """A problem if a map holds numbers that are not even told apart."""
    values = classes.values
    if labels.dtype == np.uint8 and values[0] <= 0 and values[-1] >= 255:
        return
    found = (int(labels.min(initial=0)), int(labels.max(initial=0)))
    beyond = [value for value in found if value not in values]
    if beyond:
        yield _no_class(classes, beyond, path)


def _no_class(classes: Classes, values: Sequence[int], path: str) -> Problem:
    shown = some(values, 3)
    hint = ""
    if values == [IGNORE] or values == [1, IGNORE]:
        hint = "; a mask of 0 and 255 becomes classes by `fcnproto dataset convert`"
    return Problem(f"holds {shown}, and {classes}{hint}", path)


def near_boundaries(truth: Array, width: int | None, ignore: int = IGNORE) -> Array:
    """A truth (H × W) of which only pixels near a boundary count: the others are ignored.

    Near is at most `width` pixels along rows and columns; borders of what is ignored are none. That
    is a trimap (Kohli, Ladický and Torr 2009), in which boundaries show. None leaves the truth.
    """
    if width is None:
        return truth
    near = np.zeros(truth.shape, bool)
    for axis in (0, 1):
        one, other = truth.swapaxes(0, axis)[:-1], truth.swapaxes(0, axis)[1:]
        edge = (one != other) & (one != ignore) & (other != ignore)
        view = near.swapaxes(0, axis)
        view[:-1] |= edge
        view[1:] |= edge
    for axis in (0, 1):
        near = _dilated(near, width - 1, axis)
    return np.where(near, truth.astype(np.int64), ignore)


def _dilated(marks: Array, reach: int, axis: int) -> Array:
    """Marks, and the pixels up to `reach` away from one along an axis."""
    counts = np.cumsum(np.pad(marks.swapaxes(0, axis), ((1, 0), (0, 0))), axis=0, dtype=np.int32)
    places = np.arange(len(counts) - 1)
    last = np.minimum(places + reach + 1, len(counts) - 1)
    first = np.maximum(places - reach, 0)
    dilated: Array = (counts[last] > counts[first]).swapaxes(0, axis)
    return dilated


@dataclass
class Counted:
    """What was counted of pairs of label maps, by the top's name, and what is wrong with some."""

    pairs: dict[str, Array]
    problems: list[Problem] = field(default_factory=list)

    def __iadd__(self, other: Counted) -> Counted:
        for top, pairs in other.pairs.items():
            self.pairs[top] += pairs
        self.problems += other.problems
        return self


class Pairs(ABC):
    """Pairs of true and predicted label maps, by number: any part of them can be counted alone."""

    numbers: Mapping[str, Classes]
    """What are classes, for each label map by the top's name."""
    classes: Mapping[str, tuple[str, ...]]
    """Their names, as far as they are known."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def problems(self) -> list[Problem]:
        """What is wrong with the set as a whole, before any pair is counted."""

    @abstractmethod
    def score(self, progress: Progress = _silent) -> dict[str, Score]:
        """The scores of all, on this machine; `progress` is called after each."""

    @abstractmethod
    def count(self, indices: Iterable[int], progress: Progress = _silent) -> Counted:
        """Count some of them; `progress` is called after each."""

    def none(self) -> Counted:
        """What is counted of no pair."""
        return Counted({top: classes.empty() for top, classes in self.numbers.items()})

    def scores(self, counted: Counted) -> dict[str, Score]:
        """The scores of all that was counted. Raises DataError with all that is wrong."""
        problems = [*self.problems(), *counted.problems]
        if problems:
            raise DataError(*problems)
        return {
            top: replace(self.numbers[top].score(pairs), classes=self.classes[top])
            for top, pairs in counted.pairs.items()
        }


class MapPairs(Pairs):
    """Label maps against those of the same names."""

    def __init__(
        self,
        truth: Maps,
        prediction: Maps,
        classes: Classes = Classes(),
        trimap: int | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.numbers, self.classes = {_LABEL: classes}, {_LABEL: names}
        self._truth, self._prediction, self._trimap = truth, prediction, trimap
        there = set(prediction.names)
        self._names = [name for name in truth.names if name in there]

    @classmethod
    def of(
        cls,
        prediction: Path,
        truth: Path | Reader,
        classes: Classes,
        trimap: int | None = None,
        names: tuple[str, ...] = (),
    ) -> MapPairs:
        """The maps of a folder against those of another, or the first ones of a dataset.

        The dataset's classes are meant where no number of them is given.
        """
        if isinstance(truth, Path):
            return cls(Folder(truth), Folder(prediction), classes, trimap, names)
        top = truth.label_tops[0]
        names = names or tuple(truth.classes(top))
        numbers = Classes(classes.count or len(names) or None, classes.ignore)
        return cls(Truth(truth, top), Folder(prediction), numbers, trimap, names)

    def __len__(self) -> int:
        return len(self._names)

    def problems(self) -> list[Problem]:
        """Names without a partner."""
        return list(_unpaired(self._truth, self._prediction))

    def score(self, progress: Progress = _silent, workers: int | None = None) -> dict[str, Score]:
        """The scores of all, counted on all cores."""
        total = self.none()
        shares = spread(self.count, range(len(self)), workers=workers, progress=progress)
        for counted in shares:
            total += counted
        total.problems.sort(key=lambda problem: problem.path or "")
        return self.scores(total)

    def count(self, indices: Iterable[int], progress: Progress = _silent) -> Counted:
        """Maps that cannot be read, or do not fit, are problems."""
        counted, classes = self.none(), self.numbers[_LABEL]
        for index in indices:
            name, maps = self._names[index], (self._truth, self._prediction)
            true, found = (_read(each, name, counted.problems) for each in maps)
            if true is not None and found is not None:
                true = near_boundaries(true, self._trimap, classes.ignore)
                pairs, wrong = counted_pair(
                    classes, true, found, *(each.path(name) for each in maps)
                )
                counted += Counted({_LABEL: pairs}, wrong)
            progress()
        return counted


_LABEL = "label"


def score_maps(
    truth: Maps,
    prediction: Maps,
    classes: Classes = Classes(),
    *,
    trimap: int | None = None,
    workers: int | None = None,
    progress: Progress = _silent,
) -> Score:
    """The score of label maps against those of the same names, counted on all cores.

    Raises DataError, with every problem there is: names without a partner, sizes that differ, maps
    that cannot be read, numbers that are no classes.
    """
    return MapPairs(truth, prediction, classes, trimap).score(progress, workers)[_LABEL]


def cautions(score: Score, place: str | None = None) -> tuple[Problem, ...]:
    """A warning where a truth of one class makes every measure meaningless, and where none of its
    classes is predicted at all."""
    present = int((score.pixels > 0).sum())
    given, found = (np.flatnonzero(score.confusion.sum(axis=axis)) for axis in (1, 0))
    if present > 1 and not np.intersect1d(given, found).size:
        message = (
            f"none of the truth's classes ({some(given.tolist())}) is predicted, but"
            f" {some(found.tolist())}: are both numbered alike?"
        )
        return (Problem(message, place, severity=Severity.WARNING),)
    if present > 1:
        return ()
    message = f"the truth has {present} class{'es' * (not present)} that is not ignored"
    hint = "masks of 0 and 255 become classes by `fcnproto dataset convert`"
    return (Problem(f"{message}: {hint}", place, severity=Severity.WARNING),)


def _read(maps: Maps, name: str, problems: list[Problem]) -> Array | None:
    try:
        return maps.read(name)
    except FcnprotoError as error:
        problems += error.problems
        return None


def _unpaired(truth: Maps, prediction: Maps) -> Iterator[Problem]:
    for one, other in ((truth, prediction), (prediction, truth)):
        there = set(other.names)
        for name in one.names:
            if name not in there:
                yield Problem(
                    f"there is no '{name}' in {other.title} to go with it", one.path(name)
                )


def label_problems(
    reader: Reader, top: str, classes: int, *, progress: Progress = _silent
) -> list[Problem]:
    """What is wrong with a dataset's label maps for a net of so many classes; all are read.

    A problem names the file, and the classes in it that the net has not.
    """
    numbers = Classes(classes)
    truth = Truth(reader, top)

    def work(share: Iterator[str]) -> list[Problem]:
        problems: list[Problem] = []
        for name in share:
            labels = _read(truth, name, problems)
            if labels is not None:
                found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
                wrong = [value for value in found if value >= classes and value != IGNORE]
                problems += [_no_class(numbers, wrong, truth.path(name))] if wrong else []
        return problems

    found = [p for share in spread(work, truth.names, progress=progress) for p in share]
    return sorted(found, key=lambda problem: problem.path or "")


# Models -----------------------------------------------------------------------------------------


def score_model(
    runner: Runner,
    reader: Reader,
    *,
    trimap: int | None = None,
    progress: Progress = _silent,
) -> dict[str, Score]:
    """The score of a model on a dataset's split, for each of its label maps by the top's name.

    The next image is read while the model runs. Raises DataError if the dataset has no image of a
    kind that the model takes, or label maps with classes that the model has not: these are looked
    for before the model runs.
    """
    return ModelPairs(runner, reader, trimap).score(progress)


class ModelPairs(Pairs):
    """A dataset's label maps against those that a model makes of its images.

    Raises DataError if the dataset has no image of a kind that the model takes.
    """

    def __init__(
        self,
        runner: Runner,
        reader: Reader,
        trimap: int | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self._runner, self._reader, self._trimap = runner, reader, trimap
        self._tops = _image_tops(runner, reader)
        self._heads = _heads(runner, reader)
        self.numbers = {
            top: _numbers(runner, reader, top, head) for top, head in self._heads.items()
        }
        self.classes = {
            top: names or _names(runner, reader, top, head) for top, head in self._heads.items()
        }

    def __len__(self) -> int:
        return len(self._reader)

    def problems(self) -> list[Problem]:
        """None: what is wrong is found in pairs."""
        return []

    def label_problems(self) -> list[Problem]:
        """Label maps with classes that the model has not; all are read."""
        return [
            problem
            for top, classes in self.numbers.items()
            for problem in label_problems(self._reader, top, classes.count or MOST_CLASSES)
        ]

    def score(self, progress: Progress = _silent) -> dict[str, Score]:
        """The scores of all. Raises DataError before the model runs if label maps do not fit."""
        problems = self.label_problems()
        if problems:
            raise DataError(*problems)
        return self.scores(self.count(range(len(self)), progress))

    def count(self, indices: Iterable[int], progress: Progress = _silent) -> Counted:
        """The next image is read while the model runs."""
        counted = self.none()
        for index, pictures, truths in ahead(self._read, indices, workers=1, most=1):
            found = self._runner.label([pictures])
            name = f"{self._reader.names[index]}, as predicted"
            for top, truth in truths.items():
                labels, path = found[self._heads[top].blob][0], self._reader.place(top, index)
                truth = near_boundaries(truth, self._trimap, self.numbers[top].ignore)
                pairs, wrong = counted_pair(self.numbers[top], truth, labels, path, name)
                counted += Counted({top: pairs}, wrong)
            progress()
        return counted

    def _read(self, index: int) -> tuple[int, dict[str, Array], dict[str, Array]]:
        pictures = {blob: self._reader.picture(top, index) for blob, top in self._tops.items()}
        return index, pictures, {top: self._reader.label(top, index) for top in self._heads}


def _names(runner: Runner, reader: Reader, top: str, head: LabelMap) -> tuple[str, ...]:
    """What the classes are called: by the dataset, or else by the model."""
    return tuple(reader.classes(top) or runner.metadata.classes.get(head.blob, ()))


def _image_tops(runner: Runner, reader: Reader) -> dict[str, str]:
    """For each input of the model the dataset's top with its kind of image."""
    tops = {reader.images[top]: top for top in reader.tops if top in reader.images}
    wanted = {blob: runner.metadata.kind(blob) for blob in runner.inputs}
    missing = [
        Problem(f"input '{blob}' takes {kind} images, and the data have {', '.join(tops)}")
        for blob, kind in wanted.items()
        if kind not in tops
    ]
    if missing:
        raise DataError(*missing)
    return {blob: tops[kind] for blob, kind in wanted.items()}


def _heads(runner: Runner, reader: Reader) -> dict[str, LabelMap]:
    """For each label map of the dataset the model's that predicts it, by its head's suffix."""
    labels = {label.name: label for label in reader.spec.labels if label.name in reader.label_tops}
    heads: dict[str, LabelMap] = {}
    for top, label in labels.items():
        for each in runner.maps:
            if not label.suffix or each.blob.endswith(label.suffix):
                heads.setdefault(top, each)
    if not heads and len(runner.maps) == 1:
        heads = {next(iter(labels)): runner.maps[0]}
    if not heads:
        blobs = ", ".join(each.blob for each in runner.maps)
        raise DataError(f"the model gives {blobs}, and the data have {', '.join(labels)}")
    return heads


def _numbers(runner: Runner, reader: Reader, top: str, head: LabelMap) -> Classes:
    """As many classes as the model has; the names tell, if its shape does not."""
    names = runner.metadata.classes.get(head.blob) or reader.classes(top)
    return Classes(head.classes or len(names) or None)
