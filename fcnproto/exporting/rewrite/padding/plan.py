"""How the layers of a region are windowed, and which maps are put into their surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcnproto.exporting.filled import Filled
from fcnproto.exporting.rewrite.padding.lines import Line
from fcnproto.exporting.rewrite.padding.region import Region
from fcnproto.layers.spatial import Window
from fcnproto.net.graph import Node


@dataclass(frozen=True)
class Cells:
    """The cells of a map that are computed along an axis, by phase: from first to before ends."""

    first: int
    ends: tuple[int, ...]

    def seen_through(self, window: Window) -> Cells:
        """The cells that a layer reads to compute these."""
        first, _ = window.covered_by(self.first)
        return Cells(first, tuple(window.covered_by(end - 1)[1] + 1 for end in self.ends))

    def moved_over(self, window: Window) -> Cells:
        """The cells that a layer computes of these, and rounds down."""
        spans = [window.within(self.first, end - 1) for end in self.ends]
        return Cells(spans[0][0], tuple(last + 1 for _, last in spans))

    def padded(self, before: int, after: int) -> Cells:
        """The cells and so many more before and after."""
        return Cells(self.first - before, tuple(end + after for end in self.ends))


def _hull(windows: Sequence[Cells]) -> Cells:
    ends = zip(*(window.ends for window in windows), strict=True)
    return Cells(min(window.first for window in windows), tuple(map(max, ends)))


Pads = tuple[int, int]
"""Cells put before and after a bottom's window; with negative numbers so many are left out."""


@dataclass(frozen=True)
class Course:
    """The plan along one axis: windows of maps, and pads by layer (its first top) and bottom."""

    windows: Mapping[str, Cells]
    pads: Mapping[str, tuple[Pads, ...]]


@dataclass(frozen=True)
class WindowPlan:
    """How the layers of a region are windowed, and the maps that are put into surroundings."""

    region: Region
    rows: Course
    columns: Course
    exits: tuple[str, ...]

    def pads(self, top: str) -> list[tuple[int, int, int, int]]:
        """For each bottom of a layer the pads as ONNX orders them: top, left, bottom, right."""
        return [
            (above, left, below, right)
            for (above, below), (left, right) in zip(
                self.rows.pads[top], self.columns.pads[top], strict=True
            )
        ]


def planned(net: Filled, region: Region) -> WindowPlan | Node:
    """A plan for all layers of a region, or the first that cannot be planned."""
    exits = region.exits(net)
    region = region.leading_to(exits)
    courses = []
    for axis in (0, 1):
        course = _course(region, exits, axis)
        if isinstance(course, Node):
            return course
        courses.append(course)
    return WindowPlan(region, courses[0], courses[1], tuple(exits))


def _course(region: Region, exits: Sequence[str], axis: int) -> Course | Node:
    lines = {blob: both[axis] for blob, both in region.lines.items()}
    wanted = _wanted(region, exits, lines, axis)
    windows = {
        blob: Cells(0, line.lengths) for blob, line in lines.items() if region.is_image(blob)
    }
    pads: dict[str, tuple[Pads, ...]] = {}
    for member in region.members:
        node = member.step.node
        top, bottoms = node.tops[0], [windows[bottom] for bottom in node.bottoms]
        if member.windows is None:
            # What lies around what is wanted does a single bottom no harm.
            meet = len(bottoms) > 1
            pads[top] = tuple(
                _pads(bottom, wanted[top], 1) if meet else (0, 0) for bottom in bottoms
            )
            tops = {bottom.padded(*each) for bottom, each in zip(bottoms, pads[top], strict=True)}
            if len(tops) > 1:
                return node
            (window,) = tops
        else:
            moved = member.windows[axis]
            each = _pads(bottoms[0], wanted[top].seen_through(moved), moved.stride)
            padded = bottoms[0].padded(*each)
            line, is_image = lines[node.bottoms[0]], region.is_image(node.bottoms[0])
            is_constant = is_image or line.holds(padded.first, padded.ends)
            if max(each) > 0 and (node.layer.takes_largest or not is_constant):
                return node
            pads[top] = (each,)
            window = padded.moved_over(moved)
        if min(window.ends) <= window.first or not lines[top].holds(window.first, window.ends):
            return node
        windows.update(dict.fromkeys(node.tops, window))
    return Course(windows, pads)


def _pads(cells: Cells, needed: Cells, stride: int) -> Pads:
    """What must be put around computed cells to hold the needed cells of images of every phase."""
    after = max(need - end for need, end in zip(needed.ends, cells.ends, strict=True))
    if after < 0:  # what a stride leaves over need not be cut off
        after = -(-after // stride * stride)
    return cells.first - needed.first, after


def _wanted(
    region: Region, exits: Sequence[str], lines: Mapping[str, Line], axis: int
) -> dict[str, Cells]:
    """What must at least be computed of each map, from the exits back.

    What is read with a padding of constants is wanted as far as the image reaches, what is read
    without as far as the reader goes.
    """
    demands: dict[str, list[Cells]] = {}
    for blob in exits:
        demands.setdefault(blob, []).append(_reached(lines[blob]))
    unpadded = _unpadded(region)
    wanted: dict[str, Cells] = {}
    for member in reversed(region.members):
        node = member.step.node
        window = _hull([each for top in node.tops for each in demands.get(top, ())])
        wanted.update(dict.fromkeys(node.tops, window))
        for bottom in node.bottoms:
            if member.windows is None:
                need = window
            elif bottom in unpadded or node.layer.takes_largest:
                need = window.seen_through(member.windows[axis])
            else:
                need = _reached(lines[bottom])
            demands.setdefault(bottom, []).append(need)
    return wanted


def _reached(line: Line) -> Cells:
    return Cells(line.first, line.ends)


def _unpadded(region: Region) -> set[str]:
    """The maps around which no constants are put, but as much of them is computed as is read.

    Those are the maps that are computed from images themselves: a few more rows of a layer with so
    few channels cost less than to subtract constants from its large maps.
    """
    found: set[str] = set()
    for member in region.members:
        node = member.step.node
        is_first = member.windows is not None and region.is_image(node.bottoms[0])
        if is_first or (member.windows is None and found.issuperset(node.bottoms)):
            found.update(node.tops)
    return found
