"""Caffe's schema as it is read: fields, numbers and what forks added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fcnproto.wire import opening

_FORKS = {
    10: "ssd",
    11: "pspnet",
    12: "segnet",
    13: "other forks",
    14: "pspnet, segnet",
    15: "crfasrnn",
    16: "nvcaffe",
    18: "deconvnet",
    20: "deeplab v1",
    21: "dilation, nvcaffe, hed",
}


@dataclass(frozen=True)
class Field:
    """What the schema says of a field; kept, because descriptors are slow to ask.

    `kind` is a FieldDescriptor's TYPE_…, `values` an enum's names and numbers, and `fork` says
    which of Caffe's forks have the field if BVLC's Caffe has not.
    """

    name: str
    number: int
    kind: int
    repeated: bool
    required: bool
    values: Mapping[str, int]
    fork: str | None

    @property
    def is_message(self) -> bool:
        """Whether the field's values are messages themselves."""
        return self.kind == FieldDescriptor.TYPE_MESSAGE


@cache
def fields(descriptor: Any) -> Mapping[str, Field]:
    """A message type's fields, by name, from its descriptor."""
    return {field.name: _field(field) for field in descriptor.fields}


def _field(field: Any) -> Field:
    # `label` gave way to `is_repeated` and `is_required` in protobuf 6, and later went.
    old = not hasattr(field, "is_repeated")
    return Field(
        name=field.name,
        number=field.number,
        kind=field.type,
        repeated=field.label == field.LABEL_REPEATED if old else field.is_repeated,
        required=field.label == field.LABEL_REQUIRED if old else field.is_required,
        values={value.name: value.number for value in field.enum_type.values}
        if field.enum_type
        else {},
        fork=_FORKS.get(field.number // 1000),
    )


def set_fields(message: Message) -> Iterator[tuple[Field, Sequence[Any]]]:
    """The fields of a message that are set, in order of number, each with all its values."""
    known = fields(message.DESCRIPTOR)
    for descriptor, value in message.ListFields():
        field = known[descriptor.name]
        yield field, value if field.repeated else (value,)


def put(message: Message, name: str, value: Any) -> None:
    """Set a field, or add to a repeated one; a string may be bytes that are not UTF-8.

    Caffe's strings are bytes. Python's protobuf gives such a string as bytes, but takes it only in
    the wire format.
    """
    field = fields(message.DESCRIPTOR)[name]
    if isinstance(value, bytes) and field.kind == FieldDescriptor.TYPE_STRING:
        message.MergeFromString(opening(field.number, len(value)) + value)
    elif field.is_message:
        target = getattr(message, name)
        (target.add() if field.repeated else target).CopyFrom(value)
    elif field.repeated:
        getattr(message, name).append(value)
    else:
        setattr(message, name, value)


def readable(value: str | bytes) -> str:
    """A string field's value as text; bytes that are not UTF-8 are shown as \\xff."""
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def layer_name(message: Message, path: Sequence[str | int]) -> str | None:
    """The name of the layer that `path` leads through, if it has one that has been read."""
    if len(path) < 2 or path[0] not in ("layer", "layers"):
        return None
    layers = getattr(message, str(path[0]), ())
    if not isinstance(path[1], int) or path[1] >= len(layers):
        return None
    layer = layers[path[1]]
    name = layer.name or (layer.layer.name if path[0] == "layers" else "")
    return readable(name) or None
