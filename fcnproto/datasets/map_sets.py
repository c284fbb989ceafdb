"""Sets of label maps by name: of a folder, or of a dataset's split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fcnproto.datasets.base import Reader
from fcnproto.datasets.pictures import LABELS, UNFIT, by_name, read_labels, unfit
from fcnproto.errors import DataError, Problem
from fcnproto.types import Array


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
            unread = [unfit(path) for path in by_name(folder, UNFIT).values()]
            none = Problem("there are no label maps, .png, .npy, .bmp or .tif", str(folder))
            raise DataError(*unread or [none])
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
