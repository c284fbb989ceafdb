"""Images changed at random while a net learns, and their label maps with them.

What a data layer's param_str may say of it:

    mirror  True: left and right are exchanged, of every second image on average
    scale   (least, most): the factor of both sides, drawn evenly on a logarithmic scale
    crop    (height, width): a window at a random place; larger images lose their borders, smaller
            ones stand somewhere in it
    colour  0 to 1: brightness, contrast and saturation each times a factor of 1 ± so much, and hues
            turned by as many radians at most

Label maps follow pixel by pixel: each takes the class at its middle, and is ignored where the image
has ended. What is fed there is the mean. An image's chance depends on the seed and on how many
images were fed before, on nothing else: a training that goes on draws what one run would have
drawn, and so does real Caffe, which reads by the same code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.types import Array

SETTINGS = ("mirror", "scale", "crop", "colour")
"""What param_str calls them."""

MOST_SCALE, MOST_CROP = 16.0, 16384
"""Larger ones are mistakes, and would take all memory."""


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image."""

    mirror: bool = False
    scale: tuple[float, float] | None = None
    crop: tuple[int, int] | None = None
    colour: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Augmentation | None:
        """What a data layer's settings say; None if that is nothing."""
        own = cls(**{key: settings[key] for key in SETTINGS if key in settings})
        return None if own == cls() else own

    def drawn(self, size: tuple[int, int], rng: random.Random) -> Change:
        """What happens to one image of a height and width."""
        factor = 1.0
        if self.scale is not None:
            factor = math.exp(rng.uniform(*map(math.log, self.scale)))
        height, width = (max(1, round(length * factor)) for length in size)
        cut = (height, width) if self.crop is None else (self.crop[0], self.crop[1])
        start = _start(rng, height, cut[0]), _start(rng, width, cut[1])
        mirrored = self.mirror and rng.random() < 0.5
        factors = [rng.uniform(1 - self.colour, 1 + self.colour) for _ in range(3)]
        factors.append(rng.uniform(-self.colour, self.colour))
        return Change(
            size, (height, width), start, cut, mirrored, tuple(factors) if self.colour else ()
        )


@dataclass(frozen=True)
class Change:
    """What happens to one image, and to its label maps."""

    size: tuple[int, int]
    """The image's height and width."""
    scaled: tuple[int, int]
    start: tuple[int, int]
    """Where the window begins on the scaled image; before it, if that is smaller."""
    cut: tuple[int, int]
    """The window's height and width, which are those of what is fed."""
    mirrored: bool
    factors: tuple[float, ...]
    """Of brightness, contrast and saturation, and an angle of hues; none if colours stay."""

    def picture(self, picture: Array) -> Array:
        """What the window shows of an image H×W×3 uint8, or of a depth map H×W float32."""
        whole = (0, 0), self.size
        if (self.scaled, self._inside) != (self.size, whole):
            # Where the window lies on the image as it is stored, in pixels and parts of them.
            box = [
                place * old / new
                for place, old, new in zip(self._box, self.size * 2, self.scaled * 2, strict=True)
            ]
            (_, _), (height, width) = self._inside
            cut = Image.fromarray(picture).resize(
                (width, height),
                Image.Resampling.BILINEAR,
                box=(box[1], box[0], min(box[3], self.size[1]), min(box[2], self.size[0])),
            )
            picture = np.asarray(cut)
        return picture[:, ::-1] if self.mirrored else picture

    def coloured(self, picture: Array) -> Array:
        """An image's window in other colours: H×W×3 float32, 0 to 255."""
        if not self.factors:
            return picture
        brightness, contrast, saturation, angle = self.factors
        image = picture.astype(np.float32)
        middle = image.mean(dtype=np.float64)
        # What is grey stays grey; what else a colour has is stretched, and turned about the greys.
        mixed = contrast * (_GREY + saturation * (_turn(angle) - _GREY))
        other = image @ mixed.T.astype(np.float32) + np.float32((1 - contrast) * middle)
        clipped: Array = np.clip(np.float32(brightness) * other, 0, 255)
        return clipped

    def labels(self, labels: Array, ignore: int) -> Array:
        """What a label map H×W becomes: each pixel the class at its middle, `ignore` outside."""
        lines = []
        for start, length, old, new in zip(*self._inside, self.size, self.scaled, strict=True):
            places = np.arange(start, start + length)
            lines.append((2 * places + 1) * old // (2 * new))
        inside = labels[np.ix_(*lines)]
        return self.placed(inside[:, ::-1] if self.mirrored else inside, ignore)

    def placed(self, inside: Array, outside: float) -> Array:
        """What the window shows of the image, …×h×w, in the window, with `outside` around it."""
        if inside.shape[-2:] == self.cut:
            return inside
        whole = np.full((*inside.shape[:-2], *self.cut), outside, inside.dtype)
        rows, columns = (max(0, -start) for start in self.start)
        height, width = inside.shape[-2:]
        if self.mirrored:
            columns = self.cut[1] - columns - width
        whole[..., rows : rows + height, columns : columns + width] = inside
        return whole

    @property
    def _inside(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The part of the scaled image that the window shows: where it begins, its size."""
        top, left, bottom, right = self._box
        return (top, left), (bottom - top, right - left)

    @property
    def _box(self) -> tuple[int, int, int, int]:
        """The same as top, left, bottom and right."""
        (top, left), (height, width) = self.start, self.cut
        rows, columns = self.scaled
        return max(0, top), max(0, left), min(rows, top + height), min(columns, left + width)


_GREY = np.full((3, 3), 1 / 3)
"""The grey of a colour, as bright as the mean of its channels."""


def _turn(angle: float) -> Array:
    """Colours turned about the axis of greys by an angle in radians (Rodrigues)."""
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn: Array = math.cos(angle) * np.eye(3) + math.sin(angle) * across
    return turn + (1 - math.cos(angle)) * _GREY


def refusals(settings: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a data layer's settings of augmentation."""
    if "mirror" in settings and not isinstance(settings["mirror"], bool | int):
        yield f"'mirror' must be True or False, found {settings['mirror']!r}"
    if "scale" in settings:
        scale = settings["scale"]
        low, high = 1 / MOST_SCALE, MOST_SCALE
        if not (_pair(scale, int | float) and low <= scale[0] <= scale[1] <= high):
            yield (
                f"'scale' must be the least and the most factor, from {low:g} to {high:g},"
                f" found {scale!r}"
            )
    if "crop" in settings:
        crop = settings["crop"]
        if not (_pair(crop, int) and all(1 <= length <= MOST_CROP for length in crop)):
            yield f"'crop' must be a height and a width, 1 to {MOST_CROP}, found {crop!r}"
    if "colour" in settings:
        colour = settings["colour"]
        if not (_is_number(colour, int | float) and 0 <= colour <= 1):
            yield f"'colour' must be a number from 0 to 1, found {colour!r}"


def _pair(value: object, kind: Any) -> bool:
    return (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(_is_number(each, kind) for each in value)
    )


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _start(rng: random.Random, length: int, wanted: int) -> int:
    """Where a window of a length begins: inside what is longer, around what is shorter."""
    room = length - wanted
    return rng.randint(min(0, room), max(0, room))
