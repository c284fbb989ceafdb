"""A confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fcnproto.types import Array

Colour = tuple[int, int, int]

INK, FAINT, PAPER = (30, 30, 30), (120, 120, 120), (255, 255, 255)
NONE = (238, 238, 238)
"""A row without pixels."""
FEW, MANY = (247, 251, 255), (8, 48, 107)
FRAME = 640
"""About how wide the matrix is, whatever the number of classes."""
MARGIN = 16


def draw(confusion: Array, names: Sequence[str], title: str = "") -> Image.Image:
    """A confusion matrix (rows are the truth) as a picture: each row's shares of its pixels.

    A cell says its share in percent where there is room for it; a grey row has no pixels.
    """
    count = len(confusion)
    cell = max(6, min(48, FRAME // count))
    font = ImageFont.load_default(max(9, min(13, cell - 2)))
    shown = _shown(names, cell, font)
    left = max((_length(font, name) for name in shown), default=0) + 2 * MARGIN + 18
    below = max((_length(font, name) for name in shown), default=0) + MARGIN + 24
    above = MARGIN + (28 if title else 0)
    size = left + count * cell + MARGIN, above + count * cell + below
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((left, MARGIN), title, INK, ImageFont.load_default(15))
    _cells(pen, confusion, (left, above), cell)
    _axes(image, shown, (left, above), cell, font)
    return image


def _shown(names: Sequence[str], cell: int, font: Any) -> list[str]:
    """The names, all but every n-th left empty where lines would overlap."""
    step = math.ceil(font.size / cell)
    return [name if index % step == 0 else "" for index, name in enumerate(names)]


def _cells(pen: ImageDraw.ImageDraw, confusion: Array, corner: tuple[int, int], cell: int) -> None:
    font = ImageFont.load_default(max(8, min(13, cell // 3 + 1)))
    totals = confusion.sum(axis=1)
    for row, column in np.ndindex(confusion.shape):
        x, y = corner[0] + column * cell, corner[1] + row * cell
        share = confusion[row, column] / totals[row] if totals[row] else None
        colour = NONE if share is None else _mixed(float(share))
        gap = 1 if cell > 10 else 0
        pen.rectangle((x, y, x + cell - 1 - gap, y + cell - 1 - gap), colour)
        if share is not None and share >= 0.005 and cell >= 24:
            ink = PAPER if share > 0.5 else INK
            pen.text((x + cell / 2, y + cell / 2), f"{share:.0%}", ink, font, anchor="mm")
    right, bottom = corner[0] + len(confusion) * cell, corner[1] + len(confusion) * cell
    pen.rectangle((corner[0] - 1, corner[1] - 1, right, bottom), outline=FAINT)


def _axes(
    image: Image.Image, names: Sequence[str], corner: tuple[int, int], cell: int, font: Any
) -> None:
    pen = ImageDraw.Draw(image)
    left, top = corner
    bottom = top + len(names) * cell
    for index, name in enumerate(names):
        middle = index * cell + cell / 2
        pen.text((left - 6, top + middle), name, INK, font, anchor="rm")
        _upward(image, (round(left + middle), bottom + 6), name, INK, font)
    center = (left + len(names) * cell / 2, image.height - MARGIN / 2)
    pen.text(center, "predicted", FAINT, font, anchor="mb")
    label = _turned("truth", FAINT, font)
    place = MARGIN // 2, round((top + bottom - label.height) / 2)
    image.paste(label, place)


def _upward(image: Image.Image, place: tuple[int, int], text: str, ink: Colour, font: Any) -> None:
    """Text that ends at a place below the matrix, read from below."""
    if text:
        turned = _turned(text, ink, font)
        image.paste(turned, (place[0] - turned.width // 2, place[1]))


def _turned(text: str, ink: Colour, font: Any) -> Image.Image:
    width, height = _length(font, text) + 2, round(font.size * 1.3)
    strip = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(strip).text((width - 1, height / 2), text, ink, font, anchor="rm")
    return strip.transpose(Image.Transpose.ROTATE_90)


def _length(font: Any, text: str) -> int:
    length: float = font.getlength(text)
    return math.ceil(length)


def _mixed(share: float) -> Colour:
    # Small shares are what a reader looks for: the root makes them visible.
    weight = math.sqrt(share)
    red, green, blue = (
        round(few + (many - few) * weight) for few, many in zip(FEW, MANY, strict=True)
    )
    return red, green, blue
