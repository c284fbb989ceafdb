"""What is wrong with a folder of images and label maps, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.blends import soft_edges
from fcnproto.datasets.folder import Layout, no_layout
from fcnproto.datasets.labelled import LabelledSet, labelled_sets
from fcnproto.datasets.pictures import (
    CONVERT,
    read_stored,
)
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.parallel import spread
from fcnproto.types import Array, Colour
from fcnproto.words import some
from fcnproto.zoo.legend import LEGEND, ClassesLike

Progress = Callable[[], object]


@dataclass(frozen=True)
class Report:
    """What was found: problems, and for each label map that could be read its pixels by label."""

    problems: tuple[Problem, ...]
    labels: int
    """How many label maps there are."""
    maps: Mapping[str, Array]
    """The pixels of each label 0 … 255 in a label map, by its name."""
    names: tuple[str, ...] = ()
    """The classes' names, if they are known."""
    unread: tuple[Problem, ...] = ()
    """Those of the problems for which a label map is not among `maps`."""
    looks: Mapping[Path, _Look] = field(default_factory=dict, repr=False)
    """What was seen of each label map."""

    @property
    def pixels(self) -> Array:
        """The pixels of each label in all of them."""
        return sum(self.maps.values(), np.zeros(IGNORE + 1, np.int64))

    @property
    def used(self) -> list[int]:
        """The labels that occur."""
        return [int(label) for label in np.flatnonzero(self.pixels)]


def check(
    folder: Path,
    classes: ClassesLike | None = None,
    *,
    lists: Path | None = None,
    seen: Report | None = None,
    progress: Progress = lambda: None,
) -> Report:
    """Read every label map in a folder and say what is wrong with them.

    The folder is a dataset that `find` knows, one with images and label maps, or holds nothing but
    label maps. `classes` are those where the folder does not say it; `lists` is the folder
    of the splits where they do not lie in the data's own. Label maps that an earlier report has
    `seen` are not read again. Raises DataError if there is nothing to check.
    """
    problems: list[Problem] = []
    maps: dict[str, Array] = {}
    count = 0
    unread: list[Problem] = []
    names: tuple[str, ...] = ()
    looks = {} if seen is None else dict(seen.looks)
    for pairs in labelled_sets(folder, classes, lists, problems):
        found = _check_pairs(pairs, looks, progress)
        problems += found.problems
        maps |= found.maps
        count += found.labels
        unread += found.unread
        names = names or pairs.names
        looks |= found.looks
    return Report(tuple(problems), count, maps, names, tuple(unread), looks)


def check_folder(
    folder: Path,
    classes: ClassesLike | None = None,
    *,
    lists: Path | None = None,
    seen: Report | None = None,
) -> list[Problem]:
    """All that is wrong with a plain folder before it is trained on, errors and warnings.

    As `check`, but for a folder that is no data at all there is a problem, too, and no error.
    """
    if Layout.of(folder) is None:
        return [no_layout(folder)]
    try:
        return list(check(folder, classes, lists=lists, seen=seen).problems)
    except DataError as error:
        return list(error.problems)


# What is wrong with it --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """One label map: how many pixels each label has; its problem, if it cannot be counted."""

    name: str
    path: Path
    pixels: Array | None
    problems: tuple[Problem, ...]
    palette: tuple[Colour, ...] = ()
    is_soft: bool = False
    """Whether smooth edges have put numbers into it that are no classes."""


def _check_pairs(pairs: LabelledSet, looks: Mapping[Path, _Look], progress: Progress) -> Report:
    def work(share: Iterator[str]) -> list[_Look]:
        return [looks.get(pairs.labels[name]) or _looked_at(pairs, name) for name in share]

    shares = spread(work, tuple(pairs.labels), progress=progress)
    labels = sorted((each for share in shares for each in share), key=lambda each: each.path)
    problems = [problem for each in labels for problem in each.problems]
    counted = [(each.path, each.pixels) for each in labels if each.pixels is not None]
    maps = {each.name: each.pixels for each in labels if each.pixels is not None}
    total = sum((pixels for _, pixels in counted), np.zeros(IGNORE + 1, np.int64))
    used = set(np.flatnonzero(total).tolist())
    if used <= {0, IGNORE} and IGNORE in used and 0 in used:
        problems += _masks(counted)
    elif counted:
        problems += _ranges(counted, pairs.classes)
        if not any(each.is_soft for each in labels):
            problems += _never(used, pairs)
        problems += _little(counted, used - {IGNORE}, pairs)
        problems += _val_alone(maps, pairs)
    if pairs.plain:
        problems += _palettes(labels)
    unread = (problem for each in labels if each.pixels is None for problem in each.problems)
    looks = {each.path: each for each in labels}
    return Report(tuple(problems), len(labels), maps, pairs.names, tuple(unread), looks)


def _looked_at(pairs: LabelledSet, name: str) -> _Look:
    path = pairs.labels[name]
    try:
        picture = pairs.read(path)
        labels = picture.labels
        problems = list(_size_problems(pairs, name, labels))
    except FcnprotoError as error:
        return _Look(name, path, None, error.problems)
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > IGNORE:
        message = f"holds {low if low < 0 else high}: labels are 0 to {IGNORE}; {_number(labels)}"
        return _Look(name, path, None, (*problems, Problem(message, str(path))))
    pixels = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    soft = soft_edges(labels, pixels)
    if soft is not None:
        message = f"{soft}{_NEAREST if pairs.plain else ''}"
        problems.append(Problem(message, str(path), severity=Severity.WARNING))
    return _Look(name, path, pixels, tuple(problems), picture.palette, soft is not None)


_NEAREST = "; `fcnproto dataset convert --nearest` gives each to the nearest class beside it"


WIDE = 257
"""What a number of 8 bits is multiplied with to be one of 16, so that 255 becomes 65535."""


def _number(labels: Array) -> str:
    """How a label map with numbers that are no bytes is mended."""
    if labels.min() >= 0 and not (labels % WIDE).any():
        return f"its numbers of 16 bits are {WIDE} times those of 8: {CONVERT}"
    return "number the classes from 0"


def _size_problems(pairs: LabelledSet, name: str, labels: Array) -> Iterator[Problem]:
    image = (pairs.images or {}).get(name)
    if image is None:
        return
    try:
        # A file that was cut off says so here, and not while a net is trained.
        stored = read_stored(image, whole=True)
    except DataError as error:
        yield from error.problems
        return
    path = str(pairs.labels[name])
    # The published layers feed the pixels as they are stored.
    size, turn = (stored.upright, stored.turn) if pairs.plain else (stored.size, 1)
    if size == labels.shape:
        if turn != 1 and size == stored.size:
            message = (
                f"its image {image.name} is turned upright, as its Exif says (orientation {turn}):"
                " the label map must be drawn over the upright image"
            )
            yield Problem(message, path, severity=Severity.WARNING)
        return
    rows, columns = labels.shape
    hint = "scale the label map with nearest neighbours, so that no classes mix"
    if size == (columns, rows):
        hint = "turn the image's pixels as its Exif says, or the label map with them"
    if pairs.plain:
        hint += ": `fcnproto dataset convert --resize`"
    message = f"is {rows}×{columns}, and its image {image.name} is {size[0]}×{size[1]}: {hint}"
    yield Problem(message, path)


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
            known = f"are {classes} classes, 0 to {classes - 1}"
            if classes == 1:
                known = "is one class, 0"
            message = (
                f"holds {_some(wrong)} ({int(pixels[wrong].sum())} pixels), and there {known}, and"
                f" {IGNORE}, which is ignored; number the classes from 0, or list their colours in"
                f" {LEGEND}, one in each line: {CONVERT}"
            )
            yield Problem(message, str(path))


def _never(used: set[int], pairs: LabelledSet) -> Iterator[Problem]:
    """A warning for classes without a pixel: nothing can be learned of them, or measured."""
    count = pairs.classes or max(used - {IGNORE}, default=-1) + 1
    absent = [label for label in range(count) if label not in used]
    if not absent or not used - {IGNORE}:
        return
    hint = ""
    if pairs.classes is None and len(absent) > count / 2:
        hint = f"; if these are grey levels, list them in {LEGEND} as NAME R G B: {CONVERT}"
    one = "class" if len(absent) == 1 else "classes"
    verb = "occurs" if len(absent) == 1 else "occur"
    message = f"{one} {_titled(absent, pairs)} never {verb}{hint}"
    yield Problem(message, _place(pairs), severity=Severity.WARNING)


def _little(
    counted: Sequence[tuple[Path, Array]], used: set[int], pairs: LabelledSet
) -> Iterator[Problem]:
    """Label maps in which there is nothing to learn: one class in all of them, or none in one."""
    # Without images they may be anyone's predictions, which are wrong in other ways.
    severity = Severity.ERROR if pairs.images is not None else Severity.WARNING
    if not used:
        message = f"every pixel of every label map is {IGNORE}, which is ignored"
        yield Problem(message, _place(pairs), severity=severity)
        return
    if len(used) == 1:
        message = f"there is one class only, {_titled(sorted(used), pairs)}: nothing to tell apart"
        yield Problem(message, _place(pairs), severity=severity)
    for path, pixels in counted:
        if not pixels[:IGNORE].any():
            message = f"all of it is {IGNORE}, which is ignored: it teaches and measures nothing"
            yield Problem(message, str(path), severity=Severity.WARNING)


def _val_alone(maps: Mapping[str, Array], pairs: LabelledSet) -> Iterator[Problem]:
    """Classes of val that train does not have, where all of train could be read."""
    if not {"train", "val"} <= pairs.splits.keys() or not pairs.splits["train"] <= maps.keys():
        return
    train, val = (
        sum((maps[name] for name in pairs.splits[split] if name in maps), np.zeros(IGNORE + 1, int))
        for split in ("train", "val")
    )
    alone = [int(label) for label in np.flatnonzero((train == 0) & (val > 0)) if label != IGNORE]
    if alone:
        one = "class" if len(alone) == 1 else "classes"
        message = (
            f"{one} {_titled(alone, pairs)} in val alone: what train does not show is not learned;"
            " `fcnproto dataset split` shares them out"
        )
        yield Problem(message, _place(pairs), severity=Severity.WARNING)


def _palettes(labels: Sequence[_Look]) -> Iterator[Problem]:
    """Palettes in which a label has another colour from file to file: then colours are meant."""
    first: dict[int, tuple[Colour, Path]] = {}
    for each in labels:
        if each.pixels is None:
            continue
        for label in np.flatnonzero(each.pixels[: len(each.palette)]).tolist():
            colour, path = first.setdefault(label, (each.palette[label], each.path))
            if colour != each.palette[label]:
                here, there = (" ".join(map(str, each)) for each in (each.palette[label], colour))
                message = (
                    f"its palette is not that of {path.name}: {label} is {here} here and {there}"
                    " there; if the colours are the classes, `fcnproto dataset convert` numbers"
                    " them alike"
                )
                yield Problem(message, str(each.path), severity=Severity.WARNING)
                return


def _place(pairs: LabelledSet) -> str | None:
    parents = {path.parent for path in pairs.labels.values()}
    return str(min(parents)) if parents else None


def _titled(labels: Sequence[int], pairs: LabelledSet) -> str:
    return _some(labels, {label: f"{label} ({name})" for label, name in enumerate(pairs.names)})


def _some(labels: Sequence[int], titles: Mapping[int, str] = {}) -> str:
    return some([titles.get(label, str(label)) for label in labels], 8)
