"""Power."""

from fcnproto.layers.base import Pointwise


class Power(Pointwise):
    """(shift + scale · x) ^ power (power_layer.cpp)."""

    type = "Power"
    settings = "power_param"
