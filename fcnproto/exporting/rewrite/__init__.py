"""Rewrites that make a net faster: a net in, the same function out.

Each stands in a file of its own and takes and gives a `Filled` net. What cannot be rewritten is
left alone, and a note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from fcnproto.errors import Problem
from fcnproto.exporting.filled import Filled
from fcnproto.exporting.rewrite import fold, matrix_upsampling, pads, winograd
from fcnproto.exporting.rewrite.base import Rewritten
from fcnproto.exporting.rewrite.padding import rewrite as padding

Rewrite = Callable[[Filled], Rewritten]


class Optimize(Enum):
    """How far a net may be rewritten."""

    NONE = "none"
    EXACT = "exact"
    """Sums may be added up in another order: 5e-6 of the largest score."""
    FAST = "fast"
    """Convolutions may be computed by Winograd's algorithm as well: 2e-5 of the largest score."""


def rewrites(optimize: Optimize) -> Sequence[Rewrite]:
    """The rewrites of a level, in the order in which they are made."""
    # Dead first: a Crop that moves up may come to stand behind a Deconvolution. Winograd after the
    # others: it takes convolutions as they leave them. Small pads last: what Winograd takes needs
    # none.
    exact: list[Rewrite] = [fold.fold, matrix_upsampling.upsampling, padding.padding]
    return {
        Optimize.NONE: [],
        Optimize.EXACT: [*exact, pads.small_pads],
        Optimize.FAST: [*exact, winograd.winograd, pads.small_pads],
    }[optimize]


def optimized(net: Filled, optimize: Optimize) -> Rewritten:
    """A net after all rewrites of a level."""
    notes: list[Problem] = []
    for rewrite in rewrites(optimize):
        rewritten = rewrite(net)
        net = rewritten.net
        notes += rewritten.notes
    return Rewritten(net, tuple(notes))
