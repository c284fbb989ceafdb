"""How good label maps and models are: pairs of maps counted over a whole set, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fcnproto.datasets import IGNORE, Reader
from fcnproto.datasets.measures import MOST_CLASSES, Classes, Score
from fcnproto.datasets.pictures import LABELS, by_name, read_labels
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.parallel import spread
from fcnproto.types import Array
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
    pairs, problems = counted(numbers, truth, prediction, "truth", "prediction")
    if problems:
        raise DataError(*problems)
    return numbers.score(pairs).confusion


def counted(
    classes: Classes, truth: Array, prediction: Array, truth_path: str, prediction_path: str
) -> tuple[Array, list[Problem]]:
    """The pairs of two maps, and what is wrong with them; none are counted then.

    The paths are what problems name.
    """
    if truth.shape != prediction.shape:
        message = f"is {_by(prediction)}, and the truth {truth_path} is {_by(truth)}"
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


def _by(array: Array) -> str:
    return "×".join(map(str, array.shape))


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


# Sets of label maps -----------------------------------------------------------------------------


class Maps(Protocol):
    """Label maps by name."""

    title: str

    @property
    def names(self) -> Sequence[str]:
        """What they are called, in order."""
        ...

    def path(self, name: str) -> str:
        """The file that holds one."""
        ...

    def read(self, name: str) -> Array:
        """One of them, H×W; DataError if it cannot be read."""
        ...


class Folder:
    """The label maps in a folder and below it, PNG or .npy."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError if there are none, or two of one name."""
        self.title = str(folder)
        if not folder.is_dir():
            raise DataError(Problem("there is no such folder", str(folder)))
        self._files = by_name(folder, LABELS)
        if not self._files:
            raise DataError(Problem("there are no label maps, .png or .npy", str(folder)))
        self.names: Sequence[str] = tuple(self._files)

    def path(self, name: str) -> str:
        """The file."""
        return str(self._files[name])

    def read(self, name: str) -> Array:
        """The numbers in it."""
        return read_labels(self._files[name])


class Truth:
    """The label maps of a dataset's split, as a net learns them."""

    def __init__(self, reader: Reader, top: str) -> None:
        self.title = f"split '{reader.split}'"
        self.names: Sequence[str] = reader.names
        self._reader, self._top = reader, top
        self._numbers = {name: number for number, name in enumerate(reader.names)}

    def path(self, name: str) -> str:
        """The file."""
        return self._reader.place(self._top, self._numbers[name])

    def read(self, name: str) -> Array:
        """Its classes from 0."""
        return self._reader.label(self._top, self._numbers[name])


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
    problems = list(_unpaired(truth, prediction))
    names = [name for name in truth.names if name in set(prediction.names)]

    def work(share: Iterator[str]) -> tuple[Array, list[Problem]]:
        total = classes.empty()
        wrong: list[Problem] = []
        for name in share:
            maps = [_read(each, name, wrong) for each in (truth, prediction)]
            if maps[0] is not None and maps[1] is not None:
                paths = truth.path(name), prediction.path(name)
                true = near_boundaries(maps[0], trimap, classes.ignore)
                pairs, found = counted(classes, true, maps[1], *paths)
                total += pairs
                wrong += found
        return total, wrong

    results = spread(work, names, workers=workers, progress=progress)
    problems += sorted((p for _, found in results for p in found), key=lambda p: p.path or "")
    if problems:
        raise DataError(*problems)
    return classes.score(sum((total for total, _ in results), classes.empty()))


def score_folder(
    prediction: Path,
    truth: Path | Reader,
    classes: Classes = Classes(),
    *,
    trimap: int | None = None,
    progress: Callable[[int], Progress] = lambda _total: _silent,
) -> Score:
    """The score of the label maps in a folder against those of another, or of a dataset.

    A dataset's first label map is meant, and its classes are those where no number of them is
    given. Raises DataError as `score_maps` does. `progress` is told how many pairs there are, and
    gives what is called after each.
    """
    names: tuple[str, ...] = ()
    if isinstance(truth, Path):
        true: Maps = Folder(truth)
    else:
        top = truth.label_tops[0]
        names = tuple(truth.classes(top))
        true = Truth(truth, top)
    numbers = Classes(classes.count or len(names) or None, classes.ignore)
    advance = progress(len(true.names))
    found = score_maps(true, Folder(prediction), numbers, trimap=trimap, progress=advance)
    return replace(found, classes=names)


def cautions(score: Score, place: str | None = None) -> tuple[Problem, ...]:
    """A warning where a truth of one class makes every measure meaningless."""
    present = int((score.pixels > 0).sum())
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
    tops = _image_tops(runner, reader)
    heads = _heads(runner, reader)
    numbers = {top: _numbers(runner, reader, top, head) for top, head in heads.items()}
    problems = [
        problem
        for top, classes in numbers.items()
        for problem in label_problems(reader, top, classes.count or MOST_CLASSES)
    ]
    if problems:
        raise DataError(*problems)
    totals = {top: classes.empty() for top, classes in numbers.items()}

    def read(index: int) -> tuple[dict[str, Array], dict[str, Array]]:
        pictures = {blob: reader.picture(top, index) for blob, top in tops.items()}
        return pictures, {top: reader.label(top, index) for top in heads}

    with ThreadPoolExecutor(1) as executor:
        ahead = executor.submit(read, 0)
        for index, name in enumerate(reader.names):
            pictures, truths = ahead.result()
            if index + 1 < len(reader):
                ahead = executor.submit(read, index + 1)
            found = runner.label([pictures])
            for top, truth in truths.items():
                labels, path = found[heads[top].blob][0], reader.place(top, index)
                truth = near_boundaries(truth, trimap, numbers[top].ignore)
                pairs, wrong = counted(numbers[top], truth, labels, path, f"{name}, as predicted")
                problems += wrong
                totals[top] += pairs
            progress()
    if problems:
        raise DataError(*problems)
    return {
        top: replace(numbers[top].score(total), classes=_names(runner, reader, top, heads[top]))
        for top, total in totals.items()
    }


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
