"""TanH."""

from fcnproto.layers.base import Pointwise


class TanH(Pointwise):
    """tanh(x) (tanh_layer.cpp)."""

    type = "TanH"
    settings = "tanh_param"
