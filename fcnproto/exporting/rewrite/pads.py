"""Pads smaller than a kernel's extent: further zeros are joined on before the convolution.

oneDNN's convolutions for the matrix units of processors (AMX) take no pad as large as the kernel's
extent; a slower kernel runs the layer then. Windows (see `padding`) ask for such pads. A Pad
before the layer would not help, for OpenVINO makes it a part of the convolution again; zeros that
a Concat joins on stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import Rewritten
from fcnproto.exporting.rewrite.padding.layers import PaddedConvolution
from fcnproto.layers.base import Layer, Pads
from fcnproto.layers.spatial import Affine, CoordMap
from fcnproto.model.builder import unused
from fcnproto.net.graph import Node
from fcnproto.proto.caffe_pb2 import LayerParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


def small_pads(net: Filled) -> Rewritten:
    """Give every convolution pads smaller than its kernel's extent, and join on what is missing."""
    steps = [each for step in net.steps for each in _divided(step, net)]
    return Rewritten(net.rewritten(steps) if len(steps) > len(net.steps) else net)


def _divided(step: FilledLayer, net: Filled) -> Iterator[FilledLayer]:
    node, layer = step.node, step.node.layer
    over = _over(step)
    if over is None or len(node.bottoms) != 1:
        yield step
        return
    joined = unused(f"{node.tops[0]}/zeros", net.graph.blobs)
    yield FilledLayer(Node(Zeros(joined, over), node.bottoms, (joined,), node.line))
    above, left, below, right = (
        pad - zeros for pad, zeros in zip(layer.zeros or over, over, strict=True)
    )
    bias = bool(layer.param.bias_term)
    windowed = PaddedConvolution(layer, (above, left, below, right), bias=bias)
    yield FilledLayer(Node(windowed, (joined,), node.tops, node.line), step.arrays)


def _over(step: FilledLayer) -> Pads | None:
    """How many zeros of each pad are too many; None where none are."""
    layer = step.node.layer
    pads = layer.zeros
    if pads is None:
        return None
    if layer.param.axis != 1 or step.arrays[0].array.ndim != 4:
        return None
    rows, columns = (window.extent - 1 for window in layer.plane())
    above, left, below, right = pads
    over = (
        max(above - rows, 0),
        max(left - columns, 0),
        max(below - rows, 0),
        max(right - columns, 0),
    )
    return over if any(over) else None


class Zeros(Layer, registered=False):
    """Rows and columns of zeros joined on at the borders; `counts` are as ONNX orders pads."""

    type = "Zeros"

    def __init__(self, name: str, counts: Pads) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.counts = counts

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape and what is joined on."""
        above, left, below, right = self.counts
        num, channels, height, width = bottoms[0]
        return [(num, channels, above + height + below, left + width + right)]

    def coord_map(self) -> CoordMap:
        """Shifted by what is joined on before."""
        above, left = self.counts[:2]
        return CoordMap(Affine(shift=Fraction(-above)), Affine(shift=Fraction(-left)))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Expand of a zero, and Concat: rows above and below, then columns left and right."""
        top = bottoms[0]
        above, left, below, right = self.counts
        for axis, before, after in ((2, above, below), (3, left, right)):
            parts = [
                b.node("Expand", b.literal(0), _shape_of(b, top, axis, count)) if count else ""
                for count in (before, after)
            ]
            values = [value for value in (parts[0], top, parts[1]) if value]
            top = b.node("Concat", *values, axis=axis) if len(values) > 1 else top
        return [top]


def _shape_of(b: Builder, value: str, axis: int, count: int) -> str:
    """The shape of `count` rows or columns of a value."""
    before = b.sizes(value, 0, axis)
    if axis == 3:
        return b.join(before, [count])
    return b.join(before, [count], b.sizes(value, axis + 1, 4))
