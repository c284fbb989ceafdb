"""Areas that people drew over images, as polygons and masks, and the label maps they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcnproto.errors import DataError
from fcnproto.types import Array

LARGEST_MASK = 2**28
"""So many pixels no mask has."""

Points = Sequence[tuple[float, float]]
"""The corners (x, y) of a polygon, in pixels; 0, 0 is the outer corner of the first pixel."""


@dataclass(frozen=True)
class Area:
    """What was drawn of one label: polygons, of which each adds its inside, or a mask."""

    label: str
    polygons: tuple[Points, ...] = ()
    mask: Array | None = None
    """h×w bool, or None."""
    corner: tuple[int, int] = (0, 0)
    """The row and column of the mask's first pixel in the image."""
    order: float = 0
    """Areas of a larger order lie over others; of one order, later ones do."""


@dataclass(frozen=True)
class Drawing:
    """All that was drawn over one image."""

    source: Path
    """The file that says so."""
    image: str
    """The image's file, as the source names it."""
    size: tuple[int, int] | None
    """Height and width, if the source says them."""
    areas: tuple[Area, ...]
    skipped: Mapping[str, int]
    """How often there was something without an area, by its kind: points, lines."""

    def paint(self, size: tuple[int, int], numbers: Mapping[str, int], ground: int) -> Array:
        """The label map H×W uint8: the number of each area's label, and `ground` elsewhere."""
        labels = np.full(size, ground, np.uint8)
        for area in sorted(self.areas, key=lambda each: each.order):
            for polygon in area.polygons:
                fill(labels, polygon, numbers[area.label])
            if area.mask is not None:
                (top, left), (height, width) = area.corner, area.mask.shape
                first, last = (max(0, min(row, size[0])) for row in (top, top + height))
                start, end = (max(0, min(column, size[1])) for column in (left, left + width))
                shown = area.mask[first - top : last - top, start - left : end - left]
                labels[first:last, start:end][shown] = numbers[area.label]
        return labels


def fill(labels: Array, polygon: Points, number: int) -> None:
    """Give a number to the pixels whose middles lie in a polygon, by the even-odd rule.

    Polygons that share an edge share no pixel and leave none out, unlike those of Pillow, which
    count their outline in.
    """
    height, width = labels.shape
    x, y = np.array(polygon, np.float64).T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    first = max(0, math.ceil(y.min() - 0.5))
    last = min(height, math.ceil(y.max() - 0.5))
    for row in range(first, last):
        middle = row + 0.5
        crossing = (y <= middle) != (next_y <= middle)
        run, rise = (next_x - x)[crossing], (next_y - y)[crossing]
        at = np.sort(x[crossing] + (middle - y[crossing]) * run / rise)
        columns = np.clip(np.ceil(at - 0.5), 0, width).astype(int)
        for start, end in columns.reshape(-1, 2).tolist():
            labels[row, start:end] = number


def run_lengths(counts: Sequence[int], length: int) -> Array:
    """A mask's pixels in a row from the lengths of its runs, the first of them outside.

    Raises DataError if they are not as many as `length`.
    """
    if any(count < 0 for count in counts) or sum(counts) != length or length > LARGEST_MASK:
        raise DataError(f"its run lengths are not those of {length} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    pixels: Array = np.repeat(inside, np.array(counts, np.int64))
    return pixels


def unpacked_lengths(text: str) -> list[int]:
    """Run lengths as COCO's tools write them in short.

    Each is written in groups of five bits from the lowest, with 32 where a group follows and 48
    added to make it a printed character; from the fourth on, less the one before the last
    (cocodataset/cocoapi, maskApi.c). Raises DataError for other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise DataError("its run lengths are not written as COCO's are")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("its run lengths end in the middle")
    return counts


def points(values: Any) -> Points:
    """Pairs of numbers [[x, y], …] or x, y, … as corners. Raises DataError for anything else."""
    flat = [part for each in values for part in each] if _is_nested(values) else values
    try:
        numbers = [float(part) for part in flat]
    except (TypeError, ValueError) as error:
        raise DataError("its points are no numbers") from error
    if len(numbers) % 2 or len(numbers) < 4:
        raise DataError("its points are not pairs of numbers within an image")
    _check_within(*numbers)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_within(*numbers: float) -> None:
    if not all(abs(each) < 1e7 for each in numbers):  # which NaN is not either
        raise DataError("its points are not pairs of numbers within an image")


def _is_nested(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(v, list | tuple) for v in values)


def box(left: float, top: float, right: float, bottom: float, turn: float = 0) -> Points:
    """The corners of a box, turned by degrees around its middle, clockwise on the screen.

    Raises DataError for numbers that lie in no image.
    """
    _check_within(left, top, right, bottom, turn)
    x, y = (left + right) / 2, (top + bottom) / 2
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [
        (x + (a - x) * cosine - (b - y) * sine, y + (a - x) * sine + (b - y) * cosine)
        for a, b in corners
    ]


def ellipse(x: float, y: float, across: float, down: float, turn: float = 0) -> Points:
    """An ellipse as a polygon of 128 corners, its radii across and down, turned as a box is.

    Raises DataError for numbers that lie in no image.
    """
    _check_within(x, y, across, down, turn)
    angles = np.arange(128) * (2 * math.pi / 128)
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    a, b = across * np.cos(angles), down * np.sin(angles)
    corners = zip(
        (x + a * cosine - b * sine).tolist(), (y + a * sine + b * cosine).tolist(), strict=True
    )
    return list(corners)
