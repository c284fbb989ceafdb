"""Make class maps of label pictures: of colours, or of masks of 0 and 255."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from fcnproto import zoo
from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.folder import LEGEND, Entry, read_legend
from fcnproto.datasets.pictures import by_name, read_image, read_labels
from fcnproto.errors import DataError, FcnprotoError, Problem
from fcnproto.images import write_labels
from fcnproto.parallel import spread

Array = np.ndarray[Any, Any]
Colour = tuple[int, int, int]
Progress = Callable[[], object]

VOC = "voc"


class Rule(Enum):
    """How numbers are found for what a label picture shows."""

    LEGEND = f"the colours in {LEGEND}"
    VOC = "PASCAL VOC's colours"
    NEW = f"the colours found, in order; {LEGEND} has them: name the classes there"
    MASK = f"masks: {IGNORE} becomes class 1"
    NONE = "class maps already: copied"


@dataclass(frozen=True)
class Converted:
    """What was done: how numbers were found, the classes, and how many label maps there are."""

    rule: Rule
    classes: tuple[Entry, ...]
    labels: int


@dataclass(frozen=True)
class _Seen:
    """What there is in all label pictures: their colours, and, if all have numbers, these."""

    colours: frozenset[int]
    numbers: frozenset[int] | None


def convert(folder: Path, output: Path, *, progress: Progress = lambda: None) -> Converted:
    """Write the label maps of a folder as class maps into another, with the images and splits.

    The labels are in labels/ or in the folder itself. If one of them has colours, all are pictures:
    classes.txt says which colour is which class; without it they are PASCAL VOC's if all are, or
    are numbered in order, black first. Masks of 0 and 255 become classes 0 and 1.

    Raises DataError, before anything is written, for files that cannot be read, colours that are no
    class, and more colours than there can be classes.
    """
    whole = (folder / "labels").is_dir()
    labels = by_name(folder / "labels" if whole else folder, (".png",))
    _check_places(folder, output, labels)
    seen = _look(tuple(labels.values()), progress)
    legend = read_legend(folder / LEGEND)
    rule, numbers, classes = _numbered(seen, legend, folder)
    if rule is Rule.LEGEND:
        _check_colours(tuple(labels.values()), frozenset(numbers))
    palette = _palette(classes)
    target = output / "labels" if whole else output

    def work(share: Iterator[str]) -> None:
        for name in share:
            path = target / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, _class_map(labels[name], rule, numbers), palette)

    spread(work, tuple(labels), progress=progress)
    if whole:
        _copy_rest(folder, output)
    if classes and not legend:
        text = "".join(
            f"{entry.name} {' '.join(map(str, entry.colour or ()))}\n" for entry in classes
        )
        (output / LEGEND).write_text(text, "utf-8")
    return Converted(rule, classes, len(labels))


def _check_places(folder: Path, output: Path, labels: Mapping[str, Path]) -> None:
    if not labels:
        where = "it, nor in labels/" if folder.is_dir() else "a folder that is not there"
        raise DataError(Problem(f"there are no label pictures (.png) in {where}", str(folder)))
    if output.exists() and output.samefile(folder):
        raise DataError(Problem("the labels are here: choose another folder for -o", str(output)))


# Looking ----------------------------------------------------------------------------------------


def _look(paths: Sequence[Path], progress: Progress) -> _Seen:
    """All colours, and all numbers if every picture has numbers. Raises DataError."""

    def work(share: Iterator[Path]) -> tuple[set[int], set[int] | None, list[Problem]]:
        colours: set[int] = set()
        numbers: set[int] | None = set()
        problems: list[Problem] = []
        for path in share:
            try:
                colours.update(np.unique(_packed(read_image(path))).tolist())
                found = _numbers(path)
            except FcnprotoError as error:
                problems += error.problems
                continue
            numbers = None if found is None or numbers is None else numbers | found
        return colours, numbers, problems

    shares = spread(work, paths, progress=progress)
    problems = sorted((p for share in shares for p in share[2]), key=lambda p: p.path or "")
    if problems:
        raise DataError(*problems)
    numbers = [share[1] for share in shares]
    known = [each for each in numbers if each is not None]
    return _Seen(
        frozenset().union(*(share[0] for share in shares)),
        frozenset().union(*known) if len(known) == len(numbers) else None,
    )


def _numbers(path: Path) -> set[int] | None:
    """The numbers in a label map; None if it has colours instead."""
    try:
        return set(np.unique(read_labels(path)).tolist())
    except DataError:
        return None


def _packed(rgb: Array) -> Array:
    """Colours as one number each."""
    wide = rgb.astype(np.uint32)
    packed: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def _pack(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpack(packed: int) -> Colour:
    return packed >> 16, packed >> 8 & 255, packed & 255


# Numbering --------------------------------------------------------------------------------------


def _numbered(
    seen: _Seen, legend: Sequence[Entry], folder: Path
) -> tuple[Rule, dict[int, int], tuple[Entry, ...]]:
    """The rule that holds, the class of each colour, and the classes."""
    coloured = {_pack(each.colour): number for number, each in enumerate(legend) if each.colour}
    if seen.numbers is not None:
        if seen.numbers == {0, IGNORE} or seen.numbers == {IGNORE}:
            names = legend or (Entry("background", (0, 0, 0)), Entry("foreground", (128, 0, 0)))
            return Rule.MASK, {}, tuple(names)
        if not coloured or all(each < len(legend) for each in seen.numbers - {IGNORE}):
            return Rule.NONE, {}, tuple(legend)
    if coloured:
        return Rule.LEGEND, coloured, tuple(legend)
    voc = zoo.dataset(VOC)
    numbers = {_pack(voc.palette[number]): number for number in (*range(len(voc.classes)), IGNORE)}
    if seen.colours <= set(numbers):
        entries = (Entry(*pair) for pair in zip(voc.classes, voc.palette, strict=False))
        return Rule.VOC, numbers, tuple(entries)
    if len(seen.colours) > IGNORE:
        message = (
            f"there are {len(seen.colours)} colours, and {IGNORE} classes at most: smooth edges or"
            f" JPEG mix colours; list the classes' own in {LEGEND}, a line NAME R G B for each"
        )
        raise DataError(Problem(message, str(folder)))
    found = sorted(seen.colours)
    entries = (Entry(f"class{number}", _unpack(colour)) for number, colour in enumerate(found))
    return Rule.NEW, {colour: number for number, colour in enumerate(found)}, tuple(entries)


def _check_colours(paths: Sequence[Path], known: frozenset[int]) -> None:
    """DataError for each picture with colours that no class has."""

    def work(share: Iterator[Path]) -> list[Problem]:
        problems = []
        for path in share:
            packed, counts = np.unique(_packed(read_image(path)), return_counts=True)
            odd = [(int(count), int(each)) for each, count in zip(packed, counts, strict=True)]
            odd = sorted((each for each in odd if each[1] not in known), reverse=True)
            if odd:
                first = " ".join(map(str, _unpack(odd[0][1])))
                more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
                pixels = sum(count for count, _ in odd)
                message = (
                    f"has colour {first}{more} ({pixels} pixels), which {LEGEND} does not name"
                )
                problems.append(Problem(message, str(path)))
        return problems

    problems = [problem for share in spread(work, paths) for problem in share]
    if problems:
        raise DataError(*sorted(problems, key=lambda problem: problem.path or ""))


# Writing ----------------------------------------------------------------------------------------


def _class_map(path: Path, rule: Rule, numbers: Mapping[int, int]) -> Array:
    if rule is Rule.NONE:
        return read_labels(path)
    if rule is Rule.MASK:
        return (read_labels(path) == IGNORE).astype(np.uint8)
    keys = np.array(sorted(numbers), np.uint32)
    classes = np.array([numbers[key] for key in keys.tolist()], np.uint8)
    found: Array = classes[np.searchsorted(keys, _packed(read_image(path)))]
    return found


def _palette(classes: Sequence[Entry]) -> list[Colour]:
    """The classes' own colours, and PASCAL VOC's where they have none."""
    palette = list(zoo.voc_palette())
    for number, entry in enumerate(classes):
        palette[number] = entry.colour or palette[number]
    return palette


def _copy_rest(folder: Path, output: Path) -> None:
    """Images, splits, legend, and the labels that are arrays."""
    images = folder / "images"
    rest = [path for path in images.rglob("*") if path.is_file()] if images.is_dir() else []
    rest += (folder / "labels").rglob("*.npy")
    rest += folder.glob("*.txt")
    for path in rest:
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
