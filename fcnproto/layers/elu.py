"""ELU."""

from fcnproto.layers.base import Pointwise


class ELU(Pointwise):
    """x where x > 0, else alpha · (exp(x) − 1) (elu_layer.cpp)."""

    type = "ELU"
    settings = "elu_param"
