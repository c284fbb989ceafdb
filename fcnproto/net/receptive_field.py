"""Receptive fields: which pixels of a net's inputs each blob is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fcnproto.errors import LayerError, NetError, Problem
from fcnproto.layers.base import Plane, all_of
from fcnproto.layers.spatial import Reach, Span, hull, shifted
from fcnproto.net.graph import Graph, Node
from fcnproto.net.shapes import Shapes
from fcnproto.types import Shape

if TYPE_CHECKING:
    pass


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
