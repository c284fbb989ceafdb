"""Read a TOML file that people write: every key that is missing, unknown or of the wrong kind."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fcnproto.errors import Problem, ZooError, reason
from fcnproto.zoo import strict
from fcnproto.zoo.strict import Parser

Value = TypeVar("Value")

_WHOLE = "a whole number"
_ANYTHING: Parser[tuple[Any, ...]] = strict.list_of(lambda item: item)


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
            raise ZooError(Problem(f"cannot be read: {reason(error)}", str(path))) from error

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        """Text; it must be there unless there is a default."""
        return self._take(key, strict.text, "text", "", default)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number, not negative."""
        value = self._take(key, strict.integer, _WHOLE, 0, default)
        if value < 0:
            self.complain(f"'{key}' must not be negative, found {value}")
        return value

    def number(self, key: str) -> float:
        """Any number."""
        return self._take(key, strict.number, "a number", 0.0, None)

    def is_list(self, key: str, kind: type = object) -> bool:
        """Whether a list stands there, of values of a kind as its first one tells."""
        values = self._values.get(key)
        return isinstance(values, list) and all(isinstance(each, kind) for each in values[:1])

    def switch(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._take(key, strict.boolean, "true or false", False, default)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of several words."""
        value = self.text(key)
        if value not in choices:
            self.complain(f"'{key}' must be one of {', '.join(choices)}, found '{value}'")
        return value

    def text_or_integer(self, key: str) -> str | int:
        """Text, or a whole number."""
        return self.integer(key) if type(self._values.get(key)) is int else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty if it is not there."""
        return self._list(key, strict.text, "text")

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, empty if it is not there."""
        return self._list(key, strict.integer, _WHOLE)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers, empty if it is not there."""
        return self._list(key, strict.number, "a number")

    def rows(self, key: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers, empty if it is not there."""
        return self._list(key, strict.list_of(strict.number), "a list of numbers")

    def colours(self, key: str) -> tuple[tuple[int, int, int], ...]:
        """A list of [red, green, blue], each from 0 to 255, empty if it is not there."""
        return self._list(key, strict.colour, "[red, green, blue]")

    def tables(self, key: str) -> tuple[Table, ...]:
        """A list of tables, empty if it is not there."""
        return tuple(self._part(key, values) for values in self._list(key, strict.table, "a table"))

    def table(self, key: str, *, required: bool = True) -> Table:
        """A table within this one, empty if it need not be there and is not."""
        return self._part(
            key, self._take(key, strict.table, "a table", {}, None if required else {})
        )

    def complain(self, message: str) -> None:
        """Note something that is wrong with this table."""
        self._problems.append(Problem(self._place + message, str(self._path)))

    def finish(self) -> None:
        """Raise ZooError with all that is wrong with this table and those within it."""
        problems = list(self._found())
        if problems:
            raise ZooError(*problems)

    def _take(
        self, key: str, parse: Parser[Value], kind: str, empty: Value, default: Value | None
    ) -> Value:
        self._taken.add(key)
        if key not in self._values:
            if default is None:
                self.complain(f"'{key}' is missing")
                return empty
            return default
        value = self._values[key]
        try:
            return parse(value)
        except ValueError:
            self.complain(f"'{key}' must be {kind}, found {value!r}")
            return empty

    def _list(self, key: str, parse: Parser[Value], kind: str) -> tuple[Value, ...]:
        found = []
        values: tuple[Any, ...] = self._take(key, _ANYTHING, "a list", (), ())
        for value in values:
            try:
                found.append(parse(value))
            except ValueError:
                self.complain(f"'{key}' must be a list, each {kind}, found {value!r}")
                return ()
        return tuple(found)

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
