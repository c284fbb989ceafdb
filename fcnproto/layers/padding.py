"""Padding, of DeepLab."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, nchw, require
from fcnproto.layers.spatial import Affine, CoordMap
from fcnproto.proto.caffe_pb2 import PaddingParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Padding(Layer):
    """Zeros put around an image, or with negative numbers cut off (DeepLab, padding_layer.cpp).

    pad_beg is for the first row and column, pad_end for the last.
    """

    type = "Padding"
    fork = "deeplab"
    settings = "padding_param"

    param: PaddingParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × (H + pad_beg + pad_end) × (W + pad_beg + pad_end)."""
        begin, end = self.param.pad_beg, self.param.pad_end
        require(
            begin * end >= 0, f"pad_beg {begin} and pad_end {end} must not differ in their sign"
        )
        num, channels, height, width = nchw(bottoms[0])
        top = num, channels, height + begin + end, width + begin + end
        require(
            top[2] > 0 and top[3] > 0,
            f"pad_beg {begin} and pad_end {end} leave nothing of {show(bottoms[0])}",
        )
        return [top]

    def coord_map(self) -> CoordMap:
        """Shifted by pad_beg."""
        shift = Affine(shift=Fraction(-self.param.pad_beg))
        return CoordMap(shift, shift)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Pad; Slice where it cuts off."""
        x = b.four_axes(bottoms[0])
        begin, end = self.param.pad_beg, self.param.pad_end
        if begin == end == 0:
            return [x]
        if begin < 0 or end < 0:
            return [b.cropped(x, -begin, -end)]
        return [b.padded(x, range(2, 4), [begin] * 2, [end] * 2)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """pad."""
        begin, end = self.param.pad_beg, self.param.pad_end
        x = bottoms[0].reshape(nchw(tuple(bottoms[0].shape)))
        return [t.functional.pad(x, (begin, end, begin, end))]
