"""ReLU."""

from fcnproto.layers.base import Pointwise


class ReLU(Pointwise):
    """max(x, 0) + negative_slope · min(x, 0) (relu_layer.cpp)."""

    type = "ReLU"
    settings = "relu_param"
