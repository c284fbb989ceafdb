"""Make class maps of label pictures: of colours, of masks of 0 and 255, or of annotations."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from fcnproto.datasets import blends
from fcnproto.datasets.annotations import Drawings, find_drawings
from fcnproto.datasets.base import IGNORE, as_classes
from fcnproto.datasets.blends import pack, pack_one, unpack
from fcnproto.datasets.check import WIDE
from fcnproto.datasets.folder import IMAGE_FOLDERS, LABEL_FOLDERS, LISTS
from fcnproto.datasets.legend import LABEL_MAP, LEGEND, VOID, Entry, Legend, write_legend
from fcnproto.datasets.pictures import (
    IMAGES,
    INDEXED,
    LABELS,
    LOSSY,
    Colour,
    by_name,
    holds,
    jpeg,
    read_colours,
    read_labels,
    read_mode,
    read_palette,
    read_size,
    read_turn,
    resized,
    turned,
)
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.files import replacing
from fcnproto.parallel import spread
from fcnproto.runtime.images import write_labels
from fcnproto.types import Array
from fcnproto.zoo import specs

Progress = Callable[[], object]

VOC = "voc"


class Rule(Enum):
    """How numbers are found for what a label picture shows."""

    GIVEN = f"by the colours in {LEGEND}"
    VOC = "by PASCAL VOC's colours"
    NEW = f"colours numbered in order, black first; name them in {LEGEND}"
    MASK = f"masks, {IGNORE} becomes class 1"
    WIDE = f"numbers of 16 bits, divided by {WIDE}"
    NONE = "class maps already, copied"
    DRAWN = "drawn from annotations, the background is class 0"


@dataclass(frozen=True)
class Converted:
    """What was done: how numbers were found, the legend, and how many label maps there are."""

    rule: Rule
    legend: tuple[Entry, ...]
    labels: int
    notes: tuple[Problem, ...] = ()
    """Warnings of what was changed on the way."""


def convert(
    folder: Path,
    output: Path,
    *,
    nearest: bool = False,
    resize: bool = False,
    progress: Progress = lambda: None,
) -> Converted:
    """Write the label maps of a folder as class maps into another, with the images and splits.

    The labels are in labels/, masks/, annotations/ or SegmentationClass/, or in the folder itself.
    If one of them has colours, or palettes differ, all are pictures: classes.txt says which colour
    is which class; without it they are PASCAL VOC's if all are, or are numbered in order, black
    first. Masks of 0 and 255 become classes 0 and 1. Where there are annotations of LabelMe, COCO
    or CVAT and no label pictures, those are drawn.

    `nearest` gives colours of no class, as smooth edges have, to the nearest class beside them;
    `resize` brings label maps to their images' size, or turns them as their images are.

    Raises DataError, before anything is written, for files that cannot be read, colours that are no
    class, and more colours than there can be classes.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", str(folder)))
    place = _label_folder(folder)
    if output.resolve().is_relative_to(place.resolve()) or output.resolve() == folder.resolve():
        raise DataError(Problem("the labels are here: choose another folder for -o", str(output)))
    legend = Legend.of(folder)
    labels = by_name(place, (*_PICTURES, *LOSSY) if nearest and legend.names else _PICTURES)
    if place == folder or not labels:
        drawings = find_drawings(folder, legend)
        if drawings is not None:
            return _draw(drawings, folder, output, progress)
    if not labels:
        lossy = [jpeg(path) for path in by_name(place, LOSSY).values()] if place != folder else []
        raise DataError(*lossy or [Problem("there are no label pictures, .png", str(place))])
    numbering = _number(_look(tuple(labels.values()), progress), legend, folder, nearest)
    whole = place != folder
    work = _Work(numbering, labels, output / "labels" if whole else output, nearest)
    if resize:
        work.images |= _images(folder)
    if numbering.by_colour:
        work.check()
    done = work.write(progress)
    if whole:
        _copy_rest(folder, place, output, work.images)
    write_legend(output / LEGEND, numbering.legend)
    return Converted(numbering.rule, numbering.legend, len(labels), done)


_PICTURES = tuple(ending for ending in LABELS if ending != ".npy")


def _label_folder(folder: Path) -> Path:
    """The first of the usual folders with label pictures in it; the folder itself if none is."""
    found = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
    full = (each for each in found if holds(each, (*LABELS, *LOSSY)))
    return next(full, found[0] if found else folder)


def _images(folder: Path) -> dict[str, Path]:
    place = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    if place is None:
        expected = " or ".join(f"{name}/" for name in IMAGE_FOLDERS)
        raise DataError(Problem(f"there are no images: expected {expected}", str(folder)))
    return by_name(place, IMAGES)


# Looking ----------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """What there is in label pictures."""

    colours: Counter[int] = field(default_factory=Counter)
    """All with their pixels, or too many to be classes."""
    plain: set[int] = field(default_factory=set)
    """Those that fill an area somewhere."""
    numbers: set[int] = field(default_factory=set)
    """Those in pictures that have numbers."""
    plain_numbers: set[int] = field(default_factory=set)
    """Those that fill an area somewhere."""
    palette: dict[int, set[Colour]] = field(default_factory=dict)
    """The colours of each number that palettes give to it."""
    coloured: set[Path] = field(default_factory=set)
    """A picture that has colours, not numbers."""
    numbered: set[Path] = field(default_factory=set)
    """One in grey, with numbers that are classes or grey levels; who knows."""
    grey: bool = False
    """Whether there is a picture in grey at all."""
    problems: list[Problem] = field(default_factory=list)

    def look_at(self, path: Path) -> None:
        """Add what is in a picture. Raises DataError."""
        mode = read_mode(path)
        if len(self.colours) <= IGNORE:
            packed = pack(read_colours(path))
            colours, counts = np.unique(packed, return_counts=True)
            self.colours.update(dict(zip(colours.tolist(), counts.tolist(), strict=True)))
            self.plain |= blends.plain_colours(packed)
        if mode not in INDEXED or path.suffix.lower() in LOSSY:
            self.coloured = self.coloured or {path}
            return
        labels = read_labels(path)
        numbers = set(np.unique(labels).tolist())
        self.numbers |= numbers
        self.plain_numbers |= blends.plain_colours(labels)
        if mode != "P":
            self.grey = True
            if numbers - {0, IGNORE}:
                self.numbered = self.numbered or {path}
            return
        palette = read_palette(path)
        for number in numbers & set(range(len(palette))):
            self.palette.setdefault(number, set()).add(palette[number])

    def add(self, other: _Seen) -> None:
        """Add what is in others."""
        self.colours.update(other.colours)
        self.plain |= other.plain
        self.numbers |= other.numbers
        self.plain_numbers |= other.plain_numbers
        for number, colours in other.palette.items():
            self.palette.setdefault(number, set()).update(colours)
        self.coloured |= other.coloured
        self.numbered |= other.numbered
        self.grey |= other.grey
        self.problems += other.problems

    @property
    def palettes_differ(self) -> bool:
        """Whether a number has another colour in another picture."""
        return any(len(colours) > 1 for colours in self.palette.values())


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
    _raise(whole.problems)
    return whole


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        raise DataError(*sorted(problems, key=lambda problem: problem.path or ""))


# Numbering --------------------------------------------------------------------------------------


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
        numbers = {
            pack_one(each.colour): number for number, each in enumerate(classes) if each.colour
        }
        void = {
            pack_one(each.colour): IGNORE for each in legend if each.colour and each.name == VOID
        }
        return cls(rule, {**numbers, **void}, tuple(legend))

    @property
    def by_colour(self) -> bool:
        """Whether colours count, and not numbers."""
        return self.rule in (Rule.GIVEN, Rule.VOC, Rule.NEW)

    def apply(self, path: Path, nearest: bool) -> tuple[Array, int]:
        """The class map of a label picture, and how many pixels were given to the nearest class."""
        if self.by_colour:
            return blends.nearest(read_colours(path), self.numbers)
        labels = read_labels(path)
        if self.rule is Rule.MASK:
            top = 255 if labels.max(initial=0) <= IGNORE else _WIDEST
            between = int(((labels > 0) & (labels < top)).sum()) if nearest else 0
            return (labels > (top // 2 if nearest else 0)).astype(np.uint8), between
        if self.rule is Rule.WIDE:
            labels = labels // WIDE
        return as_classes(path, labels), 0

    def palette(self) -> list[Colour]:
        """The legend's colours, and PASCAL VOC's where it has none."""
        palette = list(specs.voc_palette())
        for number, entry in enumerate(each for each in self.legend if each.name != VOID):
            palette[number] = entry.colour or palette[number]
        return palette


_WIDEST = 2**16 - 1


def _number(seen: _Seen, legend: Legend, folder: Path, nearest: bool) -> _Numbering:
    """How what was seen is numbered; DataError if there are more colours than classes."""
    given = _Numbering.of_legend(Rule.GIVEN, legend.entries)
    if not seen.coloured:
        found = _of_numbers(seen, legend, folder, nearest)
        if found is not None:
            return found
    if given.numbers:
        return given
    if seen.numbered:
        colour = min(seen.coloured) if seen.coloured else None
        other = f"{colour.name} has colours" if colour else "palettes of others differ"
        message = (
            f"has grey levels or classes, and {other}: convert them"
            f" apart, or list all colours in {LEGEND}, a line NAME R G B for each class"
        )
        raise DataError(Problem(message, str(min(seen.numbered))))
    voc = specs.dataset(VOC)
    entries = [Entry(*pair) for pair in zip(voc.classes, voc.palette, strict=False)]
    published = _Numbering.of_legend(Rule.VOC, [*entries, Entry(VOID, voc.palette[IGNORE])])
    if seen.colours.keys() <= set(published.numbers):
        return published
    if len(seen.colours) > IGNORE:
        message = (
            f"there are over {IGNORE} colours, more than there can be classes: smooth edges or"
            f" JPEG mix colours; list the classes' own in {LEGEND}, a line NAME R G B for each,"
            " and --nearest gives the others to them"
        )
        raise DataError(Problem(message, str(folder)))
    mixed = blends.blended(seen.colours, seen.plain)
    if mixed and not nearest:
        shown = ", ".join(" ".join(map(str, unpack(each))) for each in sorted(mixed)[:3])
        more = f" and {len(mixed) - 3} more" if len(mixed) > 3 else ""
        message = (
            f"colours that stand at edges only and lie between others are no classes: {shown}{more}"
            f" ({sum(seen.colours[each] for each in mixed)} pixels), blended by smooth edges; save"
            f" labels without smoothing, or list the classes' colours in {LEGEND}; --nearest gives"
            " blended pixels to the nearest class"
        )
        raise DataError(Problem(message, str(folder)))
    colours = map(unpack, sorted(seen.colours.keys() - mixed))
    entries = [Entry(f"class {number}", colour) for number, colour in enumerate(colours)]
    return _Numbering.of_legend(Rule.NEW, entries)


def _of_numbers(seen: _Seen, legend: Legend, folder: Path, nearest: bool) -> _Numbering | None:
    """How pictures that have numbers are numbered; None if their colours count."""
    top = max(seen.numbers, default=0)
    mask = (Entry("background", (0, 0, 0)), Entry("foreground", (128, 0, 0)))
    if top in (IGNORE, _WIDEST) and seen.numbers <= {0, IGNORE, _WIDEST} and 0 in seen.numbers:
        return _Numbering(Rule.MASK, {}, legend.entries or mask)
    if top in (IGNORE, _WIDEST) and _is_soft(seen, top):
        if nearest:
            return _Numbering(Rule.MASK, {}, legend.entries or mask)
        levels = len(seen.numbers) - 2
        message = (
            f"masks of 0 and {top} have {levels} grey levels between them, at edges only, which are"
            " no classes: smooth edges; --nearest gives each to the nearer of both"
        )
        raise DataError(Problem(message, str(folder)))
    if top > IGNORE and not any(number % WIDE for number in seen.numbers):
        return _Numbering(Rule.WIDE, {}, legend.entries)
    if seen.palettes_differ:
        return None
    classes = range(len(legend.names))
    has_colours = any(entry.colour for entry in legend.entries)
    if has_colours and not all(each in classes for each in seen.numbers - {IGNORE}):
        return None
    return _Numbering(Rule.NONE, {}, legend.entries)


def _is_soft(seen: _Seen, top: int) -> bool:
    """Whether greys between 0 and the largest are those of smooth edges."""
    between = seen.numbers - {0, top}
    return (
        not seen.palette
        and {0, top} <= seen.plain_numbers
        and not between & seen.plain_numbers
        and len(between) > 2
        and max(between) > top // 4
    )


# Writing ----------------------------------------------------------------------------------------


@dataclass
class _Work:
    """The label pictures of a folder on their way into another."""

    numbering: _Numbering
    labels: Mapping[str, Path]
    target: Path
    nearest: bool
    images: dict[str, Path] = field(default_factory=dict)
    """The images by name, where label maps are brought to their size."""

    def check(self) -> None:
        """DataError with each picture that has colours of no class, or numbers without a colour."""

        def work(share: Iterator[Path]) -> list[Problem]:
            return [problem for path in share for problem in self._problems(path)]

        shares = spread(work, tuple(self.labels.values()))
        _raise([problem for share in shares for problem in share])

    def _problems(self, path: Path) -> Iterator[Problem]:
        if read_mode(path) == "P":
            yield from _palette_problems(path)
        if self.nearest:
            return
        colours, counts = np.unique(pack(read_colours(path)), return_counts=True)
        pairs = zip(counts.tolist(), colours.tolist(), strict=True)
        odd = sorted(
            (pair for pair in pairs if pair[1] not in self.numbering.numbers), reverse=True
        )
        if odd:
            first = " ".join(map(str, unpack(odd[0][1])))
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            has = f"has the colour {first}{more} ({sum(count for count, _ in odd)} pixels)"
            hint = "; --nearest gives each to the nearest class" if len(odd) > 1 else ""
            yield Problem(f"{has}, which {LEGEND} does not name{hint}", str(path))

    def write(self, progress: Progress) -> tuple[Problem, ...]:
        """Write all class maps; warnings of what was changed."""
        palette = self.numbering.palette()

        def work(share: Iterator[str]) -> list[Problem]:
            notes: list[Problem] = []
            for name in share:
                path = self.target / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                classes, given = self.numbering.apply(self.labels[name], self.nearest)
                fitted = self._fitted(name, classes)
                notes += self._notes(name, given, classes.shape, fitted.shape)
                write_labels(path, fitted, palette)
            return notes

        shares = spread(work, tuple(self.labels), progress=progress)
        notes = [problem for share in shares for problem in share]
        return tuple(sorted(notes, key=lambda problem: problem.path or ""))

    def _fitted(self, name: str, classes: Array) -> Array:
        image = self.images.get(name)
        if image is None:
            return classes
        size, turn = read_size(image, upright=True), read_turn(image)
        if classes.shape == size:
            return classes
        if classes.shape == read_size(image):
            return turned(classes, turn)
        return resized(classes, size)

    def _notes(
        self, name: str, given: int, old: tuple[int, ...], new: tuple[int, ...]
    ) -> Iterator[Problem]:
        path, warning = str(self.labels[name]), Severity.WARNING
        if given:
            message = f"{given} pixels of blended colours were given to the nearest class"
            yield Problem(message, path, severity=warning)
        if old != new:
            sizes = " to ".join("×".join(map(str, each)) for each in (old, new))
            yield Problem(f"brought from {sizes}, as its image is", path, severity=Severity.NOTE)


def _palette_problems(path: Path) -> Iterator[Problem]:
    """Numbers that a palette leaves without a colour, and those that share one: each is a class of
    its own, and none must become another's."""
    palette = read_palette(path)
    first: dict[Colour, int] = {}
    for number in np.unique(read_labels(path)).tolist():
        if number >= len(palette):
            message = f"holds {number}, and its palette has colours for 0 to {len(palette) - 1}"
            yield Problem(message, str(path))
            continue
        other = first.setdefault(palette[number], number)
        if other != number:
            shown = " ".join(map(str, palette[number]))
            message = f"holds {other} and {number}, and its palette has {shown} for both"
            yield Problem(f"{message}: by colour they would become one class", str(path))


def _copy_rest(folder: Path, place: Path, output: Path, fitting: Mapping[str, Path]) -> None:
    """Images, splits, and the labels that are arrays."""
    for name in IMAGE_FOLDERS:
        if (folder / name).is_dir():
            files = (path for path in (folder / name).rglob("*") if path.is_file())
            for path in files:
                _copy(path, output / "images" / path.relative_to(folder / name))
            break
    for path in place.rglob("*.npy"):
        target = output / "labels" / path.relative_to(place)
        image = fitting.get(path.relative_to(place).with_suffix("").as_posix())
        if image is None:
            _copy(path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary, temporary.open("wb") as file:
                np.save(file, resized(read_labels(path), read_size(image, upright=True)))
    for lists in reversed(LISTS):
        for path in (folder / lists).glob("*.txt"):
            if path.name != LABEL_MAP:
                _copy(path, output / path.name)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


# Annotations ------------------------------------------------------------------------------------


def _draw(drawings: Drawings, folder: Path, output: Path, progress: Progress) -> Converted:
    """Write the class maps that annotations describe, their images, and the splits."""
    palette = list(specs.voc_palette())
    for number, entry in enumerate(each for each in drawings.legend if each.name != VOID):
        palette[number] = entry.colour or palette[number]

    def work(share: Iterator[str]) -> None:
        for name in share:
            path = output / "labels" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, drawings.draw(name), palette)
            image = drawings.images[name]
            _copy(image, output / "images" / f"{name}{image.suffix}")

    spread(work, tuple(drawings.images), progress=progress)
    for path in folder.glob("*.txt"):
        if path.name != LABEL_MAP:
            _copy(path, output / path.name)
    write_legend(output / LEGEND, drawings.legend)
    return Converted(Rule.DRAWN, drawings.legend, len(drawings.images), drawings.notes)
