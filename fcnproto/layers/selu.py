"""SeLu and the dropout that goes with it, of forks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise

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
    """Dropout that keeps the mean and variance of SeLu's output."""

    type = "SeLuDropout"
    fork = "soeaver"
    settings = "selu_dropout_param"
