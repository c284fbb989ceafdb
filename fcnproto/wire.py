"""Protobuf's encoding, walked where a message lies and written around arrays.

protobuf itself copies a message of 500 MB three times; this finds the fields of a message in a
mapped file, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap

_DEEPEST = 100  # protobuf's limit on nested groups


class Wire(IntEnum):
    """How a field is written."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    GROUP = 3
    END_GROUP = 4
    FIXED32 = 5


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: where it begins, where its payload lies, its value if a varint."""

    number: int
    wire: Wire
    begin: int
    start: int
    end: int
    value: int = 0


class WireError(ValueError):
    """Bytes that are no message: where, and what begins there."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(f"byte {position} begins {what}")


def fields(content: mmap | bytes, position: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies between two offsets, groups left out.

    Raises WireError where it is none.
    """
    groups: list[int] = []
    while position < end:
        begin = position
        tag, position = read_varint(content, position, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29 or wire > Wire.FIXED32:
            raise WireError(begin, f"field {number} of wire type {wire}")
        field = _field(content, begin, position, end, number, Wire(wire))
        position = field.end
        if field.wire is Wire.GROUP:
            groups.append(number)
            if len(groups) > _DEEPEST:
                raise WireError(begin, f"groups nested deeper than {_DEEPEST}")
        elif field.wire is Wire.END_GROUP:
            if not groups or groups.pop() != number:
                raise WireError(begin, "the end of a group that has not begun")
        elif not groups:
            yield field
    if groups:
        raise WireError(end, "a group without an end")


def _field(
    content: mmap | bytes, begin: int, position: int, end: int, number: int, wire: Wire
) -> Field:
    length = 0
    if wire is Wire.VARINT:
        value, stop = read_varint(content, position, end)
        return Field(number, wire, begin, position, stop, value)
    if wire is Wire.LENGTH:
        length, position = read_varint(content, position, end)
    elif wire is Wire.FIXED32:
        length = 4
    elif wire is Wire.FIXED64:
        length = 8
    if length > end - position:
        raise WireError(begin, f"a field of {length} bytes where {end - position} are left")
    return Field(number, wire, begin, position, position + length)


def read_varint(content: mmap | bytes, position: int, end: int) -> tuple[int, int]:
    """An unsigned number of 64 bits that begins at an offset, and where it ends."""
    value = shift = 0
    for index in range(position, min(position + 10, end)):
        byte = content[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), index + 1
        shift += 7
    raise WireError(position, "a number that does not end")


def signed(value: int, bits: int) -> int:
    """A number that was read, as an int of so many bits."""
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def varint(value: int) -> bytes:
    """A number as it is written; it must not be negative."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def opening(field: int, length: int) -> bytes:
    """What stands before a field of so many bytes."""
    return varint(field << 3 | Wire.LENGTH) + varint(length)
