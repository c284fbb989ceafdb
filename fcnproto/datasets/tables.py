"""HDF5 files with a data set for each blob, as Caffe's HDF5Data reads them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from fcnproto.errors import DataError, Problem, WeightsError
from fcnproto.types import Array
from fcnproto.weights import hdf5


class Tables:
    """The rows of several files, one after the other.

    Each file has a data set for each name, all with as many rows. Raises DataError, with all of
    them, for files that do not.
    """

    def __init__(self, files: Sequence[Path], names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._files: list[Path] = []
        self._ends: list[int] = []
        self._stamps = {path: _stamp(path) for path in files}
        problems: list[Problem] = []
        for path in files:
            try:
                tables = _tables(path, self.names, self._stamps[path])
            except DataError as error:
                problems += error.problems
                continue
            counts = {name: len(array) for name, array in tables.items()}
            if len(set(counts.values())) > 1:
                found = ", ".join(f"'{name}' {count}" for name, count in counts.items())
                problems.append(Problem(f"its data sets differ in rows: {found}", str(path)))
            self._files.append(path)
            self._ends.append(len(self) + min(counts.values(), default=0))
        if problems:
            raise DataError(*problems)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, index: int) -> Mapping[str, Array]:
        """A row of each data set, float32."""
        path, row = self._found(index)
        tables = _tables(path, self.names, self._stamps[path])
        return {name: array[row] for name, array in tables.items()}

    def place(self, index: int) -> str:
        """The file and the row in it."""
        path, row = self._found(index)
        return f"{path}, row {row}"

    def _found(self, index: int) -> tuple[Path, int]:
        """The file that a row is in, and which of its rows it is."""
        number = bisect_right(self._ends, index)
        return self._files[number], index - (self._ends[number - 1] if number else 0)


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=4)
def _tables(path: Path, names: tuple[str, ...], stamp: int) -> dict[str, Array]:
    """A file's data sets, whole, as Caffe reads them: few files are held at once.

    `stamp` is when the file was written.
    """
    try:
        tables = hdf5.tables(path, names)
    except WeightsError as error:
        raise DataError(*error.problems) from error
    flat = [name for name, array in tables.items() if array.ndim < 1]
    if flat:
        raise DataError(Problem(f"'{flat[0]}' is a single number, expected rows", str(path)))
    return {name: np.asarray(array) for name, array in tables.items()}
