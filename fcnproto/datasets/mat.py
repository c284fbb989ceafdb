"""MATLAB files: one matrix of one file, of MATLAB 5 to 7 (read here) or 7.3 (HDF5, by h5py).

The layout is that of "MAT-File Format" by The MathWorks. SciPy reads it too, but a damaged file can
make it crash, and a small one unfold to any size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fcnproto.errors import DataError, Problem, WeightsError
from fcnproto.types import Array, show
from fcnproto.weights import apart
from fcnproto.words import quoted, some

LARGEST_ARRAY = 2**28
"""So many bytes no label map has, as they are or unfolded."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADER = 128
_HDF5_AT = 512  # after MATLAB's own header

_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    UnicodeDecodeError,
    struct.error,
    zlib.error,
)


def read_mat(path: Path, variable: str, member: str | None = None) -> Array:
    """A matrix H×W of a .mat file: a variable, or the field of one that is a structure.

    Raises DataError if the file is not readable, if the variable is not there or no matrix, and,
    saying what to install, if h5py is needed and missing.
    """
    name = variable if member is None else f"{variable}.{member}"
    held: list[str] = []
    try:
        if path.stat().st_size > LARGEST_ARRAY:
            raise _unreadable(path, "it is larger than any label map")
        content = path.read_bytes()
        if content[_HDF5_AT : _HDF5_AT + len(_HDF5)] == _HDF5 or content.startswith(_HDF5):
            matrix = _read_hdf5(path, variable, member, held)
        else:
            matrix = _read_level5(content, variable, member, held)
    except _BROKEN as error:
        raise _unreadable(path, _one_line(error)) from error
    if matrix is None:
        raise DataError(Problem(f"there is no variable '{name}' in it{_holds(held)}", str(path)))
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        message = f"expected '{name}' to be a matrix of numbers, found {_what(matrix)}"
        raise DataError(Problem(message, str(path)))
    return matrix


_KINDS = {
    "LabelMap": "PASCAL-Context's",
    "GTcls": "SBD's classes",
    "GTinst": "SBD's objects; its classes are in cls/",
    "segmentation": "NYUDv2's",
    "S": "SIFT Flow's",
}
"""Whose label maps are called so."""


def _holds(names: list[str]) -> str:
    """What a file holds instead, in words."""
    if not names:
        return ""
    shown = some(quoted(name[:60] for name in names), 8)
    kinds = [f"{name} is {_KINDS[name]}" for name in names if name in _KINDS]
    return f"; it holds {shown}" + (f" ({', '.join(kinds)})" if kinds else "")


def _what(value: Any) -> str:
    return show(value.shape) if isinstance(value, np.ndarray) else str(value)


# MATLAB 5 to 7 ------------------------------------------------------------------------------

_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _FIRST_NUMERIC, _LAST_NUMERIC = 2, 6, 15
_CLASSES = {1: "a cell array", 2: "a structure", 3: "an object", 4: "text", 5: "a sparse matrix"}


@dataclass
class _Elements:
    """The data elements in a stretch of bytes, one after the other."""

    content: memoryview
    order: str
    """Of bytes in a number: < or >."""
    place: int = 0

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        while self.place + 8 <= len(self.content):
            yield self.take()

    def take(self) -> tuple[int, memoryview]:
        """The next element's type and bytes."""
        kind, size = struct.unpack_from(f"{self.order}II", self.content, self.place)
        start, after = self.place + 8, self.place + 8 + size
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, start, after = kind & 0xFFFF, kind >> 16, self.place + 4, self.place + 8
        elif kind != _COMPRESSED:
            after += -size % 8
        end = start + size
        if end > min(after, len(self.content)):
            raise ValueError("it ends in the middle of an element")
        self.place = after
        return kind, self.content[start:end]

    def numbers(self) -> Array:
        """The next element as numbers."""
        kind, content = self.take()
        if kind not in _NUMBERS:
            raise ValueError(f"expected numbers, found an element of type {kind}")
        return np.frombuffer(content, f"{self.order}{_NUMBERS[kind]}")

    def text(self) -> str:
        """The next element as ASCII."""
        return bytes(self.take()[1]).decode("ascii")


@dataclass(frozen=True)
class _Matrix:
    """A matrix whose head is read: its class, dimensions and name; `rest` has what is in it."""

    kind: int
    shape: tuple[int, ...]
    name: str
    rest: _Elements = field(repr=False)

    @classmethod
    def read(cls, content: memoryview, order: str) -> _Matrix:
        elements = _Elements(content, order)
        flags, shape = elements.numbers(), elements.numbers()
        return cls(int(flags[0]) & 0xFF, tuple(map(int, shape)), elements.text(), elements)

    def member(self, name: str) -> _Matrix | None:
        """A field of a structure's first element."""
        width = int(self.rest.numbers()[0])
        names = bytes(self.rest.take()[1])
        if not 0 < width <= len(names):
            raise ValueError("expected the names of a structure's fields")
        for start in range(0, len(names), width):
            _, content = self.rest.take()
            if names[start : start + width].split(b"\0")[0] == name.encode():
                return _Matrix.read(content, self.rest.order)
        return None

    def value(self) -> Array | str:
        """Its numbers, or what it is instead."""
        if not _FIRST_NUMERIC <= self.kind <= _LAST_NUMERIC:
            return _CLASSES.get(self.kind, f"class {self.kind}")
        numbers = self.rest.numbers()
        if min(self.shape, default=0) < 0 or prod(self.shape) != len(numbers):
            found = show(self.shape)
            raise ValueError(f"its matrix is {found} and has {len(numbers)} numbers")
        return numbers.reshape(self.shape, order="F")


def _read_level5(content: bytes, variable: str, member: str | None, held: list[str]) -> Any:
    """The value of a variable or of a structure's field; None, and what is `held`, without one."""
    orders = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("it is no file of MATLAB 5 or later; save it with -v7")
    for kind, element in _Elements(memoryview(content)[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, element = _Elements(_unfolded(element), order).take()
        if kind != _MATRIX:
            continue
        matrix = _Matrix.read(element, order)
        if matrix.name != variable:
            held.append(matrix.name)
            continue
        if member is None:
            return matrix.value()
        if matrix.kind != _STRUCT:
            held.append(matrix.name)
            return None
        found = matrix.member(member)
        return None if found is None else found.value()
    return None


def _unfolded(content: memoryview) -> memoryview:
    decompressor = zlib.decompressobj()
    unfolded = decompressor.decompress(content, LARGEST_ARRAY)
    if decompressor.unconsumed_tail:
        raise ValueError("it unfolds to more than any label map has")
    return memoryview(unfolded)


# MATLAB 7.3 -------------------------------------------------------------------------------------


def _read_hdf5(path: Path, variable: str, member: str | None, held: list[str]) -> Any:
    names = [variable] if member is None else [variable, member]
    try:
        (found, instead), arrays = apart.ask(path, "matrix", names, LARGEST_ARRAY)
    except WeightsError as error:
        raise DataError(*error.problems) from error
    held += found
    return arrays[0].T if arrays else instead  # MATLAB's columns are HDF5's rows


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(Problem(f"cannot be read as a MATLAB file: {reason}", str(path)))
