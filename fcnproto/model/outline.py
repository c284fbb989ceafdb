"""A model's file read without its arrays: where they lie is all that a runtime has to know.

This imports nothing of onnx, which takes longer than to segment a small image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

_SMALL = 1024  # tensors of fewer bytes, such as constants, stay in the message

# Fields of onnx.proto, and its TensorProto.EXTERNAL.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION, _EXTERNAL = 9, 13, 14, 1


def outline(path: Path) -> bytes | None:
    """A model's message with its large arrays left in the file, each by its place there.

    Runtimes map such arrays into memory instead of copying them. `location` of each is the file's
    name, so the message belongs to its folder. None if the file holds no message, or if arrays are
    left in other files already.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return _outlined(content, path.name)
    except (OSError, ValueError, IndexError):
        return None  # whoever loads it says what is wrong with it


def _outlined(content: mmap, location: str) -> bytes:
    parts: list[bytes] = []
    for field in _fields(content, 0, len(content)):
        if field.number != _MODEL_GRAPH or field.value is None:
            parts.append(content[field.start : field.end])
            continue
        graph = [
            _left_in_file(content, inner, location)
            if inner.number == _GRAPH_INITIALIZER and inner.value is not None
            else content[inner.start : inner.end]
            for inner in _fields(content, field.value, field.end)
        ]
        parts += [opening(_MODEL_GRAPH, sum(map(len, graph))), *graph]
    return b"".join(parts)


def _left_in_file(content: mmap, tensor: _Field, location: str) -> bytes:
    """A tensor whose numbers, if they are raw, are told by their place in the file."""
    assert tensor.value is not None
    parts: list[bytes] = []
    for field in _fields(content, tensor.value, tensor.end):
        if field.number == _TENSOR_EXTERNAL_DATA:
            raise ValueError("its arrays are in other files")
        numbers = field.value if field.number == _TENSOR_RAW_DATA else None
        if numbers is None or field.end - numbers < _SMALL:
            parts.append(content[field.start : field.end])
            continue
        for entry in (
            ("location", location),
            ("offset", str(numbers)),
            ("length", str(field.end - numbers)),
        ):
            pair = b"".join(
                opening(n, len(t.encode())) + t.encode() for n, t in enumerate(entry, 1)
            )
            parts.append(opening(_TENSOR_EXTERNAL_DATA, len(pair)) + pair)
        parts.append(varint(_TENSOR_DATA_LOCATION << 3) + varint(_EXTERNAL))
    return opening(_GRAPH_INITIALIZER, sum(map(len, parts))) + b"".join(parts)


@dataclass(frozen=True)
class _Field:
    """A field of a message in a file: its number, and where it, its value and what follows begin.

    `value` is None where it is not text, bytes or a message.
    """

    number: int
    start: int
    value: int | None
    end: int


def _fields(content: mmap, start: int, end: int) -> Iterator[_Field]:
    """The fields of a message; ValueError or IndexError where it is none."""
    while start < end:
        key, here = _read_varint(content, start)
        value = None
        if key & 7 == 0:
            _, here = _read_varint(content, here)
        elif key & 7 == 2:
            length, value = _read_varint(content, here)
            here = value + length
        elif key & 7 in _FIXED:
            here += _FIXED[key & 7]
        else:
            raise ValueError(f"no field begins at {start}")
        if here > end:
            raise ValueError(f"a field at {start} ends past its message")
        yield _Field(key >> 3, start, value, here)
        start = here


_FIXED = {1: 8, 5: 4}  # the lengths of protobuf's fields of fixed length


def _read_varint(content: mmap, start: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for count in range(10):
        byte = content[start + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, start + count + 1
    raise ValueError(f"no number begins at {start}")


def opening(field: int, length: int) -> bytes:
    """How a field of `length` bytes begins in protobuf's encoding."""
    return varint(field << 3 | 2) + varint(length)


def varint(value: int) -> bytes:
    """A number in protobuf's encoding."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
