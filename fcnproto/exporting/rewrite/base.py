"""What a rewrite gives, and what several of them ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fcnproto.errors import LayerError, Problem
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.layers.base import Layer
from fcnproto.layers.spatial import shifted
from fcnproto.net.graph import Graph

ITSELF = shifted(), shifted()
"""A pixel that sees the one at its place and no other."""


@dataclass(frozen=True)
class Rewritten:
    """A net that computes the same, and notes on what was left alone and why."""

    net: Filled
    notes: tuple[Problem, ...] = ()


def works_by_pixels(layer: Layer, channels: Sequence[int]) -> bool:
    """Whether a layer makes each pixel of the pixels at its place of its bottoms, and nothing else.

    And so for every number and size of images with the same weights, if bottoms are N × C × H × W
    with so many channels each.
    """
    seen = []
    for num, height, width in ((1, 8, 8), (2, 9, 10)):
        bottoms = [(num, count, height, width) for count in channels]
        try:
            tops = layer.output_shapes(bottoms)
            if not all(plane == ITSELF for plane in layer.reaches(bottoms)) or not all(
                top is not None and (*top[:1], *top[2:]) == (num, height, width) for top in tops
            ):
                return False
            seen.append([weight.shape for weight in layer.weights(bottoms)])
        except LayerError:
            return False
    return seen[0] == seen[1]


def read_once(graph: Graph, blob: str) -> bool:
    """Whether one layer reads a blob, and nothing else of the net gives it."""
    return len(graph.readers.get(blob, ())) == 1 and blob not in graph.outputs


def moved(step: FilledLayer, bottoms: tuple[str, ...], tops: tuple[str, ...]) -> FilledLayer:
    """A layer that reads and writes other blobs."""
    return replace(step, node=replace(step.node, bottoms=bottoms, tops=tops))
