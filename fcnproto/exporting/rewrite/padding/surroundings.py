"""What surrounds the part of a blob that an image reaches: tables of it, and putting it around.

A table has one row and one column for each class of cells (see `lines`): N × C × H × W with N = 1.
It is computed as the net computes, by layers of the net on the tables of their bottoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fcnproto.exporting.filled import FilledLayer
from fcnproto.exporting.rewrite.padding.lines import CONSTANT, Line
from fcnproto.exporting.write import DEFAULT_OPSET
from fcnproto.layers.base import Layer, Plane, exactly
from fcnproto.layers.spatial import Window, shifted
from fcnproto.model.builder import Builder, model_of
from fcnproto.proto.caffe_pb2 import LayerParameter
from fcnproto.runtime.session import Session
from fcnproto.types import Array, Dims, Shape

Lines = tuple[Line, Line]
"""Of a blob's rows and of its columns."""


@dataclass(frozen=True)
class Member:
    """A layer whose tops have surroundings.

    `windows` over rows and columns, or None for a layer that sees the same pixel of its bottoms.
    """

    step: FilledLayer
    windows: tuple[Window, Window] | None


def tables(
    members: Iterable[Member], lines: Mapping[str, Lines], channels: Mapping[str, int]
) -> dict[str, Array]:
    """The table of each blob that the members make; `lines` and `channels` are those of all blobs.

    Images are zero.
    """
    dims: dict[str, Dims] = {blob: _shape(blob, lines, channels) for blob in lines}
    builder = Builder(DEFAULT_OPSET, dims)
    made: list[str] = []
    values = {blob: blob for blob in lines}
    for member in members:
        node = member.step.node
        seen = [lines[node.tops[0]][axis].seen for axis in (0, 1)]
        bottoms = [
            _spread(builder, values[blob], *([each[index] for each in axis] for axis in seen))
            if member.windows is not None or len(node.bottoms) > 1
            else values[blob]
            for index, blob in enumerate(node.bottoms)
        ]
        if member.windows is None:
            for index, value in enumerate(bottoms):
                dims[value] = (1, channels[node.bottoms[index]], *map(len, seen))
            tops = builder.write(node.layer, node.title, node.tops, bottoms, member.step.arrays)
        else:
            tops = [_on_patches(builder, member, bottoms[0])]
        values.update(zip(node.tops, tops, strict=True))
        made += node.tops
    images = [blob for blob in lines if blob not in made]
    outputs = {blob: builder.node("Identity", values[blob]) for blob in made}
    model = model_of(
        builder,
        "surroundings",
        [(blob, TensorProto.FLOAT, _shape(blob, lines, channels)) for blob in images],
        [(outputs[blob], TensorProto.FLOAT, _shape(blob, lines, channels)) for blob in made],
        {},
        ("fcnproto", ""),
    )
    session = Session(model.to_bytes(), "cpu")
    # Given as inputs, else all would be folded at load, on one core.
    feeds = {blob: np.zeros(_shape(blob, lines, channels), np.float32) for blob in images}
    results = session.run(feeds)
    return {blob: results[name] for blob, name in outputs.items()}


def constants(table: Array) -> Array:
    """What each channel is between ring and image."""
    return np.ascontiguousarray(table[0, :, CONSTANT, CONSTANT])


def _shape(blob: str, lines: Mapping[str, Lines], channels: Mapping[str, int]) -> Shape:
    rows, columns = lines[blob]
    return 1, channels[blob], len(rows.seen), len(columns.seen)


def _spread(
    b: Builder, table: str, rows: Sequence[Sequence[int]], columns: Sequence[Sequence[int]]
) -> str:
    """A table with what each class of a top sees laid out side by side; zero is what lies outside.

    The class outside is −1, which ONNX counts from the end.
    """
    table = b.padded(table, range(2, 4), [0, 0], [1, 1])
    for axis, taps in ((2, rows), (3, columns)):
        table = b.node("Gather", table, b.ints([tap for each in taps for tap in each]), axis=axis)
    return table


def _on_patches(b: Builder, member: Member, patches: str) -> str:
    """A layer with a window on patches that lie side by side, one for each pixel of the top."""
    assert member.windows is not None
    kernels = [window.kernel for window in member.windows]
    layer = member.step.node.layer
    b.stand_beside(layer.name)
    if layer.convolves:
        operands = [b.tensor(named.title, named.array) for named in member.step.arrays]
        group = layer.param.group
        return b.node(
            "Conv", patches, *operands, kernel_shape=kernels, strides=kernels, group=group
        )
    return b.node("MaxPool", patches, kernel_shape=kernels, strides=kernels)


class Surrounded(Layer, registered=False):
    """A window with what surrounds it: bottoms are the window and the image, only for its size.

    The window's first row and column lie at `first` of the top. Around them is what `table` has of
    the classes that `lines` names: `ends` are where the window ends, for images of each phase.
    """

    type = "Surrounded"
    bottoms = exactly(2)

    def __init__(
        self,
        name: str,
        table: Array,
        lines: Lines,
        first: tuple[int, int],
        ends: tuple[Sequence[int], Sequence[int]],
    ) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.table = table
        self.before = [line.before(start) for line, start in zip(lines, first, strict=True)]
        self.after = [line.after(end) for line, end in zip(lines, ends, strict=True)]

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The window's shape and what surrounds it."""
        window, image = bottoms
        sizes = [
            len(self.before[axis]) + window[2 + axis] + len(self._after(axis, image[2 + axis]))
            for axis in (0, 1)
        ]
        return [(*window[:2], *sizes)]

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The window's pixels, shifted; of the image only the size is read."""
        rows, columns = (shifted(-len(before)) for before in self.before)
        return [(rows, columns), None]

    def _after(self, axis: int, size: int) -> Sequence[int]:
        phases = self.after[axis]
        return phases[(size - 1) % len(phases)]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Gather from the table, and Concat: left and right of the window, then above and below."""
        window, image = bottoms
        table = self.table
        after = [self._after_in_graph(b, image, axis) for axis in (0, 1)]
        beside = b.join(b.sizes(window, 0, 1), [1], b.sizes(window, 2, 3), [1])
        middle = table[:, :, CONSTANT : CONSTANT + 1]
        parts = [window]
        if self.before[1]:
            left = b.own("left", middle[..., list(self.before[1])])
            parts.insert(0, b.node("Expand", left, beside))
        if after[1]:
            right = b.node("Gather", b.own("right", middle), after[1], axis=3)
            parts.append(b.node("Expand", right, beside))
        rows = [b.node("Concat", *parts, axis=3) if len(parts) > 1 else window]
        inner = b.node("Expand", b.ints([CONSTANT]), b.sizes(window, 3, 4))
        columns = b.join(self.before[1], inner, after[1])
        items = b.join(b.sizes(window, 0, 1), [1, 1, 1])
        if self.before[0]:
            above = b.own("above", table[:, :, list(self.before[0])])
            above = b.node("Gather", above, columns, axis=3)
            rows.insert(0, b.node("Expand", above, items))
        if after[0]:
            below = b.node("Gather", b.own("below", table), after[0], axis=2)
            below = b.node("Gather", below, columns, axis=3)
            rows.append(b.node("Expand", below, items))
        return [b.node("Concat", *rows, axis=2) if len(rows) > 1 else rows[0]]

    def _after_in_graph(self, b: Builder, image: str, axis: int) -> str:
        """The classes after the window, which depend on the phase; nothing if there are none."""
        phases = self.after[axis]
        if not any(phases):
            return ""
        if len(phases) == 1:
            return b.ints(phases[0])
        size = b.sizes(image, 2 + axis, 3 + axis)
        phase = b.node("Mod", b.node("Sub", size, b.ints([1])), b.ints([len(phases)]))
        starts = np.cumsum([0, *map(len, phases)]).tolist()
        start = b.node("Gather", b.ints(starts[:-1]), phase)
        end = b.node("Gather", b.ints(starts[1:]), phase)
        classes = b.ints([number for each in phases for number in each])
        return b.node("Slice", classes, start, end, b.ints([0]))
