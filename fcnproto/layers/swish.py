"""Swish."""

from fcnproto.layers.base import Pointwise


class Swish(Pointwise):
    """x · sigmoid(beta · x) (swish_layer.cpp)."""

    type = "Swish"
    settings = "swish_param"
