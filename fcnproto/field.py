"""Receptive fields: which pixels of a net's inputs each blob is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fcnproto.errors import LayerError, NetError, Problem, nearest
from fcnproto.graph import Graph, Node
from fcnproto.layers.base import Plane, Shape, all_of
from fcnproto.layers.spatial import Reach, Span, hull, shifted
from fcnproto.shapes import Shapes, infer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    Array = npt.NDArray[np.uint8]

Fields = Mapping[str, Mapping[str, Plane]]
"""For each blob, what its pixels see of each input that it depends on."""


def fields(graph: Graph, shapes: Shapes) -> Fields:
    """The receptive field of every blob whose shape is known, in the inputs' pixels.

    A field is as large as the net's windows make it: it may begin in the padding. Where the pixels
    of a blob do not go along those of what it is made from, as after InnerProduct, each is said to
    see all that any sees.
    """
    found: dict[str, dict[str, Plane]] = {}
    for node in graph.nodes:
        if not node.bottoms:
            found.update({top: {top: (shifted(), shifted())} for top in node.tops})
            continue
        seen = _seen(node, shapes, found)
        found.update(dict.fromkeys(node.tops, seen))
    return found


def _seen(node: Node, shapes: Shapes, found: Fields) -> dict[str, Plane]:
    """What a top of a node sees of each input."""
    seen: dict[str, Plane] = {}
    for bottom, plane in _planes(node, shapes):
        for image, below in found[bottom].items():
            rows, columns = (
                _through(*axes)
                for axes in zip(below, plane, all_of(_shape(shapes, bottom)), strict=True)
            )
            there = seen.get(image)
            if there is not None:
                own = all_of(_shape(shapes, node.tops[0]) if node.tops else ())
                rows = _both(there[0], rows, own[0])
                columns = _both(there[1], columns, own[1])
            seen[image] = rows, columns
    return seen


def _planes(node: Node, shapes: Shapes) -> list[tuple[str, Plane]]:
    """What a node's tops see of each of its bottoms, but for those of which only the size counts.

    Whatever a layer does, it cannot see more than all of its bottoms.
    """
    bottoms = [_shape(shapes, bottom) for bottom in node.bottoms]
    try:
        planes = node.layer.reaches(bottoms)
    except LayerError:
        planes = [all_of(bottom) for bottom in bottoms]
    pairs = zip(node.bottoms, planes, strict=True)
    return [(bottom, plane) for bottom, plane in pairs if plane is not None]


def _through(below: Reach, above: Reach, all_pixels: Reach) -> Reach:
    try:
        return below.after(above)
    except LayerError:  # it repeats too seldom to be told pixel by pixel
        return below.after(all_pixels)


def _both(one: Reach, other: Reach, pixels: Reach) -> Reach:
    """What is seen by pixels that see what either says."""
    try:
        return one.joined(other)
    except LayerError:  # one goes along with the pixels and the other does not
        return one.after(pixels).joined(other.after(pixels))


def _shape(shapes: Shapes, blob: str) -> Shape:
    return shapes.blobs.get(blob) or ()


@dataclass(frozen=True)
class View:
    """What one pixel of a blob sees of an input: rows and columns, first and last.

    The spans are those of the windows, which may begin in the padding. `inside` is the smaller part
    of them that lies in the input and that padding further up does not cut off, None if nothing.
    """

    image: str
    rows: Span | None
    columns: Span | None
    inside: tuple[Span, Span] | None


def view(graph: Graph, shapes: Shapes, blob: str, pixel: tuple[int, int]) -> list[View]:
    """What a pixel (row, column) of a blob sees of each input that it depends on.

    Raises NetError if there is no such pixel.
    """
    shape = _shape(shapes, blob)
    plane = shape[2:] if len(shape) == 4 else (1, 1)
    if not all(0 <= place < size for place, size in zip(pixel, plane, strict=True)):
        message = f"blob '{blob}' has {plane[0]}×{plane[1]} pixels, and no pixel {pixel}"
        raise NetError(Problem(message, graph.path))
    exact = _descend(graph, shapes, blob, pixel)
    views = []
    for image, field in fields(graph, shapes)[blob].items():
        rows, columns = (axis.of(place) for axis, place in zip(field, pixel, strict=True))
        views.append(View(image, rows, columns, _inside(exact.get(image), rows, columns)))
    return views


def _inside(
    exact: tuple[Span, Span] | None, rows: Span | None, columns: Span | None
) -> tuple[Span, Span] | None:
    """What a walk down found, but for what it took for seen between two pixels that are."""
    if exact is None:
        return None
    first, second = _within(exact[0], rows), _within(exact[1], columns)
    return None if first is None or second is None else (first, second)


def _descend(
    graph: Graph, shapes: Shapes, blob: str, pixel: tuple[int, int]
) -> dict[str, tuple[Span, Span]]:
    """The pixels of each blob that one pixel is computed from, but for those of a padding."""
    seen: dict[str, tuple[Span | None, Span | None]] = {
        blob: ((pixel[0], pixel[0]), (pixel[1], pixel[1]))
    }
    for node in reversed(graph.nodes):
        tops = [seen[top] for top in node.tops if top in seen]
        if not tops:
            continue
        above = [hull(*spans) for spans in zip(*tops, strict=True)]
        for bottom, plane in _planes(node, shapes):
            size = all_of(_shape(shapes, bottom))
            before = seen.get(bottom, (None, None))
            rows, columns = (
                hull(before[axis], _within(plane[axis].of_all(above[axis]), size[axis].of(0)))
                for axis in (0, 1)
            )
            seen[bottom] = rows, columns
    return {
        name: (rows, columns)
        for name, (rows, columns) in seen.items()
        if rows is not None and columns is not None
    }


def _within(span: Span | None, bounds: Span | None) -> Span | None:
    if span is None or bounds is None:
        return None
    first, last = max(span[0], bounds[0]), min(span[1], bounds[1])
    return (first, last) if first <= last else None


def field_json(image: str | None, plane: Plane) -> dict[str, Any]:
    """A receptive field as JSON has it; each entry for rows and columns."""
    return {
        "of": image,
        "size": [axis.size for axis in plane],
        "stride": [str(axis.stride) if axis.stride else None for axis in plane],
        "offset": [None if (span := axis.of(0)) is None else span[0] for axis in plane],
    }


def field_words(plane: Plane | None) -> tuple[str, str, str]:
    """Stride, size and offset of a receptive field; rows × columns where they differ."""
    if plane is None:
        return "", "", ""
    offsets = ["?" if (span := axis.of(0)) is None else str(span[0]) for axis in plane]
    return (
        _pair([str(axis.stride) if axis.stride else "–" for axis in plane]),
        _pair([str(axis.size) for axis in plane]),
        _pair(offsets),
    )


def _pair(values: Iterable[str]) -> str:
    rows, columns = values
    return rows if rows == columns else f"{rows}×{columns}"


# One pixel's account -------------------------------------------------------------------------


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
    """What a pixel (row, column) of a blob, the middle one unless told, sees of each input.

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
    return "\n".join(lines) + "\n"


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
