"""Threshold."""

from fcnproto.layers.base import Pointwise


class Threshold(Pointwise):
    """1 where x > threshold, else 0 (threshold_layer.cpp)."""

    type = "Threshold"
    settings = "threshold_param"
