"""Writes protobuf text as Caffe's own tools write it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fcnproto.proto.schema import Field, set_fields


def format(message: Message) -> str:
    """A message as text, the bytes that Caffe's PrintText makes of it."""
    return "".join(_lines(message, ""))


_PRINTED_ESCAPES = {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord('"'): '\\"',
    ord("'"): "\\'",
    ord("\\"): "\\\\",
}

_PRINTED = [
    _PRINTED_ESCAPES.get(byte, chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}")
    for byte in range(256)
]

_PLAIN = re.compile(r"[ !#-&(-\[\]-~]*+\Z")


def _lines(message: Message, indent: str) -> Iterator[str]:
    for field, values in set_fields(message):
        if field.is_message:
            for value in values:
                yield f"{indent}{field.name} {{\n"
                yield from _lines(value, indent + "  ")
                yield f"{indent}}}\n"
        else:
            printed = _PRINTERS[field.kind]
            for value in values:
                yield f"{indent}{field.name}: {printed(field, value)}\n"


def _print_string(field: Field, value: str | bytes) -> str:
    if isinstance(value, str):
        if _PLAIN.match(value):
            return f'"{value}"'
        value = value.encode()
    return f'"{"".join([_PRINTED[byte] for byte in value])}"'


def _print_enum(field: Field, value: int) -> str:
    return next(name for name, number in field.values.items() if number == value)


def _print_bool(field: Field, value: bool) -> str:
    return "true" if value else "false"


_LEAST_NORMAL = 2.0**-126


def _print_float(field: Field, value: float) -> str:
    """%.6g, or %.9g where that does not read back as the same float32.

    C's strtof reports an underflow for numbers below the normal ones; C++ takes that for a failure.
    """
    short = f"{value:.6g}"
    same = _float32(float(short)) == value and (abs(value) >= _LEAST_NORMAL or value == 0)
    return short if same or value != value else f"{value:.9g}"


def _print_double(field: Field, value: float) -> str:
    """%.15g, or %.17g where that does not read back as the same number."""
    short = f"{value:.15g}"
    return short if float(short) == value or value != value else f"{value:.17g}"


def _float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:  # %.6g of the largest float32 rounds up
        return float("inf")


def _print_integer(field: Field, value: int) -> str:
    return str(value)


_PRINTERS: Mapping[int, Callable[[Field, Any], str]] = {
    FieldDescriptor.TYPE_STRING: _print_string,
    FieldDescriptor.TYPE_BYTES: _print_string,
    FieldDescriptor.TYPE_INT32: _print_integer,
    FieldDescriptor.TYPE_INT64: _print_integer,
    FieldDescriptor.TYPE_UINT32: _print_integer,
    FieldDescriptor.TYPE_BOOL: _print_bool,
    FieldDescriptor.TYPE_FLOAT: _print_float,
    FieldDescriptor.TYPE_DOUBLE: _print_double,
    FieldDescriptor.TYPE_ENUM: _print_enum,
}
