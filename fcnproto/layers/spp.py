"""SPP."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, Layer, Tensor, Tensors, Torch, require
from fcnproto.layers.pooling import (
    average_in_torch,
    chance_in_torch,
    maximum_in_torch,
    stochastic_obstacle,
)
from fcnproto.layers.pooling_onnx import LOWEST
from fcnproto.layers.spatial import Window
from fcnproto.proto.caffe_pb2 import (
    TRAIN,
    SPPParameter,
)
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class SPP(Layer):
    """Spatial pyramid pooling: level l pools the map into 2^l × 2^l bins (spp_layer.cpp).

    Bottom and top: N × C × H × W → N × C · bins of all levels; with one level N × C × 1 × 1.
    """

    type = "SPP"
    settings = "spp_param"
    kind = Kind.POOLING

    param: SPPParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """All levels' bins in one axis."""
        height = self.param.pyramid_height
        require(height > 0, "pyramid_height must be positive, found 0")
        require(len(bottoms[0]) == 4, f"the input must have 4 axes, found {show(bottoms[0])}")
        num, channels, *plane = bottoms[0]
        require(all(size > 0 for size in plane), f"the input is empty: {show(bottoms[0])}")
        for level in range(height):
            self._check_level(2**level, plane)
        if height == 1:
            return [(num, channels, 1, 1)]
        return [(num, channels * sum(4**level for level in range(height)))]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A division for each average."""
        return prod(tops[0]) if self.param.pool == SPPParameter.AVE else 0

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Each level pooled, then all of them in one axis."""
        (x,) = bottoms
        levels = []
        for level in range(self.param.pyramid_height):
            bins = 2**level
            windows = [level_window(bins, size) for size in x.shape[2:]]
            levels.append(self._pool(t, x, windows, (bins, bins)))
        if len(levels) == 1:
            return levels
        return [t.torch.cat([level.flatten(1) for level in levels], 1)]

    def _check_level(self, bins: int, plane: Sequence[int]) -> None:
        windows = [level_window(bins, size) for size in plane]
        for window, size in zip(windows, plane, strict=True):
            require(
                window.pad < window.kernel,
                f"an input of size {size} cannot be pooled into {bins} bins: windows of"
                f" {window.kernel} would need a pad of {window.pad}; lower pyramid_height",
            )
        require(
            self.param.pool != SPPParameter.STOCHASTIC or not any(w.pad for w in windows),
            f"stochastic pooling cannot be padded, as {bins} bins of {show(tuple(plane))} need",
        )

    def obstacle(self) -> str | None:
        """Random pooling."""
        return stochastic_obstacle(self.param.pool == SPPParameter.STOCHASTIC)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """A pooling for each level, flattened and joined."""
        (x,) = bottoms
        levels = [self._level(b, x, 2**level) for level in range(self.param.pyramid_height)]
        if len(levels) == 1:
            return levels
        return [b.node("Concat", *(b.node("Flatten", level) for level in levels), axis=1)]

    def _level(self, b: Builder, x: str, bins: int) -> str:
        """The map pooled into bins × bins."""
        is_max = self.param.pool == SPPParameter.MAX
        if bins == 1:
            return b.node("GlobalMaxPool" if is_max else "GlobalAveragePool", x)
        rows, columns = b.dims(x)[2:]
        if rows is None or columns is None:
            return self._open_level(b, x, bins, is_max)
        windows = [level_window(bins, size) for size in (rows, columns)]
        begins = [window.pad for window in windows]
        ends = [
            window.kernel * bins - size - window.pad
            for window, size in zip(windows, (rows, columns), strict=True)
        ]
        kernels = [window.kernel for window in windows]
        settings = {"kernel_shape": kernels, "strides": kernels, "pads": [*begins, *ends]}
        if is_max:
            return b.node("MaxPool", x, **settings)
        return b.node("AveragePool", x, **settings, count_include_pad=1)

    def _open_level(self, b: Builder, x: str, bins: int, is_max: bool) -> str:
        """The same by level_window's rule at run time: bins lie side by side, so a Reshape cuts."""
        sizes, two = b.sizes(x, 2, 4), b.ints([2])
        count, one = b.ints([bins]), b.ints([1])
        kernels = b.node("Div", b.node("Add", sizes, b.ints([bins - 1])), count)
        lacking = b.node("Sub", b.node("Mul", kernels, count), sizes)
        begins = b.node("Div", b.node("Add", lacking, one), two)
        ends = b.node("Sub", lacking, begins)
        padded = b.padded(x, range(2, 4), begins, ends, LOWEST if is_max else 0)
        width = b.node("Slice", kernels, one, two)
        cut = b.node("Reshape", padded, b.join([0, 0, bins, -1, bins], width))
        return b.reduce("ReduceMax" if is_max else "ReduceMean", cut, [3, 5], keep=False)

    def _pool(self, t: Torch, x: Tensor, windows: Sequence[Window], outs: Sequence[int]) -> Tensor:
        if self.param.pool == SPPParameter.MAX:
            return maximum_in_torch(t, x, windows, outs)
        if self.param.pool == SPPParameter.AVE:
            return average_in_torch(t, x, windows, outs)
        return chance_in_torch(t, x, windows, outs, draw=self.phase == TRAIN)


def level_window(bins: int, size: int) -> Window:
    """The window that pools a line of `size` pixels into so many bins.

    Where its pad is smaller than its kernel, which Caffe demands, there are exactly so many.
    """
    kernel = -(-size // bins)
    return Window(kernel, stride=kernel, pad=(kernel * bins - size + 1) // 2)
