"""Texts of nets and solvers, changed so that most stay what Caffe's grammar allows."""

from __future__ import annotations

import re
from functools import cache
from random import Random
from typing import Any

from fcnproto.layers import layer_types
from fcnproto.proto.caffe_pb2 import NetParameter, SolverParameter
from tests.fuzz.mutators import values

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|[-+]?[\d.][\w.+-]*|\s+|#[^\n]*|.', re.DOTALL)
_BLOCK = re.compile(r"(?<!\w)(\w{1,50})\s{0,9}:?\s{0,9}\{")  # bounded: names may be very long
_LAYER = re.compile(r"^layers? *\{.*?^\}", re.DOTALL | re.MULTILINE)


@cache
def _messages() -> dict[str, list[Any]]:
    """The messages that a field of each name holds, anywhere in a net or solver."""
    found: dict[str, list[Any]] = {"": [NetParameter.DESCRIPTOR, SolverParameter.DESCRIPTOR]}
    todo = list(found[""])
    seen = set()
    while todo:
        message = todo.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            if field.message_type is not None:
                found.setdefault(field.name, []).append(field.message_type)
                todo.append(field.message_type)
    return found


def quoted(text: str) -> str:
    """A text as prototxt writes it; now and then its bytes as they are."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def field(message: Any, rng: Random, depth: int = 0) -> str:
    """A field of a message with a value at random."""
    chosen = rng.choice(message.fields)
    if chosen.message_type is not None:
        inner = " ".join(
            field(chosen.message_type, rng, depth + 1)
            for _ in range(0 if depth > 2 else rng.randrange(4))
        )
        return f"{chosen.name} {{ {inner} }}"
    if chosen.enum_type is not None:
        return f"{chosen.name}: {rng.choice(chosen.enum_type.values).name}"
    if chosen.type == chosen.TYPE_BOOL:
        return f"{chosen.name}: {rng.choice(('true', 'false'))}"
    if chosen.type in (chosen.TYPE_STRING, chosen.TYPE_BYTES):
        return f"{chosen.name}: {quoted(values.name(rng))}"
    return f"{chosen.name}: {values.number(rng)}"


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A net or solver with a few changes: numbers, names, wires, fields, layers of another."""
    if rng.random() < 0.03:
        return values.changed_bytes(data, rng)
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        text = _step(text, others, rng)
    return text.encode("utf-8", "surrogateescape")


def _step(text: str, others: list[bytes], rng: Random) -> str:
    kind = rng.randrange(12)
    if kind < 7:
        return _change_token(text, rng)
    if kind == 7:
        return _insert_field(text, rng)
    layers = list(_LAYER.finditer(text))
    if not layers:
        return _insert_field(text, rng)
    one = rng.choice(layers)
    if kind == 8:
        return text[: one.start()] + text[one.end() :]
    if kind == 9:
        other = rng.choice(layers)
        return text[: other.end()] + "\n" + one[0] + text[other.end() :]
    if kind == 10:
        theirs = _LAYER.findall(rng.choice(others).decode("utf-8", "replace"))
        added = _rewired(rng.choice(theirs), text, rng) if theirs else ""
        return text[: one.end()] + "\n" + added + text[one.end() :]
    if rng.random() < 0.1:
        return text + ("\n" + one[0]) * min(60_000 // len(one[0]), rng.choice((10, 100, 10_000)))
    return text[: one.start()] + _rewired(one[0], text, rng) + text[one.end() :]


def _rewired(layer: str, text: str, rng: Random) -> str:
    """A layer that reads blobs of the net."""
    blobs = re.findall(r'top: *("[^"]*")', text) or ['"data"']
    return re.sub(r'(bottom: *)"[^"]*"', lambda found: found[1] + rng.choice(blobs), layer)


def _change_token(text: str, rng: Random) -> str:
    tokens = _TOKEN.findall(text)
    places = [
        at for at, token in enumerate(tokens) if not token.isspace() and not token.startswith("#")
    ]
    if not places:
        return _insert_field(text, rng)
    numbers = [at for at in places if tokens[at][0] in "+-.0123456789"]
    strings = [at for at in places if tokens[at].startswith('"')]
    kind = rng.randrange(10)
    if kind < 5 and numbers:
        tokens[rng.choice(numbers)] = values.number(rng)
    elif kind < 7 and strings:
        at = rng.choice(strings)
        if "type" in tokens[max(0, at - 4) : at]:
            tokens[at] = quoted(rng.choice(list(layer_types())))
        elif rng.random() < 0.6:
            tokens[at] = tokens[rng.choice(strings)]
        else:
            tokens[at] = quoted(values.name(rng))
    elif kind == 7:
        tokens[rng.choice(places)] = rng.choice(("{", "}", ":", "[", "]", ",", ";", "<", ">", "#"))
    elif kind == 8:
        del tokens[rng.choice(places)]
    else:
        tokens[rng.choice(places)] = rng.choice([tokens[at] for at in places])
    return "".join(tokens)


def _insert_field(text: str, rng: Random) -> str:
    """A field more, in a block whose message has it."""
    blocks = [(found[1], found.end()) for found in _BLOCK.finditer(text)]
    name, place = rng.choice([*blocks, ("", 0)])
    message = rng.choice(_messages().get(name, _messages()["layer"]))
    return f"{text[:place]} {field(message, rng)}\n{text[place:]}"
