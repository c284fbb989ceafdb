"""Make class maps of label pictures: of colours, or of masks of 0 and 255."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.legend import LEGEND, VOID, Entry, Legend, read_legend
from fcnproto.datasets.pictures import INDEXED, by_name, read_image, read_labels, read_mode
from fcnproto.errors import DataError, FcnprotoError, Problem
from fcnproto.files import replacing
from fcnproto.parallel import spread
from fcnproto.runtime.images import write_labels
from fcnproto.types import Array
from fcnproto.zoo import specs

Colour = tuple[int, int, int]
Progress = Callable[[], object]

VOC = "voc"


class Rule(Enum):
    """How numbers are found for what a label picture shows."""

    GIVEN = f"by the colours in {LEGEND}"
    VOC = "by PASCAL VOC's colours"
    NEW = f"colours numbered in order, black first; name them in {LEGEND}"
    MASK = f"masks, {IGNORE} becomes class 1"
    NONE = "class maps already, copied"


@dataclass(frozen=True)
class Converted:
    """What was done: how numbers were found, the legend, and how many label maps there are."""

    rule: Rule
    legend: tuple[Entry, ...]
    labels: int


@dataclass
class _Seen:
    """What there is in label pictures."""

    colours: set[int] = field(default_factory=set)
    """All, or too many to be classes."""
    numbers: set[int] = field(default_factory=set)
    """Those in pictures that have numbers."""
    coloured: set[Path] = field(default_factory=set)
    """A picture that has colours, not numbers."""
    numbered: set[Path] = field(default_factory=set)
    """One in grey, with numbers that are classes or grey levels; who knows."""
    problems: list[Problem] = field(default_factory=list)

    def look_at(self, path: Path) -> None:
        """Add what is in a picture. Raises DataError."""
        mode = read_mode(path)
        if len(self.colours) <= IGNORE:
            self.colours.update(np.unique(_packed(path)).tolist())
        if mode not in INDEXED:
            self.coloured = self.coloured or {path}
            return
        numbers = set(np.unique(read_labels(path)).tolist())
        self.numbers |= numbers
        if mode != "P" and numbers - {0, IGNORE}:
            self.numbered = self.numbered or {path}

    def add(self, other: _Seen) -> None:
        """Add what is in others."""
        self.colours |= other.colours
        self.numbers |= other.numbers
        self.coloured |= other.coloured
        self.numbered |= other.numbered
        self.problems += other.problems


@dataclass(frozen=True)
class _Numbering:
    """The rule that holds, the number of each colour, and the legend that goes with it."""

    rule: Rule
    numbers: Mapping[int, int]
    legend: tuple[Entry, ...]

    @classmethod
    def of_legend(cls, rule: Rule, legend: Sequence[Entry]) -> _Numbering:
        """Classes count from 0; void's colour is the ignored label."""
        classes = [entry for entry in legend if entry.name != VOID]
        numbers = {_pack(each.colour): number for number, each in enumerate(classes) if each.colour}
        void = {_pack(each.colour): IGNORE for each in legend if each.colour and each.name == VOID}
        return cls(rule, {**numbers, **void}, tuple(legend))

    def apply(self, path: Path) -> Array:
        """The class map of a label picture."""
        if self.rule is Rule.NONE:
            return read_labels(path)
        if self.rule is Rule.MASK:
            mask: Array = np.not_equal(read_labels(path), 0)
            return mask.astype(np.uint8)
        colours = np.array(sorted(self.numbers), np.uint32)
        classes = np.array([self.numbers[colour] for colour in colours.tolist()], np.uint8)
        found: Array = classes[np.searchsorted(colours, _packed(path))]
        return found

    def palette(self) -> list[Colour]:
        """The legend's colours, and PASCAL VOC's where it has none."""
        palette = list(specs.voc_palette())
        for number, entry in enumerate(each for each in self.legend if each.name != VOID):
            palette[number] = entry.colour or palette[number]
        return palette


def convert(folder: Path, output: Path, *, progress: Progress = lambda: None) -> Converted:
    """Write the label maps of a folder as class maps into another, with the images and splits.

    The labels are in labels/ or in the folder itself. If one of them has colours, all are pictures:
    classes.txt says which colour is which class; without it they are PASCAL VOC's if all are, or
    are numbered in order, black first. Masks of 0 and 255 become classes 0 and 1.

    Raises DataError, before anything is written, for files that cannot be read, colours that are no
    class, and more colours than there can be classes.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", str(folder)))
    whole = (folder / "labels").is_dir()
    place = folder / "labels" if whole else folder
    if output.resolve().is_relative_to(place.resolve()) or output.resolve() == folder.resolve():
        raise DataError(Problem("the labels are here: choose another folder for -o", str(output)))
    labels = by_name(place, (".png",))
    if not labels:
        raise DataError(Problem("there are no label pictures, .png", str(place)))
    paths = tuple(labels.values())
    numbering = _number(_look(paths, progress), read_legend(folder / LEGEND), folder)
    if numbering.rule is Rule.GIVEN:
        _check_colours(paths, frozenset(numbering.numbers))
    target, palette = output / "labels" if whole else output, numbering.palette()

    def work(share: Iterator[str]) -> None:
        for name in share:
            path = target / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, numbering.apply(labels[name]), palette)

    spread(work, tuple(labels), progress=progress)
    if whole:
        _copy_rest(folder, output)
    _write_legend(output / LEGEND, numbering.legend)
    return Converted(numbering.rule, numbering.legend, len(labels))


# Looking ----------------------------------------------------------------------------------------


def _look(paths: Sequence[Path], progress: Progress) -> _Seen:
    """What there is in all pictures. Raises DataError for those that cannot be read."""

    def work(share: Iterator[Path]) -> _Seen:
        seen = _Seen()
        for path in share:
            try:
                seen.look_at(path)
            except FcnprotoError as error:
                seen.problems += error.problems
        return seen

    whole = _Seen()
    for seen in spread(work, paths, progress=progress):
        whole.add(seen)
    if whole.problems:
        raise DataError(*sorted(whole.problems, key=lambda problem: problem.path or ""))
    return whole


def _packed(path: Path) -> Array:
    """A picture's colours as one number each."""
    wide = read_image(path).astype(np.uint32)
    packed: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def _pack(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _unpack(packed: int) -> Colour:
    return packed >> 16, packed >> 8 & 255, packed & 255


# Numbering --------------------------------------------------------------------------------------


def _number(seen: _Seen, legend: tuple[Entry, ...], folder: Path) -> _Numbering:
    """How what was seen is numbered; DataError if there are more colours than classes."""
    given = _Numbering.of_legend(Rule.GIVEN, legend)
    if not seen.coloured:
        if seen.numbers <= {0, IGNORE} and IGNORE in seen.numbers:
            mask = (Entry("background", (0, 0, 0)), Entry("foreground", (128, 0, 0)))
            return _Numbering(Rule.MASK, {}, legend or mask)
        classes = range(sum(entry.name != VOID for entry in legend))
        if not given.numbers or all(each in classes for each in seen.numbers - {IGNORE}):
            return _Numbering(Rule.NONE, {}, legend)
    if given.numbers:
        return given
    if seen.numbered:
        message = (
            f"has grey levels or classes, and {min(seen.coloured).name} has colours: convert them"
            f" apart, or list all colours in {LEGEND}, a line NAME R G B for each class"
        )
        raise DataError(Problem(message, str(min(seen.numbered))))
    voc = specs.dataset(VOC)
    entries = [Entry(*pair) for pair in zip(voc.classes, voc.palette, strict=False)]
    published = _Numbering.of_legend(Rule.VOC, [*entries, Entry(VOID, voc.palette[IGNORE])])
    if seen.colours <= set(published.numbers):
        return published
    if len(seen.colours) > IGNORE:
        message = (
            f"there are over {IGNORE} colours, more than there can be classes: smooth edges or"
            f" JPEG mix colours; list the classes' own in {LEGEND}, a line NAME R G B for each"
        )
        raise DataError(Problem(message, str(folder)))
    colours = map(_unpack, sorted(seen.colours))
    entries = [Entry(f"class{number}", colour) for number, colour in enumerate(colours)]
    return _Numbering.of_legend(Rule.NEW, entries)


def _check_colours(paths: Sequence[Path], known: frozenset[int]) -> None:
    """DataError with each picture that has colours of no class."""

    def work(share: Iterator[Path]) -> list[Problem]:
        problems = []
        for path in share:
            colours, counts = np.unique(_packed(path), return_counts=True)
            pairs = zip(counts.tolist(), colours.tolist(), strict=True)
            odd = sorted((pair for pair in pairs if pair[1] not in known), reverse=True)
            if odd:
                first = " ".join(map(str, _unpack(odd[0][1])))
                more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
                pixels = sum(count for count, _ in odd)
                has = f"has the colour {first}{more} ({pixels} pixels)"
                problems.append(Problem(f"{has}, which {LEGEND} does not name", str(path)))
        return problems

    problems = [problem for share in spread(work, paths) for problem in share]
    if problems:
        raise DataError(*sorted(problems, key=lambda problem: problem.path or ""))


# Writing ----------------------------------------------------------------------------------------


def _write_legend(path: Path, legend: Sequence[Entry]) -> None:
    if not legend:
        return
    lines = (" ".join((entry.name, *map(str, entry.colour or ()))) for entry in legend)
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _copy_rest(folder: Path, output: Path) -> None:
    """Images, splits, and the labels that are arrays."""
    images = folder / "images"
    rest = [path for path in images.rglob("*") if path.is_file()] if images.is_dir() else []
    rest += (folder / "labels").rglob("*.npy")
    rest += folder.glob("*.txt")
    for path in rest:
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
