"""Whether and how a net can be run on tiles: its strides and its receptive fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm, prod
from typing import Any

from fcnproto.errors import LayerError, NetError
from fcnproto.layers.spatial import Reach, shifted
from fcnproto.model.tiles import Kept, Stages, Tiling
from fcnproto.net.graph import Graph, Node
from fcnproto.net.shapes import Shapes, infer

KEPT_BYTES = 16
"""What may be kept between two stages for each pixel of the image; FCN-8s keeps 10 at pool4."""

TILE = 512
"""The tile for which stages are chosen; a second stage's is twice as large."""

_AXES = (0, 1)
Reaches = dict[str, Reach]


def tiling(graph: Graph, shapes: Shapes) -> Tiling:
    """How a net can be tiled that gives a pixel for each of the image's, at the same place.

    Raises NetError, naming the layer, if its receptive field has no bound, or if its output is not
    at the image's stride.
    """
    for node in graph.nodes:
        for top in node.tops:
            shape = shapes.blobs[top]
            if (node.layer.feeds or top in graph.outputs) and len(shape or ()) != 4:
                raise NetError(graph.problem(node, f"blob '{top}' is no N × C × H × W"))
    read = _Reads(graph, shapes)
    rows, columns = (_tiled(read, axis) for axis in _AXES)
    stride, before, after = zip(rows, columns, strict=True)
    return Tiling(stride, before, after)


def stages(graph: Graph, shapes: Shapes, tiled: Tiling) -> list[Stages]:
    """The ways to run a net of this tiling in two stages that cost less than one, best first.

    The first stage is all that sees no more than so many pixels of the image. Raises NetError if
    it is not known what its layers see.
    """
    read = _Reads(graph, shapes)
    seen = [_seen_of_image(read, axis) for axis in _AXES]
    fields = _fields(graph, seen)
    work = _Work(read, tiled, seen, _more(graph, shapes, tiled, seen))
    found = []
    candidates = sorted({*fields})[:-1]
    reads = sum(len(node.bottoms) for node in graph.nodes)
    step = -(-len(candidates) * reads // _MOST_VISITS)
    for largest in candidates[:: max(1, step)]:
        sized = list(zip(graph.nodes, fields, strict=True))
        first = [node for node, size in sized if size <= largest]
        second = [node for node, size in sized if size > largest]
        made = work.stages(first, second)
        if made is not None and (cost := work.cost(made, first, second)) < work.cost_of_one():
            found.append((cost, largest, made))
    return [made for _, _, made in sorted(found, key=lambda each: each[:2])]


_MOST_VISITS = 2**15
"""So often a bottom is looked at in all; of the ways to divide a long net some are tried."""


def _fields(graph: Graph, seen: Sequence[Reaches]) -> list[int]:
    """How much of the image each node sees, itself or through what it takes its size from."""
    fields: list[int] = []
    of_blob: dict[str, int] = {}
    for node in graph.nodes:
        sizes = [each[top].size for each in seen for top in node.tops if top in each]
        fields.append(max((*sizes, *(of_blob[blob] for blob in node.bottoms)), default=0))
        of_blob.update(dict.fromkeys(node.tops, fields[-1]))
    return fields


def _tiled(read: _Reads, axis: int) -> tuple[int, int, int]:
    """The stride, and how many pixels an output sees before and after its own."""
    graph = read.graph
    seen = _seen_by_outputs(read, axis, graph.nodes)
    before, after = 0, 0
    for node in graph.nodes:
        for top in node.tops:
            if not node.layer.feeds or top not in seen:
                continue
            reach = seen[top]
            if reach.stride != 1:
                message = (
                    f"one pixel of the output is {reach.stride} of the image's, and must be one"
                )
                raise NetError(graph.problem(node, message))
            before = max(before, _before(reach))
            after = max(after, _after(reach))
    return lcm(*(len(reach.spans) for reach in seen.values())), before, after


def _seen_by_outputs(read: _Reads, axis: int, nodes: Sequence[Node]) -> Reaches:
    """What the outputs' pixels see of each blob through some of the net's nodes."""
    graph = read.graph
    seen: Reaches = dict.fromkeys(graph.outputs, shifted())
    for node in reversed(nodes):
        for top in node.tops:
            if top not in seen or node.layer.feeds:
                continue
            for blob, there in read(axis, node):
                reach = _guarded(graph, node, there.after, seen[top])
                if blob in seen:
                    reach = _guarded(graph, node, reach.joined, seen[blob])
                seen[blob] = reach
    return seen


def _seen_of_image(read: _Reads, axis: int) -> Reaches:
    """What the pixels of each blob see of the images; blobs that see none are left out."""
    graph = read.graph
    seen: Reaches = {}
    for node in graph.nodes:
        if node.layer.feeds:
            seen.update(dict.fromkeys(node.tops, shifted()))
            continue
        for blob, there in read(axis, node):
            if blob not in seen:
                continue
            reach = _guarded(graph, node, seen[blob].after, there)
            for top in node.tops:
                joined = _guarded(graph, node, reach.joined, seen[top]) if top in seen else reach
                seen[top] = joined
    return seen


@dataclass(frozen=True)
class _Reads:
    """What the layers of a net read and compute, each asked once."""

    graph: Graph
    shapes: Shapes
    _reaches: dict[tuple[int, int], Sequence[tuple[str, Reach]]] = field(default_factory=dict)
    _multiply_adds: dict[int, int] = field(default_factory=dict)

    def __call__(self, axis: int, node: Node) -> Sequence[tuple[str, Reach]]:
        """What a pixel of a node's tops sees of each bottom that it reads for more than its size.

        Raises NetError for a layer of which that is not known.
        """
        key = axis, id(node)
        if key not in self._reaches:
            self._reaches[key] = tuple(self._of(axis, node))
        return self._reaches[key]

    def _of(self, axis: int, node: Node) -> Iterator[tuple[str, Reach]]:
        blobs = self.shapes.blobs
        known = [shape for blob in node.bottoms if (shape := blobs[blob]) is not None]
        planes = _guarded(self.graph, node, node.layer.reaches, known)
        for blob, plane in zip(node.bottoms, planes, strict=True):
            if plane is None:
                continue
            if not plane[axis].stride:
                message = f"it reads all of blob '{blob}', wherever a tile lies"
                raise NetError(self.graph.problem(node, message))
            yield blob, plane[axis]

    def multiply_adds(self, nodes: Sequence[Node]) -> int:
        """Those of several layers, as far as their shapes are known."""
        for node in nodes:
            if id(node) not in self._multiply_adds:
                self._multiply_adds[id(node)] = self.shapes.total_multiply_adds([node])
        return sum(self._multiply_adds[id(node)] for node in nodes)


@dataclass(frozen=True)
class _Work:
    """What ways of running a net cost.

    `seen` is what each blob's pixels see of the images, for rows and columns; `more` how many
    pixels each blob has beyond its share of an image.
    """

    read: _Reads
    tiled: Tiling
    seen: Sequence[Reaches]
    more: Mapping[str, tuple[int, int]]

    def stages(self, first: Sequence[Node], second: Sequence[Node]) -> Stages | None:
        """The two stages that these nodes are; None if the net cannot be run so."""
        made = {top for node in first for top in node.tops}
        if made.intersection(self.read.graph.outputs):
            return None
        read = {blob for node in second for blob in node.bottoms if blob in made}
        by_outputs = [_seen_by_outputs(self.read, axis, second) for axis in _AXES]
        images = {top for node in first if node.layer.feeds for top in node.tops}
        if any(images.intersection(each) for each in by_outputs):
            return None
        kept = sorted(blob for blob in read - images if blob in self.seen[0])
        if not kept or not all(blob in self.more for blob in kept):
            return None
        found = [self._kept(blob) for blob in kept]
        if sum(map(self._bytes, found)) > KEPT_BYTES:
            return None
        before, after = zip(
            *(self._around(found, axis, by_outputs[axis]) for axis in _AXES), strict=True
        )
        return Stages(tuple(found), before, after)

    def cost(self, made: Stages, first: Sequence[Node], second: Sequence[Node]) -> float:
        """Multiply-adds of two stages, with what tiles compute around what they are for."""
        areas = 1.0, 1.0
        for axis in _AXES:
            around = max(
                kept.before[axis] + kept.after[axis] - kept.stride[axis] + 1 for kept in made.kept
            )
            beside = made.before[axis] + made.after[axis]
            areas = (
                areas[0] * self._larger(axis, TILE, around),
                areas[1] * self._larger(axis, 2 * TILE, beside),
            )
        work = self.read.multiply_adds
        return areas[0] * work(first) + areas[1] * work(second)

    def cost_of_one(self) -> float:
        """Multiply-adds of one stage on tiles as small as those of a first stage."""
        tiled = self.tiled
        area = prod(
            self._larger(axis, TILE, tiled.before[axis] + tiled.after[axis]) for axis in _AXES
        )
        return area * self.read.multiply_adds(self.read.graph.nodes)

    def _larger(self, axis: int, tile: int, around: int) -> float:
        """How much longer a tile is than what it is for; it begins half a stride early."""
        return (tile + max(around, 0) + self.tiled.stride[axis] / 2) / tile

    def _kept(self, blob: str) -> Kept:
        strides, befores, afters = zip(
            *(
                (int(reach.stride), _before(reach), _after(reach))
                for reach in (each[blob] for each in self.seen)
            ),
            strict=True,
        )
        return Kept(blob, strides, befores, afters, self.more[blob])

    def _bytes(self, kept: Kept) -> float:
        shape = self.read.shapes.blobs[kept.blob]
        assert shape is not None
        return 4 * shape[1] / prod(kept.stride)

    def _around(self, kept: Sequence[Kept], axis: int, seen: Reaches) -> tuple[int, int]:
        """How many pixels before and after an output's own the image of its tile must have.

        The first pixel of a kept map that the tile has is first / stride, its last one
        last / stride + more − 1.
        """
        before, after = 0, 0
        for each in kept:
            if each.blob not in seen:
                continue  # only its size is read
            stride, more = each.stride[axis], each.more[axis]
            for pixel, span in enumerate(seen[each.blob].spans):
                if span is not None:
                    before = max(before, pixel - stride * span[0])
                    after = max(after, stride * (span[1] + 1 - more) - 1 - pixel)
        return before, after


def _more(
    graph: Graph, shapes: Shapes, tiled: Tiling, seen: Sequence[Reaches]
) -> dict[str, tuple[int, int]]:
    """How many pixels more than size / stride each map has, for rows and columns.

    Blobs whose stride is not whole, or that grow otherwise, are left out.
    """
    images = {
        top: shape
        for node in graph.nodes
        if node.layer.feeds
        for top in node.tops
        if (shape := shapes.blobs[top]) is not None and len(shape) == 4
    }
    sizes = [
        [
            stride * (-(-max(shape[2 + axis] for shape in images.values()) // stride) + turn)
            for axis, stride in enumerate(tiled.stride)
        ]
        for turn in (0, 1)
    ]
    walks = [
        infer(graph, {blob: (*shape[:2], *size) for blob, shape in images.items()}).blobs
        for size in sizes
    ]
    more: dict[str, tuple[int, int]] = {}
    for blob in shapes.blobs:
        maps = [shape for walk in walks if (shape := walk[blob]) is not None and len(shape) == 4]
        if len(maps) < len(walks) or not all(blob in each for each in seen):
            continue
        strides = [each[blob].stride for each in seen]
        excess = {
            tuple(shape[2 + axis] - size[axis] / strides[axis] for axis in _AXES)
            for shape, size in zip(maps, sizes, strict=True)
        }
        if len(excess) == 1 and all(stride.denominator == 1 for stride in strides):
            rows, columns = excess.pop()
            more[blob] = int(rows), int(columns)
    return more


def _before(reach: Reach) -> int:
    """How many pixels before its place a pixel sees at most."""
    places = enumerate(reach.spans)
    return max((int(pixel * reach.stride) - span[0] for pixel, span in places if span), default=0)


def _after(reach: Reach) -> int:
    """How many pixels after its place a pixel sees at most."""
    places = enumerate(reach.spans)
    return max((span[1] - int(pixel * reach.stride) for pixel, span in places if span), default=0)


def _guarded(graph: Graph, node: Node, action: Callable[[Any], Any], value: Any) -> Any:
    """What a layer or a reach says; what it refuses is said of the layer."""
    try:
        return action(value)
    except LayerError as error:
        raise NetError(graph.problem(node, error.problems[0].message)) from error
