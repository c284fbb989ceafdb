"""Values of TOML and JSON that people and strangers wrote: each is of its kind, or is refused.

A parser takes what `tomllib` or `json` read and gives what it stands for, or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from fcnproto.types import Colour

Value = TypeVar("Value")
Parser = Callable[[Any], Value]


def check(condition: bool) -> None:
    """Raise ValueError unless it holds."""
    if not condition:
        raise ValueError


def text(value: Any) -> str:
    """Text, of which nothing is half of a surrogate pair, which cannot be printed."""
    check(isinstance(value, str))
    str(value).encode()
    return str(value)


def boolean(value: Any) -> bool:
    """True or false."""
    check(isinstance(value, bool))
    return bool(value)


def integer(value: Any) -> int:
    """A whole number; 1.0 and true are none."""
    check(type(value) is int)
    return int(value)


def number(value: Any) -> float:
    """Any number but infinities and NaN."""
    check(type(value) in (int, float) and math.isfinite(value))
    return float(value)


def table(value: Any) -> dict[str, Any]:
    """A table, its keys text."""
    return mapping_of(lambda item: item)(value)


def colour(value: Any) -> Colour:
    """Red, green and blue, each from 0 to 255."""
    red, green, blue = list_of(integer)(value)
    check(min(red, green, blue) >= 0 and max(red, green, blue) <= 255)
    return red, green, blue


def pair_of(least: float = 0) -> Parser[tuple[int, int]]:
    """A number for rows and one for columns, both whole and not below `least`."""

    def parse(value: Any) -> tuple[int, int]:
        rows, columns = list_of(number)(value)
        check(all(part == int(part) >= least for part in (rows, columns)))
        return int(rows), int(columns)

    return parse


def list_of(each: Parser[Value]) -> Parser[tuple[Value, ...]]:
    """A list, maybe empty."""

    def parse(value: Any) -> tuple[Value, ...]:
        check(isinstance(value, list | tuple))
        return tuple(map(each, value))

    return parse


def some_of(each: Parser[Value]) -> Parser[tuple[Value, ...]]:
    """A list that is not empty."""

    def parse(value: Any) -> tuple[Value, ...]:
        values = list_of(each)(value)
        check(len(values) > 0)
        return values

    return parse


def mapping_of(each: Parser[Value]) -> Parser[dict[str, Value]]:
    """A table of values of one kind."""

    def parse(value: Any) -> dict[str, Value]:
        check(isinstance(value, dict))
        return {text(key): each(item) for key, item in value.items()}

    return parse
