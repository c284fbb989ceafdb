"""An ONNX model whose arrays lie beside it: half a gigabyte is not copied to be written."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from google.protobuf.message import Message
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.files import replacing
from fcnproto.types import Array
from fcnproto.wire import opening

LARGEST_MODEL = 2**31 - 1
"""Protobuf reads no longer message; a larger model keeps its arrays in a file of their own."""

_PAGE = 4096  # where arrays begin in that file, so that they can be mapped into memory
_SMALL = 1024  # arrays of fewer bytes, such as constants, stay in the model

_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9  # fields of onnx.proto


@dataclass(frozen=True)
class Model:
    """An ONNX model: `proto` is all of it but its tensors' numbers."""

    proto: ModelProto
    tensors: Mapping[str, Array]

    def with_metadata(self, props: Mapping[str, str]) -> Model:
        """The same model, which says this of itself."""
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        helper.set_model_props(proto, dict(props))
        return Model(proto, self.tensors)

    def to_proto(self) -> ModelProto:
        """The model as one message, which holds a copy of every array."""
        model = ModelProto()
        model.CopyFrom(self.proto)
        for name, array in self.tensors.items():
            tensor = _described(name, array)
            tensor.raw_data = _bytes(array)
            model.graph.initializer.append(tensor)
        return model

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write the model, whole or not at all, and give the files that it became.

        That is `path`, and `path` with .data appended for the arrays of a model over 2 GB.
        """
        path = Path(path)
        if self.size() <= LARGEST_MODEL:
            with replacing(path) as temporary, temporary.open("wb") as file:
                self.write(file)
            return (path,)
        data = path.with_name(path.name + ".data")
        with ExitStack() as files:
            # The last to be entered is the first to take its place: a model that can be seen has
            # its data.
            model_file = files.enter_context(replacing(path))
            data_file = files.enter_context(replacing(data))
            proto, large = self._with_external(data.name)
            with data_file.open("wb") as file:
                for array in large:
                    file.seek(_aligned(file.tell()))
                    _write(file, array)
            model_file.write_bytes(proto.SerializeToString(deterministic=True))
        return path, data

    def to_bytes(self) -> bytes:
        """The model as one message, as `write` writes it."""
        content = io.BytesIO()
        self.write(content)
        return content.getvalue()

    def write(self, file: BinaryIO) -> None:
        """Write the model as one message: the bytes that `to_proto` would be serialized to.

        Raises FcnprotoError if that is more than 2 GB.
        """
        size = self.size()
        if size > LARGEST_MODEL:
            raise FcnprotoError(
                Problem(f"the model has {size} bytes, and one ONNX file can hold {LARGEST_MODEL}")
            )
        head, tail = _halves(self.proto, _MODEL_GRAPH)
        nodes, values = _halves(self.proto.graph, _GRAPH_INITIALIZER)
        stubs = [
            _described(name, array).SerializeToString() + opening(_TENSOR_RAW_DATA, array.nbytes)
            for name, array in self.tensors.items()
        ]
        lengths = [
            len(stub) + array.nbytes
            for stub, array in zip(stubs, self.tensors.values(), strict=True)
        ]
        tags = [opening(_GRAPH_INITIALIZER, length) for length in lengths]
        graph_length = len(nodes) + len(values) + sum(map(len, tags)) + sum(lengths)
        file.write(head + opening(_MODEL_GRAPH, graph_length) + nodes)
        for tag, stub, array in zip(tags, stubs, self.tensors.values(), strict=True):
            file.write(tag + stub)
            _write(file, array)
        file.write(values + tail)

    def size(self) -> int:
        """The bytes of the model as one message, or a few more."""
        arrays = sum(array.nbytes + len(name) + 200 for name, array in self.tensors.items())
        return self.proto.ByteSize() + arrays + 100

    def _with_external(self, location: str) -> tuple[ModelProto, list[Array]]:
        """The message with its large arrays left to the file `location`, and these in order."""
        model = ModelProto()
        model.CopyFrom(self.proto)
        large: list[Array] = []
        end = 0
        for name, array in self.tensors.items():
            tensor = _described(name, array)
            if array.nbytes < _SMALL:
                tensor.raw_data = _bytes(array)
            else:
                offset = _aligned(end)
                end = offset + array.nbytes
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.extend(_entries(location, offset, array.nbytes))
                large.append(array)
            model.graph.initializer.append(tensor)
        return model, large


def _entries(location: str, offset: int, length: int) -> Iterator[StringStringEntryProto]:
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        yield StringStringEntryProto(key=key, value=str(value))


def _aligned(offset: int) -> int:
    return -(-offset // _PAGE) * _PAGE


def _described(name: str, array: Array) -> TensorProto:
    """A tensor without its numbers."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return TensorProto(name=name, dims=array.shape, data_type=kind)


def _little_endian(array: Array) -> Array:
    """The array as it stands in files: one piece, lowest byte first."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _bytes(array: Array) -> bytes:
    return _little_endian(array).tobytes()


def _write(file: BinaryIO, array: Array) -> None:
    file.write(_little_endian(array).reshape(-1).view(np.uint8).data)


def _halves(message: Message, middle: int) -> tuple[bytes, bytes]:
    """A message's fields before and after field `middle`, as they are written."""
    before, after = type(message)(), type(message)()
    before.CopyFrom(message)
    after.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if field.number >= middle:
            before.ClearField(field.name)
        if field.number <= middle:
            after.ClearField(field.name)
    return before.SerializeToString(deterministic=True), after.SerializeToString(deterministic=True)
