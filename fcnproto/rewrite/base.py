"""What a rewrite gives."""

from __future__ import annotations

from dataclasses import dataclass

from fcnproto.errors import Problem
from fcnproto.filled import Filled


@dataclass(frozen=True)
class Rewritten:
    """A net that computes the same, and notes on what was left alone and why."""

    net: Filled
    notes: tuple[Problem, ...] = ()
