"""Alignment: where the pixels of one blob lie in another, and the crop offsets that follow.

Each layer maps the coordinates of its top to those of its bottom affinely. Composed along the way
to a common ancestor, the maps of two blobs say how far one is shifted against the other (Caffe,
python/caffe/coord_map.py; Long et al., section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fcnproto.errors import NetError, Problem
from fcnproto.layers.spatial import IDENTITY, Affine, CoordMap
from fcnproto.net.nodes import Graph, Node


@dataclass(frozen=True)
class Alignment:
    """How two blobs lie to each other, seen from a common ancestor.

    A pixel (r, c) of the reference lies at (r + rows, c + columns) of the moved blob.
    """

    ancestor: str
    moved: CoordMap
    """From the moved blob's coordinates to the ancestor's."""
    reference: CoordMap
    """From the reference's coordinates to the ancestor's."""
    rows: Fraction
    columns: Fraction

    @property
    def is_whole(self) -> bool:
        """Whether a Crop can bring the two together: both offsets whole and not negative."""
        return all(offset.denominator == 1 and offset >= 0 for offset in (self.rows, self.columns))


@dataclass(frozen=True)
class Ascent:
    """A layer on the way from a blob up to its ancestors: from one of its tops to a bottom."""

    node: Node
    top: str
    bottom: str
    map: CoordMap
    """From the top's coordinates to the bottom's."""


def ascents(graph: Graph, blob: str) -> dict[str, Ascent]:
    """For each ancestor of a blob the step by which it is first reached, nearest first.

    Ancestors beyond a layer that has no coordinate map are left out.
    """
    found: dict[str, Ascent] = {}
    for node, top in graph.upstream(blob):
        if top != blob and top not in found:
            continue
        there = node.layer.coordinates
        if there is None:
            continue
        for bottom in node.bottoms if node.layer.aligns_all_bottoms else node.bottoms[:1]:
            found.setdefault(bottom, Ascent(node, top, bottom, there))
    return found


def to_ancestors(graph: Graph, blob: str) -> dict[str, CoordMap]:
    """The map from a blob's coordinates to those of each ancestor, the blob itself first."""
    maps = {blob: IDENTITY}
    for ancestor, step in ascents(graph, blob).items():
        maps[ancestor] = step.map.after(maps[step.top])
    return maps


def way(graph: Graph, blob: str, ancestor: str) -> list[Ascent]:
    """The steps from a blob to one of those ancestors that `ascents` finds; none to itself."""
    found = ascents(graph, blob)
    back: list[Ascent] = []
    while ancestor != blob:
        back.append(found[ancestor])
        ancestor = found[ancestor].top
    return back[::-1]


def align(graph: Graph, moved: str, reference: str) -> Alignment:
    """How `moved` lies to `reference`.

    Raises NetError if they have no common ancestor that coordinates can be followed to, or if
    their pixels there are of different size.
    """
    ours, theirs = to_ancestors(graph, moved), to_ancestors(graph, reference)
    common = [blob for blob in theirs if blob in ours]
    if not common:
        raise NetError(
            Problem(
                f"blobs '{moved}' and '{reference}' have no common ancestor that their coordinates"
                " can be followed to",
                graph.path,
            )
        )
    ancestor = common[0]  # the nearest: each map lists what was met first first
    way = ours[ancestor].inverse().after(theirs[ancestor])
    for name, axis in (("rows", way.rows), ("columns", way.columns)):
        if axis.scale != 1:
            raise NetError(
                Problem(
                    f"the {name} of '{moved}' and '{reference}' are of different size: one pixel of"
                    f" '{reference}' is {axis.scale} of '{moved}'",
                    graph.path,
                )
            )
    return Alignment(ancestor, ours[ancestor], theirs[ancestor], way.rows.shift, way.columns.shift)


def crop_offset(graph: Graph, moved: str, reference: str) -> tuple[int, int]:
    """The offsets (rows, columns) at which `moved` must be cropped to lie on `reference`.

    Raises NetError if they are not whole or negative.
    """
    alignment = align(graph, moved, reference)
    if not alignment.is_whole:
        raise NetError(
            Problem(
                f"no crop brings '{moved}' onto '{reference}': the offset would be"
                f" {alignment.rows} rows and {alignment.columns} columns",
                graph.path,
            )
        )
    return int(alignment.rows), int(alignment.columns)


def to_input(graph: Graph, blob: str, image: str) -> tuple[Affine, Affine]:
    """The maps (rows, columns) from a blob's coordinates to the image's; scale is the stride.

    Raises NetError if the coordinates cannot be followed there.
    """
    maps = to_ancestors(graph, blob)
    if image not in maps:
        raise NetError(
            Problem(f"the coordinates of '{blob}' cannot be followed to '{image}'", graph.path)
        )
    return maps[image].rows, maps[image].columns
