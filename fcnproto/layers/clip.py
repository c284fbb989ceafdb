"""Clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import (
    Pointwise,
    Tensor,
    Tensors,
    Torch,
)
from fcnproto.proto.caffe_pb2 import ClipParameter

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Clip(Pointwise):
    """max(min, min(x, max)) (clip_layer.cpp); without clip_param both bounds are 0."""

    type = "Clip"
    settings = "clip_param"

    param: ClipParameter

    def oddities(self) -> Iterator[str]:
        """Bounds that leave one value only."""
        if not self.param.min < self.param.max:
            yield (
                f"clips to {self.param.min:g} … {self.param.max:g}: "
                "its output is the same everywhere"
            )

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Clip; Caffe applies min last, so it wins where it is above max."""
        low, high = self.param.min, self.param.max
        return [b.node("Clip", bottoms[0], b.literal(low), b.literal(max(low, high)))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Two clamps, the lower bound last, as it wins in Caffe."""
        return [bottoms[0].clamp(max=self.param.max).clamp(min=self.param.min)]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """1 where the bottom is within the bounds."""
        within = (bottom >= self.param.min) & (bottom <= self.param.max)
        return gradient * within
