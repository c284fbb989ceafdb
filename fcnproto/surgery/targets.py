"""What a net asks of weights: which of its layers have any, and what these layers do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod

from fcnproto.layers.base import Layer, Weight
from fcnproto.net.graph import Graph, Node
from fcnproto.net.shapes import Shapes
from fcnproto.surgery.layouts import Destination
from fcnproto.types import Shape


def destinations(graph: Graph, shapes: Shapes) -> dict[str, Destination]:
    """For each layer with weights, by name: what its inputs are, and whether it reads the image."""
    return {
        target.name: Destination(
            _inputs(graph, shapes, target.node), target.sees_image, target.transposed
        )
        for target in targets(graph, shapes)
    }


@dataclass(frozen=True)
class Target:
    """A layer of the net that has weights."""

    index: int
    node: Node
    weights: tuple[Weight, ...]
    sees_image: bool
    """Whether no layer before it has weights."""
    scores: bool
    """Whether its channels are the net's classes: no later layer with weights has others."""

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.node.layer.name

    @property
    def layer(self) -> Layer:
        """The layer itself."""
        return self.node.layer

    @property
    def upsamples(self) -> bool:
        """Whether it can hold one kernel for each channel and none between channels."""
        layer = self.layer
        if not layer.deconvolves or len(self.weights[0].shape) != 4:
            return False
        inputs, outputs, height, width = self.weights[0].shape
        group = layer.param.group
        return inputs == outputs * group and group in (1, inputs) and height == width

    @property
    def transposed(self) -> bool:
        """Whether its matrix is kept as I×O."""
        return self.layer.fully_connected and self.layer.param.transpose

    @property
    def fixed(self) -> bool:
        """Whether training leaves its weights as they are."""
        params = self.layer.proto.param
        return bool(params) and all(param.lr_mult == 0 for param in params)


def targets(graph: Graph, shapes: Shapes) -> Iterator[Target]:
    """The layers of a net that have weights, in its order."""
    weighted = {id(graph.nodes[index]) for index, arrays in shapes.weights.items() if arrays}
    scoring = _scoring(graph, shapes, weighted)
    for index, arrays in shapes.weights.items():
        node = graph.nodes[index]
        if arrays:
            before = (each for blob in node.bottoms for each, _ in graph.upstream(blob))
            sees_image = not any(id(each) in weighted for each in before)
            yield Target(index, node, arrays, sees_image, id(node) in scoring)


def _scoring(graph: Graph, shapes: Shapes, weighted: set[int]) -> set[int]:
    """The nodes of which all that come after them with weights have as many channels."""
    # What comes after a blob: one number of channels, none, or several.
    after: dict[str, frozenset[int | None]] = {}
    found: set[int] = set()
    for node in reversed(graph.nodes):
        below: frozenset[int | None] = frozenset().union(*(after.get(t, ()) for t in node.tops))
        shape = shapes.blobs.get(node.tops[0]) if node.tops else None
        channels = shape[1] if shape is not None and len(shape) > 1 else None
        if below <= {channels}:
            found.add(id(node))
        here = below | {channels} if id(node) in weighted else below
        for blob in node.bottoms:
            after[blob] = frozenset(islice(after.get(blob, frozenset()) | here, 2))
    return found


def _inputs(graph: Graph, shapes: Shapes, node: Node) -> Shape:
    """The axes that a layer's weights read: channels, height, width.

    Those of a fully connected layer are what was flattened before it, by itself or another layer.
    """
    if node.layer.fully_connected:
        shape = flattened(graph, shapes, node.bottoms[0])
        return shape[1:]
    return tuple(shapes.weights[_index(graph, node)][0].shape[1:])


def flattened(graph: Graph, shapes: Shapes, blob: str) -> Shape:
    """The shape that a blob had before layers that only reshape it, or change it in its place."""
    shape = shapes.blobs[blob] or ()
    while len(shape) == 2 and blob in graph.producers:
        producer = graph.producers[blob]
        only_reshapes = producer.layer.shares_memory or producer.layer.keeps_shape
        if not only_reshapes or not producer.bottoms:
            break
        blob = producer.bottoms[0]
        before = shapes.blobs[blob] or ()
        if prod(before[1:]) != prod(shape[1:]):
            break
        shape = before
    return shape


def _index(graph: Graph, node: Node) -> int:
    return next(index for index, each in enumerate(graph.nodes) if each is node)
