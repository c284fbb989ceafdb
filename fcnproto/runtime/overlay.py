"""Labels seen over their image: tints, contours that show on any image, and a legend below it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcnproto.errors import printable
from fcnproto.types import Array, Colour

MOST_LISTED = 16
"""So many classes a legend names; those with the smallest shares are left out."""

_FONT_SIZE, _MARGIN, _GAP, _LINE = 13, 8, 18, 22
_PIXELS_PER_WIDTH = 600
"""A contour is two lines, each a pixel wide for so many pixels of the image's smaller side."""


def overlay(
    rgb: Array,
    labels: Array,
    palette: Sequence[Colour],
    legend: Mapping[int, str] | None = None,
) -> Array:
    """The image (H×W×3 uint8 RGB) under its labels (H×W), as an image of the same width.

    Half of each class's colour lies over it; black lets it through. Between classes run a white
    line and a black one, of which one is seen on any image and beside any colour. With `legend`,
    which names classes by their number, a strip below the image lists them with their colours.
    """
    table = _table(palette, int(labels.max(initial=0)) + 1)
    shown = _tinted(rgb, labels, table)
    _draw_contours(shown, labels)
    if not legend:
        return shown
    strip = _legend(shown.shape[1], tuple((tuple(table[n]), name) for n, name in legend.items()))
    return np.concatenate([shown, strip])


def _table(palette: Sequence[Colour], count: int) -> Array:
    """A colour for each class, as an array count×3; classes beyond the palette have its last."""
    known = np.array(palette or [(0, 0, 0)], np.uint8)
    return known[np.minimum(np.arange(count), len(known) - 1)]


def _tinted(rgb: Array, labels: Array, table: Array) -> Array:
    """The mean of image and colour, rounded down; where the colour is black, the image."""
    shift = _looked_up(np.asarray(table.any(axis=1), np.uint8), labels)
    shown = np.empty_like(rgb)
    halved: Any = table >> 1
    for channel in range(3):
        halves = _looked_up(np.asarray(halved[:, channel]), labels)
        np.add(rgb[..., channel] >> shift, halves, out=shown[..., channel])
    return shown


def _looked_up(values: Array, labels: Array) -> Array:
    """The value (uint8) of each label; Pillow finds those of bytes several times as fast."""
    if labels.dtype != np.uint8:
        return np.take(values, labels)
    padded = np.zeros(256, np.uint8)
    padded[: len(values)] = values
    return np.asarray(Image.fromarray(labels).point(padded.tolist()))


def _draw_contours(shown: Array, labels: Array) -> None:
    down, right = labels[:-1] != labels[1:], labels[:, :-1] != labels[:, 1:]
    before, behind = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    before[:-1] |= down
    before[:, :-1] |= right
    behind[1:] |= down
    behind[:, 1:] |= right
    for _ in range(min(labels.shape) // _PIXELS_PER_WIDTH):
        before[:-1] |= before[1:]
        before[:, :-1] |= before[:, 1:]
        behind[1:] |= behind[:-1]
        behind[:, 1:] |= behind[:, :-1]
    shown[behind] = 0
    shown[before] = 255


@lru_cache(maxsize=64)
def _legend(width: int, entries: tuple[tuple[tuple[int, ...], str], ...]) -> Array:
    """A white strip with a swatch and a name for each class, in as many lines as they take."""
    font = ImageFont.load_default(_FONT_SIZE)
    swatch = _FONT_SIZE
    places: list[tuple[int, int]] = []
    x, y = _MARGIN, 0
    for _, name in entries:
        length = swatch + 5 + int(font.getlength(_shown(name))) + _GAP
        if x > _MARGIN and x + length - _GAP > width - _MARGIN:
            x, y = _MARGIN, y + _LINE
        places.append((x, y))
        x += length
    strip = Image.new("RGB", (width, y + _LINE + _MARGIN // 2), "white")
    pen = ImageDraw.Draw(strip)
    for (x, y), (colour, name) in zip(places, entries, strict=True):
        top = y + 5
        red, green, blue = map(int, colour)
        pen.rectangle((x, top, x + swatch, top + swatch), (red, green, blue), "black")
        pen.text((x + swatch + 5, y + 4), _shown(name), "black", font)
    return np.asarray(strip)


def _shown(name: str) -> str:
    return drawable(printable(name)[:40])


def drawable(text: str) -> str:
    """Text in letters that Pillow's own font has, which are ASCII's: é becomes e.

    Letters that are no others with an accent become ?, where the font would draw boxes.
    """
    apart = unicodedata.normalize("NFKD", text)
    letters = (c for c in apart if not unicodedata.combining(c))
    return "".join(c if c.isascii() else _LETTERS.get(c, "?") for c in letters)


_LETTERS = {"ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ł": "l"}
_LETTERS |= {"Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "–": "-", "—": "-", "’": "'", "‘": "'"}
