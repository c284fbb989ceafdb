"""What a net costs: the figures by which rewrites are judged."""

from __future__ import annotations

from dataclasses import dataclass

from fcnproto.filled import Filled
from fcnproto.layers.base import Shape
from fcnproto.model import Model
from fcnproto.shapes import infer

NOMINAL = (500, 500)
"""The height and width for which costs are told, where the net is open to it."""


@dataclass(frozen=True)
class Cost:
    """The operators of a model, its multiply-adds for images of these shapes, its bytes."""

    images: tuple[Shape, ...]
    nodes: int
    multiply_adds: int
    bytes: int


def cost(net: Filled, model: Model) -> Cost:
    """What a net costs, and the model that was written of it."""
    images = tuple(net.net.sized(*NOMINAL).values())
    adds = multiply_adds(net, *NOMINAL)
    return Cost(images, len(model.proto.graph.node), adds, model.size())


def multiply_adds(net: Filled, height: int, width: int) -> int:
    """How many multiply-adds one image of this size takes."""
    shapes = infer(net.graph, net.net.sized(height, width)).blobs

    def known(blobs: tuple[str, ...]) -> list[Shape]:
        return [shape for blob in blobs if (shape := shapes[blob]) is not None]

    return sum(
        node.layer.multiply_adds(known(node.bottoms), known(node.tops))
        for node in net.graph.nodes
        if not node.layer.feeds
    )
