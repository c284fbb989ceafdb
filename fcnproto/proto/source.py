"""Nets and solvers from files: read, upgraded, and with the lines where their layers stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from fcnproto.errors import NetError, Problem, PrototxtError, Severity, raise_if_any, reason
from fcnproto.kinds import HEAD, no_prototxt
from fcnproto.proto import printer, schema, tokens
from fcnproto.proto import reader as prototxt
from fcnproto.proto.caffe_pb2 import NetParameter, SolverParameter
from fcnproto.proto.copying import UpgradeError
from fcnproto.proto.reader import Document
from fcnproto.proto.upgrade import Upgraded, upgrade_net, upgrade_solver


@dataclass(frozen=True)
class NetSource:
    """A net in the current form, where it came from and what is wrong with its text.

    `lines` has one entry per layer; an Input layer made from net-level fields stands where `input`
    does.
    """

    path: str
    net: NetParameter
    lines: tuple[int | None, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class SolverSource:
    """A solver in the current form, where it came from and what is wrong with its text."""

    path: str
    solver: SolverParameter
    problems: tuple[Problem, ...]
    document: Document[SolverParameter]

    def line(self, name: str, index: int | None = None) -> int | None:
        """The line on which a field of the solver stands."""
        place = (name,) if index is None else (name, index)
        return self.document.line(*place)

    def embedded(self, name: str, index: int | None = None) -> NetSource:
        """A net that stands in the solver itself: net_param, train_net_param or test_net_param.

        Caffe upgrades nets in files of their own, but none in a solver: what is of an older form
        there it leaves unread, which is warned of.
        """
        prefix = (name,) if index is None else (name, index)
        value = getattr(self.solver, name)
        net = NetParameter()
        net.CopyFrom(value if index is None else value[index])
        unread = tuple(
            Problem(
                f"'{old}' is not read: Caffe upgrades no net that stands in a solver",
                self.path,
                self.document.line(*prefix, old, 0),
                severity=Severity.WARNING,
            )
            for old in ("layers", "input")
            if getattr(net, old)
        )
        lines = tuple(self.document.line(*prefix, "layer", i) for i in range(len(net.layer)))
        return NetSource(self.path, net, lines, (*unread, *_make_readable(net, self.path)))


def read_net(path: str | Path, *, lenient: bool = False) -> NetSource:
    """Read a net from a prototxt of any vintage; "-" is standard input.

    Unknown fields and values are in `problems`. Raises PrototxtError where the file cannot be read
    as text or as a net at all, and NetError where Caffe could not upgrade it.
    """
    return parse_net(read_text(path), _name(path), lenient=lenient)


def parse_net(text: str, path: str = "<text>", *, lenient: bool = False) -> NetSource:
    """A net from text, as by `read_net`; `path` is what problems call it."""
    document = prototxt.parse(text, path, NetParameter, lenient=lenient)
    return _net_source(document)


def read_solver(path: str | Path, *, lenient: bool = False) -> SolverSource:
    """Read a solver from a prototxt; "-" is standard input. Problems as by `read_net`."""
    return parse_solver(read_text(path), _name(path), lenient=lenient)


def parse_solver(text: str, path: str = "<text>", *, lenient: bool = False) -> SolverSource:
    """A solver from text, as by `read_solver`; PrototxtError for a net."""
    if _leaning(text) < 0:
        raise PrototxtError(Problem("it is a net; name the solver that trains it", path))
    document = prototxt.parse(text, path, SolverParameter, lenient=lenient)
    upgraded = _upgrade_solver(document)
    return SolverSource(path, upgraded.message, document.problems, document)


def read_any(path: str | Path, *, lenient: bool = False) -> NetSource | SolverSource:
    """Read a net or a solver, whichever the file's fields say it is."""
    text = read_text(path)
    if is_solver(text):
        return parse_solver(text, _name(path), lenient=lenient)
    return parse_net(text, _name(path), lenient=lenient)


def is_solver(text: str) -> bool:
    """Whether more of a text's outermost fields are a solver's than are a net's."""
    return _leaning(text) > 0


def _leaning(text: str) -> int:
    """By how many of its outermost fields a text is a solver's rather than a net's."""
    names = set(tokens.top_level_names(text))
    solver = set(SolverParameter.DESCRIPTOR.fields_by_name)
    net = set(NetParameter.DESCRIPTOR.fields_by_name)
    return len(names & (solver - net)) - len(names & (net - solver))


@dataclass(frozen=True)
class UpgradedFile:
    """A net, solver or weight file in the current form, as bytes to be written.

    `problems` are warnings of what the upgrade loses, and notes; `changed` is False where the file
    was current already, and `content` differs in spelling only.
    """

    path: str
    content: bytes
    changed: bool
    problems: tuple[Problem, ...]


def upgrade_file(
    path: str | Path,
    *,
    lenient: bool = False,
    complete: Callable[[NetSource], NetParameter] = lambda source: source.net,
) -> UpgradedFile:
    """The current form of a prototxt (net or solver) or of a binary net such as a .caffemodel.

    `complete` adds to a net what follows from its layers, such as the offsets of crops.

    Raises PrototxtError where any of it cannot be read, and NetError where Caffe could not upgrade.
    """
    name = _name(path)
    content = _read(path, _LARGEST_BINARY)
    if _is_binary(content):
        net = _parse_binary(content, name)
        upgraded = _upgrade_net(Document(net, name, (), {}))
        problems = _warnings(upgraded, name)
        return _upgraded_file(name, upgraded, upgraded.message.SerializeToString(), problems)

    text = _decode(content, name)
    if is_solver(text):
        solver = prototxt.parse(text, name, SolverParameter, lenient=lenient)
        raise_if_any(PrototxtError, solver.problems)
        current = _upgrade_solver(solver)
        written = printer.format(current.message).encode()
        return _upgraded_file(name, current, written, solver.problems)
    document = prototxt.parse(text, name, NetParameter, lenient=lenient)
    raise_if_any(PrototxtError, document.problems)
    upgraded = _upgrade_net(document)
    problems = (*document.problems, *_warnings(upgraded, name))
    lines = tuple(None for _ in upgraded.message.layer)
    completed = complete(NetSource(name, upgraded.message, lines, ()))
    changed = upgraded.changed or completed != upgraded.message
    upgraded = replace(upgraded, message=completed, changed=changed)
    return _upgraded_file(name, upgraded, printer.format(completed).encode(), problems)


def read_binary_net(path: str | Path) -> NetParameter:
    """A binary NetParameter, such as a .caffemodel, as it is in the file: of any vintage.

    Raises PrototxtError where the file cannot be read, is no binary net, or lacks required fields.
    """
    return _parse_binary(_read(path, _LARGEST_BINARY), _name(path))


def read_text(path: str | Path) -> str:
    """A file's text; raises PrototxtError where it cannot be read, is no text or is too long."""
    return _decode(_read(path, prototxt.LONGEST_TEXT * _BYTES_PER_CHARACTER), _name(path))


# Files ----------------------------------------------------------------------------------------

_BYTES_PER_CHARACTER = 4  # at most, in UTF-8
_LARGEST_BINARY = 2**31 - 1  # what protobuf reads
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_STDIN = "-"


def _name(path: str | Path) -> str:
    return "<stdin>" if str(path) == _STDIN else str(path)


def _read(path: str | Path, limit: int) -> bytes:
    """A file's bytes, but no more than one past `limit`, so that nothing endless is read."""
    try:
        if str(path) == _STDIN:
            return sys.stdin.buffer.read(limit + 1)
        with Path(path).open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise PrototxtError(Problem(f"cannot be read: {reason(error)}", _name(path))) from error


def _is_binary(content: bytes) -> bool:
    """Whether bytes are no text: a binary net has a control character among its first bytes."""
    return bool(_CONTROL.search(content[:256])) or b"\0" in content[:65536]


def _decode(content: bytes, path: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PrototxtError(Problem("is UTF-16, as some editors save; save it as UTF-8", path))
    kind = no_prototxt(content[:HEAD])
    if kind is not None:
        raise PrototxtError(Problem(f"is {kind}, expected a prototxt", path))
    if _is_binary(content):
        hint = "weights such as a .caffemodel do not stand in for the net"
        raise PrototxtError(Problem(f"is a binary file, expected a prototxt; {hint}", path))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        message = f"is not UTF-8: found the byte 0x{content[error.start]:02x}; save it as UTF-8"
        raise PrototxtError(Problem(message, path, line, column)) from None


def _parse_binary(content: bytes, path: str) -> NetParameter:
    if content.startswith(_HDF5):
        raise PrototxtError(Problem("is HDF5, which has no older form to upgrade", path))
    if not content:
        raise PrototxtError(Problem("is empty", path))
    if len(content) > _LARGEST_BINARY:
        raise PrototxtError(Problem("is larger than 2 GiB, the most that protobuf reads", path))
    net = NetParameter()
    try:
        net.ParseFromString(content)
    except (DecodeError, UnicodeDecodeError):
        message = "is no binary net: it is cut off, damaged, or of another format"
        raise PrototxtError(Problem(message, path)) from None
    if not (net.layer or net.layers):
        raise PrototxtError(Problem("has no layers, so it is no binary net", path))
    if not net.IsInitialized():
        raise PrototxtError(
            Problem("lacks a field that it must have, such as clip_param.min", path)
        )
    return net


# Upgrading --------------------------------------------------------------------------------------


def _net_source(document: Document[NetParameter]) -> NetSource:
    net = document.message
    try:
        upgraded = _upgrade_net(document)
    except NetError as error:
        raise NetError(*document.problems, *error.problems) from None
    current = upgraded.message
    warnings = (*_warnings(upgraded, document.path), *_make_readable(current, document.path))
    old = "layers" if net.layers else "layer"
    lines = tuple(
        document.line("input", 0) if index is None else document.line(old, index)
        for index in upgraded.origins
    )
    return NetSource(document.path, current, lines, (*document.problems, *warnings))


def _upgrade_net(document: Document[NetParameter]) -> Upgraded[NetParameter]:
    try:
        return upgrade_net(document.message)
    except UpgradeError as error:
        raise NetError(
            *(
                replace(problem, path=document.path, line=document.line(*place))
                for place, problem in zip(error.places, error.problems, strict=True)
            )
        ) from None


def _upgrade_solver(document: Document[SolverParameter]) -> Upgraded[SolverParameter]:
    try:
        return upgrade_solver(document.message)
    except PrototxtError as error:
        line = document.line("solver_type")
        located = (replace(problem, path=document.path, line=line) for problem in error.problems)
        raise PrototxtError(*document.problems, *located) from None


def _warnings(upgraded: Upgraded[Any], path: str) -> tuple[Problem, ...]:
    return tuple(Problem(message, path, severity=Severity.WARNING) for message in upgraded.warnings)


def _upgraded_file(
    path: str, upgraded: Upgraded[Any], content: bytes, problems: tuple[Problem, ...]
) -> UpgradedFile:
    if not upgraded.changed:
        note = Problem("is in the current form already", path, severity=Severity.NOTE)
        problems = (*problems, note)
    return UpgradedFile(path, content, upgraded.changed, problems)


def _make_readable(message: Message, path: str) -> Iterator[Problem]:
    """Make every string of a message text, and warn where it is not.

    Caffe's strings are bytes, and an escape such as "\\377" may put there what is not UTF-8; the
    rest of this package names layers and blobs by text.
    """
    for field, values in schema.set_fields(message):
        if field.is_message:
            for value in values:
                yield from _make_readable(value, path)
        elif field.kind == FieldDescriptor.TYPE_STRING:
            odd = [value for value in values if isinstance(value, bytes)]
            if not odd:
                continue
            strings = [schema.readable(value) for value in values]
            message.ClearField(field.name)
            for value in strings:
                schema.put(message, field.name, value)
            for value in odd:
                text = f"{field.name} is not UTF-8; it is read as '{schema.readable(value)}'"
                yield Problem(text, path, severity=Severity.WARNING)
