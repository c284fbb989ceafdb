"""Shapes: images that are drawn, so that something can be learned where no dataset lies.

Discs, bars, triangles and rings lie over each other on noise, each class in colours of its own
family, plain, striped, checked or dotted. A pixel depends on nothing but the split and the image's
number: all is whole numbers, from a bit generator whose stream NumPy guarantees (NEP 19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fcnproto.datasets.base import Reader
from fcnproto.errors import Problem
from fcnproto.types import Array

COUNTS = {"train": 2000, "val": 200}
"""The images of each split, unless the setting `count` says otherwise."""


class ShapesSegDataLayer(Reader):
    """Shapes, drawn when they are asked for; `count` is how many images the split has.

    Image 7 of a split is the same whatever the count, and on every machine; the splits share no
    image. The seed decides the order in which a training split is fed, as in the other datasets.
    """

    dataset = "shapes"
    options = ("mean", "count")

    def picture(self, top: str, index: int) -> Array:
        """An image H×W×3 uint8 RGB."""
        return draw(self.split, index)

    def label(self, top: str, index: int) -> Array:
        """Its label map."""
        return label_map(self.split, index)

    def place(self, top: str, index: int) -> str:
        """Its name, since there is no file."""
        return f"shapes: {self.names[index]}"

    def _read_split(self) -> tuple[str, ...]:
        count = self.settings.get("count", COUNTS[self.split])
        return tuple(f"{self.split}-{number:04}" for number in range(count))

    def _setting_problems(self) -> Iterator[Problem]:
        yield from super()._setting_problems()
        split, count = self.settings.get("split"), self.settings.get("count", 1)
        if isinstance(split, str) and split and split not in COUNTS:
            splits = " and ".join(COUNTS)
            yield Problem(f"{type(self).__name__} has the splits {splits}, found '{split}'")
        if not isinstance(count, int) or not 1 <= count < MOST:
            yield Problem(
                f"{type(self).__name__}'s 'count' must be a whole number from 1 to {MOST - 1},"
                f" found {count!r}"
            )


MOST = 10**6
"""One more than the images of a split can be."""


# Drawing --------------------------------------------------------------------------------------

LEAST, MOST_SHAPES = 3, 7
STEP, SIZES = 7, (16, 24)
"""Heights and widths are 112 to 168 in steps of 7: most are no multiple of any stride."""

COLOURS = ((190, 80, 80), (80, 100, 190), (90, 180, 90), (200, 180, 80))
"""The middle (RGB) of each class's colours, from class 1 on."""
SPREAD = 40
"""How far a channel may be from it."""

_UNIT = 65
"""The length of all directions: whole numbers whose squares add up to its square."""
_DIRECTIONS = (
    (65, 0), (63, 16), (60, 25), (56, 33), (52, 39), (39, 52), (33, 56), (25, 60), (16, 63),
)  # fmt: skip

_LAYOUT, _PAINT = 0, 1


class Dice:
    """Whole numbers by chance, the same for the same seed wherever they are drawn."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return low + (int(self._bits.random_raw()) >> 32) * (high - low + 1) // 2**32

    def bytes(self, *shape: int) -> Array:
        """Bytes in an array of that shape."""
        count = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw(-(-count // 8)), np.uint64)
        return words.astype("<u8").view(np.uint8)[:count].reshape(shape)


@dataclass(frozen=True)
class Shape:
    """A shape where it lies on an image."""

    label: int
    rows: slice
    columns: slice
    down: Array
    """For each row how far it is below the shape's middle, h×1; `across` likewise, 1×w."""
    across: Array
    inside: Array
    """Which pixels of its rows and columns are its own, h×w bool."""


def label_map(split: str, number: int) -> Array:
    """The classes of an image of a split, H×W uint8."""
    (height, width), shapes = _layout(split, number)
    labels = np.zeros((height, width), np.uint8)
    for shape in shapes:
        labels[shape.rows, shape.columns][shape.inside] = shape.label
    return labels


def draw(split: str, number: int) -> Array:
    """An image of a split, H×W×3 uint8 RGB."""
    (height, width), shapes = _layout(split, number)
    dice = _dice(split, number, _PAINT)
    image = _ground(dice, height, width)
    for shape in shapes:
        colours = _colours(dice, shape.label)
        texture = _texture(dice, shape.down, shape.across)
        image[shape.rows, shape.columns][shape.inside] = colours[texture][shape.inside]
    grain = dice.bytes(2, height, width, 3) >> 3
    image += grain.sum(axis=0, dtype=np.int16) - np.int16(31)
    drawn: Array = image.clip(0, 255).astype(np.uint8)
    return drawn


def _dice(split: str, number: int, what: int) -> Dice:
    return Dice(tuple(COUNTS).index(split), number, what)


def _layout(split: str, number: int) -> tuple[tuple[int, int], list[Shape]]:
    """An image's height and width, and its shapes from the lowest to the one on top."""
    dice = _dice(split, number, _LAYOUT)
    height, width = dice.between(*SIZES) * STEP, dice.between(*SIZES) * STEP
    count = dice.between(LEAST, MOST_SHAPES)
    return (height, width), [_shape(dice, height, width) for _ in range(count)]


def _shape(dice: Dice, height: int, width: int) -> Shape:
    label = dice.between(1, len(_KINDS))
    y, x = dice.between(0, height - 1), dice.between(0, width - 1)
    reach, inside = _KINDS[label - 1](dice)
    rows = slice(max(0, y - reach), min(height, y + reach + 1))
    columns = slice(max(0, x - reach), min(width, x + reach + 1))
    down = np.arange(rows.start - y, rows.stop - y)[:, np.newaxis]
    across = np.arange(columns.start - x, columns.stop - x)[np.newaxis]
    return Shape(label, rows, columns, down, across, inside(down, across))


Inside = Callable[[Array, Array], Array]
"""Which pixels belong to a shape, by how far they are below its middle and right of it."""


def _disc(dice: Dice) -> tuple[int, Inside]:
    radius = dice.between(8, 44)
    return radius, lambda down, across: down**2 + across**2 <= radius**2


def _bar(dice: Dice) -> tuple[int, Inside]:
    long, wide = dice.between(24, 70), dice.between(7, 14)
    turn = _turn(dice)

    def inside(down: Array, across: Array) -> Array:
        along, aside = turn(down, across)
        bar: Array = (abs(along) <= _UNIT * long) & (abs(aside) <= _UNIT * wide)
        return bar

    return long + wide, inside


def _triangle(dice: Dice) -> tuple[int, Inside]:
    radius = dice.between(18, 56)
    turn = _turn(dice)

    def inside(down: Array, across: Array) -> Array:
        along, aside = turn(down, across)
        # 4/7 is about 1/√3: all sides are nearly of one length.
        sides = 7 * abs(aside) <= 4 * (_UNIT * radius - along)
        triangle: Array = (2 * along >= -_UNIT * radius) & sides
        return triangle

    return radius, inside


def _ring(dice: Dice) -> tuple[int, Inside]:
    radius, wide = dice.between(22, 44), dice.between(10, 16)

    def inside(down: Array, across: Array) -> Array:
        square = down**2 + across**2
        ring: Array = (square <= radius**2) & (square > (radius - wide) ** 2)
        return ring

    return radius, inside


_KINDS = (_disc, _bar, _triangle, _ring)
"""The classes from 1 on, each with how far it reaches from its middle."""


def _turn(dice: Dice) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Coordinates along a direction and aside of it, in pixels times `_UNIT`."""
    u, v = _DIRECTIONS[dice.between(0, len(_DIRECTIONS) - 1)]
    for _ in range(dice.between(0, 3)):
        u, v = -v, u
    return lambda down, across: (across * u + down * v, down * u - across * v)


def _ground(dice: Dice, height: int, width: int) -> Array:
    """A colour with blocks of noise on it, H×W×3 int16."""
    base = np.array([dice.between(80, 150) for _ in range(3)], np.int16)
    cell = dice.between(6, 20)
    blocks = (dice.bytes(-(-height // cell), -(-width // cell), 3) >> 3).astype(np.int16) - 16
    return base + blocks.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]


def _colours(dice: Dice, label: int) -> Array:
    """The two colours of a shape, 2×3 int16: the second is lighter or darker."""
    colour = [dice.between(middle - SPREAD, middle + SPREAD) for middle in COLOURS[label - 1]]
    shade = dice.between(25, 55) * (2 * dice.between(0, 1) - 1)
    return np.array([colour, [channel + shade for channel in colour]], np.int16)


def _texture(dice: Dice, down: Array, across: Array) -> Array:
    """Which of the two colours each pixel has, h×w whole numbers."""
    kind, cell = dice.between(0, len(_TEXTURES) - 1), dice.between(3, 6) * _UNIT
    return _TEXTURES[kind](*_turn(dice)(down, across), cell)


def _plain(along: Array, aside: Array, _cell: int) -> Array:
    return np.zeros_like(along)


def _stripes(along: Array, _aside: Array, cell: int) -> Array:
    stripes: Array = along // cell % 2
    return stripes


def _checks(along: Array, aside: Array, cell: int) -> Array:
    checks: Array = (along // cell + aside // cell) % 2
    return checks


def _dots(along: Array, aside: Array, cell: int) -> Array:
    x, y = along % (2 * cell) - cell, aside % (2 * cell) - cell
    dots: Array = (2 * (x**2 + y**2) < cell**2).astype(np.intp)
    return dots


_TEXTURES = (_plain, _stripes, _checks, _dots)
