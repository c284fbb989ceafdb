"""Dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING
from zlib import crc32

from fcnproto.layers.base import PerChannel, Pointwise, Tensors, Torch
from fcnproto.proto.caffe_pb2 import (
    TEST,
    TRAIN,
    DropoutParameter,
)
from fcnproto.types import Array, Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Dropout(Pointwise):
    """In training each value is 0 or scaled by 1 / (1 − ratio), else kept (dropout_layer.cpp).

    With scale_train false values are scaled by 1 − ratio in TEST instead (Faster R-CNN's fork).
    With SegNet's sample_weights_test values are dropped at random in the TEST phase as well.
    """

    type = "Dropout"
    settings = "dropout_param"

    param: DropoutParameter

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the mask, where values are dropped."""
        drops = self.phase == TRAIN or self.param.sample_weights_test
        return prod(tops[0]) if drops else 0

    def oddities(self) -> Iterator[str]:
        """A ratio outside 0 … 1, which Caffe checks in debug builds only; dropping in TEST."""
        if not 0 < self.param.dropout_ratio < 1:
            yield f"dropout_ratio should lie between 0 and 1, found {self.param.dropout_ratio:g}"
        if self.param.sample_weights_test:
            yield "sample_weights_test drops values at random in the TEST phase too"

    def gives_non_negative(self, bottom: bool) -> bool:
        """Where its bottom does."""
        return bottom

    @property
    def draws(self) -> bool:
        """Whether sample_weights_test is set."""
        return bool(self.phase == TEST and self.param.sample_weights_test)

    def drawn(self) -> Drawn:
        """Dropout at random."""
        return Drawn(self.proto, self.context)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Nothing, or the scale that training did without; so too as the mean of what it draws."""
        if self.param.scale_train:
            return bottoms
        return [b.node("Mul", bottoms[0], b.literal(1 - self.param.dropout_ratio))]

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """The scale that training did without."""
        import numpy as np

        if self.param.scale_train or self.obstacle() is not None:
            return None
        return PerChannel(np.array(1 - self.param.dropout_ratio), np.array(0.0), axis=0)

    def obstacle(self) -> str | None:
        """What it drops at random: no two runs would agree, nor with Caffe's."""
        return "in the TRAIN phase it drops values at random" if self.phase == TRAIN else None

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Each value times a random 0 or 1 / (1 − ratio) in training."""
        (x,) = bottoms
        if self.phase == TEST and not self.param.sample_weights_test:
            return [x if self.param.scale_train else x * (1 - self.param.dropout_ratio)]
        ratio = self.param.dropout_ratio
        drawn = t.torch.rand(x.shape, generator=t.generator, device=x.device)
        kept = x * (drawn >= ratio)
        return [kept / (1 - ratio) if self.param.scale_train else kept]


class Drawn(Dropout, registered=False):
    """Dropout that drops at random in ONNX, as sample_weights_test asks."""

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """RandomUniformLike: each value that is not below the ratio keeps its place."""
        (x,) = bottoms
        ratio = self.param.dropout_ratio
        # Masks of one seed would fall on the same places in several layers.
        drawn = b.node("RandomUniformLike", x, dtype=1, seed=float(crc32(self.name.encode())))
        dropped = b.node("Less", drawn, b.literal(ratio))
        kept = b.node("Where", dropped, b.literal(0), x)
        if not self.param.scale_train:
            return [kept]
        return [b.node("Mul", kept, b.literal(1 / (1 - ratio)))]

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """None: each value is multiplied by another number."""
        return None
