"""Rows of pictures under their titles, each with a caption, and a legend below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from fcnproto.errors import printable
from fcnproto.runtime.overlay import drawable
from fcnproto.types import Colour

_CELL, _GAP, _LINE = 336, 12, 30
_INK = "#222222"


@dataclass(frozen=True)
class Captioned:
    """A picture and the line below it."""

    picture: Image.Image
    caption: str


Cell = Image.Image | Captioned


def sheet(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    classes: Sequence[str] = (),
    palette: Sequence[Colour] = (),
) -> Image.Image:
    """Pictures in columns that have titles, and a legend of classes where there are any.

    Small pictures have each pixel drawn several times as large, large ones are made smaller. Text
    that is wider than its column is cut.
    """
    cells = [[_captioned(cell) for cell in row] for row in rows]
    shown = [[_fitted(cell.picture) for cell in row] for row in cells]
    captions = [_LINE * any(cell.caption for cell in row) for row in cells]
    heights = [max(picture.height for picture in row) for row in shown]
    width = len(titles) * (_CELL + _GAP) + _GAP
    font = ImageFont.load_default(16)
    entries = list(zip(map(drawable, classes), palette, strict=False))
    places, lines = _places([font.getlength(name) for name, _ in entries], width)
    above = _LINE * any(titles)
    below = lines * _LINE if entries else 0
    height = above + sum(heights) + sum(captions) + len(rows) * _GAP + below
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        pen.text((_middle(column), _LINE // 2), _cut(drawable(title), font), _INK, font, "mm")
    top = above or _GAP // 2
    for row, pictures, tall, caption in zip(cells, shown, heights, captions, strict=True):
        for column, (cell, picture) in enumerate(zip(row, pictures, strict=True)):
            left = _middle(column) - picture.width // 2
            canvas.paste(picture, (left, top + (tall - picture.height) // 2))
            place = _middle(column), top + tall + _LINE // 2
            pen.text(place, _cut(drawable(cell.caption), font), _INK, font, "mm")
        top += tall + caption + _GAP
    for (name, colour), (x, line) in zip(entries, places, strict=True):
        y = top + line * _LINE + _LINE // 2
        pen.rectangle((x, y - 8, x + 16, y + 8), colour)
        pen.text((x + 24, y), name, _INK, font, "lm")
    return canvas


def _middle(column: int) -> int:
    return _GAP + column * (_CELL + _GAP) + _CELL // 2


def _captioned(cell: Cell) -> Captioned:
    return cell if isinstance(cell, Captioned) else Captioned(cell, "")


def _cut(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits a column, without what cannot be printed."""
    text = printable(text[:200])
    if font.getlength(text) <= _CELL:
        return text
    while text and font.getlength(f"{text}…") > _CELL:
        text = text[:-1]
    return f"{text}…"


def _fitted(picture: Image.Image) -> Image.Image:
    if picture.width <= _CELL:
        times = _CELL // picture.width
        size = picture.width * times, picture.height * times
        return picture.resize(size, Image.Resampling.NEAREST)
    height = max(1, round(picture.height * _CELL / picture.width))
    return picture.resize((_CELL, height), Image.Resampling.BOX)


def _places(lengths: Sequence[float], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where each entry of the legend stands, as (x, line), and how many lines there are."""
    places = []
    x, line = _GAP, 0
    for length in lengths:
        taken = 24 + int(length) + 2 * _GAP
        if x > _GAP and x + taken > width:
            x, line = _GAP, line + 1
        places.append((x, line))
        x += taken
    return places, line + 1
