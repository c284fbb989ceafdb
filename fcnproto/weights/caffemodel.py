""".caffemodel: a binary NetParameter, walked in protobuf's wire format.

Protobuf's own parser needs several times as long and holds every array twice, so the arrays are
read by this small walker, straight from the file into their place. It follows what protobuf does:
fields in any order, repeated numbers packed, single or in several runs, unknown fields skipped, the
last of several single values taken. It checks every length before it believes it, so that a broken
file costs no more memory than its size.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fcnproto.errors import Problem, Severity, WeightsError
from fcnproto.kinds import HEAD, mistaken
from fcnproto.types import Floats, Shape, show
from fcnproto.weights.arrays import MOST_AXES, NO_LAYER, Weights, broken
from fcnproto.wire import Field, Wire, WireError, fields, read_varint, signed

LARGEST_MESSAGE = 2**31 - 1
"""Protobuf refuses longer messages."""

_PIECE = 2**20  # numbers converted at a time


_Parts = tuple[Field, ...]
"""Where a message lies; a single one that is given several times is all of them, merged."""


@dataclass(frozen=True)
class _Numbers:
    """A repeated float or double field: the field's number and its values' type."""

    field: int
    dtype: np.dtype[np.floating]
    single: Wire

    def holds(self, field: Field) -> bool:
        """Whether a field of this number is written as values are: packed or single."""
        return field.wire in (Wire.LENGTH, self.single)


DATA = _Numbers(5, np.dtype("<f4"), Wire.FIXED32)
_DIFF = _Numbers(6, np.dtype("<f4"), Wire.FIXED32)
_DOUBLE_DATA = _Numbers(8, np.dtype("<f8"), Wire.FIXED64)
_DOUBLE_DIFF = _Numbers(9, np.dtype("<f8"), Wire.FIXED64)
_NUMBERS = {numbers.field: numbers for numbers in (DATA, _DIFF, _DOUBLE_DATA, _DOUBLE_DIFF)}
SHAPE = 7
_RAW_TYPE, _RAW = 10, 12
"""NVIDIA's raw_data_type and raw_data: all numbers in one piece."""
_RAW_DTYPES = (np.dtype("<f8"), np.dtype("<f4"), np.dtype("<f2"))
_RAW_FLOAT = 1
_LEGACY = (1, 2, 3, 4)  # num, channels, height, width


@dataclass(frozen=True)
class _Vintage:
    """Where a layer message of some age keeps its name and its blobs."""

    name: int
    blobs: int


CURRENT = _Vintage(name=1, blobs=7)
_V1 = _Vintage(name=4, blobs=6)
_V0 = _Vintage(name=1, blobs=50)
_V0_IN_V1 = 1  # V1LayerParameter.layer, which holds a V0 layer
LAYER, _LAYERS = 100, 2  # NetParameter.layer and .layers


def read(path: Path) -> tuple[Weights, tuple[Problem, ...]]:
    """The weights in a .caffemodel of any age, and what was strange about it.

    Every layer is listed, without arrays too; of layers that share a name the last one stays, as
    in Caffe (net.cpp, CopyTrainedLayersFrom). Blobs with num/channels/height/width keep four axes,
    but for those of which the layer cannot mean so many.

    Raises WeightsError where the file is not a NetParameter, holds no layer, or where a blob's
    values do not match its shape.
    """
    with (
        path.open("rb", buffering=0) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return _File(path, file, content).weights()


def read_blob(path: Path) -> Floats:
    """The array in a file that is a single blob (.binaryproto), such as the mean of images.

    Raises WeightsError as `read` does.
    """
    with (
        path.open("rb", buffering=0) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        walker = _File(path, file, content)
        array, _ = walker._array(None, 0, *walker.whole)
        return array


@dataclass
class _File:
    path: Path
    file: BinaryIO
    content: mmap.mmap

    def weights(self) -> tuple[Weights, tuple[Problem, ...]]:
        weights: Weights = {}
        notes: dict[str, Problem] = {}
        vintage = self._vintage()
        for layer in self._layers(vintage):
            name = self._name(layer, vintage)
            arrays = self._arrays(name, layer, vintage)
            if arrays and weights.pop(name, []):
                notes[name] = Problem(
                    "it is in the file more than once: the last one is taken, as Caffe does",
                    str(self.path),
                    layer=name,
                    severity=Severity.WARNING,
                )
            weights[name] = arrays
        return weights, tuple(notes.values())

    def _vintage(self) -> _Vintage:
        """How old the layers are; one V0 layer makes it a V0 net (upgrade_proto.cpp)."""
        found = {field.number for field in self._messages(self.whole)}
        if {LAYER, _LAYERS} <= found:
            raise broken(
                self.path, "it holds both 'layer' and 'layers', which Caffe refuses to upgrade"
            )
        if LAYER in found:
            return CURRENT
        if _LAYERS not in found:
            raise broken(self.path, NO_LAYER)
        return _V0 if next(self._layers(_V0), None) is not None else _V1

    def _layers(self, vintage: _Vintage) -> Iterator[_Parts]:
        """The messages of the layers, in the order of the file."""
        number = LAYER if vintage is CURRENT else _LAYERS
        for field in self._messages(self.whole):
            if field.number == number:
                layer = self._inner((field,)) if vintage is _V0 else (field,)
                if layer:
                    yield layer

    def _inner(self, layer: _Parts) -> _Parts:
        """The V0 layer in a V1 layer."""
        return tuple(field for field in self._messages(layer) if field.number == _V0_IN_V1)

    @property
    def whole(self) -> _Parts:
        """The message that the file is."""
        return (Field(0, Wire.LENGTH, 0, 0, len(self.content)),)

    def _messages(self, parts: _Parts) -> Iterator[Field]:
        """The fields of a message that have a length: texts and messages."""
        for part in parts:
            for field in self._fields(part.start, part.end):
                if field.wire is Wire.LENGTH:
                    yield field

    def _name(self, layer: _Parts, vintage: _Vintage) -> str:
        name = b""
        for field in self._messages(layer):
            if field.number == vintage.name:
                name = self.content[field.start : field.end]
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            shown = name[:80].decode(errors="backslashreplace")
            raise broken(self.path, f"a layer's name is not UTF-8: {shown}") from error

    def _blobs(self, layer: _Parts, vintage: _Vintage) -> Iterator[Field]:
        for field in self._messages(layer):
            if field.number == vintage.blobs:
                yield field

    def _arrays(self, name: str, layer: _Parts, vintage: _Vintage) -> list[Floats]:
        blobs = enumerate(self._blobs(layer, vintage))
        read = [self._array(name, index, blob) for index, blob in blobs]
        arrays = [array for array, _ in read]
        for index, (array, legacy) in enumerate(read):
            if legacy:
                arrays[index] = array.reshape(_meant(array.shape, index, arrays))
        return arrays

    def _array(self, layer: str | None, index: int, blob: Field) -> tuple[Floats, bool]:
        """A blob's array, and whether its shape is the old num, channels, height, width."""
        shape, legacy = self._shape(blob)
        count = prod(shape)
        if len(shape) > MOST_AXES or any(size < 0 for size in shape):
            raise self._misfit(layer, index, f"a shape of {len(shape)} axes, {show(shape[:8])}")
        sizes = self._counts(blob)
        if not (sizes[_DOUBLE_DATA] or sizes[DATA]):
            raw = self._raw(layer, index, blob, count)
            if raw is not None:
                return raw.reshape(shape), legacy
        data = _DOUBLE_DATA if sizes[_DOUBLE_DATA] else DATA
        diff = _DOUBLE_DIFF if sizes[_DOUBLE_DIFF] else _DIFF
        if sizes[data] != count:
            raise self._misfit(
                layer, index, f"{sizes[data]} values for its shape {show(shape)}, which has {count}"
            )
        if not count:
            raise self._misfit(layer, index, f"the shape {show(shape)}, which is empty")
        if sizes[diff] not in (0, count):
            raise self._misfit(layer, index, f"{sizes[diff]} gradients for {count} values")
        return self._values(blob, data, count).reshape(shape), legacy

    def _raw(self, layer: str | None, index: int, blob: Field, count: int) -> Floats | None:
        """The numbers of raw_data, widened to float32; None if there are none."""
        kind, raw = _RAW_FLOAT, None
        for field in self._fields(blob.start, blob.end):
            if field.number == _RAW_TYPE and field.wire is Wire.VARINT:
                kind = field.value
            elif field.number == _RAW and field.wire is Wire.LENGTH:
                raw = field
        if raw is None:
            return None
        if kind >= len(_RAW_DTYPES):
            raise self._misfit(layer, index, f"raw_data of type {kind}, which is not known")
        dtype = _RAW_DTYPES[kind]
        size = raw.end - raw.start
        if size != count * dtype.itemsize or not count:
            raise self._misfit(
                layer,
                index,
                f"{size} bytes of raw_data, and its {count} numbers of {dtype.itemsize} bytes need"
                f" {count * dtype.itemsize}",
            )
        values = np.empty(count, np.float32)
        self._read(values, raw.start, dtype)
        return values

    def _misfit(self, layer: str | None, index: int, what: str) -> WeightsError:
        return broken(self.path, f"blob {index} has {what}", layer)

    def _shape(self, blob: Field) -> tuple[Shape, bool]:
        """Old sizes hide the shape if any is given, and count as 0 if not (blob.cpp)."""
        legacy: dict[int, int] = {}
        dims: list[int] = []
        for field in self._fields(blob.start, blob.end):
            if field.number in _LEGACY and field.wire is Wire.VARINT:
                legacy[field.number] = signed(field.value, 32)
            elif field.number == SHAPE and field.wire is Wire.LENGTH:
                dims += self._dims(field, MOST_AXES + 1 - len(dims))
        if legacy:
            return tuple(legacy.get(number, 0) for number in _LEGACY), True
        return tuple(dims), False

    def _dims(self, shape: Field, most: int) -> list[int]:
        """The first `most` sizes of a BlobShape, packed or not."""
        dims: list[int] = []
        for field in self._fields(shape.start, shape.end):
            if field.number != 1 or len(dims) >= most:
                continue
            if field.wire is Wire.VARINT:
                dims.append(signed(field.value, 64))
            elif field.wire is Wire.LENGTH:
                position = field.start
                while position < field.end and len(dims) < most:
                    value, position = self._varint(position, field.end)
                    dims.append(signed(value, 64))
        return dims

    def _counts(self, blob: Field) -> dict[_Numbers, int]:
        """How many values and gradients a blob has, of each type."""
        counts = dict.fromkeys(_NUMBERS.values(), 0)
        for field in self._fields(blob.start, blob.end):
            numbers = _NUMBERS.get(field.number)
            if numbers is None or not numbers.holds(field):
                continue
            size = field.end - field.start
            if size % numbers.dtype.itemsize:
                raise self._malformed(f"byte {field.start} begins a packed field of {size} bytes")
            counts[numbers] += size // numbers.dtype.itemsize
        return counts

    def _values(self, blob: Field, numbers: _Numbers, count: int) -> Floats:
        values = np.empty(count, np.float32)
        done = 0
        for start, end in self._runs(blob, numbers):
            size = (end - start) // numbers.dtype.itemsize
            self._read(values[done : done + size], start, numbers.dtype)
            done += size
        return values

    def _runs(self, blob: Field, numbers: _Numbers) -> Iterator[tuple[int, int]]:
        """Where the values of a repeated field lie; each single one is a run."""
        for field in self._fields(blob.start, blob.end):
            if field.number == numbers.field and numbers.holds(field):
                yield field.start, field.end

    def _read(self, target: Floats, start: int, dtype: np.dtype[np.floating]) -> None:
        """Fill `target` with the numbers that begin at `start`."""
        if target.size < _PIECE or dtype != target.dtype:
            for begin in range(0, target.size, _PIECE):
                piece = target[begin : begin + _PIECE]
                offset = start + begin * dtype.itemsize
                # As a C cast does: too large becomes infinite, and what is no number stays so.
                with np.errstate(over="ignore", invalid="ignore"):
                    piece[:] = np.frombuffer(self.content, dtype, piece.size, offset)
            return
        # Long runs are read, not copied from the map, whose pages would count twice.
        rest = target.data.cast("B")
        self.file.seek(start)
        while rest:
            got = self.file.readinto(rest)  # type: ignore[attr-defined]
            if not got:
                raise broken(self.path, "it ended while it was read")
            rest = rest[got:]

    def _fields(self, position: int, end: int) -> Iterator[Field]:
        try:
            yield from fields(self.content, position, end)
        except WireError as error:
            raise self._malformed(str(error)) from error

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        try:
            return read_varint(self.content, position, end)
        except WireError as error:
            raise self._malformed(str(error)) from error

    def _malformed(self, what: str) -> WeightsError:
        kind = mistaken(self.content[:HEAD])
        if kind is not None:
            return broken(self.path, f"this is {kind}, not weights")
        return broken(
            self.path,
            f"it is no whole .caffemodel, nor any other weights: {what}",
        )


def _meant(shape: Shape, index: int, arrays: list[Floats]) -> Shape:
    """The axes that an old blob of four must have meant.

    Old Caffe kept biases as 1×1×1×N and fully connected weights as 1×1×O×I. The latter could be a
    kernel too, but then O would not be the number of biases.
    """
    if shape[:2] != (1, 1):
        return shape
    if index and shape[2] == 1:
        return shape[3:]
    if index == 0 and shape[2] > 1 and len(arrays) == 2 and arrays[1].size == shape[2]:
        return shape[2:]
    return shape


def blobs_of(
    path: Path, file: BinaryIO, content: mmap.mmap, name: int, blobs: int, numbers: Sequence[int]
) -> tuple[dict[int, int], str, list[Floats]]:
    """What a message of blobs holds that is no net, such as a SolverState.

    `name` and `blobs` are the numbers of its fields for a text and for the blobs, `numbers` those
    of whole numbers; these are given by field, without those that are not there. Raises
    WeightsError as `read` does.
    """
    walker = _File(path, file, content)
    given = {
        field.number: signed(field.value, 32)
        for field in walker._fields(0, len(content))
        if field.number in numbers and field.wire is Wire.VARINT
    }
    vintage = _Vintage(name, blobs)
    text = walker._name(walker.whole, vintage)
    found = walker._blobs(walker.whole, vintage)
    return given, text, [walker._array(text, *each)[0] for each in enumerate(found)]
