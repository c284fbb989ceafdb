"""SeLu and the dropout that goes with it, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Tensors, Torch
from fcnproto.proto.caffe_pb2 import TRAIN, SeLuDropoutParameter

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class SeLu(Pointwise):
    """Scaled exponential linear units (Klambauer et al. 2017, section 2; soeaver, selu_layer.cpp).

    λ · x where x > 0, else λ · α · (exp(x) − 1), with λ = 1.0507010 and α = 1.6732632.
    """

    type = "SeLu"
    fork = "soeaver"

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Selu, whose defaults are the same numbers."""
        return [b.node("Selu", bottoms[0])]


class SeLuDropout(Pointwise):
    """Dropout that keeps the mean and variance of SeLu's output; in TEST nothing is dropped.

    With odds q = 1 − dropout_ratio a value x stays, else it becomes α' = −λ · α; then it is
    a · x + b, with a = (q + α'² · q · (1 − q))^−½ and b = −a · (1 − q) · α' (Klambauer et al. 2017,
    section 3; soeaver, selu_dropout_layer.cpp).
    """

    type = "SeLuDropout"
    fork = "soeaver"
    settings = "selu_dropout_param"

    param: SeLuDropoutParameter

    def obstacle(self) -> str | None:
        """What it drops at random in training."""
        return "in the TRAIN phase it drops values at random" if self.phase == TRAIN else None

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Nothing."""
        return bottoms

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Its formula in training."""
        (x,) = bottoms
        if self.phase != TRAIN:
            return [x]
        kept = 1 - self.param.dropout_ratio
        drawn = t.torch.rand(x.shape, generator=t.generator, device=x.device) < kept
        factor = (kept + _DROPPED**2 * kept * (1 - kept)) ** -0.5
        return [factor * (t.torch.where(drawn, x, _DROPPED) - (1 - kept) * _DROPPED)]


_DROPPED = -1.7580993408473766
"""What a dropped value becomes, −λ · α: SeLu of minus infinity."""
