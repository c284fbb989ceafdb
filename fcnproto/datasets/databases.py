"""LMDB databases as Caffe's tools write them: a Datum under each key, in the keys' order."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from google.protobuf.message import DecodeError

from fcnproto.errors import DataError, Problem
from fcnproto.parallel import quiet
from fcnproto.proto.caffe_pb2 import Datum
from fcnproto.runtime.images import BROKEN, open_image
from fcnproto.types import Array, show


class Database:
    """A database that is open for reading; any thread may read it.

    Raises DataError where there is none, or one of LevelDB.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise DataError(Problem("there is no such database", str(path)))
        if (path / "CURRENT").is_file():
            message = (
                "is a LevelDB, which is not read here: make it an LMDB, as Caffe's"
                " convert_imageset --backend lmdb does"
            )
            raise DataError(Problem(message, str(path)))
        try:
            import lmdb  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            message = "databases need lmdb: pip install 'fcnproto[data]'"
            raise DataError(Problem(message, str(path))) from error
        self._lmdb: Any = lmdb
        try:
            self._file = _opened(lmdb, path)
            self._check_length()
            with self._file.begin() as read, read.cursor() as cursor:
                self._keys = list(cursor.iternext(values=False))
        except lmdb.Error as error:
            raise self._broken(f"cannot be read as an LMDB: {error}") from error
        if not self._keys:
            raise self._broken("is empty")

    def __len__(self) -> int:
        return len(self._keys)

    def item(self, index: int, colour: bool | None = None) -> tuple[Array, int]:
        """An array C × H × W, uint8 or float32, and its number. Raises DataError.

        Images that are encoded are decoded, colours as BGR; with `colour` to three channels or one.
        """
        place = f"item {index + 1}"
        try:
            with self._file.begin() as read:
                content = read.get(self._keys[index])
            datum = Datum.FromString(content or b"")
        except (self._lmdb.Error, DecodeError, TypeError) as error:
            raise self._broken(f"{place} is no Datum of Caffe's") from error
        if datum.encoded:
            return _decoded(datum.data, colour, f"{self.path}, {place}"), datum.label
        shape = datum.channels, datum.height, datum.width
        count = datum.channels * datum.height * datum.width
        values = (
            np.frombuffer(datum.data, np.uint8)
            if datum.data
            else np.array(datum.float_data, np.float32)
        )
        if min(shape) < 1 or len(values) != count:
            found = show(shape)
            raise self._broken(f"{place} says that it is {found}, and holds {len(values)} numbers")
        return values.reshape(shape), datum.label

    def _check_length(self) -> None:
        """LMDB maps pages that are not there, too, and reading one would end the process."""
        pages, size = self._file.info()["last_pgno"] + 1, self._file.stat()["psize"]
        file = self.path / "data.mdb" if self.path.is_dir() else self.path
        found = file.stat().st_size
        if found < pages * size:
            raise self._broken(f"is cut off: it has {found} of {pages * size} bytes")

    def _broken(self, message: str) -> DataError:
        return DataError(Problem(message, str(self.path)))


_OPEN: WeakValueDictionary[Path, Any] = WeakValueDictionary()
"""What is open: a process may open a database only once, and layers for training and for testing
may name the same.
"""


def _opened(lmdb: Any, path: Path) -> Any:
    key = path.resolve()
    file = _OPEN.get(key)
    if file is None:
        file = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, create=False, max_dbs=0
        )
        _OPEN[key] = file
    return file


def _decoded(content: bytes, colour: bool | None, title: str) -> Array:
    """An encoded image as C × H × W uint8, BGR."""
    try:
        with quiet, open_image(io.BytesIO(content)) as image:
            grey = image.mode in ("1", "L") if colour is None else not colour
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except BROKEN as error:
        raise DataError(Problem("holds an image that cannot be read", title)) from error
    return pixels[np.newaxis] if grey else pixels.transpose(2, 0, 1)[::-1]
