"""Any text of lines and words: lists, TOML, XML."""

from __future__ import annotations

import re
from random import Random

from tests.fuzz.mutators import values

_WORD = re.compile(rb"\w+|\s+|.", re.DOTALL)


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A text with a few words or lines changed; now and then bytes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = _step(data, others, rng)
    return data


def _step(data: bytes, others: list[bytes], rng: Random) -> bytes:
    kind = rng.randrange(10)
    if kind == 0:
        return values.changed_bytes(data, rng)
    if kind < 4:
        lines = data.splitlines(keepends=True) or [b"\n"]
        at = rng.randrange(len(lines))
        theirs = rng.choice(others).splitlines(keepends=True) or [b""]
        if kind == 1:
            lines[at:at] = [lines[at]] * rng.choice((1, 2, 300))
        elif kind == 2:
            del lines[at]
        else:
            lines.insert(at, rng.choice(theirs))
        return b"".join(lines)
    words = _WORD.findall(data) or [b""]
    places = [at for at, word in enumerate(words) if not word.isspace()] or [0]
    at = rng.choice(places)
    if kind < 7 and any(words[each][:1].isdigit() for each in places):
        at = rng.choice([each for each in places if words[each][:1].isdigit()])
        words[at] = values.number(rng).encode()
    elif kind == 7:
        words[at] = values.name(rng).encode()
    elif kind == 8:
        words[at] = words[rng.choice(places)]
    else:
        del words[at]
    return b"".join(words)
