"""What a pixel of a blob sees of the image, in words, numbers and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fcnproto.errors import NetError, Problem, nearest, printable
from fcnproto.layers.base import Plane
from fcnproto.layers.spatial import Span
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import Shapes, infer

if TYPE_CHECKING:
    from PIL.Image import Image

from fcnproto.net.receptive_field import View, field_json, field_words, fields, view
from fcnproto.types import Array


@dataclass(frozen=True)
class Account:
    """What one pixel of a blob sees of an input."""

    blob: str
    pixel: tuple[int, int]
    view: View
    plane: Plane
    """What all pixels of the blob see of the input."""
    size: tuple[int, int]
    """Of the input: rows and columns."""


def account(graph: Graph, blob: str, pixel: tuple[int, int] | None = None) -> list[Account]:
    """What a pixel (row, column) of a blob, by default the middle one, sees of each input.

    Raises NetError if there is no such blob or pixel, or if its shape is not known.
    """
    shapes = infer(graph)
    shape = shapes.blobs.get(blob)
    if shape is None:
        known = [name for name, found in shapes.blobs.items() if found is not None]
        raise NetError(
            Problem(
                f"the net has no blob '{blob}' of known shape{nearest(blob, known)}", graph.path
            )
        )
    plane = shape[2:] if len(shape) == 4 else (1, 1)
    place = pixel or (plane[0] // 2, plane[1] // 2)
    seen = fields(graph, shapes)[blob]
    return [
        Account(blob, place, found, seen[found.image], _plane_of(shapes, found.image))
        for found in view(graph, shapes, blob, place)
    ]


def _plane_of(shapes: Shapes, image: str) -> tuple[int, int]:
    shape = shapes.blobs.get(image) or ()
    return (shape[2], shape[3]) if len(shape) == 4 else (1, 1)


def text(account: Account) -> str:
    """The account of a receptive field in sentences."""
    stride, size, offset = field_words(account.plane)
    image = account.view.image
    rows, columns = account.pixel
    lines = [
        f"{account.blob} sees {image} ({account.size[0]}×{account.size[1]}):",
        f"  receptive field {size}, stride {stride}; that of pixel 0 begins at"
        f" {offset.replace('-', '−')}",
        f"  pixel {rows}, {columns} sees rows {_span(account.view.rows)} and columns"
        f" {_span(account.view.columns)}",
    ]
    inside = account.view.inside
    if inside is None:
        lines.append(f"  none of that lies in {image}")
    elif inside != (account.view.rows, account.view.columns):
        lines.append(
            f"  of which rows {_span(inside[0])} and columns {_span(inside[1])} lie in {image}"
        )
    return "\n".join(map(printable, lines)) + "\n"


def _span(span: Span | None) -> str:
    return "none" if span is None else f"{span[0]} to {span[1]}".replace("-", "−")


def as_json(account: Account) -> dict[str, Any]:
    """The account of a receptive field as JSON has it."""
    return {
        "blob": account.blob,
        **field_json(account.view.image, account.plane),
        "pixel": list(account.pixel),
        "rows": account.view.rows,
        "columns": account.view.columns,
        "inside": account.view.inside,
    }


MOST_PIXELS = 10**8

_MARK = (213, 94, 0)
"""Vermilion, which every eye tells from most of an image."""


def picture(account: Account, image: Array | None) -> Image:
    """The receptive field over an image (H×W×3 uint8, of the input's size), dimmed around it.

    Without an image over plain grey. Where the field reaches into the padding, so does the picture.
    Raises NetError if the pixel sees nothing of the input.
    """
    from PIL import Image as Images
    from PIL import ImageDraw

    rows, columns = account.view.rows, account.view.columns
    if rows is None or columns is None:
        place = f"pixel {account.pixel[0]}, {account.pixel[1]} of '{account.blob}'"
        raise NetError(Problem(f"{place} sees nothing of '{account.view.image}'"))
    height, width = account.size
    left, top = max(0, -columns[0]), max(0, -rows[0])
    whole = (
        left + max(width, columns[1] + 1),
        top + max(height, rows[1] + 1),
    )
    if whole[0] * whole[1] > MOST_PIXELS:
        message = f"the picture would have {whole[1]}×{whole[0]} pixels"
        raise NetError(Problem(f"{message}: choose a smaller blob or image"))
    canvas = Images.new("RGB", whole, (70, 70, 70))
    plain = Images.new("RGB", (width, height), (200, 200, 200))
    canvas.paste(plain if image is None else Images.fromarray(image), (left, top))
    dimmed = canvas.point(lambda value: value * 2 // 5)
    box = (left + columns[0], top + rows[0], left + columns[1] + 1, top + rows[1] + 1)
    dimmed.paste(canvas.crop(box), box[:2])
    pen = ImageDraw.Draw(dimmed)
    thick = max(1, max(whole) // 250)
    pen.rectangle((left, top, left + width - 1, top + height - 1), outline=(150, 150, 150))
    pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_MARK, width=thick)
    middle = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    pen.ellipse(
        (
            middle[0] - 2 * thick,
            middle[1] - 2 * thick,
            middle[0] + 2 * thick,
            middle[1] + 2 * thick,
        ),
        fill=_MARK,
        outline="white",
    )
    return dimmed
