"""Results that are lists, shown a line each."""

from __future__ import annotations

from typing import TypeVar

from fcnproto.errors import Problem, Severity
from fcnproto.types import Shown

Item = TypeVar("Item")


class Lines(Shown, tuple[Item, ...]):
    """Any number of things; false where there are none."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


class Problems(Lines[Problem]):
    """What is wrong with a net or solver, in the order of its lines."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Those for which Caffe would refuse it; the others are warnings and notes."""
        return tuple(each for each in self if each.severity is Severity.ERROR)

    def __str__(self) -> str:
        return super().__str__() or "no problems"


class Differences(Lines[str]):
    """What differs in meaning between two nets or solvers; empty where they mean the same."""

    def __str__(self) -> str:
        return super().__str__() or "no differences"
