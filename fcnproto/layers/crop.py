"""Crop."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Kind,
    Layer,
    Plane,
    Tensors,
    Torch,
    axis_index,
    exactly,
    require,
    shapes_of,
)
from fcnproto.layers.spatial import Affine, CoordMap
from fcnproto.proto.caffe_pb2 import CropParameter, LayerParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Crop(Layer):
    """The first bottom cut to the second's size from `axis` on (crop_layer.cpp).

    `offset` is where the cut starts: one for all cut axes, or one for each.
    """

    type = "Crop"
    hands_on = True
    settings = "crop_param"
    bottoms = exactly(2)
    kind = Kind.CROP
    crops = True

    param: CropParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's axes before `axis`, the second's from there on."""
        data, reference = bottoms
        axis = axis_index(self.param.axis, data)
        offsets = self.offsets(len(data))
        require(
            len(reference) >= len(data),
            f"the second bottom must have at least the first's {len(data)} axes, found"
            f" {show(reference)}",
        )
        for index in range(axis, len(data)):
            size, wanted, offset = data[index], reference[index], offsets[index]
            require(
                offset + wanted <= size,
                f"the crop leaves its bottom on axis {index}: offset {offset} and size {wanted}"
                f" end past {size}",
            )
        return [(*data[:axis], *reference[axis : len(data)])]

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The same pixel of the first bottom; the second only gives its size."""
        return [*super().reaches(bottoms[:1]), None]

    def brief(self) -> str:
        """Where the cut starts."""
        offsets = tuple(self.param.offset) or (0,)
        return "offset " + ", ".join(map(str, offsets))

    def offsets(self, axes: int) -> tuple[int, ...]:
        """Where the cut starts on each axis of a bottom with so many: 0 before `axis`."""
        axis = axis_index(self.param.axis, (1,) * axes)
        given = tuple(self.param.offset) or (0,)
        cut = axes - axis
        if len(given) == 1:
            given *= cut
        require(
            len(given) == cut,
            f"offset must be given once, or once for each of the {cut} axes from axis {axis} on;"
            f" found {len(given)}",
        )
        return (0,) * axis + given

    def cut_at(self, rows: int, columns: int) -> Crop:
        """Itself, at another offset."""

        def change(proto: LayerParameter) -> None:
            proto.type = Crop.type
            proto.crop_param.axis = 2
            proto.crop_param.offset[:] = [rows] if rows == columns else [rows, columns]

        return self.with_settings(change)

    def coord_map(self) -> CoordMap:
        """Shifted by the offsets of an image's rows and columns."""
        rows, columns = self.offsets(4)[2:]
        return CoordMap(Affine(shift=Fraction(rows)), Affine(shift=Fraction(columns)))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Slice, from the offsets on, to the second bottom's sizes."""
        data, reference = bottoms
        sizes, wanted = b.dims(data), b.dims(reference)
        offsets = self.offsets(len(sizes))
        start, end = axis_index(self.param.axis, (1,) * len(sizes)), len(sizes)
        while start < end and sizes[start] == wanted[start] is not None:
            start += 1  # such as channels, which are cut to what they are
        if start == end:
            return [data]
        cut = offsets[start:]
        known = [size for size in wanted[start:end] if size is not None]
        if len(known) == len(cut):
            ends = b.ints([offset + size for offset, size in zip(cut, known, strict=True)])
        else:
            ends = b.sizes(reference, start, end)
            if any(cut):
                ends = b.node("Add", ends, b.ints(cut))
        return [b.node("Slice", data, b.ints(cut), ends, b.ints(range(start, end)))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """A slice."""
        data = bottoms[0]
        (top,) = self.output_shapes(shapes_of(bottoms))
        starts = self.offsets(data.dim())
        cut = tuple(slice(start, start + size) for start, size in zip(starts, top, strict=True))
        return [data[cut]]
