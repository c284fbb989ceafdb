"""A plain folder: images/ and labels/ with the same names, and files that name the splits."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from fcnproto.datasets.base import FileReader, as_classes
from fcnproto.datasets.lists import read_lines
from fcnproto.datasets.pictures import IMAGES, LABELS, by_name, read_labels
from fcnproto.errors import DataError, Problem
from fcnproto.types import Array

LEGEND = "classes.txt"
VOID = "void"
"""What a legend calls the colour of what is ignored; it is no class."""
_ENTRY = re.compile(r"(?P<name>.*?)(?:\s+(?P<colour>\d{1,3}\s+\d{1,3}\s+\d{1,3}))?", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A class of a legend: its name, and the colour (RGB) that stands for it in pictures."""

    name: str
    colour: tuple[int, int, int] | None


class FolderSegDataLayer(FileReader):
    """Data of one's own: images/NAME.jpg (or another format), labels/NAME.png or .npy, SPLIT.txt.

    Labels are class numbers from 0, 255 where they are ignored. classes.txt names the classes, one
    in each line, if it is there. While it trains, every image comes once before one comes again.
    """

    dataset = "folder"
    directories: ClassVar = {"data_dir": ("images", "labels")}
    options = ("mean",)

    def split_file(self) -> Path:
        """SPLIT.txt."""
        return self.folders["data_dir"] / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """images/NAME.* or labels/NAME.*, in whatever format it is."""
        if top in self.images:
            return self._images.get(name, self.folders["data_dir"] / "images" / f"{name}.jpg")
        return self._labels.get(name, self.folders["data_dir"] / "labels" / f"{name}.png")

    def read_label(self, top: str, path: Path) -> Array:
        """The numbers in the file."""
        return as_classes(path, read_labels(path))

    def classes(self, top: str) -> tuple[str, ...]:
        """The names in classes.txt, if it is there."""
        return class_names(self.folders["data_dir"] / LEGEND)

    def split_name(self, line: str) -> str:
        """The name, with the image's ending or without."""
        path = Path(line)
        return (path.with_suffix("") if path.suffix.lower() in IMAGES else path).as_posix()

    def draw(self, rng: random.Random) -> Iterator[int]:
        """All images in an order drawn anew each time."""
        order = list(range(len(self)))
        while True:
            rng.shuffle(order)
            yield from order

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_name(self.folders["data_dir"] / "images", IMAGES)

    @cached_property
    def _labels(self) -> dict[str, Path]:
        return by_name(self.folders["data_dir"] / "labels", LABELS)


def read_legend(path: Path) -> tuple[Entry, ...]:
    """The entries of a file, one in each line: a name, with a colour as R G B or without.

    They are the classes from 0 on, and void, which is no class, wherever it stands. There are none
    if there is no such file. Raises DataError.
    """
    if not path.is_file():
        return ()
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    entries, problems = [], []
    for number, line in enumerate(lines, 1):
        match = _ENTRY.fullmatch(line)
        if match is None or not match["name"]:
            problems.append(Problem("expected a class's name", str(path), number))
            continue
        parts = [int(part) for part in (match["colour"] or "").split()]
        if parts and max(parts) > 255:
            message = f"a colour is three numbers up to 255, found {match['colour']}"
            problems.append(Problem(message, str(path), number))
        entries.append(Entry(match["name"], (parts[0], parts[1], parts[2]) if parts else None))
    if not lines:
        problems.append(Problem("it is empty: expected a class's name in each line", str(path)))
    if problems:
        raise DataError(*problems)
    return tuple(entries)


def class_names(path: Path) -> tuple[str, ...]:
    """The names of the classes that a legend has, if there is one. Raises DataError."""
    return tuple(entry.name for entry in read_legend(path) if entry.name != VOID)
