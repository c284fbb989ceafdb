"""Protobuf's binary messages, changed field by field, with lengths that still hold."""

from __future__ import annotations

from random import Random
from typing import Any

from fcnproto.wire import WireError, fields, varint
from tests.fuzz.mutators import values

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
Field = list[Any]  # number, wire type, value: an int, bytes, or a list of fields


def parsed(data: bytes, depth: int = 0) -> list[Field] | None:
    """A message's fields, and in them those of messages; None if it is none."""
    found: list[Field] = []
    try:
        for each in fields(data, 0, len(data)):
            content: Any = each.value if each.wire == _VARINT else data[each.start : each.end]
            if each.wire == _LENGTH and content and depth < 8 and len(content) < 20_000:
                content = parsed(content, depth + 1) or content
            found.append([each.number, int(each.wire), content])
    except WireError:
        return None
    return found


def written(message: list[Field]) -> bytes:
    """A message's bytes."""
    parts = []
    for number, wire, content in message:
        payload = written(content) if isinstance(content, list) else content
        if isinstance(payload, int):
            payload = varint(payload % 2**64)
        elif wire == _LENGTH:
            payload = varint(len(payload)) + payload
        parts.append(varint(number << 3 | wire) + payload)
    return b"".join(parts)


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A message with a few fields changed; now and then a byte."""
    message = parsed(data)
    if message is None or not message or rng.random() < 0.15:
        return values.changed_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _step(message, others, rng)
    return written(message)


def _step(message: list[Field], others: list[bytes], rng: Random) -> None:
    holder = message
    while holder:
        at = rng.randrange(len(holder))
        content = holder[at][2]
        if not isinstance(content, list) or not content or rng.random() < 0.12:
            break
        holder = content
    if not holder:
        return
    each = holder[at]
    kind = rng.randrange(10)
    if kind < 5:
        each[2] = _changed(each, rng)
    elif kind == 5:
        del holder[at]
    elif kind == 6:
        copies = rng.choice((1, 2, 50))
        holder[at:at] = [list(each) for _ in range(copies)]
    elif kind == 7:
        each[0] = rng.choice((1, 2, 3, 4, 5, 7, 8, 10, 100, 2**29 - 1, each[0] + 1))
    elif kind == 8:
        other = parsed(rng.choice(others))
        if other:
            holder.insert(at, rng.choice(other))
    else:
        rng.shuffle(holder)


def _changed(each: Field, rng: Random) -> Any:
    content = each[2]
    if isinstance(content, int):
        return values.integer(rng)
    if isinstance(content, list):
        return values.changed_bytes(written(content), rng)
    if each[1] in (_FIXED32, _FIXED64):
        return rng.choice((b"\0" * 8, b"\xff" * 8, b"\0\0\xc0\x7f" * 2))[: len(content)]
    if rng.random() < 0.4:
        return values.name(rng).encode("utf-8", "surrogateescape")
    if rng.random() < 0.3 and len(content) >= 4:
        return content[:-4] + rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f"))
    return values.changed_bytes(content, rng)
