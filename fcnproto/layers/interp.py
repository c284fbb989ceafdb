"""Interp, of DeepLab and PSPNet."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
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
    nchw,
    require,
    shapes_of,
)
from fcnproto.layers.spatial import Affine, CoordMap, Reach
from fcnproto.proto.caffe_pb2 import InterpParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Interp(Layer):
    """Bilinear interpolation with aligned corners (PSPNet, interp_layer.cpp).

    First -pad_beg rows and columns are cut off at the start and -pad_end at the end. A second
    bottom, which some forks allow, only gives its size.
    """

    type = "Interp"
    hands_on = True
    fork = "pspnet"
    settings = "interp_param"
    bottoms = between(1, 2)
    kind = Kind.UPSAMPLING

    param: InterpParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × new height × new width."""
        begin, end = self.param.pad_beg, self.param.pad_end
        require(
            begin <= 0 and end <= 0,
            f"pad_beg and pad_end can only crop, so must not be positive, found {begin} and {end}",
        )
        num, channels, *image = nchw(bottoms[0])
        cropped = [size + begin + end for size in image]
        require(
            min(cropped) > 0,
            f"pad_beg {begin} and pad_end {end} leave nothing of {show(bottoms[0])}",
        )
        height, width = self._size(cropped, bottoms)
        require(
            height > 0 and width > 0,
            f"height and width must be positive, found {height} and {width}",
        )
        return [(num, channels, height, width)]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The four pixels around each."""
        return 4 * prod(tops[0]) if tops[0][2:] != bottoms[0][2:] else 0

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixels around each when zooming; a second bottom only gives its size."""
        rows = self.coord_map().rows
        between = range(rows.scale.denominator)
        # The first pixel of each turn lies on one of the bottom, the others between two.
        axis = Reach(tuple((int(rows.shift), int(rows.shift) + (r > 0)) for r in between), 1)
        return [(axis, axis), None][: len(bottoms)]

    def coord_map(self) -> CoordMap:
        """1/z of a pixel when zooming by z; the other ways depend on the size of the bottom."""
        shrink, zoom = self._factors()
        if not self._is_scaled or shrink != 1:
            raise LayerError("its scale depends on the size of its bottom, but for zoom_factor")
        axis = Affine(Fraction(1, zoom), Fraction(-self.param.pad_beg))
        return CoordMap(axis, axis)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Resize, after a Slice where it crops."""
        x, begin, end = b.four_axes(bottoms[0]), self.param.pad_beg, self.param.pad_end
        if begin or end:
            x = b.cropped(x, -begin, -end)
        sizes = self._new_sizes(b, x, bottoms)
        return [b.resize(x, sizes, mode="linear", coordinate_transformation_mode="align_corners")]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """interpolate, with aligned corners."""
        x = bottoms[0].reshape(nchw(tuple(bottoms[0].shape)))
        begin, end = -self.param.pad_beg, self.param.pad_end
        x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
        size = self.output_shapes(shapes_of(bottoms))[0][2:]
        return [t.functional.interpolate(x, size, mode="bilinear", align_corners=True)]

    def _new_sizes(self, b: Builder, x: str, bottoms: Sequence[str]) -> str:
        """The new height and width, of `x` after the crop."""
        if not self._is_scaled:
            if self._has_size and not self.param.use_blob_size:
                return b.ints([self.param.height, self.param.width])
            return b.sizes(b.four_axes(bottoms[1]), 2, 4)
        less = self.param.pad_beg + self.param.pad_end
        plane = (*b.dims(bottoms[0]), 1, 1)[2:4]
        fixed = [size + less for size in plane if size is not None]
        if len(fixed) == 2:
            return b.ints(self._size(fixed, ()))
        shrink, zoom = self._factors()
        steps = b.node("Sub", b.sizes(x, 2, 4), b.ints([1]))
        if shrink != 1:
            steps = b.node("Div", steps, b.ints([shrink]))
        if zoom != 1:
            steps = b.node("Mul", steps, b.ints([zoom]))
        return b.node("Add", steps, b.ints([1]))

    @property
    def _has_size(self) -> bool:
        return self.param.HasField("height") and self.param.HasField("width")

    @property
    def _is_scaled(self) -> bool:
        """Whether factors give the size; one alone wins over height and width, both do not."""
        shrinks, zooms = self.param.HasField("shrink_factor"), self.param.HasField("zoom_factor")
        if self.param.use_blob_size:
            return False
        return shrinks != zooms or (shrinks and zooms and not self._has_size)

    def _factors(self) -> tuple[int, int]:
        """shrink_factor and zoom_factor, 1 if not given."""
        shrink, zoom = self.param.shrink_factor, self.param.zoom_factor
        require(
            shrink >= 1 and zoom >= 1,
            f"shrink_factor and zoom_factor must be positive, found {shrink} and {zoom}",
        )
        return shrink, zoom

    def _size(self, cropped: Sequence[int], bottoms: Sequence[Shape]) -> Sequence[int]:
        """The new height and width."""
        if self._is_scaled:
            shrink, zoom = self._factors()
            return [(size - 1) // shrink * zoom + 1 for size in cropped]
        if self._has_size and not self.param.use_blob_size:
            return self.param.height, self.param.width
        if len(bottoms) == 2:
            return nchw(bottoms[1])[2:]
        if self.param.use_blob_size:
            raise LayerError("use_blob_size needs a second bottom, whose size it takes")
        raise LayerError("give height and width, or zoom_factor, or shrink_factor")
