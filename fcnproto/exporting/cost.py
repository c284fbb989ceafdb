"""What a net costs: the figures by which rewrites are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fcnproto.errors import Severity
from fcnproto.exporting.filled import Filled
from fcnproto.model.file import Model
from fcnproto.net.shapes import Shapes, infer, walk
from fcnproto.types import Shape

NOMINAL = (500, 500)
"""The height and width at which costs are given, of one image, where the net is open to it."""


@dataclass(frozen=True)
class Cost:
    """The operators of a model, its multiply-adds for images of these shapes, its bytes."""

    images: tuple[Shape, ...]
    nodes: int
    multiply_adds: int
    bytes: int


def cost(net: Filled, model: Model) -> Cost:
    """What a net costs, and the model that was written of it."""
    shapes = nominal(net)
    images = tuple(known(shapes, tuple(net.inference.inputs)))
    adds = shapes.total_multiply_adds(net.graph.nodes)
    return Cost(images, len(model.proto.graph.node), adds, model.size())


def nominal(net: Filled) -> Shapes:
    """The shapes for one image of NOMINAL size, or of a size that the net is known to fit."""
    shapes, problems = walk(net.graph, net.inference.sized(*NOMINAL))
    if any(problem.severity is Severity.ERROR for problem in problems):
        return infer(net.graph, net.inference.trials[0])
    return shapes


def known(shapes: Shapes, blobs: Sequence[str]) -> list[Shape]:
    """The shapes of some blobs."""
    return [shape for blob in blobs if (shape := shapes.blobs[blob]) is not None]


def multiply_adds(net: Filled, height: int, width: int) -> int:
    """How many multiply-adds one image of this size takes."""
    return infer(net.graph, net.inference.sized(height, width)).total_multiply_adds(net.graph.nodes)


def nominal_multiply_adds(net: Filled) -> int:
    """How many multiply-adds one image takes at the size at which costs are given."""
    return nominal(net).total_multiply_adds(net.graph.nodes)
