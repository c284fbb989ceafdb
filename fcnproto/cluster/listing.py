"""The images that arguments name, as a stream: no list of all of them is ever made."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from itertools import chain, islice
from typing import Any

from PIL import Image

from fcnproto.cluster.places import Place, PlaceError
from fcnproto.errors import Problem
from fcnproto.runtime.images import LISTS, ImageError
from fcnproto.runtime.segment_files import claimed, itself

SORTED = 100_000
"""Folders of so many images give them by name, as on one machine; larger ones as they come."""

_MAGIC = re.compile(r"[*?[]")
_MAGIC_IN_ADDRESS = re.compile(r"[*[]")  # a question mark begins the query there


class Names:
    """Names, each with a text, kept on disk: however many there are, memory stays small."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file that has no name
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE names (name TEXT PRIMARY KEY, text) WITHOUT ROWID")
        self.count = 0

    def add(self, name: str, text: str = "") -> bool:
        """Add a name; False if it is there already, with the text that it has."""
        done = self._database.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (name, text))
        self.count += done.rowcount
        return done.rowcount == 1

    def text(self, name: str) -> str | None:
        """The text that a name has; None if it is not there."""
        found = self._database.execute("SELECT text FROM names WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def __contains__(self, name: object) -> bool:
        return self.text(str(name)) is not None


@dataclass(frozen=True)
class Named:
    """An image, or what is wrong with one."""

    image: str
    error: str | None = None


@dataclass(frozen=True)
class Listing:
    """Arguments as `segment` takes them, and where the results go."""

    arguments: tuple[str, ...]
    base: str
    """The folder that paths are relative to."""
    output: Place

    def check(self) -> None:
        """Raise ImageError with every argument that names nothing."""
        problems: list[Problem] = []
        for argument in self.arguments:
            try:
                if next(self._find(argument), None) is None:
                    problems.append(Problem("there are no images", argument))
            except (ImageError, PlaceError) as error:
                problems += error.problems
        if problems:
            raise ImageError(*problems)

    def images(self) -> Iterator[Named]:
        """Each image once, in order; with an error where its result would replace another's."""
        seen, stems = Names(), Names()
        for place in chain.from_iterable(map(self._find, self.arguments)):
            if isinstance(place, Named):
                if seen.add(place.image):
                    yield place
                continue
            image = str(place)
            if not seen.add(image):
                continue
            target = self.output.child(f"{place.stem}.png")
            if not stems.add(place.stem, image):
                yield Named(image, claimed(target, stems.text(place.stem)))
            elif _are_same(place, target):
                yield Named(image, itself(target))
            else:
                yield Named(image)

    def _find(self, argument: str) -> Iterator[Place | Named]:
        place = Place.of(argument, self.base)
        kind = place.kind()
        if kind == "folder":
            self._check_folder(place, argument)
            yield from _in_order(_images(place.children()))
        elif kind == "file" and place.suffix in LISTS:
            yield from self._listed(place)
        elif kind == "file":
            yield place
        elif (_MAGIC_IN_ADDRESS if "://" in argument else _MAGIC).search(argument):
            yield from self._matching(argument)
        else:
            raise ImageError(Problem("there is no such file", argument))

    def _check_folder(self, folder: Place, argument: str) -> None:
        """Results are not to be taken for images while the folder is still being read."""
        if str(folder) == str(self.output):
            message = "the results would go into the folder that is read: choose another -o DIR"
            raise ImageError(Problem(message, argument))

    def _listed(self, file: Place) -> Iterator[Place | Named]:
        for number, line in enumerate(file.lines(), 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                message = "is neither an image nor a list of paths, one in each line"
                raise ImageError(Problem(message, str(file), number)) from error
            if not text or text.startswith("#"):
                continue
            try:
                yield Place.of(text, self.base)
            except PlaceError as error:
                yield Named(text, error.problems[0].message)

    def _matching(self, pattern: str) -> Iterator[Place]:
        """What a glob matches, but for results: ** is any number of folders."""
        magic, query = _MAGIC, ""
        if "://" in pattern:
            magic = _MAGIC_IN_ADDRESS
            pattern, mark, query = pattern.partition("?")
            query = mark + query
        before = pattern[: magic.search(pattern).start()]  # type: ignore[union-attr]
        folder, _, begun = before.rpartition("/")
        root = Place.of((folder or "/") + query if "/" in before else ".", self.base)
        parts = (begun + pattern[len(before) :]).split("/")
        if root.kind() != "folder":
            return
        if len(parts) == 1:
            self._check_folder(root, pattern)
        results = str(self.output)
        for place in _matches(root, tuple(part for part in parts if part)):
            if str(place.parent) != results:
                yield place


def _images(children: Iterable[tuple[Place, bool]]) -> Iterator[Place]:
    endings = Image.registered_extensions()  # of all formats: what is not decoded is named
    return (place for place, is_folder in children if not is_folder and place.suffix in endings)


def _in_order(places: Iterator[Place]) -> Iterator[Place]:
    """Places by name, if they are not too many to be held."""
    first = list(islice(places, SORTED))
    yield from first if len(first) == SORTED else sorted(first, key=lambda place: place.path)
    yield from places


def _matches(folder: Place, parts: tuple[str, ...]) -> Iterator[Place]:
    """Files below a folder whose path is as the parts say, as Python's glob has it."""
    part, *rest = parts
    if part == "**":
        # It is no folder too: what follows is sought here, and in all folders below.
        yield from _matches(folder, tuple(rest) or ("*",))
        below = _in_order(
            place for place, is_folder in folder.children() if is_folder and _is_shown(place.name)
        )
        for place in below:
            yield from _matches(place, parts)
        return
    if not _MAGIC.search(part):
        found = folder.child(part)
        kind = found.kind()
        if rest and kind == "folder":
            yield from _matches(found, tuple(rest))
        elif not rest and kind == "file":
            yield found
        return
    matching = _in_order(
        place
        for place, is_folder in folder.children()
        if is_folder == bool(rest) and _fits(part, place.name)
    )
    for place in matching:
        if rest:
            yield from _matches(place, tuple(rest))
        else:
            yield place


@cache
def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))


def _fits(part: str, name: str) -> bool:
    return (part.startswith(".") or _is_shown(name)) and _pattern(part).match(name) is not None


def _is_shown(name: str) -> bool:
    return not name.startswith(".")


def _are_same(place: Place, target: Place) -> bool:
    file, other = place.local, target.local
    if file is None or other is None:
        return str(place) == str(target)
    try:
        return other.exists() and file.samefile(other)
    except OSError:
        return False  # whoever reads it says what is wrong with it


def stream(named: Iterable[Named], rows: int) -> Iterator[Any]:
    """Tables of so many images: `path`, `error`, and last a row whose `listed` says how many."""
    import pyarrow as pa

    schema = pa.schema([("path", pa.string()), ("error", pa.string()), ("listed", pa.int64())])
    images, count = iter(named), 0
    while batch := list(islice(images, rows)):
        count += len(batch)
        columns = [[each.image for each in batch], [each.error for each in batch]]
        yield pa.table([*columns, [None] * len(batch)], schema=schema)
    yield pa.table([[""], [""], [count]], schema=schema)
