"""Whether and how a net can be run on tiles: its strides and its receptive field."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import lcm

from fcnproto.errors import LayerError, NetError
from fcnproto.graph import Graph, Node
from fcnproto.layers.spatial import Reach, shifted
from fcnproto.shapes import Shapes
from fcnproto.tiles import Tiling


def tiling(graph: Graph, shapes: Shapes) -> Tiling:
    """How a net can be tiled that gives a pixel for each of the image's, at the same place.

    Raises NetError, naming the layer, if its receptive field has no bound, or if its output is not
    at the image's stride.
    """
    rows, columns = (_Axis(graph, shapes, axis).tiling() for axis in (0, 1))
    return Tiling(*zip(rows, columns, strict=True))


@dataclass
class _Axis:
    """A walk from the outputs to the inputs, along rows (0) or columns (1)."""

    graph: Graph
    shapes: Shapes
    axis: int
    seen: dict[str, Reach] = field(default_factory=dict)
    """What the outputs' pixels see of each blob."""

    def tiling(self) -> tuple[int, int, int]:
        """The stride, and how many pixels an output sees before and after its own."""
        self.seen.update(dict.fromkeys(self.graph.outputs, shifted()))
        before, after = 0, 0
        for node in reversed(self.graph.nodes):
            for top in node.tops:
                if top not in self.seen:
                    continue
                if node.layer.feeds:
                    here = self._around(node, self.seen[top])
                    before, after = max(before, here[0]), max(after, here[1])
                else:
                    self._descend(node, self.seen[top])
        stride = lcm(*(len(reach.spans) for reach in self.seen.values()))
        return stride, before, after

    def _around(self, node: Node, reach: Reach) -> tuple[int, int]:
        if reach.stride != 1:
            message = f"one pixel of the output is {reach.stride} of the image's, and must be one"
            raise NetError(self.graph.problem(node, message))
        spans = [(pixel, reach.of(pixel)) for pixel in range(len(reach.spans))]
        return (
            max((pixel - span[0] for pixel, span in spans if span), default=0),
            max((span[1] - pixel for pixel, span in spans if span), default=0),
        )

    def _descend(self, node: Node, top: Reach) -> None:
        """Go on from what is seen of a node's top to what is seen of its bottoms."""
        shapes = [shape for blob in node.bottoms if (shape := self.shapes.blobs[blob]) is not None]
        try:
            for blob, plane in zip(node.bottoms, node.layer.reaches(shapes), strict=True):
                if plane is None:
                    continue
                if not plane[self.axis].stride:
                    raise LayerError(f"it reads all of blob '{blob}', wherever a tile lies")
                reach = plane[self.axis].after(top)
                self.seen[blob] = reach.joined(self.seen[blob]) if blob in self.seen else reach
        except LayerError as error:
            raise NetError(self.graph.problem(node, error.problems[0].message)) from error
