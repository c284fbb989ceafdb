"""Inputs of several files: parts with a line between them, each changed as its kind wants."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Mutate = Callable[[bytes, list[bytes], Random], bytes]
_BETWEEN = b"\n==== next file ====\n"


def joined(*parts: bytes) -> bytes:
    """One input of several files."""
    return _BETWEEN.join(parts)


def split(data: bytes, count: int) -> list[bytes]:
    """The files of an input; those that are missing are empty."""
    found = data.split(_BETWEEN, count - 1)
    return [*found, *[b""] * (count - len(found))]


def mutator(*kinds: Mutate) -> Mutate:
    """Changes one part at a time; now and then takes it from another input."""

    def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
        parts = split(data, len(kinds))
        at = rng.randrange(len(kinds))
        theirs = [split(each, len(kinds))[at] for each in rng.sample(others, min(3, len(others)))]
        if rng.random() < 0.1:
            parts[at] = rng.choice(theirs)
        else:
            parts[at] = kinds[at](parts[at], theirs, rng)
        return joined(*parts)

    return mutate
