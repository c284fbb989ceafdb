"""Upsampling by a fixed kernel as two matrix products.

Rows and columns are enlarged one after the other where every channel has the same kernel u · vᵀ,
as bilinear kernels are. Along an axis with stride s and pad p, pixel o of a crop from c on then is
the sum over all pixels i of the bottom of

    U[o, i] = u[o + c + p − s · i],    where u is 0 outside of its kernel,

for tap t of a Deconvolution adds pixel i to pixel s · i + t − p (deconv_layer.cpp). So a channel F
becomes U · F · Vᵀ. U is made of the sizes at run time, and holds at the borders too, where a kernel
has fewer neighbours to add up and the scores fade: there a Resize, which repeats the outermost
pixels, is something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fcnproto.errors import LayerError, Problem, Severity
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import Rewritten
from fcnproto.layers.base import Kind, Layer, Plane, Weight, axis_index, between, require
from fcnproto.layers.convolution import as_written, plane_windows, written_kernels
from fcnproto.layers.spatial import CoordMap, Window
from fcnproto.net.graph import Graph, Node
from fcnproto.types import Array, Dims, Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

Size = int | str
"""A size that is known, or the value that it has at run time, an int64 scalar."""

TOLERANCE = 2.0**-22
"""Kernels are the same, and separable, within so much of their largest value: its rounding."""

MOST_PRODUCTS = 48
"""The matrix products may take so many times the multiply-adds of the Deconvolution, which scatters
its results and so takes longer for each (benchmarks/upsampling.py)."""


def upsampling(net: Filled) -> Rewritten:
    """Deconvolutions that enlarge each channel by one separable kernel, as matrix products.

    A Crop that alone reads what such a layer makes becomes a part of it: what it cuts off is not
    computed. Layers with other kernels are left alone, and a note says why.
    """
    notes: list[Problem] = []
    fixed: dict[str, FilledLayer] = {}
    for step in net.steps:
        if step.node.layer.deconvolves:
            try:
                _check(step, net.dims)
            except LayerError as error:
                notes += [_note(net.graph, step.node, found.message) for found in error.problems]
            else:
                fixed[step.node.tops[0]] = step
    cropped = {blob for blob in fixed if _crop_of(net.graph, blob) is not None}
    steps: list[FilledLayer] = []
    for step in net.steps:
        node = step.node
        if node.layer.crops and node.bottoms[0] in cropped:
            source = fixed[node.bottoms[0]]
            bottoms = source.node.bottoms[0], node.bottoms[1]
            steps.append(_upsampling(source, node.layer, bottoms, node.tops))
        elif node.tops and node.tops[0] in fixed:
            if node.tops[0] not in cropped:
                steps.append(_upsampling(step, None, node.bottoms, node.tops))
        else:
            steps.append(step)
    return Rewritten(net.rewritten(steps) if fixed else net, tuple(notes))


def _upsampling(
    source: FilledLayer, crop: Layer | None, bottoms: tuple[str, ...], tops: tuple[str, ...]
) -> FilledLayer:
    layer = Upsampling(source.node.layer, crop)
    return FilledLayer(Node(layer, bottoms, tops, source.node.line), source.arrays)


def _note(graph: Graph, node: Node, message: str) -> Problem:
    return graph.problem(node, f"it is not made into matrix products: {message}", Severity.NOTE)


def _check(step: FilledLayer, dims: Mapping[str, Dims]) -> None:
    """Raise LayerError unless a Deconvolution can be written as matrix products."""
    layer, bottoms = step.node.layer, step.node.bottoms
    require(len(bottoms) == 1, f"it has {len(bottoms)} bottoms")
    axes = len(dims[bottoms[0]])
    require(axes == 4, f"its bottom has {axes} axes, not 4")
    separated(_kernels(layer, step.arrays[0].array), layer.param.group)


def _kernels(layer: Layer, kernels: Array) -> Array:
    """The kernels as operators take them; LayerError if they are not over rows and columns."""
    return written_kernels(kernels, plane_windows(layer.param))


def _crop_of(graph: Graph, blob: str) -> Layer | None:
    """The Crop of rows and columns that alone reads a blob, and not for its size."""
    readers = graph.readers.get(blob, [])
    if len(readers) != 1 or blob in graph.outputs:
        return None
    (layer, bottoms) = readers[0].layer, readers[0].bottoms
    if not layer.crops or bottoms[0] != blob or bottoms[1] == blob:
        return None
    return layer if axis_index(layer.param.axis, (1,) * 4) >= 2 else None


def separated(kernels: Array, group: int) -> tuple[Array, Array]:
    """The u and v of a Deconvolution that enlarges each channel by one kernel u · vᵀ.

    `kernels` are C × C/group × rows × columns. Raises LayerError, with the reason, if channels are
    mixed, or have other kernels.
    """
    require(bool(np.isfinite(kernels).all()), "its kernels have numbers that are not finite")
    inputs, outputs = len(kernels) // group, kernels.shape[1]
    require(inputs == outputs, f"it makes {outputs * group} channels of {len(kernels)}")
    pairs = kernels.reshape(group, inputs, *kernels.shape[1:]).astype(np.float64)
    channels = np.arange(inputs)
    own = pairs[:, channels, channels]
    between_channels = pairs[:, ~np.eye(inputs, dtype=bool)]
    require(not between_channels.any(), "it mixes channels")
    kernel = own[0, 0]
    largest = np.abs(kernel).max()
    require(
        bool((np.abs(own - kernel) <= TOLERANCE * largest).all()),
        "its kernels differ from channel to channel",
    )
    if not largest:
        return kernel[:, 0], kernel[0]
    row, column = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    # The root is shared fairly, so that a kernel u · uᵀ gives back its u.
    root = np.sqrt(largest)
    rows, columns = kernel[:, column] / root, kernel[row] / root * np.sign(kernel[row, column])
    away = np.abs(np.outer(rows, columns) - kernel)
    require(bool((away <= TOLERANCE * largest).all()), "its kernel is not the product of two lines")
    return rows, columns


class Upsampling(Layer, registered=False):
    """A Deconvolution by one separable kernel, and the Crop behind it if there is one.

    Bottoms: what is enlarged, N × C × h × w, and the reference whose size the Crop takes. Top:
    N × C × H × W. Its arrays are the Deconvolution's. The columns are enlarged first, which is one
    product N·C·h × w by w × W; then the rows, H × h by h × W for each channel.
    """

    type = "Upsampling"
    bottoms = between(1, 2)
    kind = Kind.UPSAMPLING

    def __init__(self, deconvolution: Layer, crop: Layer | None) -> None:
        super().__init__(deconvolution.proto, deconvolution.context)
        self.deconvolution = deconvolution
        self.crop = crop

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """The Crop's, or the Deconvolution's."""
        if self.crop is None:
            return [self._enlarged(bottoms)]
        return self.crop.output_shapes([self._enlarged(bottoms), bottoms[1]])

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """Those of the Deconvolution."""
        return self.deconvolution.weights(bottoms[:1])

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Those of the two products, or of the Deconvolution where it is left."""
        inputs, outputs = bottoms[0][2:], tops[0][2:]
        if self._multiplies(inputs, outputs):
            each = _products(inputs, outputs)
        else:
            each = prod(inputs) * self._taps
        return prod(tops[0][:2]) * each

    def coord_map(self) -> CoordMap:
        """The Crop's, then the Deconvolution's."""
        there = self.deconvolution.coord_map()
        return there if self.crop is None else there.after(self.crop.coord_map())

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """As the coordinates; of the reference only the size is read."""
        (own,) = self.deconvolution.reaches(bottoms[:1])
        if self.crop is None:
            return [own]
        kept, size = self.crop.reaches([self._enlarged(bottoms), bottoms[1]])
        assert own is not None and kept is not None
        return [(own[0].after(kept[0]), own[1].after(kept[1])), size]

    def brief(self) -> str:
        """The windows, and where the cut starts."""
        words = self.deconvolution.brief()
        return words if self.crop is None else f"{words}, {self.crop.brief()}"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Two MatMuls; ConvTranspose and Slice for images so large that these take less time.

        Where the size is open, an If decides.
        """
        axes = range(2)
        inputs = [_size(b, bottoms[0], axis) for axis in axes]
        outputs = [self._output(b, axis, inputs[axis], bottoms) for axis in axes]

        def multiplied() -> str:
            return self._multiplied(b, bottoms[0], inputs, outputs)

        def deconvolved() -> str:
            return self._deconvolved(b, bottoms[0], outputs)

        known = [size for size in (*inputs, *outputs) if isinstance(size, int)]
        if len(known) == 4:
            return [multiplied() if self._multiplies(known[:2], known[2:]) else deconvolved()]
        (_, width), (rows, columns) = inputs, outputs
        products = b.node(
            "Mul", _value(b, columns), b.node("Add", _value(b, width), _value(b, rows))
        )
        most = b.node("Mul", _value(b, width), _value(b, MOST_PRODUCTS * self._taps))
        few = b.node("Not", b.node("Greater", products, most))
        sizes = (size if isinstance(size, int) else None for size in outputs)
        dims = (*b.dims(bottoms[0])[:2], *sizes)
        return [b.either(few, multiplied, deconvolved, dims)]

    def _enlarged(self, bottoms: Sequence[Shape]) -> Shape:
        (enlarged,) = self.deconvolution.output_shapes(bottoms[:1])
        assert enlarged is not None  # only data layers do not know what they give
        return enlarged

    @property
    def _windows(self) -> Sequence[Window]:
        return as_written(plane_windows(self.deconvolution.param))

    @property
    def _starts(self) -> Sequence[int]:
        """The first row and column of the cut."""
        if self.crop is None:
            return 0, 0
        there = self.crop.coord_map()
        return int(there.rows.shift), int(there.columns.shift)

    @property
    def _taps(self) -> int:
        return prod(window.kernel for window in self._windows)

    def _multiplies(self, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
        """Whether the products are few enough to take less time than the Deconvolution."""
        return _products(inputs, outputs) <= MOST_PRODUCTS * prod(inputs) * self._taps

    def _output(self, b: Builder, axis: int, inputs: Size, bottoms: Sequence[str]) -> Size:
        """How many rows or columns there are at last."""
        if self.crop is not None and axis_index(self.crop.param.axis, (1,) * 4) <= axis + 2:
            return _size(b, bottoms[1], axis)
        window = self._windows[axis]
        if isinstance(inputs, int):
            return window.deconvolve(inputs)
        return b.node(
            "Add",
            b.node("Mul", inputs, _value(b, window.stride)),
            _value(b, window.deconvolve(0)),
        )

    def _multiplied(
        self, b: Builder, x: str, inputs: Sequence[Size], outputs: Sequence[Size]
    ) -> str:
        kernels = _kernels(self.deconvolution, b.array(0))
        lines = separated(kernels, self.deconvolution.param.group)
        rows, columns = (
            self._matrix(b, axis, lines[axis], inputs[axis], outputs[axis]) for axis in range(2)
        )
        top = b.node("MatMul", rows, b.node("MatMul", x, columns))
        if self.deconvolution.param.bias_term:
            top = b.node("Add", top, b.own("bias", b.array(1).reshape(-1, 1, 1)))
        return top

    def _matrix(self, b: Builder, axis: int, line: Array, inputs: Size, outputs: Size) -> str:
        """U, H × h, or the transpose of V, w × W."""
        window = self._windows[axis]
        spread = np.zeros(
            window.extent + 2, np.float32
        )  # a zero at each end: all that lies outside
        spread[1 : -1 : window.dilation] = line
        taps = b.own(("rows", "columns")[axis], spread)
        first = 1 + self._starts[axis] + window.pad
        one = _value(b, 1)
        end = b.node("Add", _value(b, outputs), _value(b, first))
        places = b.node("Range", _value(b, first), end, one)
        stride = _value(b, window.stride)
        end = b.node("Mul", _value(b, inputs), stride)
        starts = b.node("Range", _value(b, 0), end, stride)
        places = b.node("Unsqueeze", places, b.ints([1 - axis]))
        starts = b.node("Unsqueeze", starts, b.ints([axis]))
        tap = b.node("Sub", places, starts)
        tap = b.node("Clip", tap, _value(b, 0), _value(b, len(spread) - 1))
        return b.node("Gather", taps, tap)

    def _deconvolved(self, b: Builder, x: str, outputs: Sequence[Size]) -> str:
        (top,) = self.deconvolution.onnx(b, [x])
        if self.crop is None:
            return top
        begins = b.ints(self._starts)
        sizes = [b.node("Unsqueeze", _value(b, size), b.ints([0])) for size in outputs]
        ends = b.node("Add", b.join(*sizes), begins)
        return b.node("Slice", top, begins, ends, b.ints([2, 3]))


def _size(b: Builder, value: str, axis: int) -> Size:
    """How many rows or columns a value has."""
    known = b.dims(value)[axis + 2]
    return b.node("Squeeze", b.sizes(value, axis + 2, axis + 3)) if known is None else known


def _value(b: Builder, size: Size) -> str:
    return b.literal(size, np.int64) if isinstance(size, int) else size


def _products(inputs: Sequence[int], outputs: Sequence[int]) -> int:
    """The multiply-adds for a channel: first the columns, then the rows."""
    (height, width), (rows, columns) = inputs, outputs
    return height * columns * (width + rows)
