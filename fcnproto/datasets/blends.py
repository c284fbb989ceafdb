"""Colours that a label picture has only because smooth edges mixed its classes' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fcnproto.types import Array, Colour

REACH = 2
"""So many pixels from an edge a smoothed edge's colours are looked for."""
_OFF = 4.0
"""So far (in RGB) from the line between two colours a mixture of both may lie, by rounding."""
_BEYOND = 0.3
"""So much of the line's length beyond its ends, where sharp scaling overshoots."""


def pack(rgb: Array) -> Array:
    """Colours H×W×3 uint8 as one number each, H×W uint32."""
    wide = rgb.astype(np.uint32)
    packed: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def pack_one(colour: Colour) -> int:
    """One colour as a number."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def unpack(packed: int) -> Colour:
    """The colour of a number."""
    return packed >> 16, packed >> 8 & 255, packed & 255


def plain_colours(packed: Array, step: int = 1) -> set[int]:
    """The colours that fill a square of 3 × 3 pixels somewhere, as areas do and edges do not.

    With a step only squares so many pixels apart are looked at, which finds the large areas' alone.
    """
    if min(packed.shape) < 3:
        return set()
    middle = packed[1:-1:step, 1:-1:step]
    height, width = packed.shape
    filled = np.ones(middle.shape, bool)
    for y in range(3):
        for x in range(3):
            filled &= packed[y : height - 2 + y : step, x : width - 2 + x : step] == middle
    return set(np.unique(middle[filled]).tolist())


def blended(colours: Mapping[int, int], plain: set[int]) -> set[int]:
    """The colours (with their pixels) that are mixtures of others at edges; none if none is.

    A mixture fills no area and lies on the line between two colours that do. Where there is one,
    all that fill no area are taken for mixtures: at corners three classes meet.
    """
    edges = np.array([unpack(each) for each in sorted(colours.keys() - plain)], float)
    areas = np.array([unpack(each) for each in sorted(plain)], float)
    if not len(edges) or len(areas) < 2:
        return set()
    if not any(_between(edges, *pair).any() for pair in combinations(areas, 2)):
        return set()
    return set(colours.keys() - plain)


@dataclass(frozen=True)
class SoftEdges:
    """What smooth edges have put between the classes of a label map."""

    levels: frozenset[int]
    """Numbers that are no classes."""
    pixels: int
    """How many have one of them."""

    def __str__(self) -> str:
        numbers = f"{len(self.levels)} numbers ({self.pixels} pixels)"
        return f"holds {numbers} that lie between others, at edges only: smooth edges, no classes"


_FAR = 6
"""So far sharp scaling, at twice the size, carries a class across an edge."""
_FEW_LEVELS = 3
"""So many mixtures at least there are of two classes, by the pixel's share in each."""
_BETWEEN, _EACH_HALF = 0.6, 0.1
"""So many of the pixels that may be mixtures lie between areas around them; and so many in either
half of the way, where thin classes of low numbers before 255 do not.
"""
_STEEP = 0.1
"""So many of the steps at edges are larger than 1; in thin layers each number follows the last."""
_COARSE = 4
"""So far apart squares are looked at first: in most label maps that is enough."""
_NONE = 2**13


def soft_edges(labels: Array, counts: Array | None = None) -> SoftEdges | None:
    """The numbers (0 to 255) of a label map, H×W, that are mixtures of others; None if there are
    none. `counts` has the pixels of each number, where they are counted already.

    They fill no area, outnumber the numbers that do, and lie between areas around them. Thin layers
    that follow each other in order, as distances do, are classes: edges are steeper.
    """
    counts = np.bincount(labels.ravel()) if counts is None else counts
    numbers = set(np.flatnonzero(counts).tolist())
    if len(numbers) < 2 + _FEW_LEVELS:
        return None
    for step in (_COARSE, 1):  # numbers that are few beside the large areas are so beside all
        plain = plain_colours(labels, step)
        levels = frozenset(numbers - plain)
        if len(levels) < max(_FEW_LEVELS, len(plain) + 1):
            return None
    if len(plain) < 2:
        return None
    pixels = int(counts[list(levels)].sum())
    if 2 * pixels > labels.size:
        return None  # a photograph
    mixed = np.isin(np.arange(len(counts)), list(levels))
    where, wide = mixed[labels], labels.astype(np.int16)
    low = _around(np.where(where, _NONE, wide), np.minimum)[where]
    high = _around(np.where(where, -_NONE, wide), np.maximum)[where]
    share = (wide[where] - low) / np.maximum(high - low, 1)
    between = np.mean((low < high) & (share > -_BEYOND) & (share < 1 + _BEYOND)) >= _BETWEEN
    halves = min(np.mean(share <= 1 / 2), np.mean(share >= 1 / 2)) >= _EACH_HALF
    steep = np.mean(_steps(wide, where) > 1) > _STEEP
    return SoftEdges(levels, pixels) if between and halves and steep else None


def _around(numbers: Array, extreme: np.ufunc) -> Array:
    """The least or greatest number within `_FAR` pixels of each, in a square."""
    for axis in (0, 1):
        found = numbers.copy()
        for step in range(1, _FAR + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            for one, other in ((ahead, behind), (behind, ahead)):
                into = found[tuple(one)]
                extreme(into, numbers[tuple(other)], out=into)
        numbers = found
    return numbers


def _steps(numbers: Array, where: Array) -> Array:
    """How far pixels, of which one is among those, are from the next in a row or column; no 0."""
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(numbers, axis=axis))
        ahead, behind = np.delete(where, 0, axis), np.delete(where, -1, axis)
        found.append(steps[(steps > 0) & (ahead | behind)])
    return np.concatenate(found)


def _between(colours: Array, one: Array, other: Array) -> Array:
    """Which colours lie on the line from one to the other, or a little beyond it."""
    line = other - one
    along = (colours - one) @ line / (line @ line)
    off = np.linalg.norm(colours - one - along[:, np.newaxis] * line, axis=1)
    found: Array = (off <= _OFF) & (along > -_BEYOND) & (along < 1 + _BEYOND)
    return found


def nearest(rgb: Array, known: Mapping[int, int]) -> tuple[Array, int]:
    """Each pixel's class, H×W uint8, and how many pixels had a colour of no class.

    `known` has the class of each packed colour. A colour of no class becomes the class with the
    nearest colour of those that stand within `REACH` pixels, or else anywhere in the picture: a
    mixture of sky and road is not a tree, whatever its colour. In a picture of which most has no
    class's colour, as a JPEG's, the nearest of all is taken.
    """
    packed = pack(rgb)
    there = [each for each in np.unique(packed).tolist() if each in known]
    classes = np.zeros(packed.shape, np.uint8)
    unknown = np.ones(packed.shape, bool)
    for colour in there:
        mine = packed == colour
        classes[mine] = known[colour]
        unknown &= ~mine
    rows, columns = np.nonzero(unknown)
    if not len(rows):
        return classes, 0
    near_alone = 2 * len(rows) < packed.size
    candidates = there if near_alone else sorted(known)
    pixels = rgb[rows, columns].astype(np.int32)
    best = np.full(len(rows), np.inf)
    chosen = np.zeros(len(rows), np.uint8)
    for colour in candidates:
        distance = ((pixels - np.array(unpack(colour))) ** 2).sum(axis=1).astype(float)
        if near_alone:  # what stands far away comes after all that stands near
            distance += np.where(_near(packed == colour)[rows, columns], 0, 3 * 256.0**2)
        nearer = distance < best
        best[nearer], chosen[nearer] = distance[nearer], known[colour]
    classes[rows, columns] = chosen
    return classes, len(rows)


def _near(mask: Array) -> Array:
    """Where a pixel of a mask is within `REACH` pixels, in a square."""
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, REACH + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(behind)] |= mask[tuple(ahead)]
            grown[tuple(ahead)] |= mask[tuple(behind)]
        mask = grown
    return mask
