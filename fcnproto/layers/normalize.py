"""Normalize, of SSD."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Kind,
    Plane,
    Pointwise,
    Tensors,
    Torch,
    Weight,
    all_of,
    nchw,
    require,
    valued,
)
from fcnproto.proto.caffe_pb2 import FillerParameter, NormalizeParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Normalize(Pointwise):
    """x / √(Σ x² + eps) · scale (SSD, normalize_layer.cpp).

    The sum is over each image if across_spatial, else over the channels of each pixel. Weights: one
    scale if channel_shared, as a scalar, else one for each of C channels.
    """

    type = "Normalize"
    fork = "ssd"
    settings = "norm_param"
    kind = Kind.NORMALIZATION

    param: NormalizeParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        require(len(bottoms[0]) >= 2, f"at least 2 axes are needed, found {show(bottoms[0])}")
        _, *image = nchw(bottoms[0])
        require(0 not in image, f"its bottom is empty: {show(bottoms[0])}")
        return super().output_shapes(bottoms)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The scale, 1 unless scale_filler is given."""
        filler = (
            self.param.scale_filler
            if self.param.HasField("scale_filler")
            else FillerParameter(type="constant", value=1)
        )
        return [Weight(() if self.param.channel_shared else (bottoms[0][1],), filler)]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The squares, the quotient and the scale."""
        return 3 * prod(tops[0])

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixel itself, or all of the image with across_spatial."""
        return [all_of(bottoms[0])] if self.param.across_spatial else super().reaches(bottoms)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Its formula; eps is added within the root, which LpNormalization does not."""
        (x,) = bottoms
        rank = len(b.dims(x))
        axes = range(1, rank) if self.param.across_spatial else [1]
        squares = b.reduce("ReduceSumSquare", x, list(axes))
        norm = b.node("Sqrt", b.node("Add", squares, b.literal(self.param.eps)))
        return [b.node("Mul", b.node("Div", x, norm), b.per_channel(0, rank))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Over the root of a sum of squares, times the scale.

        SSD goes back through the scale last, as if it had come first.
        """
        (x,) = bottoms
        scale = weights[0].reshape(-1, *[1] * (x.dim() - 2))
        x = valued(x, x * scale.detach())
        axes = tuple(range(1, x.dim())) if self.param.across_spatial else (1,)
        unit = x / (x.square().sum(axes, keepdim=True) + self.param.eps).sqrt()
        return [valued(unit * scale, unit + unit.detach() * scale)]
