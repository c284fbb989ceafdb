"""Sigmoid."""

from fcnproto.layers.base import Pointwise


class Sigmoid(Pointwise):
    """1 / (1 + exp(−x)) (sigmoid_layer.cpp)."""

    type = "Sigmoid"
    settings = "sigmoid_param"
