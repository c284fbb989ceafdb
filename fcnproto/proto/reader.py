"""Caffe's text format: reading it as Caffe's C++ reads it, and writing it as Caffe writes it.

Protobuf's own Python reader stops at the first thing that it does not know, tells no positions of
what it read, refuses texts that the C++ reader accepts (`- 1`, `"\\377"`, `"\\?"`) and accepts
others that it refuses (`1_000`, `+1`); its writer prints the shortest decimal instead of %.6g.
Hence a reader and a writer of our own, both driven by the descriptors. The rules are those of
protobuf's text_format.cc and io/tokenizer.cc.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fcnproto.errors import Problem, PrototxtError, Severity, nearest
from fcnproto.proto.caffe_pb2 import V1LayerParameter
from fcnproto.proto.schema import Field, fields, layer_name, put
from fcnproto.proto.tokens import (
    BOOLS,
    CLOSERS,
    FLOATS,
    OPENERS,
    RANGES,
    TOKEN,
    FieldPath,
    ValueProblemError,
    path_name,
    short,
    string_of,
)
from fcnproto.proto.unread import UNREAD

MessageT = TypeVar("MessageT", bound=Message)

"""Where a field is: names, each of a repeated field followed by an index, as in ("layer", 3)."""

LONGEST_TEXT = 4 * 2**20
"""Characters that a text may have; the longest nets known have less than a tenth of it."""


@dataclass(frozen=True)
class Document(Generic[MessageT]):
    """A message read from text: what is in it, what is wrong with it, and where everything stands.

    `positions` holds the line and column, both from 1, of every field's name or list element.
    """

    message: MessageT
    path: str
    problems: tuple[Problem, ...]
    positions: Mapping[FieldPath, tuple[int, int]]

    def line(self, *path: str | int) -> int | None:
        """The line on which the field at `path` stands, or the nearest field around it."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions[path][0] if path else None


def parse(
    text: str, path: str, message_type: type[MessageT], *, lenient: bool = False
) -> Document[MessageT]:
    """Read a message from text; `path` is what problems call it.

    Problems that leave the rest readable (unknown fields, unknown enum values, values of the wrong
    kind, fields given twice or missing) are all in the result, and their fields are left out of the
    message. With `lenient`, unknown fields are warnings. Fields that only forks have are noted.

    Raises PrototxtError, with every problem found so far, where the text cannot be read on.
    """
    if len(text) > LONGEST_TEXT:
        raise PrototxtError(
            Problem(f"has {len(text)} characters; at most {LONGEST_TEXT} are read", path)
        )
    return _Reader(text, path, lenient).read(message_type)


class _UnreadableError(Exception):
    """The text cannot be read on; the problem has been noted."""


_MOST_PROBLEMS = 1000
_BLANK = re.compile(r"\$\{\w*\}")
_LONGEST_INTEGER = 70  # more digits than any integer needs, far fewer than int() takes long for


class _Reader:
    """One reading of one text: a token of lookahead, and what has been found so far."""

    def __init__(self, text: str, path: str, lenient: bool) -> None:
        self.text = text
        self.path = path
        self.lenient = lenient
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.positions: dict[FieldPath, tuple[int, int]] = {}
        self.found: list[tuple[FieldPath, int, str, Severity]] = []
        self.forks: dict[str, list[tuple[FieldPath, int, str]]] = {}
        self.strangers: dict[tuple[Any, str], list[tuple[FieldPath, int]]] = {}
        self.tokens = TOKEN.finditer(text)
        self.advance()

    def advance(self) -> None:
        """Go to the next token; at the end of the text its kind is "end" and it is empty."""
        for match in self.tokens:
            if match.lastgroup != "space":
                self.kind, self.token, self.start = match.lastgroup, match.group(), match.start()
                return
        self.kind, self.token, self.start = "end", "", len(self.text)

    def read(self, message_type: type[MessageT]) -> Document[MessageT]:
        message = message_type()
        try:
            self.message(message, (), "", 0)
        except _UnreadableError:
            raise PrototxtError(*self.problems(message)) from None
        return Document(message, self.path, tuple(self.problems(message)), self.positions)

    # Problems

    def place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.lines, offset)
        return line, offset - self.lines[line - 1] + 1

    def note(
        self, path: FieldPath, message: str, offset: int, severity: Severity = Severity.ERROR
    ) -> None:
        if len(self.found) == _MOST_PROBLEMS:
            message = f"there are more than {_MOST_PROBLEMS} problems; reading stops here"
        if len(self.found) <= _MOST_PROBLEMS:
            self.found.append((path, offset, message, severity))
        if len(self.found) > _MOST_PROBLEMS:
            raise _UnreadableError

    def problems(self, message: Message) -> list[Problem]:
        """Everything found, in the order of the text."""
        with suppress(_UnreadableError):  # what is more than is told
            for (descriptor, name), found in self.strangers.items():
                self.introduce(descriptor, name, found)
            for name, places in self.forks.items():
                path, offset, fork = places[0]
                more = f"; it stands in {len(places)} places" if len(places) > 1 else ""
                told = f"{name} is not in BVLC Caffe ({fork}){more}"
                self.note(path, told, offset, Severity.NOTE)
        return [
            Problem(text, self.path, *self.place(offset), layer_name(message, path), severity)
            for path, offset, text, severity in sorted(self.found, key=lambda found: found[1])
        ]

    def stop(self, path: FieldPath, expected: str) -> NoReturn:
        """Note what stands here instead of what is expected, and give up."""
        text = f"expected {expected}, found {self.shown()}"
        if self.token == "\ufeff":
            text = "the file begins with a byte-order mark, which Caffe refuses; save it without"
        elif self.token in ("'", '"') and self.kind == "symbol":
            text = "this string has no closing quote on its line"
        elif self.kind == "malformed":
            text = f"'{short(self.token)}' is not a number"
        elif self.token == "$" and (blank := _BLANK.match(self.text, self.start)):
            text = f"'{blank[0]}' is a blank of a template: put {expected} in its place"
        self.note(path, text, self.start)
        raise _UnreadableError

    def shown(self) -> str:
        if self.kind == "end":
            return "the end of the text"
        return short(self.token) if self.kind == "string" else f"'{short(self.token)}'"

    # Grammar

    def accept(self, symbol: str) -> bool:
        if self.token != symbol or self.kind != "symbol":
            return False
        self.advance()
        return True

    def expect(self, symbol: str, path: FieldPath, after: str) -> None:
        if not self.accept(symbol):
            self.stop(path, f"'{symbol}' after {after}")

    def message(self, message: Message, path: FieldPath, closer: str, start: int) -> None:
        """Read fields into `message` until `closer` (empty: the end of the text) and past it."""
        known = fields(message.DESCRIPTOR)
        counts: dict[str, int] = {}
        while self.token != closer or self.kind == "string":
            if self.kind != "identifier":
                wanted = "a field's name"
                if closer:
                    line, _ = self.place(start)
                    wanted += f" or the '{closer}' that closes {path_name(path)} of line {line}"
                self.stop(path, wanted)
            self.field(message, path, known, counts)
            if not self.accept(";"):
                self.accept(",")
        for name, field in known.items():
            if field.required and name not in counts:
                what = f"{path_name(path)} lacks {name}, which it must have"
                self.note(path, what, start)
        if closer:
            self.advance()

    def field(
        self, message: Message, path: FieldPath, known: Mapping[str, Field], counts: dict[str, int]
    ) -> None:
        """Read one field and its value, or its list of values."""
        name, start = self.token, self.start
        field = known.get(name)
        self.advance()
        if field is None:
            self.unknown(message.DESCRIPTOR, path, name, start)
            return
        where = (*path, name)
        if field.fork:
            self.forks.setdefault(name, []).append((path, start, field.fork))
        if not field.repeated and name in counts:
            line, _ = self.positions[where]
            self.note(path, f"{name} was given in line {line} already; it stands only once", start)
            self.skip(path, name)
            return

        colon = self.accept(":")
        if not colon and not field.is_message:
            self.stop(path, f"':' after {name}")
        if not field.repeated:
            counts[name] = 1
            self.positions[where] = self.place(start)
            self.value(message, field, where, start)
        elif self.accept("["):
            if not self.accept("]"):
                self.element(message, field, where, counts, self.start)
                while not self.accept("]"):
                    self.expect(",", path, f"a value of {name}, or ']'")
                    self.element(message, field, where, counts, self.start)
        else:
            self.element(message, field, where, counts, start)

    def element(
        self, message: Message, field: Field, where: FieldPath, counts: dict[str, int], start: int
    ) -> None:
        """Read one value of a repeated field."""
        index = counts.get(field.name, 0)
        where = (*where, index)
        self.positions[where] = self.place(start)
        if self.value(message, field, where, start):
            counts[field.name] = index + 1

    def value(self, message: Message, field: Field, where: FieldPath, start: int) -> bool:
        """Read a value into `message`; False if it was no value of this field."""
        if field.is_message:
            closer = OPENERS.get(self.token) if self.kind == "symbol" else None
            if closer not in ("}", ">"):
                self.stop(where, f"'{{' after {field.name}")
            self.advance()
            target = getattr(message, field.name)
            if field.repeated:
                target = target.add()
            else:
                target.SetInParent()
            self.message(target, where, closer, start)
            return True

        here = self.start
        try:
            value = _SCALARS[field.kind](self, field, where)
        except ValueProblemError as error:
            self.note(where, f"{field.name} {error}", here)
            return False
        try:
            put(message, field.name, value)
        except UnicodeDecodeError:  # protobuf's pure Python runtime holds no such string; upb does
            self.note(where, f"{field.name} is not UTF-8", here)
            return False
        return True

    # Unknown fields

    def introduce(
        self, descriptor: Any, name: str, places: Sequence[tuple[FieldPath, int]]
    ) -> None:
        """Say once, where it stands first, that a field is not known."""
        path, start = places[0]
        more = f"; it stands in {len(places)} places" if len(places) > 1 else ""
        reason = UNREAD.get((descriptor.name, name))
        if reason is not None:
            self.note(path, f"{name} {reason}{more}", start, Severity.NOTE)
            return
        text = f"{descriptor.name} has no field '{short(name)}'"
        hint = nearest(name, fields(descriptor)) + more
        if self.lenient:
            self.note(path, f"{text}; it is skipped{hint}", start, Severity.WARNING)
        else:
            self.note(path, text + hint, start)

    def unknown(self, descriptor: Any, path: FieldPath, name: str, start: int) -> None:
        """Remember an unknown field and pass its value over."""
        self.strangers.setdefault((descriptor, name), []).append((path, start))
        self.skip(path, short(name))

    def skip(self, path: FieldPath, name: str) -> None:
        """Pass over what follows a field's name: a scalar, a list or a message, however deep."""
        colon = self.accept(":")
        if self.token not in OPENERS or self.kind != "symbol":
            if not colon:
                self.stop(path, f"':' or '{{' after {name}")
            self.skip_scalar(path, name)
            return
        open_brackets: list[str] = []
        while True:
            if self.kind in ("end", "malformed"):
                self.stop(path, f"the '{open_brackets[-1]}' that closes {name}")
            if self.kind == "symbol":
                if self.token in OPENERS:
                    open_brackets.append(OPENERS[self.token])
                elif self.token in CLOSERS:
                    if self.token != open_brackets[-1]:
                        self.stop(path, f"'{open_brackets[-1]}' in {name}")
                    open_brackets.pop()
                elif self.token not in ":;,-":
                    self.stop(path, f"a value of {name}")
            self.advance()
            if not open_brackets:
                return

    def skip_scalar(self, path: FieldPath, name: str) -> None:
        self.accept("-")
        if self.kind not in ("identifier", "string", "integer", "float"):
            self.stop(path, f"a value of {name}")
        kind = self.kind
        self.advance()
        while kind == "string" and self.kind == "string":
            self.advance()

    # Scalars

    def refuse(self, wanted: str, where: FieldPath) -> NoReturn:
        """Say what the value should have been; reading goes on behind it if it is a scalar."""
        shown = self.shown()
        if self.kind not in ("identifier", "string", "integer", "float"):
            self.stop(where, wanted)
        self.skip_scalar(where, "")
        raise ValueProblemError(f"must be {wanted}, found {shown}")

    def read_string(self, field: Field, where: FieldPath) -> str | bytes:
        if self.kind != "string":
            self.refuse("a string in quotes", where)
        parts, errors = [], []
        while self.kind == "string":
            try:
                parts.append(string_of(self.token))
            except ValueProblemError as error:
                errors.append(error)
            self.advance()
        if errors:
            raise errors[0]
        if len(parts) == 1 and field.kind != FieldDescriptor.TYPE_BYTES:
            return parts[0]
        joined = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
        if field.kind == FieldDescriptor.TYPE_BYTES:
            return joined
        try:
            return joined.decode()
        except UnicodeDecodeError:
            return joined

    def read_integer(self, field: Field, where: FieldPath) -> int:
        least, most = RANGES[field.kind]
        wanted = f"a whole number from {least} to {most}"
        negative = least < 0 and self.accept("-")
        if self.kind == "symbol" and self.token == "-":
            self.advance()
            shown = f"-{self.token}"
            self.skip_scalar(where, field.name)
            raise ValueProblemError(f"must be {wanted}, found {shown}")
        if self.kind != "integer":
            self.refuse(wanted, where)
        token = self.token
        number = most + 1
        if len(token) <= _LONGEST_INTEGER:
            number = int(token, 16 if token[1:2] in ("x", "X") else 8 if token[0] == "0" else 10)
        number = -number if negative else number
        self.advance()
        if not least <= number <= most:
            raise ValueProblemError(f"must be {wanted}, found {'-' * negative}{short(token)}")
        return number

    def read_bool(self, field: Field, where: FieldPath) -> bool:
        if self.kind == "integer":
            return bool(self.read_integer(field, where))
        if self.kind != "identifier" or self.token not in BOOLS:
            self.refuse("true or false", where)
        value = BOOLS[self.token]
        self.advance()
        return value

    def read_float(self, field: Field, where: FieldPath) -> float:
        negative = self.accept("-")
        token = self.token
        if self.kind == "identifier" and token.lower() in FLOATS:
            token = FLOATS[token.lower()]
        elif self.kind == "integer" and token != "0" and token[0] == "0":
            self.refuse("a decimal number", where)
        elif self.kind not in ("integer", "float"):
            self.refuse("a number", where)
        self.advance()
        number = float(token.rstrip("fF") if token != "inf" else token)
        return -number if negative else number

    def read_enum(self, field: Field, where: FieldPath) -> int:
        token = self.token
        names = tuple(field.values)
        if self.kind == "identifier":
            self.advance()
            number = field.values.get(token)
        elif self.kind == "integer" or (self.kind == "symbol" and token == "-"):
            number = self.read_integer(field, where)
            token = str(number)
            number = number if number in field.values.values() else None
        else:
            self.refuse(f"a name without quotes, such as {names[0]}{_form(names)}", where)
        if number is None:
            hint = nearest(token, names) or _form(names) or f"; it may be {', '.join(names)}"
            raise ValueProblemError(f"cannot be '{short(token)}'{hint}")
        return number


def _form(names: tuple[str, ...]) -> str:
    """What to do where a type is wanted of the days when types were an enum's names."""
    is_type = names == tuple(V1LayerParameter.LayerType.keys())
    return " (or write layer for layers: types are then in quotes)" if is_type else ""


_SCALARS: Mapping[int, Callable[[_Reader, Field, FieldPath], object]] = {
    FieldDescriptor.TYPE_STRING: _Reader.read_string,
    FieldDescriptor.TYPE_BYTES: _Reader.read_string,
    FieldDescriptor.TYPE_INT32: _Reader.read_integer,
    FieldDescriptor.TYPE_INT64: _Reader.read_integer,
    FieldDescriptor.TYPE_UINT32: _Reader.read_integer,
    FieldDescriptor.TYPE_BOOL: _Reader.read_bool,
    FieldDescriptor.TYPE_FLOAT: _Reader.read_float,
    FieldDescriptor.TYPE_DOUBLE: _Reader.read_float,
    FieldDescriptor.TYPE_ENUM: _Reader.read_enum,
}
