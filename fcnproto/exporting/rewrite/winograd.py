"""Convolutions of stride 1 by Winograd's algorithm, where that pays.

A tile of m × m outputs of an r × r kernel is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, where d is the tile of
n × n inputs that it sees, n = m + r − 1 (Lavin and Gray 2016, equation 8). Summed over channels, ⊙
is n² products of matrices: n² multiply-adds where the plain sum takes m² r².

In ONNX, Bᵀ d B is one Conv of stride m over single planes with n² fixed kernels, ⊙ one MatMul of n²
matrices, Aᵀ … A one Gemm, and DepthToSpace lays the tiles side by side. G g Gᵀ is computed in
float64 and stored: a file grows by n²/r², but onnxruntime uses these matrices as they lie in it,
while the plain convolution's kernels are copied into another order when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.exporting.cost import known, nominal
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import Rewritten
from fcnproto.exporting.rewrite.toom_cook import Matrix, Transforms, toom_cook
from fcnproto.layers.base import Layer, Pads, Plane, Tensors, Torch, Weight
from fcnproto.layers.convolution import Convolution
from fcnproto.layers.spatial import CoordMap, Window
from fcnproto.net.shapes import Shapes
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

# Costs, in multiply-adds of a MatMul, as benchmarks/winograd.py measured them.
_TRANSFORM = 200
"""To make or read a value of a tile."""
_LOAD = 20
"""To read a kernel's value from memory, once per image."""
_WORTH = 0.8
"""A layer is replaced where it takes at most so much of the time that it took."""

_AT_ONCE = 64  # outputs whose kernels are transformed together: float64 takes memory


def winograd(net: Filled) -> Rewritten:
    """Replace those convolutions that Winograd's algorithm makes faster at the nominal size.

    What is computed differs by rounding: each layer's by up to 1e-5 of its largest number, as
    measured (docs/speed.md).
    """
    shapes = nominal(net)
    return Rewritten(net.rewritten([_faster(step, shapes) for step in net.steps]))


def _faster(step: FilledLayer, shapes: Shapes) -> FilledLayer:
    tiled = by_tiles(step)
    if tiled is None or not isinstance(tiled.node.layer, WinogradConvolution):
        return step
    bottoms, tops = known(shapes, step.node.bottoms), known(shapes, step.node.tops)
    return tiled if tiled.node.layer.estimate(bottoms, tops) <= _WORTH else step


def by_tiles(step: FilledLayer) -> FilledLayer | None:
    """A convolution computed by Winograd's algorithm; None where it is not made for it.

    It is made for square kernels of 2 to 7 taps, stride and dilation 1, over an image's plane.
    """
    layer = step.node.layer
    if not layer.convolves or layer.param.axis != 1:
        return None
    if step.arrays[0].array.ndim != 4:  # it convolves over other axes than rows and columns
        return None
    pads, transforms = layer.zeros, _transforms(layer)
    if pads is None or transforms is None:
        return None
    fast = WinogradConvolution(layer, pads, transforms)
    return replace(step, node=replace(step.node, layer=fast))


_POINTS = {
    size: tuple(map(Fraction, points.split()))
    for size, points in ((6, "0 1 -1 1/2 -2"), (8, "0 1 -1 1/2 -1/2 2 -2"))
}
"""The finite points for tiles of 6 × 6 and 8 × 8 inputs; benchmarks/winograd.py compares others."""


def _transforms(layer: Layer) -> Transforms | None:
    """Tiles of 6 × 6 inputs for kernels of 2 and 3, of 8 × 8 for 4 to 7; None for all others."""
    rows, columns = layer.plane()
    kernel = rows.kernel
    if (rows.stride, rows.dilation) != (1, 1) or not 2 <= kernel <= 7:
        return None
    if replace(rows, pad=0) != replace(columns, pad=0):
        return None
    size = 6 if kernel <= 3 else 8
    return toom_cook(size + 1 - kernel, kernel, _POINTS[size])


class WinogradConvolution(Convolution):
    """What a convolution of stride 1 computes, tile by tile.

    All but how it is computed is the original's: shapes, weights, and where its pixels lie.
    """

    def __init__(self, original: Layer, pads: Pads, transforms: Transforms) -> None:
        super().__init__(original.proto, original.context)
        self.original = original
        self.pads = pads
        self.transforms = transforms

    @property
    def zeros(self) -> None:
        """None: its transforms pad single planes."""
        return None

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The original's, all of which are known."""
        return [top for top in self.original.output_shapes(bottoms) if top is not None]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The original's."""
        return self.original.weights(bottoms)

    def plane(self) -> tuple[Window, Window]:
        """The original's."""
        return self.original.plane()

    def coord_map(self) -> CoordMap:
        """The original's."""
        return self.original.coord_map()

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The original's."""
        return self.original.reaches(bottoms)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The original's, which has a gradient."""
        return self.original.torch(t, bottoms, weights)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The products of matrices and both transforms, as they are written: as one matrix each."""
        tile, outputs = self.transforms.size**2, self.transforms.outputs**2
        total = 0
        for bottom, top in zip(bottoms, tops, strict=True):
            pairs = bottom[1] * top[1] // self.param.group
            each = tile * pairs + tile**2 * bottom[1] + outputs * tile * top[1]
            total += self.tiles(top) * each
        return total

    def tiles(self, top: Shape) -> int:
        """How many tiles cover a top."""
        num, _, *plane = top
        return num * prod(-(-size // self.transforms.outputs) for size in plane)

    def estimate(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> float:
        """How long it takes relative to the original, by the costs that were measured."""
        transforms = self.transforms
        plain = fast = 0
        for bottom, top in zip(bottoms, tops, strict=True):
            tiles, pairs = self.tiles(top), bottom[1] * top[1] // self.param.group
            pixels = top[0] * prod(top[2:])
            moved = _TRANSFORM * (bottom[1] + top[1]) * tiles
            plain += transforms.taps**2 * pairs * (pixels + _LOAD)
            fast += transforms.size**2 * (pairs * (tiles + _LOAD) + moved)
        return fast / plain

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Reshape, Conv, Transpose, MatMul, Gemm, DepthToSpace and Slice for each bottom."""
        kernels = self._kernels(b)
        return [self._tiled(b, bottom, kernels) for bottom in bottoms]

    def _kernels(self, b: Builder) -> str:
        """G g Gᵀ: n² × groups × outputs/group × channels/group."""
        kernels, tile = b.array(0), self.transforms.size**2
        outputs, channels, *_ = kernels.shape
        matrix = _on_plane(self.transforms.kernel)
        values = np.empty((tile, outputs, channels), np.float32)
        for start in range(0, outputs, _AT_ONCE):
            part = kernels[start : start + _AT_ONCE]
            rows = matrix @ part.reshape(-1, matrix.shape[1]).T
            values[:, start : start + _AT_ONCE] = rows.reshape(tile, -1, channels)
        groups = self.param.group
        return b.own("winograd", values.reshape(tile, groups, outputs // groups, channels))

    def _tiled(self, b: Builder, x: str, kernels: str) -> str:
        """The convolution of N × C × H × W."""
        transforms, group = self.transforms, self.param.group
        size, step = transforms.size, transforms.outputs
        tile, outputs = size**2, self.param.num_output
        channels = b.array(0).shape[1] * group
        batch, plane = b.sizes(x, 0, 1), b.sizes(x, 2, 4)

        planes = b.node("Reshape", x, b.join([-1, 1], plane))
        top, left, bottom, right = self.pads
        matrix = _on_plane(transforms.input).reshape(tile, 1, size, size)
        values = b.node(
            "Conv",
            planes,
            b.literal(matrix),
            kernel_shape=[size, size],
            strides=[step, step],
            # The last tile may reach further than the image and its padding.
            pads=[top, left, bottom + step - 1, right + step - 1],
        )
        grid = b.sizes(values, 2, 4)
        values = b.node("Reshape", values, b.join(batch, [channels, tile, -1]))
        values = b.node("Transpose", values, perm=[2, 1, 0, 3])
        values = b.node("Reshape", values, b.ints([tile, group, channels // group, -1]))

        products = b.node("MatMul", kernels, values)

        biases = [self._biases(b, products)] if b.weights > 1 else []
        products = b.node("Reshape", products, b.ints([tile, -1]))
        pixels = b.node("Gemm", b.literal(_on_plane(transforms.output)), products, *biases)
        # Gemm's rows are the places in a tile, its columns outputs × images × tiles.
        pixels = b.node("Reshape", pixels, b.join([step**2 * outputs], batch, [-1]))
        pixels = b.node("Transpose", pixels, perm=[1, 0, 2])
        pixels = b.node("Reshape", pixels, b.join(batch, [step**2 * outputs], grid))
        pixels = b.node("DepthToSpace", pixels, blocksize=step, mode="DCR")

        growth = b.ints([top + bottom - transforms.taps + 1, left + right - transforms.taps + 1])
        ends = b.node("Add", plane, growth)
        return b.node("Slice", pixels, b.ints([0, 0]), ends, b.ints([2, 3]))

    def _biases(self, b: Builder, products: str) -> str:
        """The bias of each column of the products, when these are n² rows."""
        column = b.node("Reshape", b.weight(1), b.ints([-1, 1]))
        each = b.node("Expand", column, b.join([1], b.sizes(products, 3, 4)))
        return b.node("Reshape", each, b.ints([1, -1]))


def _on_plane(matrix: Matrix) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The matrix that transforms rows and columns of a plane, seen as one line, at once."""
    values = np.array([[float(value) for value in row] for row in matrix])
    return np.kron(values, values)
