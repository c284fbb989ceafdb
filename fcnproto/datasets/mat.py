"""MATLAB files: one variable of one file, of MATLAB 5 (SciPy) or 7.3 (HDF5, h5py)."""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fcnproto.errors import DataError, Problem

Array = np.ndarray[Any, Any]

LARGEST = 2**28
"""So many pixels no label map has."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_AT = 512  # after MATLAB's own header

_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
)


def read_mat(path: Path, variable: str, field: str | None = None) -> Array:
    """A matrix H×W of a .mat file: a variable, or the field of one that is a structure.

    Raises DataError if the file is not readable, if the variable is not there or no matrix, and,
    saying what to install, if the package that reads it is missing.
    """
    try:
        with path.open("rb") as file:
            file.seek(_HDF5_AT)
            is_hdf5 = file.read(len(_HDF5)) == _HDF5
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    read = _read_hdf5 if is_hdf5 else _read_scipy
    matrix = read(path, variable, field)
    name = variable if field is None else f"{variable}.{field}"
    if matrix is None:
        raise DataError(Problem(f"there is no variable '{name}' in it", str(path)))
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "iufb":
        found = getattr(matrix, "shape", type(matrix).__name__)
        message = f"expected '{name}' to be a matrix of numbers, found {found}"
        raise DataError(Problem(message, str(path)))
    return matrix


def _read_scipy(path: Path, variable: str, field: str | None) -> Any:
    scipy_io = _package("scipy.io")
    try:
        for name, shape, _ in scipy_io.whosmat(path):
            if name == variable:
                _check_size(path, name, shape)
        found = scipy_io.loadmat(path, variable_names=[variable]).get(variable)
        if field is None or found is None:
            return found
        return found[field].flat[0]
    except (*_BROKEN, scipy_io.matlab.MatReadError) as error:
        raise _unreadable(path, _one_line(error)) from error


def _read_hdf5(path: Path, variable: str, field: str | None) -> Any:
    h5py = _package("h5py")
    try:
        with h5py.File(path, "r") as file:
            found = file
            for name in (variable, field):
                if name is None or found is None:
                    continue
                link = found.get(name, getlink=True)
                if link is not None and not isinstance(link, h5py.HardLink):
                    raise ValueError(f"'{name}' is a link, and links are not followed")
                found = found.get(name)
            if not isinstance(found, h5py.Dataset):
                return found
            _check_size(path, variable, found.shape)
            return found[()].T  # MATLAB's columns are HDF5's rows
    except _BROKEN as error:
        raise _unreadable(path, _one_line(error)) from error


def _check_size(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """A few bytes can claim to unfold to any size: DataError before memory is taken."""
    if prod(shape) > LARGEST:
        message = f"'{name}' is {'×'.join(map(str, shape))}, larger than any label map"
        raise DataError(Problem(message, str(path)))


def _package(name: str) -> ModuleType:
    try:
        module = __import__(name, fromlist=["_"])
    except ImportError as error:
        package = name.partition(".")[0]
        raise DataError(
            f"MATLAB files (.mat) need {package}: pip install 'fcnproto[data]'"
        ) from error
    return module


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(Problem(f"cannot be read as a MATLAB file: {reason}", str(path)))
