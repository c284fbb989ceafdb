"""Read a TOML file that people write: every key that is missing, unknown or of the wrong kind."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fcnproto.errors import Problem, ZooError

Value = TypeVar("Value")

_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class Table:
    """A table of a TOML file whose keys are taken one by one.

    What is wrong is gathered while keys are taken; `finish` raises all of it, together with the
    keys that nobody took. Until then a wrong value stands as an empty one.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, place: str = "") -> None:
        self._values = values
        self._path = path
        self._place = place
        self._taken: set[str] = set()
        self._problems: list[Problem] = []
        self._parts: list[Table] = []

    @classmethod
    def load(cls, path: Path) -> Table:
        """The whole file; ZooError if it is not TOML."""
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")), path)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ZooError(Problem(f"cannot be read: {error}", str(path))) from error

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        """Text; it must be there unless there is a default."""
        return self._take(key, str, "", default)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number, not negative."""
        value = self._take(key, int, 0, default)
        if value < 0:
            self.complain(f"'{key}' must not be negative, found {value}")
        return value

    def number(self, key: str) -> float:
        """Any number."""
        return float(self._take(key, float, 0.0, None))

    def is_list(self, key: str) -> bool:
        """Whether a list stands there, where there might be one value."""
        return isinstance(self._values.get(key), list)

    def switch(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._take(key, bool, False, default)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of several words."""
        value = self.text(key)
        if value not in choices:
            self.complain(f"'{key}' must be one of {', '.join(choices)}, found '{value}'")
        return value

    def text_or_integer(self, key: str) -> str | int:
        """Text, or a whole number."""
        return self.integer(key) if _is(self._values.get(key), int) else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty if it is not there."""
        return self._list(key, str)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, empty if it is not there."""
        return self._list(key, int)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers, empty if it is not there."""
        return tuple(map(float, self._list(key, float)))

    def colours(self, key: str) -> tuple[tuple[int, int, int], ...]:
        """A list of [red, green, blue], each from 0 to 255, empty if it is not there."""
        colours = self._list(key, list)
        for colour in colours:
            if len(colour) != 3 or not all(_is(c, int) and 0 <= c <= 255 for c in colour):
                self.complain(f"'{key}' must be a list of [red, green, blue], found {colour}")
                return ()
        return tuple((red, green, blue) for red, green, blue in colours)

    def tables(self, key: str) -> tuple[Table, ...]:
        """A list of tables, empty if it is not there."""
        return tuple(self._part(key, values) for values in self._list(key, dict))

    def table(self, key: str, *, required: bool = True) -> Table:
        """A table within this one, empty if it need not be there and is not."""
        return self._part(key, self._take(key, dict, {}, None if required else {}))

    def complain(self, message: str) -> None:
        """Note something that is wrong with this table."""
        self._problems.append(Problem(self._place + message, str(self._path)))

    def finish(self) -> None:
        """Raise ZooError with all that is wrong with this table and those within it."""
        problems = list(self._found())
        if problems:
            raise ZooError(*problems)

    def _take(self, key: str, kind: type[Value], empty: Value, default: Value | None) -> Value:
        self._taken.add(key)
        if key not in self._values:
            if default is None:
                self.complain(f"'{key}' is missing")
                return empty
            return default
        value = self._values[key]
        if not _is(value, kind):
            self.complain(f"'{key}' must be {_KINDS[kind]}, found {value!r}")
            return empty
        return value  # type: ignore[no-any-return]

    def _list(self, key: str, kind: type[Value]) -> tuple[Value, ...]:
        values = self._take(key, list, [], [])
        for value in values:
            if not _is(value, kind):
                self.complain(f"'{key}' must be a list, each {_KINDS[kind]}, found {value!r}")
                return ()
        return tuple(values)

    def _part(self, key: str, values: Mapping[str, Any]) -> Table:
        part = Table(values, self._path, f"{self._place}{key}: ")
        self._parts.append(part)
        return part

    def _found(self) -> Iterator[Problem]:
        yield from self._problems
        for key in self._values:
            if key not in self._taken:
                yield Problem(f"{self._place}unknown key '{key}'", str(self._path))
        for part in self._parts:
            yield from part._found()


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
