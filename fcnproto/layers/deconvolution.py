"""Deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, PerChannel, Tensor, Torch
from fcnproto.layers.convolution import (
    Convolution,
    as_written,
    operands_of,
    settings_of,
)
from fcnproto.layers.spatial import Affine, Reach, Window
from fcnproto.types import Array, Dims, Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder
    from fcnproto.types import Floats


class Deconvolution(Convolution):
    """The transpose of Convolution, with which nets upsample (deconv_layer.cpp).

    Weights: C × O/group × kernel, and O biases unless bias_term is false.
    """

    type = "Deconvolution"
    kind = Kind.UPSAMPLING
    convolves = False
    deconvolves = True
    absorbs = False

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The taps of a kernel for each number of the bottoms."""
        kernels = self.weights(bottoms)[0].shape
        return sum(map(prod, bottoms)) * prod(kernels[1:])

    def place(self, window: Window) -> Affine:
        """The way back of the convolution with the same window."""
        return window.deconvolved_to_input()

    def _reach(self, window: Window) -> Reach:
        return window.deconvolved_reach()

    @property
    def zeros(self) -> None:
        """None: its pads are cut off."""
        return None

    def with_output_factors(self, kernels: Array, factors: Array) -> Array:
        """Kernels are C × O/group × …, so that each group of inputs has its own outputs."""
        group = self.param.group
        pairs = kernels.reshape(group, -1, *kernels.shape[1:])
        factors = factors.reshape(group, 1, -1, *[1] * (kernels.ndim - 2))
        scaled: Array = (pairs * factors).reshape(kernels.shape)
        return scaled

    def with_input_factors(
        self, kernels: Array, given: PerChannel, bottom: Shape
    ) -> tuple[Array, Array] | None:
        """None: what is added to a bottom comes out differently at the borders of the top."""
        return None

    def _size(self, window: Window, size: int) -> int:
        return window.deconvolve(size)

    def _matrix(self, channels: int) -> tuple[int, int]:
        return channels, self.param.num_output // self.param.group

    def _operands(self, b: Builder, windows: Sequence[Window]) -> tuple[list[str], int]:
        kernels, group = b.array(0), self.param.group
        if group == 1 and len(kernels) > 1 and _is_diagonal(kernels):
            # Published nets upsample each channel by itself, yet store a kernel for every pair.
            channels = range(len(kernels))
            kernels, group = kernels[channels, channels, None], len(kernels)
        return operands_of(b, kernels, windows, bias=self.param.bias_term), group

    def _write(
        self,
        b: Builder,
        x: str,
        sizes: Dims,
        windows: Sequence[Window],
        operands: Sequence[str],
        group: int,
    ) -> str:
        return b.node("ConvTranspose", x, *operands, **settings_of(as_written(windows), group))

    def _convolve(
        self,
        t: Torch,
        x: Tensor,
        windows: Sequence[Window],
        operands: tuple[Tensor, Tensor | None],
    ) -> Tensor:
        names = "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"
        return getattr(t.functional, names[len(windows) - 1])(
            x,
            *operands,
            stride=[window.stride for window in windows],
            padding=[window.pad for window in windows],
            dilation=[window.dilation for window in windows],
            groups=self.param.group,
        )


def _is_diagonal(kernels: Floats) -> bool:
    """Whether as many channels come out as go in, each made of its own alone."""
    import numpy as np

    inputs, outputs = kernels.shape[:2]
    between = np.any(kernels, axis=tuple(range(2, kernels.ndim)))
    return inputs == outputs and not np.any(between & ~np.eye(inputs, dtype=bool))
