"""Rows of pictures under their titles, and the colours of classes below them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from fcnproto.types import Colour

_CELL, _GAP, _LINE = 336, 12, 30


def sheet(
    titles: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    classes: Sequence[str],
    palette: Sequence[Colour],
) -> Image.Image:
    """Pictures in columns that have titles, and a legend.

    Small pictures have each pixel drawn several times as large, large ones are made smaller.
    """
    shown = [[_fitted(picture) for picture in row] for row in rows]
    heights = [max(picture.height for picture in row) for row in shown]
    width = len(titles) * (_CELL + _GAP) + _GAP
    font = ImageFont.load_default(16)
    entries = list(zip(classes, palette, strict=False))
    places, lines = _places([font.getlength(name) for name, _ in entries], width)
    height = (1 + lines) * _LINE + sum(heights) + len(rows) * _GAP
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        middle = _GAP + column * (_CELL + _GAP) + _CELL // 2
        pen.text((middle, _LINE // 2), title, "#222222", font, "mm")
    top = _LINE
    for row, tall in zip(shown, heights, strict=True):
        for column, picture in enumerate(row):
            left = _GAP + column * (_CELL + _GAP) + (_CELL - picture.width) // 2
            canvas.paste(picture, (left, top + (tall - picture.height) // 2))
        top += tall + _GAP
    for (name, colour), (x, line) in zip(entries, places, strict=True):
        y = top + line * _LINE + _LINE // 2
        pen.rectangle((x, y - 8, x + 16, y + 8), colour)
        pen.text((x + 24, y), name, "#222222", font, "lm")
    return canvas


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
