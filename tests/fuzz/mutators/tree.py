"""JSON, changed value by value."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from tests.fuzz.mutators import plain, values


def value(rng: Random, depth: int = 0) -> Any:
    """Any value of JSON."""
    kind = rng.randrange(9 if depth < 3 else 7)
    if kind < 2:
        return values.integer(rng)
    if kind == 2:
        return rng.choice((0.5, -1.5, 1e30, 1e308, float("nan"), float("inf"), -0.0, 1e-320))
    if kind < 5:
        return values.name(rng)
    if kind == 5:
        return rng.choice((None, True, False))
    if kind == 6:
        return rng.choice(([], {}, [[]], "\ud800"))
    inner = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return inner if kind == 7 else {values.name(rng): each for each in inner}


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A text of JSON with a few values changed; now and then a byte."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return plain.mutate(data, others, rng)
    if rng.random() < 0.05:
        return plain.mutate(data, others, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = changed(tree, rng)
    return json.dumps(tree, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


def changed(tree: Any, rng: Random) -> Any:
    """A tree with one change somewhere."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.08:
        return value(rng)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = rng.choice(keys)
    kind = rng.randrange(10)
    if kind < 7:
        tree[key] = changed(tree[key], rng)
    elif kind == 7:
        del tree[key]
    elif kind == 8 and isinstance(tree, list):
        tree[key:key] = [copy.deepcopy(tree[key]) for _ in range(rng.choice((1, 3, 100)))]
    elif isinstance(tree, dict):
        tree[rng.choice((values.name(rng), rng.choice(keys)))] = copy.deepcopy(tree[key])
    else:
        tree.append(value(rng))
    return tree
