"""How the classes in label pictures are numbered: by colours, by numbers, or as masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from fcnproto.datasets import blends
from fcnproto.datasets.base import IGNORE, as_classes
from fcnproto.datasets.blends import pack, pack_one, unpack
from fcnproto.datasets.check import WIDE
from fcnproto.datasets.pictures import (
    INDEXED,
    LOSSY,
    read_colours,
    read_labels,
    read_mode,
    read_palette,
)
from fcnproto.errors import DataError, FcnprotoError, Problem
from fcnproto.parallel import spread
from fcnproto.types import Array, Colour
from fcnproto.words import some
from fcnproto.zoo import specs
from fcnproto.zoo.legend import LEGEND, VOID, Legend, LegendClass, name_of

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


# Looking ----------------------------------------------------------------------------------------


@dataclass
class Seen:
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

    def add(self, other: Seen) -> None:
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


def look(paths: Sequence[Path], progress: Progress) -> Seen:
    """What there is in all pictures. Raises DataError for those that cannot be read."""

    def work(share: Iterator[Path]) -> Seen:
        seen = Seen()
        for path in share:
            try:
                seen.look_at(path)
            except FcnprotoError as error:
                seen.problems += error.problems
        return seen

    whole = Seen()
    for seen in spread(work, paths, progress=progress):
        whole.add(seen)
    raise_sorted(whole.problems)
    return whole


def raise_sorted(problems: Sequence[Problem]) -> None:
    """Raise DataError with the problems, by their files, if there is one."""
    if problems:
        raise DataError(*sorted(problems, key=lambda problem: problem.path or ""))


# Numbering --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbering:
    """The rule that holds, the number of each colour, and the legend that goes with it."""

    rule: Rule
    numbers: Mapping[int, int]
    legend: tuple[LegendClass, ...]

    @classmethod
    def of_legend(cls, rule: Rule, legend: Sequence[LegendClass]) -> Numbering:
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
            labels = labels // np.uint16(WIDE)  # others may have 8 bits, and be black
        classes = as_classes(path, labels)
        soft = blends.soft_edges(classes) if nearest else None
        if soft is None:
            return classes, 0
        greys = {
            pack_one((n, n, n)): n for n in np.unique(classes).tolist() if n not in soft.levels
        }
        return blends.nearest(np.stack([classes] * 3, axis=-1), greys)

    def palette(self) -> list[Colour]:
        """The legend's colours, and PASCAL VOC's where it has none."""
        palette = list(specs.voc_palette())
        for number, entry in enumerate(each for each in self.legend if each.name != VOID):
            palette[number] = entry.colour or palette[number]
        return palette


_WIDEST = 2**16 - 1


def number_them(seen: Seen, legend: Legend, folder: Path, nearest: bool) -> Numbering:
    """How what was seen is numbered; DataError if there are more colours than classes."""
    given = Numbering.of_legend(Rule.GIVEN, legend.entries)
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
    entries = [LegendClass(*pair) for pair in zip(voc.classes, voc.palette, strict=False)]
    published = Numbering.of_legend(Rule.VOC, [*entries, LegendClass(VOID, voc.palette[IGNORE])])
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
        shown = some([" ".join(map(str, unpack(each))) for each in sorted(mixed)], 3)
        message = (
            f"colours that stand at edges only and lie between others are no classes: {shown}"
            f" ({sum(seen.colours[each] for each in mixed)} pixels), blended by smooth edges; save"
            f" labels without smoothing, or list the classes' colours in {LEGEND}; --nearest gives"
            " blended pixels to the nearest class"
        )
        raise DataError(Problem(message, str(folder)))
    colours = map(unpack, sorted(seen.colours.keys() - mixed))
    entries = [LegendClass(name_of(number), colour) for number, colour in enumerate(colours)]
    return Numbering.of_legend(Rule.NEW, entries)


def _of_numbers(seen: Seen, legend: Legend, folder: Path, nearest: bool) -> Numbering | None:
    """How pictures that have numbers are numbered; None if their colours count."""
    top = max(seen.numbers, default=0)
    mask = (LegendClass("background", (0, 0, 0)), LegendClass("foreground", (128, 0, 0)))
    if top in (IGNORE, _WIDEST) and seen.numbers <= {0, IGNORE, _WIDEST} and 0 in seen.numbers:
        return Numbering(Rule.MASK, {}, legend.entries or mask)
    if top in (IGNORE, _WIDEST) and _is_soft(seen, top):
        if nearest:
            return Numbering(Rule.MASK, {}, legend.entries or mask)
        levels = len(seen.numbers) - 2
        message = (
            f"masks of 0 and {top} have {levels} grey levels between them, at edges only, which are"
            " no classes: smooth edges; --nearest gives each to the nearer of both"
        )
        raise DataError(Problem(message, str(folder)))
    if top > IGNORE and not any(number % WIDE for number in seen.numbers):
        return Numbering(Rule.WIDE, {}, legend.entries)
    if seen.palettes_differ:
        return None
    classes = range(len(legend.names))
    has_colours = any(entry.colour for entry in legend.entries)
    if has_colours and not all(each in classes for each in seen.numbers - {IGNORE}):
        return None
    return Numbering(Rule.NONE, {}, legend.entries)


def _is_soft(seen: Seen, top: int) -> bool:
    """Whether greys between 0 and the largest are those of smooth edges."""
    between = seen.numbers - {0, top}
    return (
        not seen.palette
        and {0, top} <= seen.plain_numbers
        and not between & seen.plain_numbers
        and len(between) > 2
        and max(between) > top // 4
    )
