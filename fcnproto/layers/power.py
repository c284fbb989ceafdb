"""Power."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import PerChannel, Pointwise, Tensor, Tensors, Torch
from fcnproto.proto.caffe_pb2 import PowerParameter
from fcnproto.types import Array, Shape

if TYPE_CHECKING:
    import numpy as np

    from fcnproto.model.builder import Builder


class Power(Pointwise):
    """(shift + scale · x) ^ power (power_layer.cpp)."""

    type = "Power"
    settings = "power_param"
    gradient_is_lost_in_place = True

    param: PowerParameter

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The product with the scale, unless it is 1."""
        return prod(tops[0]) if self.param.scale != 1 else 0

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """scale · x + shift, where there is no power."""
        import numpy as np

        if self.param.power != 1 or self.param.scale == 0:
            return None
        return PerChannel(np.array(self.param.scale), np.array(self.param.shift), axis=0)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Mul, Add and Pow, as far as they do something."""
        power, scale, shift = self.param.power, self.param.scale, self.param.shift
        (x,) = bottoms
        if power * scale == 0:  # Caffe then does not look at x, be it infinite
            constant = b.literal(c_power(shift, power))
            return [b.node("Expand", constant, b.sizes(x, 0, len(b.dims(x))))]
        if scale != 1:
            x = b.node("Mul", x, b.literal(scale))
        if shift != 0:
            x = b.node("Add", x, b.literal(shift))
        if power != 1:
            x = b.node("Pow", x, b.literal(power))
        return [x]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """A power, or a constant where the bottom does not matter."""
        scale, shift, power = self.param.scale, self.param.shift, self.param.power
        if power == 0 or scale == 0:
            value = 1.0 if power == 0 else float(c_power(shift, power))
            return [t.torch.full_like(bottoms[0], value)]
        base = bottoms[0] * scale + shift
        return [base if power == 1 else base**power]

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """By the bottom for a square, else by the top over the bottom."""
        scale, shift, power = self.param.scale, self.param.shift, self.param.power
        if power * scale == 0 or power == 1:
            return gradient * (power * scale)
        if power == 2:
            return gradient * (2 * scale) * (bottom * scale + shift)
        if shift == 0:
            return gradient * power * (top / bottom)
        return gradient * (power * scale) * (top / (bottom * scale + shift))


def c_power(base: float, exponent: float) -> np.float32:
    """base ^ exponent as C has it: infinite or not a number where Python would raise."""
    import numpy as np

    with np.errstate(all="ignore"):
        return np.float32(np.power(np.float64(base), exponent))
