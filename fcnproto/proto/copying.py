"""What upgrades of every age share: copying fields, and complaining as Caffe does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from fcnproto.errors import NetError, Problem
from fcnproto.proto.caffe_pb2 import (
    V1LayerParameter,
)
from fcnproto.proto.schema import put, readable, set_fields
from fcnproto.proto.tokens import FieldPath


class UpgradeError(NetError):
    """A net that Caffe cannot upgrade; `places` are paths in the old net, one per problem."""

    def __init__(self, *complaints: tuple[FieldPath, Problem]) -> None:
        super().__init__(*(problem for _, problem in complaints))
        self.places = tuple(place for place, _ in complaints)


def complaint(index: int, entry: V1LayerParameter, message: str) -> tuple[FieldPath, Problem]:
    """A problem of a V1 layer, by its index, and where it stands in the old net."""
    name = readable(entry.layer.name or entry.name)
    return ("layers", index), Problem(message, layer=name or None)


def fields_of(message: Message) -> dict[str, Any]:
    """The fields that are set, by name."""
    return {field.name: value for field, value in message.ListFields()}


def copy(source: Message, target: Message, names: Iterable[str]) -> None:
    """Copy fields that are set to the fields of the same names."""
    wanted = frozenset(names)
    for field, values in set_fields(source):
        if field.name in wanted:
            for value in values:
                put(target, field.name, value)
