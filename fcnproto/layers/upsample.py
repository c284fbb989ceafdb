"""Upsample, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.errors import LayerError
from fcnproto.layers.base import (
    Kind,
    Layer,
    Plane,
    Tensors,
    Torch,
    between,
    c_int,
    require,
    shapes_of,
)
from fcnproto.layers.pooling import Pooling
from fcnproto.layers.spatial import CoordMap, Window
from fcnproto.proto.caffe_pb2 import UpsampleParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Upsample(Layer):
    """A larger map: SegNet's with a mask as second bottom, or each pixel repeated `scale` times.

    SegNet's puts each value where the mask, the second top of a MAX pooling, says, and zeros
    elsewhere (SegNet, upsample_layer.cpp). With one bottom every pixel becomes a block of
    scale × scale of them (MobileNet-YOLO, upsample_layer.cpp).
    """

    type = "Upsample"
    fork = "segnet"
    settings = "upsample_param"
    bottoms = between(1, 2)
    aligns_all_bottoms = True  # the mask has the data's pixels
    kind = Kind.UPSAMPLING
    takes_places = 1

    param: UpsampleParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × larger height × larger width."""
        for bottom in bottoms:
            require(len(bottom) == 4, f"4 axes (N × C × H × W) are needed, found {show(bottom)}")
        require(
            bottoms[0] == bottoms[-1],
            f"data and mask must have one shape, found {show(bottoms[0])} and {show(bottoms[-1])}",
        )
        num, channels, height, width = bottoms[0]
        if self._has_size:
            size = self.param.upsample_h, self.param.upsample_w
            require(
                all(c_int(length) > 1 for length in size),
                f"upsample_h and upsample_w must be more than 1, found {size[0]} and {size[1]}",
            )
            return [(num, channels, *size)]
        (rows, columns), (less_h, less_w) = self._scales(), self._padded_out()
        return [(num, channels, height * rows - less_h, width * columns - less_w)]

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixel that becomes the block; with a mask if the windows pooled do not overlap."""
        require(not self._has_size, "upsample_h and upsample_w say no scale")
        rows, columns = (Window(scale, scale).deconvolved_reach() for scale in self._scales())
        return [(rows, columns)] * len(bottoms)

    def coord_map(self) -> CoordMap:
        """A pixel to the centre of the block that it becomes."""
        if self._has_size:
            raise LayerError("upsample_h and upsample_w say no scale")
        maps = (Window(scale, scale).deconvolved_to_input() for scale in self._scales())
        return CoordMap(*maps)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """ScatterElements over each plane as a line; Resize if there is no mask."""
        x, *masks = bottoms
        if not masks:
            scale, _ = self._scales()
            modes = {"mode": "nearest", "nearest_mode": "floor"}
            where = {"coordinate_transformation_mode": "asymmetric"}
            return [b.node("Resize", x, "", b.literal([1, 1, scale, scale]), **modes, **where)]
        plane, area = self._plane(b, x)
        line = b.join(b.sizes(x, 0, 2), area)
        values, places = b.reshape(x, [0, 0, -1]), b.indices(b.reshape(masks[0], [0, 0, -1]))
        pooling = b.writer(masks[0])
        if isinstance(pooling, Pooling) and pooling.is_disjoint:
            zeros = b.node("ConstantOfShape", line)
            made = b.node("ScatterElements", zeros, places, values, axis=2)
        else:
            made = _last_scattered(b, line, area, places, values)
        return [b.node("Reshape", made, b.join([0, 0], plane))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """scatter where a mask says, or each pixel repeated."""
        (num, channels, height, width), *_ = self.output_shapes(shapes_of(bottoms))
        x = bottoms[0]
        if not self._has_mask:
            rows, columns = self._scales()
            return [x.repeat_interleave(rows, 2).repeat_interleave(columns, 3)]
        places = bottoms[1].long().flatten(2)
        plane = x.new_zeros(num, channels, height * width)
        return [plane.scatter(2, places, x.flatten(2)).reshape(num, channels, height, width)]

    def _plane(self, b: Builder, x: str) -> tuple[str, str]:
        """The new height and width, and their product."""
        sizes, scales, less = b.dims(x)[2:], self._scales(), self._padded_out()
        if self._has_size:
            fixed = [self.param.upsample_h, self.param.upsample_w]
        else:
            fixed = [
                size * scale - cut
                for size, scale, cut in zip(sizes, scales, less, strict=True)
                if size is not None
            ]
        if len(fixed) == 2:
            return b.ints(fixed), b.ints([prod(fixed)])
        plane = b.node("Mul", b.sizes(x, 2, 4), b.ints(scales))
        if any(less):
            plane = b.node("Sub", plane, b.ints(less))
        return plane, b.node("ReduceProd", plane, keepdims=1)

    @property
    def _has_mask(self) -> bool:
        return len(self.proto.bottom) == 2

    @property
    def _has_size(self) -> bool:
        """Whether a size is given, which wins over any scale."""
        return (
            self._has_mask
            and self.param.HasField("upsample_h")
            and self.param.HasField("upsample_w")
        )

    def _scales(self) -> tuple[int, int]:
        """The scales for rows and columns."""
        if not self._has_mask:
            scale = self.param.scale
            # Forks have different defaults here: 1 and 2.
            require(self.param.HasField("scale"), "with one bottom scale must be given")
            require(c_int(scale) > 0, f"scale must be positive, found {scale}")
            return scale, scale
        both = self.param.HasField("scale_h"), self.param.HasField("scale_w")
        require(
            not any(both) or (all(both) and not self.param.HasField("scale")),
            "give either upsample_h and upsample_w, or scale_h and scale_w, or scale",
        )
        scales = (
            (self.param.scale_h, self.param.scale_w)
            if all(both)
            else (self.param.scale, self.param.scale)
        )
        require(
            all(c_int(scale) > 1 for scale in scales),
            f"scales must be more than 1, found {scales[0]} and {scales[1]}",
        )
        return scales

    def _padded_out(self) -> tuple[int, int]:
        """1 for rows, and for columns, where the last one is left out."""
        less = (self.param.pad_out_h, self.param.pad_out_w) if self._has_mask else (False, False)
        for name, left_out, scale in zip("hw", less, self._scales(), strict=True):
            require(not left_out or scale == 2, f"pad_out_{name} needs a scale of 2, found {scale}")
        return int(less[0]), int(less[1])


def _last_scattered(b: Builder, line: str, area: str, places: str, values: str) -> str:
    """Zeros of shape `line`, `area` long, with `values` at `places`; of several there, the last.

    ScatterElements leaves open which one stays, and on a GPU it is any. So they are sorted by
    place, the last first, and all but the first at each place are sent past the end.
    """
    import numpy as np

    count = b.node("Shape", values)
    count = b.node("Gather", count, b.ints([2]))
    numbers = b.node(
        "Range", b.literal(0, np.int64), b.node("Squeeze", count), b.literal(1, np.int64)
    )
    keys = b.node("Add", b.node("Mul", places, count), numbers)
    keys, order = b.node_with("TopK", [keys, count], 2, axis=2)
    places = b.node("Div", keys, count)
    before = b.node("Pad", places, b.ints([0, 0, 1, 0, 0, -1]), b.literal(-1, np.int64))
    places = b.node("Where", b.node("Equal", places, before), area, places)
    values = b.node("GatherElements", values, order, axis=2)
    zeros = b.node("ConstantOfShape", b.node("Add", line, b.ints([0, 0, 1])))
    made = b.node("ScatterElements", zeros, places, values, axis=2)
    return b.node("Slice", made, b.ints([0]), area, b.ints([2]))
