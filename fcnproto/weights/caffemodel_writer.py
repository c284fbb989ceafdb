"""Writes a .caffemodel as Caffe does, its arrays from where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import Message

from fcnproto.errors import Problem, WeightsError
from fcnproto.proto.caffe_pb2 import LayerParameter, NetParameter
from fcnproto.types import Floats, Shape
from fcnproto.weights.arrays import Weights
from fcnproto.weights.caffemodel import CURRENT, DATA, LARGEST_MESSAGE, LAYER, SHAPE
from fcnproto.wire import opening, varint


def write_blobs(path: Path, head: Message, arrays: list[Floats], blobs: int, tail: Message) -> None:
    """Write a message of blobs, in field `blobs`, between the fields of `head` and of `tail`."""
    message = _Message(head.SerializeToString(), arrays, tail.SerializeToString(), blobs)
    if message.size > LARGEST_MESSAGE:
        raise WeightsError(
            Problem(
                f"{message.size / 2**30:.1f} GiB of history are more than protobuf can hold"
                " (2 GiB): set snapshot_format: HDF5",
                str(path),
            )
        )
    with path.open("wb") as file:
        message.write(file)


def write(path: Path, weights: Weights, net: NetParameter | None = None) -> None:
    """Write a .caffemodel as Caffe does (net.cpp, Net::ToProto; blob.cpp, Blob::ToProto).

    `net` gives the layers' types, connections and settings, in the net's order; without it each
    layer has its name and arrays, which is what Caffe looks at when it loads. Layers that share an
    array hold it each.

    Raises WeightsError if the file would be larger than protobuf can hold.
    """
    layers = _layers_of(weights) if net is None else net.layer
    name = NetParameter(name=net.name).SerializeToString() if net and net.HasField("name") else b""
    messages = [_Message.of(layer, weights.get(layer.name, [])) for layer in layers]
    size = len(name) + sum(len(opening(LAYER, message.size)) + message.size for message in messages)
    if size > LARGEST_MESSAGE:
        raise WeightsError(
            Problem(
                f"a .caffemodel of {size / 2**30:.1f} GiB is more than protobuf can hold (2 GiB);"
                " write .safetensors or .npz",
                str(path),
            )
        )
    with path.open("wb") as file:
        file.write(name)
        for message in messages:
            file.write(opening(LAYER, message.size))
            message.write(file)


def _layers_of(weights: Mapping[str, list[Floats]]) -> list[LayerParameter]:
    return [LayerParameter(name=name) for name, arrays in weights.items() if arrays]


@dataclass(frozen=True)
class _Message:
    """A message of arrays in three parts, so that these are written from where they lie."""

    head: bytes
    arrays: list[Floats]
    tail: bytes
    blobs: int = CURRENT.blobs
    """The number of the arrays' field."""

    @classmethod
    def of(cls, layer: LayerParameter, arrays: list[Floats]) -> _Message:
        """Protobuf writes fields in the order of their numbers, so the blobs stand in between."""
        head, tail = LayerParameter(), LayerParameter()
        head.CopyFrom(layer)
        tail.CopyFrom(layer)
        for field, _ in layer.ListFields():
            if field.number >= CURRENT.blobs:
                head.ClearField(field.name)
            if field.number <= CURRENT.blobs:
                tail.ClearField(field.name)
        return cls(head.SerializeToString(), arrays, tail.SerializeToString())

    @property
    def size(self) -> int:
        blobs = sum(len(opening(self.blobs, size)) + size for size in map(_blob_size, self.arrays))
        return len(self.head) + blobs + len(self.tail)

    def write(self, file: BinaryIO) -> None:
        file.write(self.head)
        for array in self.arrays:
            file.write(opening(self.blobs, _blob_size(array)))
            file.write(opening(DATA.field, array.size * 4))
            file.write(np.ascontiguousarray(array, "<f4").reshape(-1).data)
            file.write(_shape_field(array.shape))
        file.write(self.tail)


def _blob_size(array: Floats) -> int:
    data = array.size * 4
    return len(opening(DATA.field, data)) + data + len(_shape_field(array.shape))


def _shape_field(shape: Shape) -> bytes:
    """A blob's shape; one of no axes is left out."""
    if not shape:
        return b""
    dims = b"".join(map(varint, shape))
    packed = opening(1, len(dims)) + dims
    return opening(SHAPE, len(packed)) + packed
