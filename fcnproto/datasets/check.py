"""What is wrong with a folder of images and label maps, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcnproto.datasets.base import IGNORE, FileReader, located
from fcnproto.datasets.folder import LEGEND, FolderSegDataLayer, class_names
from fcnproto.datasets.lists import read_lines
from fcnproto.datasets.pictures import (
    CONVERT,
    IMAGES,
    LABELS,
    by_name,
    read_labels,
    read_size,
)
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.parallel import spread
from fcnproto.types import Array

SPLITS = ("train", "val", "trainval", "test")
"""What split files are usually called."""


@dataclass(frozen=True)
class Pairs:
    """Label maps with the images that they belong to, where there are images."""

    images: Mapping[str, Path] | None
    labels: Mapping[str, Path]
    read: Callable[[Path], Array]
    classes: int | None
    """How many there are, if that is known."""
    names: tuple[str, ...] = ()
    """What they are called, if that is known."""


@dataclass(frozen=True)
class Report:
    """What was found: problems, how many label maps, and the pixels of each label 0 … 255."""

    problems: tuple[Problem, ...]
    labels: int
    pixels: Array

    @property
    def used(self) -> list[int]:
        """The labels that occur."""
        return [int(label) for label in np.flatnonzero(self.pixels)]


def check(
    folder: Path, classes: int | None = None, *, progress: Callable[[], object] = lambda: None
) -> Report:
    """Read every label map in a folder and say what is wrong with them.

    The folder is a dataset that `find` knows, one with images/ and labels/, or holds nothing but
    label maps. `classes` is their number where the folder does not say it. Raises DataError if
    there is nothing to check.
    """
    problems: list[Problem] = []
    total, count = np.zeros(IGNORE + 1, np.int64), 0
    for pairs in _pairs(folder, classes, problems):
        found = _check_pairs(pairs, progress)
        problems += found.problems
        total += found.pixels
        count += found.labels
    return Report(tuple(problems), count, total)


# What there is to check -------------------------------------------------------------------------


def _pairs(folder: Path, classes: int | None, problems: list[Problem]) -> Iterator[Pairs]:
    """The pairs in a folder, of each of its label maps; problems that keep one from being read."""
    found = located(folder)
    if found is None:
        labels = by_name(folder, LABELS)
        if not labels:
            message = "there are no label maps: expected images/ and labels/, or .png or .npy files"
            raise DataError(Problem(message, str(folder)))
        yield Pairs(None, labels, read_labels, *_known(folder, classes))
        return
    kind, directories = found
    if kind is FolderSegDataLayer:
        yield _plain(folder, classes, problems)
    else:
        yield from _published(kind, directories, problems)


def _published(
    kind: type[FileReader], directories: Mapping[str, str], problems: list[Problem]
) -> Iterator[Pairs]:
    for split in kind.splits:
        settings = {**directories, **kind.found_settings(directories), "split": split}
        try:
            reader = kind(settings)
        except DataError as error:
            problems += error.problems
            continue
        for top in reader.label_tops:
            yield _of_reader(reader, top)


def _of_reader(reader: FileReader, top: str) -> Pairs:
    first = next(each for each in reader.tops if each in reader.images)
    names = reader.classes(top)
    return Pairs(
        {name: reader.file(first, name) for name in reader.names},
        {name: reader.file(top, name) for name in reader.names},
        lambda path: reader.read_label(top, path),
        len(names),
        names,
    )


def _plain(folder: Path, classes: int | None, problems: list[Problem]) -> Pairs:
    images = by_name(folder / "images", IMAGES)
    labels = by_name(folder / "labels", LABELS)
    for one, other, missing in ((images, labels, "label map"), (labels, images, "image")):
        problems += [
            Problem(f"there is no {missing} of the name '{name}' to go with it", str(path))
            for name, path in one.items()
            if name not in other
        ]
    problems += _split_problems(folder, images)
    return Pairs(images, labels, read_labels, *_known(folder, classes))


def _known(folder: Path, classes: int | None) -> tuple[int | None, tuple[str, ...]]:
    names = class_names(folder / LEGEND)
    if classes and names and classes != len(names):
        message = f"names {len(names)} classes, and --classes says {classes}"
        raise DataError(Problem(message, str(folder / LEGEND)))
    return classes or len(names) or None, names


def _split_problems(folder: Path, images: Mapping[str, Path]) -> Iterator[Problem]:
    splits = 0
    for path in sorted(folder.glob("*.txt")):
        lines = [Path(line) for line in read_lines(path)] if path.name != LEGEND else []
        names = [
            (line.with_suffix("") if line.suffix.lower() in IMAGES else line).as_posix()
            for line in lines
        ]
        # Any other text may lie here too; a split names at least one image.
        if path.stem not in SPLITS and not set(names) & set(images):
            continue
        splits += 1
        for number, name in enumerate(names, 1):
            if name not in images and name != ".":
                yield Problem(f"there is no image '{name}'", str(path), number)
    if not splits:
        message = "there is no split: train.txt and val.txt name images, one in each line"
        yield Problem(message, str(folder), severity=Severity.WARNING)


# What is wrong with it --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Label:
    """One label map: how many pixels each label has; its problem, if it cannot be counted."""

    path: Path
    pixels: Array | None
    problems: tuple[Problem, ...]


def _check_pairs(pairs: Pairs, progress: Callable[[], object]) -> Report:
    def work(share: Iterator[str]) -> list[_Label]:
        return [_looked_at(pairs, name) for name in share]

    shares = spread(work, tuple(pairs.labels), progress=progress)
    labels = sorted((each for share in shares for each in share), key=lambda each: each.path)
    problems = [problem for each in labels for problem in each.problems]
    counted = [(each.path, each.pixels) for each in labels if each.pixels is not None]
    total = sum((pixels for _, pixels in counted), np.zeros(IGNORE + 1, np.int64))
    used = set(np.flatnonzero(total).tolist())
    if used <= {0, IGNORE} and IGNORE in used:
        problems += _masks(counted)
    else:
        problems += _ranges(counted, pairs.classes)
        problems += _never(used, pairs)
    return Report(tuple(problems), len(labels), total)


def _looked_at(pairs: Pairs, name: str) -> _Label:
    path = pairs.labels[name]
    try:
        labels = pairs.read(path)
        problems = list(_size_problems(pairs, name, labels))
    except FcnprotoError as error:
        return _Label(path, None, error.problems)
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > IGNORE:
        message = f"holds {low if low < 0 else high}: labels are 0 to {IGNORE}; number the classes"
        return _Label(path, None, (*problems, Problem(f"{message} from 0", str(path))))
    return _Label(path, np.bincount(labels.ravel(), minlength=IGNORE + 1), tuple(problems))


def _size_problems(pairs: Pairs, name: str, labels: Array) -> Iterator[Problem]:
    image = (pairs.images or {}).get(name)
    if image is None:
        return
    try:
        size = read_size(image)
    except DataError as error:
        yield from error.problems
        return
    if size != labels.shape:
        rows, columns = labels.shape
        hint = "scale the label map with nearest neighbours, so that no classes mix"
        if size == (columns, rows):
            hint = "turn the image's pixels as its Exif says, or the label map with them"
        message = f"is {rows}×{columns}, and its image {image.name} is {size[0]}×{size[1]}: {hint}"
        yield Problem(message, str(pairs.labels[name]))


def _masks(counted: Sequence[tuple[Path, Array]]) -> Iterator[Problem]:
    for path, pixels in counted:
        if pixels[IGNORE]:
            message = (
                f"is a mask of 0 and {IGNORE}, but {IGNORE} is ignored, so that nothing but class 0"
                f" would be learned; `fcnproto dataset convert` makes {IGNORE} class 1"
            )
            yield Problem(message, str(path))


def _ranges(counted: Sequence[tuple[Path, Array]], classes: int | None) -> Iterator[Problem]:
    if classes is None:
        return
    for path, pixels in counted:
        wrong = [int(label) for label in np.flatnonzero(pixels[:IGNORE]) if label >= classes]
        if wrong:
            message = (
                f"holds {_listed(wrong)} ({int(pixels[wrong].sum())} pixels), and there are"
                f" {classes} classes, 0 to {classes - 1}, and {IGNORE}, which is ignored; number"
                f" the classes from 0, or list their colours in {LEGEND}: {CONVERT}"
            )
            yield Problem(message, str(path))


def _never(used: set[int], pairs: Pairs) -> Iterator[Problem]:
    """A warning for classes without a pixel: nothing can be learned of them, or measured."""
    count = pairs.classes or max(used - {IGNORE}, default=-1) + 1
    absent = [label for label in range(count) if label not in used]
    if not absent:
        return
    names = dict(enumerate(pairs.names))
    shown = _listed(absent, {label: f"{label} ({name})" for label, name in names.items()})
    hint = ""
    if pairs.classes is None and len(absent) > count / 2:
        hint = f"; if these are grey levels, list them in {LEGEND} as NAME R G B: {CONVERT}"
    parents = {path.parent for path in pairs.labels.values()}
    place = str(min(parents)) if parents else None
    one = "class" if len(absent) == 1 else "classes"
    verb = "occurs" if len(absent) == 1 else "occur"
    message = f"{one} {shown} never {verb}{hint}"
    yield Problem(message, place, severity=Severity.WARNING)


def _listed(labels: Sequence[int], titles: Mapping[int, str] = {}) -> str:
    shown = ", ".join(titles.get(label, str(label)) for label in labels[:8])
    return shown if len(labels) <= 8 else f"{shown} and {len(labels) - 8} more"
