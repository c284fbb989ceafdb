"""ELU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensor, Tensors, Torch
from fcnproto.proto.caffe_pb2 import ELUParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class ELU(Pointwise):
    """x where x > 0, else alpha · (exp(x) − 1) (elu_layer.cpp)."""

    type = "ELU"
    settings = "elu_param"

    param: ELUParameter

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with alpha."""
        return prod(tops[0])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Elu."""
        return [b.node("Elu", bottoms[0], alpha=self.param.alpha)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """elu."""
        return [t.functional.elu(bottoms[0], self.param.alpha)]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """1 or alpha + top, by the bottom's sign."""
        return gradient * t.torch.where(bottom > 0, 1.0, self.param.alpha + top)
