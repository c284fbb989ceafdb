"""LRN."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from fcnproto.layers.base import InPlace, Kind, Plane, Pointwise, Tensors, Torch, require
from fcnproto.layers.pooling import average_in_torch
from fcnproto.layers.spatial import Window
from fcnproto.proto.caffe_pb2 import LRNParameter
from fcnproto.types import INT_MAX, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class LRN(Pointwise):
    """Each number over a power of its neighbourhood's mean square (lrn_layer.cpp).

    ACROSS_CHANNELS: x / (k + alpha / local_size · Σ x²)^beta over local_size channels.
    WITHIN_CHANNEL: x / (1 + alpha · mean x²)^beta over a square of local_size pixels.
    """

    type = "LRN"
    settings = "lrn_param"
    in_place = InPlace.NONSENSE  # within a channel only the gradient is wrong
    kind = Kind.NORMALIZATION

    param: LRNParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        size = self.param.local_size
        require(size % 2 == 1 and size <= INT_MAX, f"local_size must be odd, found {size}")
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        return (bottoms[0],)

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The squares, alpha, and the quotient."""
        within = self.param.norm_region == LRNParameter.WITHIN_CHANNEL
        size: int = self.param.local_size
        return prod(tops[0]) * (size ** (2 if within else 1) + 2)

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """Within a channel the square around a pixel."""
        if self.param.norm_region != LRNParameter.WITHIN_CHANNEL:
            return super().reaches(bottoms)
        size = self.param.local_size
        around = Window(size, pad=size // 2).convolved_reach()
        return [(around, around)]

    def brief(self) -> str:
        """Over how many channels or pixels."""
        return f"local size {self.param.local_size}"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """LRN; its formula within a channel, and where the operator cannot be had."""
        (x,) = bottoms
        size, alpha, beta = self.param.local_size, self.param.alpha, self.param.beta
        if self.param.norm_region == LRNParameter.WITHIN_CHANNEL:
            require(
                size <= _LARGEST_WITHIN,
                f"within a channel local_size must be at most {_LARGEST_WITHIN} in ONNX, found"
                f" {size}",
            )
            means = b.node("AveragePool", b.node("Mul", x, x), **_around(size, size))
            return [self._over_power(b, x, means, 1, alpha)]
        if size <= 16 and alpha > 0 and beta >= 0.01 and self.param.k >= 1e-5:
            return [b.node("LRN", x, size=size, alpha=alpha, beta=beta, bias=self.param.k)]
        channels = b.dims(x)[1]
        if channels is not None and size > 2 * channels - 1:  # all of them, from any of them
            alpha, size = alpha * (2 * channels - 1) / size, 2 * channels - 1
        # onnxruntime wants alpha and beta above 0, and cuDNN has limits for the others.
        squares = b.node("Mul", x, x)
        lines = b.node("Reshape", squares, b.join([0, 1], b.sizes(x, 1, 2), [-1]))
        means = b.node("AveragePool", lines, **_around(size, 1))
        means = b.node("Reshape", means, b.sizes(x, 0, 4))
        return [self._over_power(b, x, means, self.param.k, alpha)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Sums of squares by pooling, over channels or over pixels."""
        (x,) = bottoms
        size, squares = self.param.local_size, x.square()
        pad = (size - 1) // 2
        if self.param.norm_region == LRNParameter.WITHIN_CHANNEL:
            windows = [Window(size, 1, pad)] * 2
            mean = average_in_torch(t, squares, windows, x.shape[2:])
            return [x * (1 + self.param.alpha * mean) ** -self.param.beta]
        padded = t.functional.pad(squares, (0, 0, 0, 0, pad, pad))[:, None]
        sums = t.functional.avg_pool3d(padded, (size, 1, 1), 1, divisor_override=1)[:, 0]
        scale = self.param.k + self.param.alpha / size * sums
        return [x * scale**-self.param.beta]

    def _over_power(self, b: Builder, x: str, means: str, k: float, alpha: float) -> str:
        """x / (k + alpha · mean square)^beta."""
        base = b.node("Add", b.node("Mul", means, b.literal(alpha)), b.literal(k))
        return b.node("Mul", x, b.node("Pow", base, b.literal(-self.param.beta)))


_LARGEST_WITHIN = 2**16 - 1
"""Beyond the side of any image; runtimes count windows and their pads in 32 bits."""


def _around(rows: int, columns: int) -> dict[str, Any]:
    """The attributes of an AveragePool around each pixel, zeros past the edges counted."""
    return {
        "kernel_shape": [rows, columns],
        "pads": [rows // 2, columns // 2] * 2,
        "count_include_pad": 1,
    }
