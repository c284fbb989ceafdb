"""A model's file read without its arrays: where they lie is all that a runtime has to know.

This imports nothing of onnx, which takes longer than to segment a small image.
"""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

from fcnproto.wire import Field, Wire, fields, opening, varint

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
    for field in fields(content, 0, len(content)):
        if field.number != _MODEL_GRAPH or field.wire is not Wire.LENGTH:
            parts.append(content[field.begin : field.end])
            continue
        graph = [
            _left_in_file(content, inner, location)
            if inner.number == _GRAPH_INITIALIZER and inner.wire is Wire.LENGTH
            else content[inner.begin : inner.end]
            for inner in fields(content, field.start, field.end)
        ]
        parts += [opening(_MODEL_GRAPH, sum(map(len, graph))), *graph]
    return b"".join(parts)


def _left_in_file(content: mmap, tensor: Field, location: str) -> bytes:
    """A tensor whose numbers, if they are raw, are given by their place in the file."""
    parts: list[bytes] = []
    for field in fields(content, tensor.start, tensor.end):
        if field.number == _TENSOR_EXTERNAL_DATA:
            raise ValueError("its arrays are in other files")
        is_raw = field.number == _TENSOR_RAW_DATA and field.wire is Wire.LENGTH
        if not is_raw or field.end - field.start < _SMALL:
            parts.append(content[field.begin : field.end])
            continue
        for entry in (
            ("location", location),
            ("offset", str(field.start)),
            ("length", str(field.end - field.start)),
        ):
            pair = b"".join(
                opening(n, len(t.encode())) + t.encode() for n, t in enumerate(entry, 1)
            )
            parts.append(opening(_TENSOR_EXTERNAL_DATA, len(pair)) + pair)
        parts.append(varint(_TENSOR_DATA_LOCATION << 3) + varint(_EXTERNAL))
    return opening(_GRAPH_INITIALIZER, sum(map(len, parts))) + b"".join(parts)
