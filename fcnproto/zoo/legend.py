"""Which classes a folder has: classes.txt, or the labelmap.txt that CVAT writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from reprlib import repr

from fcnproto.errors import DataError, Problem, raise_if_any
from fcnproto.files import read_lines, replacing
from fcnproto.types import Colour
from fcnproto.zoo.specs import voc_palette

LEGEND = "classes.txt"
LABEL_MAP = "labelmap.txt"
VOID = "void"
"""What a legend calls the colour of what is ignored; it is no class."""

_BETWEEN = r"(?<!\s)(?:\s*[,;:=]\s*|\s+)"  # from where blanks begin, or many would take long
_NUMBERS = rf"\d{{1,3}}{_BETWEEN}\d{{1,3}}{_BETWEEN}\d{{1,3}}"
_COLOUR = rf"(?P<colour>{_NUMBERS}|#[0-9a-fA-F]{{6}})"
_ENTRY = re.compile(rf"(?P<name>.*?)(?:{_BETWEEN}{_COLOUR})?", re.ASCII)
_COLOUR_FIRST = re.compile(rf"{_COLOUR}{_BETWEEN}(?P<name>[^\d\s,;].*)", re.ASCII)
_NAME_TITLES = {"class", "classname", "label", "labelname", "name", "names"}
_NUMBER_TITLES = {"id", "index", "number"}
_COLOUR_TITLES = {"color", "colour", "hex", "rgb"}
_CHANNEL_TITLES = {"r", "g", "b", "red", "green", "blue"}
_NUMBERED = re.compile(r"(\d+)(?:\s*(?:[:;,)]|\.(?!\d))|\s)\s*(?:-\s+)?(\S.*)", re.ASCII)
_MAPPED = re.compile(r"(?P<name>[^:]*):(?P<colour>\d{1,3},\d{1,3},\d{1,3})?(?::.*)?", re.ASCII)


ClassesLike = int | Sequence[str] | str | PathLike[str]
"""How many classes there are, their names, or the file that has them."""
MOST = 2**16
"""So many classes a label map can tell apart."""
MOST_OF_DATA = 255
"""So many one to learn from: its numbers are of 8 bits, and 255 is ignored."""


def name_of(number: int, names: Sequence[str] = ()) -> str:
    """What a class is called: its name, or `class 7` where that is not known."""
    return names[number] if number < len(names) else f"class {number}"


@dataclass(frozen=True)
class LegendClass:
    """A class of a legend: its name, and the colour (RGB) that stands for it in pictures."""

    name: str
    colour: Colour | None


@dataclass(frozen=True)
class Legend:
    """The entries of a folder's legend, and its file; there are none where there is no file."""

    path: Path
    entries: tuple[LegendClass, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Legend:
        """The legend in a folder: classes.txt before labelmap.txt. Raises DataError."""
        mapped = folder / LABEL_MAP
        if (folder / LEGEND).is_file() or not mapped.is_file():
            found = cls(folder / LEGEND, read_legend(folder / LEGEND))
        else:
            found = cls(mapped, _read_mapped(mapped))
        count = len(found.classes)
        if count > MOST_OF_DATA:
            message = f"names {count} classes, and a label map has room for {MOST_OF_DATA}"
            raise DataError(Problem(message, str(found.path)))
        return found

    @classmethod
    def given(cls, classes: ClassesLike | None) -> Legend:
        """Of what a user says: how many there are, their names, or a file in one of both forms.

        A number names them class 0, class 1 …; None says nothing. Raises DataError for a file that
        cannot be read, or is not of its form, and for a number of no classes.
        """
        if classes is None:
            return cls(Path())
        if isinstance(classes, Integral) and not isinstance(classes, bool):
            if not 1 <= int(classes) <= MOST:
                raise DataError(f"there are 1 to {MOST} classes, found {classes}")
            classes = [name_of(number) for number in range(int(classes))]
        if not isinstance(classes, str | PathLike):
            names = list(classes) if isinstance(classes, Iterable) else []
            if not names or not all(isinstance(name, str) for name in names):
                expected = "how many there are, their names, or a file of them"
                raise DataError(f"expected classes: {expected}; found {repr(classes)}")
            entries = tuple(LegendClass(name, None) for name in names)
            raise_if_any(DataError, _twice(None, entries))
            return cls(Path(), entries)
        path = Path(classes)
        mapped = path.name == LABEL_MAP
        return cls(path, _read_mapped(path) if mapped else _read(path, _ENTRY))

    @property
    def classes(self) -> tuple[LegendClass, ...]:
        """The entries that are classes, from class 0 on."""
        return tuple(entry for entry in self.entries if entry.name != VOID)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names."""
        return tuple(entry.name for entry in self.classes)

    @property
    def palette(self) -> tuple[Colour, ...]:
        """The classes' colours, PASCAL VOC's for those without; empty where none has one."""
        if not any(entry.colour for entry in self.classes):
            return ()
        pairs = zip(self.classes, voc_palette(), strict=False)
        return tuple(entry.colour or usual for entry, usual in pairs)


def read_legend(path: Path) -> tuple[LegendClass, ...]:
    """The entries of a file, one in each line: a name, with a colour or without.

    A colour is R G B or #rrggbb, after the name or before it, with blanks, commas, semicolons,
    colons or = between them. Where each line begins with its class's number, that is no part of
    the name.

    They are the classes from 0 on, and void, which is no class, wherever it stands. There are none
    if there is no such file. Raises DataError.
    """
    return _read(path, _ENTRY) if path.is_file() else ()


def colour_of(text: str) -> Colour:
    """A colour as R G B, with commas or without, or as #rrggbb; ValueError if it is none."""
    digits = text.removeprefix("#")
    words = re.split(r"[\s,;:=]+", digits.strip())
    is_hex = digits != text or len(words) == 1
    red, green, blue = bytes.fromhex(digits) if is_hex else bytes(map(int, words))
    return red, green, blue


def write_legend(path: Path, entries: Sequence[LegendClass]) -> None:
    """A classes.txt, if there is an entry."""
    if not entries:
        return
    lines = (" ".join((entry.name, *map(str, entry.colour or ()))) for entry in entries)
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _read_mapped(path: Path) -> tuple[LegendClass, ...]:
    return _read(path, _MAPPED, comments=True)


def _read(path: Path, form: re.Pattern[str], *, comments: bool = False) -> tuple[LegendClass, ...]:
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    entries: list[LegendClass] = []
    problems = []
    for number, line in enumerate(lines, 1):
        if comments and (not line or line.startswith("#")):
            continue
        if form is _ENTRY and number == 1 and _is_header(line):
            continue
        match = (form is _ENTRY and _COLOUR_FIRST.fullmatch(line)) or form.fullmatch(line)
        if match is None or not match["name"]:
            problems.append(Problem("expected a class's name", str(path), number))
            continue
        colour = None
        if match["colour"]:
            try:
                colour = colour_of(match["colour"])
            except ValueError:
                message = f"a colour is three numbers up to 255, found {match['colour']}"
                problems.append(Problem(message, str(path), number))
        entries.append(LegendClass(match["name"], colour))
    if not entries and not problems:
        problems.append(Problem("it is empty: expected a class's name in each line", str(path)))
    entries = _without_numbers(entries)
    problems += _twice(path, entries)
    if problems:
        raise DataError(*problems)
    return tuple(entries)


def _is_header(line: str) -> bool:
    """Whether a table of classes begins so, as a spreadsheet writes it."""
    titles = set(re.split(r"[\W_]+", line.lower())) - {""}
    what = _NUMBER_TITLES | _COLOUR_TITLES
    channels = {title[0] for title in titles & _CHANNEL_TITLES}
    return (
        titles <= _NAME_TITLES | what | _CHANNEL_TITLES
        and bool(titles & _NAME_TITLES)
        and (bool(titles & what) or len(channels) == 3)
    )


def _without_numbers(entries: list[LegendClass]) -> list[LegendClass]:
    """The entries without their numbers, where they are numbered from 0; 255 is void.

    Numbers without which two would be called alike are part of the names, as in 1 m and 2 m.
    """
    matches = [match for entry in entries if (match := _NUMBERED.fullmatch(entry.name))]
    numbers = [int(match[1][:9]) for match in matches]
    names = [
        VOID if n == MOST_OF_DATA else match[2] for n, match in zip(numbers, matches, strict=True)
    ]
    classes = [number for number in numbers if number != MOST_OF_DATA]
    if len(matches) < len(entries) or len(classes) < 2 or classes != list(range(len(classes))):
        return entries
    if len(set(names)) < len(names):
        return entries
    return [LegendClass(name, entry.colour) for name, entry in zip(names, entries, strict=True)]


def _twice(path: Path | None, entries: Sequence[LegendClass]) -> Iterator[Problem]:
    """Colours that stand for two classes, and names."""
    where = None if path is None else str(path)
    names = Counter(entry.name for entry in entries if entry.name != VOID)
    for name in (name for name, count in names.items() if count > 1):
        yield Problem(f"{names[name]} classes are called {name}", where)
    first: dict[Colour, str] = {}
    for entry in entries:
        if entry.colour is None:
            continue
        other = first.setdefault(entry.colour, entry.name)
        if other != entry.name:
            shown = " ".join(map(str, entry.colour))
            yield Problem(f"{other} and {entry.name} have one colour, {shown}", where)
