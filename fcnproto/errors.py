"""What can go wrong, as values: a Problem is one line for a person; an error carries them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import Path


class Severity(Enum):
    """How bad a problem is: refused by Caffe, accepted though nonsense, or only worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in one line: where, how bad, in which layer, what."""

    message: str
    path: str | None = None
    line: int | None = None
    column: int | None = None
    layer: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = ":".join(
            str(part) for part in (self.path, self.line, self.column) if part is not None
        )
        subject = f"layer '{self.layer}': " if self.layer is not None else ""
        line = f"{place + ': ' if place else ''}{self.severity.value}: {subject}{self.message}"
        return printable(line)


def printable(text: str, *, kept: str = "") -> str:
    """Text as one may print it: names come from strangers' files, and say nothing to a terminal.

    What is not printable is shown as Python writes it, but for the characters in `kept`.
    """
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def condensed(problems: Iterable[Problem]) -> list[Problem]:
    """Problems in their order, but of one kind in many files the first, which counts the others.

    Of one kind are those that differ in nothing but their files, and in the numbers and the quoted
    names in their text, and the name of the file itself. Up to three stand as they are.
    """
    kinds: dict[object, list[Problem]] = {}
    for number, problem in enumerate(problems):
        is_of_file = problem.path is not None and problem.line is None and problem.layer is None
        stem = re.escape(Path(problem.path or "").stem)
        text = _PARTICULAR.sub("#", re.sub(rf"\b{stem}\.\w+", "#", problem.message))
        kinds.setdefault((problem.severity, text) if is_of_file else number, []).append(problem)
    return [one for alike in kinds.values() for one in _merged(alike)]


_PARTICULAR = re.compile(r"'[^']*'|\d+(?:\.\d+)?")
_FEW = 3


def _merged(alike: Sequence[Problem]) -> Sequence[Problem]:
    first, *others = alike
    if len(alike) <= _FEW:
        return alike
    elsewhere = [Path(each.path or "") for each in others if each.path != first.path]
    names = dict.fromkeys(path.name for path in elsewhere)
    shown = ", ".join(islice(names, _FEW))
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    there = len(others) - len(elsewhere)
    also = [f"{there} more times there"] * (there > 0) + [f"in {shown}{more}"] * bool(names)
    return [replace(first, message=f"{first.message}; so it is {', and '.join(also)}")]


class FcnprotoError(Exception):
    """The root of all errors that a user can cause and mend; exit_code is the command line's."""

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__(*problems)
        self.problems: tuple[Problem, ...] = tuple(
            problem if isinstance(problem, Problem) else Problem(problem) for problem in problems
        )

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PrototxtError(FcnprotoError):
    """A text that is not a net or solver: syntax, unknown fields, values out of range."""


class NetError(FcnprotoError):
    """A net that Caffe would refuse to build, or that cannot do what was asked of it."""


class LayerError(FcnprotoError):
    """What one layer objects to; whoever walks the net adds the layer's name and place."""


class ZooError(FcnprotoError):
    """A net, dataset or backbone that cannot be named, or whose description does not hold."""


class WeightsError(FcnprotoError):
    """A weight file that cannot be read or written, or weights that do not fit their net."""


class DataError(FcnprotoError):
    """A dataset, an image or a label map that is not there, not readable, or does not fit."""


class CrfError(FcnprotoError):
    """Settings, scores or an image that no random field can be computed from."""


def raise_if_any(kind: type[FcnprotoError], problems: Iterable[Problem]) -> None:
    """Raise `kind` with every problem of severity ERROR, if there is one."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        raise kind(*errors)


def reason(error: BaseException) -> str:
    """What an exception of others says, in one line: the system's words, its own, or its type."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0][:_LONGEST_LINE]


_LONGEST_LINE = 300
_LONGEST = 100  # comparing takes the product of both lengths, and a name may be a megabyte


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a name that is not known, ready to be appended to a message."""
    if not isinstance(name, str) or len(name) > _LONGEST:
        return ""
    return _nearest(name, tuple(known))


@lru_cache
def _nearest(name: str, known: tuple[str, ...]) -> str:
    by_lower_case = {other.lower(): other for other in known}
    close = get_close_matches(name.lower(), by_lower_case, 1)
    return f"; did you mean '{by_lower_case[close[0]]}'?" if close else ""
