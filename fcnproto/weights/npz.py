""".npz and .npy: NumPy's files, of which only plain arrays are read."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from fcnproto.errors import reason
from fcnproto.parallel import quiet
from fcnproto.types import Floats
from fcnproto.weights.arrays import (
    MOST_AXES,
    Arrays,
    Weights,
    as_float32,
    broken,
    check_dtype,
    check_unfolded,
    keyed,
)

_FLAWS = (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError,
          OverflowError, RuntimeError, MemoryError)  # fmt: skip
_HEADER_FLAWS = (SyntaxError, TypeError, IndexError, KeyError, tokenize.TokenError)
"""What NumPy's reader of headers lets through of the parsers that it uses."""

_PIECE = 2**18  # zipfile would hold all that is asked for at once, twice


def read(path: Path) -> Arrays:
    """The arrays of an .npz by their keys, as float32.

    Raises WeightsError for pickled objects, anything that is not an array, and files that unfold to
    more than arrays.check_unfolded allows.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            check_unfolded(path, sum(member.file_size for member in members))
            arrays: Arrays = {}
            for member in members:
                key = member.filename.removesuffix(".npy")
                if key == member.filename or key in arrays:
                    raise broken(path, f"'{member.filename}' is not an array, or is there twice")
                with file.open(member) as stream:
                    arrays[key] = _member(path, key, stream, member.file_size)
            return arrays
    except _FLAWS as error:
        raise broken(path, f"it is not a whole .npz: {reason(error)}") from error


def is_reference(path: Path) -> bool:
    """Whether an .npz holds what went into a net and came out of it, and so no weights."""
    try:
        with zipfile.ZipFile(path) as file:
            parts = {name.partition("/")[0] for name in file.namelist() if "/" in name}
    except _FLAWS:
        return False
    return {"in", "out"} <= parts


@dataclass(frozen=True)
class _Header:
    """What the header of an .npy says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """How many bytes the values take."""
        return prod(self.shape) * self.dtype.itemsize


def mapped(path: Path) -> np.ndarray[Any, Any]:
    """The one array of an .npy, of any type but objects, mapped into memory.

    So a file that claims to be larger than it is fails before memory is taken. Raises WeightsError.
    """
    try:
        with path.open("rb") as file:
            header = _header(path, path.name, file)
            start = file.tell()
        if header.dtype.hasobject:
            raise broken(path, "it holds pickled Python objects, which are never loaded")
        if header.size != path.stat().st_size - start:
            raise broken(path, f"it claims {header.size} bytes of values, and does not hold them")
        if not header.size:
            return np.empty(header.shape, header.dtype)
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        return np.memmap(path, header.dtype, "r", start, header.shape, order)
    except _FLAWS as error:
        raise broken(path, f"it is not a whole .npy: {reason(error)}") from error


def _header(path: Path, key: str, stream: IO[bytes]) -> _Header:
    """The header of an .npy, in the two versions that plain arrays have."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise broken(path, f"'{key}' is of .npy version {version}, which plain arrays never are")
    first = version == (1, 0)
    reader = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    try:
        with quiet:  # of files that Python 2 wrote, which are read well
            shape, fortran, dtype = reader(stream)
    except _HEADER_FLAWS as error:
        raise broken(path, f"'{key}' has a header that cannot be read: {reason(error)}") from error
    return _Header(tuple(map(int, shape)), fortran, dtype)


def _member(path: Path, key: str, stream: IO[bytes], size: int) -> Floats:
    """An array of an .npz; its header is believed only where it agrees with its size."""
    header = _header(path, key, stream)
    if header.dtype.hasobject:
        raise broken(
            path,
            f"'{key}' is a pickled Python object, which is never loaded since it could run code;"
            " save plain arrays with numpy.savez(file, **arrays) where you trust the file",
        )
    check_dtype(path, key, header.dtype)
    _check_shape(path, key, header.shape)
    if header.size != size - stream.tell():
        raise broken(
            path,
            f"'{key}' claims the shape {header.shape} of {header.dtype}, and holds"
            f" {size - stream.tell()} bytes",
        )
    values = np.empty(header.shape, header.dtype, order="F" if header.fortran else "C")
    content = values.reshape(-1, order="A").view(np.uint8)
    for start in range(0, content.size, _PIECE):
        piece = content[start : start + _PIECE]
        got = stream.read(piece.size)
        if len(got) < piece.size:
            raise broken(path, f"'{key}' ends too early")
        piece[:] = np.frombuffer(got, np.uint8)
    stream.read(1)  # zipfile compares the checksum when it meets the end
    return as_float32(values)


def _check_shape(path: Path, key: str, shape: tuple[int, ...]) -> None:
    if len(shape) > MOST_AXES or any(size <= 0 for size in shape):
        raise broken(path, f"'{key}' has a shape that Caffe does not: {shape}")


def read_npy(path: Path) -> Arrays:
    """The fields of a structured array in an .npy by their names, as float32.

    A pickled dictionary, which is what numpy.save makes of a dict, is refused.
    """
    try:
        with path.open("rb") as file:
            header = _header(path, path.name, file)
            start = file.tell()
    except _FLAWS as error:
        raise broken(path, f"it is not a whole .npy: {reason(error)}") from error
    if header.dtype.hasobject:
        raise broken(
            path,
            "it is a pickled dictionary, which is never loaded since it could run code; where"
            " you trust it: d = numpy.load(file, allow_pickle=True, encoding='latin1').item();"
            " then numpy.savez('weights.npz', **{f'{k}/{i}': a for k in d for i, a in"
            " (d[k].items() if isinstance(d[k], dict) else enumerate(d[k]))})",
        )
    names = header.dtype.names
    if names is None or prod(header.shape) != 1:
        raise broken(
            path, "it holds a single array, not one for each layer: save them with numpy.savez"
        )
    if header.size != path.stat().st_size - start:
        raise broken(path, f"it claims {header.size} bytes of values, and does not hold them")
    for name in names:
        field = header.dtype[name]
        check_dtype(path, name, field.base)
        _check_shape(path, name, field.shape)
    record = np.memmap(path, header.dtype, "r", start, ())
    return {name: as_float32(np.array(record[name])) for name in names}


def write(path: Path, weights: Weights) -> None:
    """Write each array under `<layer>/<i>`, uncompressed."""
    # NumPy's savez would pickle, before 2.1 whatever it is asked.
    with zipfile.ZipFile(path, "w") as file:
        for key, array in keyed(weights):
            with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
