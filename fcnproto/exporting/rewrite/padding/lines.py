"""What a blob looks like along an axis around the part of it that the image reaches.

A net that pads its image computes mostly zeros there, and what becomes of them: at the borders of
each map a ring, shaped by that map's own zero padding, then cells that are all alike, then what the
image reaches. None of it but the last depends on the image. A `Line` tells these parts apart along
rows or columns, for images of every size at once: maps of images whose sizes differ by a period of
pixels differ by whole cells in the middle only, so it is enough to look at one image for each
phase, the smallest.

Cells outside the image's reach are known by their class: two cells of one class have seen the same
and so hold the same numbers. A class is identified by those of the bottoms' cells that it sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fcnproto.layers.base import require
from fcnproto.layers.spatial import Window

CONSTANT = 0
"""The class of the cells between ring and image, which see nothing but such cells."""

OUTSIDE = -1
"""What stands for a cell that lies past the border: padding."""

Seen = tuple[tuple[int, ...], ...]
"""For each bottom the classes of the cells that a cell sees."""


@dataclass(frozen=True)
class Line:
    """A blob along one axis, for images of each phase.

    `left` are the classes of the cells before the constant ones begin and, for each phase, `right`
    those after they have ended. The image reaches the cells from `first` to before `ends`.
    """

    lengths: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[tuple[int, ...], ...]
    first: int
    ends: tuple[int, ...]
    seen: tuple[Seen, ...]
    """What the cells of each class see."""
    outside: int = OUTSIDE
    """The class of what lies past the border."""

    @property
    def is_apart(self) -> bool:
        """Whether ring and image meet nowhere, however small the image."""
        return self.holds(self.first, self.ends)

    def holds(self, first: int, ends: Sequence[int]) -> bool:
        """Whether all cells of the ring lie outside of a window."""
        return len(self.left) <= first and all(
            end <= length - len(ring)
            for end, length, ring in zip(ends, self.lengths, self.right, strict=True)
        )

    def from_left(self, cell: int) -> int:
        """The class of a cell by its place, where the image is far away to the right."""
        if cell < 0:
            return self.outside
        return self.left[cell] if cell < len(self.left) else CONSTANT

    def from_right(self, phase: int, cell: int) -> int:
        """The class of a cell by its distance from the last, with the image far to the left."""
        if cell < 0:
            return self.outside
        ring = self.right[phase]
        return ring[-1 - cell] if cell < len(ring) else CONSTANT

    def before(self, first: int) -> tuple[int, ...]:
        """The classes of the cells before a window."""
        return tuple(self.from_left(cell) for cell in range(first))

    def after(self, ends: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """For each phase the classes of the cells after a window."""
        return tuple(
            tuple(self.from_right(phase, cell) for cell in reversed(range(length - end)))
            for phase, (end, length) in enumerate(zip(ends, self.lengths, strict=True))
        )


def of_image(sizes: Sequence[int]) -> Line:
    """An image of each phase's size, which zeros surround."""
    empty = ((),) * len(sizes)
    return Line(tuple(sizes), (), empty, 0, tuple(sizes), ((),), CONSTANT)


@dataclass
class _Classes:
    """Classes by what their cells see, numbered as they are met."""

    numbers: dict[Seen, int] = field(default_factory=dict)

    def number(self, seen: Seen) -> int:
        return self.numbers.setdefault(seen, len(self.numbers))


def convolved(bottom: Line, window: Window, lengths: Sequence[int], *, clip: bool) -> Line:
    """The top of a layer that moves a window over a line.

    With `clip` taps that lie past the border do not count, as in pooling; they are given the class
    of the nearest that does, which changes no maximum. Raises LayerError if no tap counts, or if
    a convolution's window does not fit: if it lacks less than a stride, Caffe rounds up (see
    `Window.convolve`), and then the smallest images say nothing of larger ones.
    """
    room = min(bottom.lengths) + 2 * window.pad - window.extent
    require(clip or room >= 0, "its window does not fit the smallest image")
    classes = _Classes()
    classes.number(((CONSTANT,) * window.kernel,))

    def seen(taps: Iterator[int]) -> int:
        return classes.number((_clipped(tuple(taps)) if clip else tuple(taps),))

    # What lies past the border of an image is as constant as what lies within.
    has_ring = bottom.outside != CONSTANT
    left: list[int] = []
    while has_ring and (first := window.covered_by(len(left))[0]) < len(bottom.left):
        left.append(
            seen(bottom.from_left(first + tap * window.dilation) for tap in range(window.kernel))
        )
    right = []
    for phase, (length, top) in enumerate(zip(bottom.lengths, lengths, strict=True)):
        cells: list[int] = []
        while has_ring and len(cells) < top:
            # The distances of the window's ends from the bottom's last cell.
            first, last = (length - 1 - end for end in window.covered_by(top - 1 - len(cells)))
            if last >= len(bottom.right[phase]):
                break
            cells.append(
                seen(
                    bottom.from_right(phase, first - tap * window.dilation)
                    for tap in range(window.kernel)
                )
            )
        right.append(tuple(reversed(cells)))
    reached = max(0, window.covering(bottom.first)[0])
    ends = tuple(
        min(top, window.covering(end - 1)[1] + 1)
        for top, end in zip(lengths, bottom.ends, strict=True)
    )
    return Line(tuple(lengths), tuple(left), tuple(right), reached, ends, tuple(classes.numbers))


def _clipped(taps: tuple[int, ...]) -> tuple[int, ...]:
    inside = [index for index, tap in enumerate(taps) if tap != OUTSIDE]
    # Rounding up can make such a one where the stride is larger than the kernel.
    require(bool(inside), "one of its windows lies past the border as a whole")
    return tuple(taps[min(max(index, inside[0]), inside[-1])] for index in range(len(taps)))


def joined(bottoms: Sequence[Line]) -> Line:
    """The top of a layer whose pixels see those at the same place of several bottoms."""
    classes = _Classes()
    classes.number(((CONSTANT,),) * len(bottoms))
    phases = range(len(bottoms[0].lengths))
    left = max(len(line.left) for line in bottoms)
    rights = [max(len(line.right[phase]) for line in bottoms) for phase in phases]
    return Line(
        bottoms[0].lengths,
        tuple(
            classes.number(tuple((line.from_left(cell),) for line in bottoms))
            for cell in range(left)
        ),
        tuple(
            tuple(
                classes.number(tuple((line.from_right(phase, cell),) for line in bottoms))
                for cell in reversed(range(rights[phase]))
            )
            for phase in phases
        ),
        min(line.first for line in bottoms),
        tuple(max(line.ends[phase] for line in bottoms) for phase in phases),
        tuple(classes.numbers),
    )
