"""BNLL."""

from fcnproto.layers.base import Pointwise


class BNLL(Pointwise):
    """log(1 + exp(x)), binomial normal log likelihood (bnll_layer.cpp)."""

    type = "BNLL"
