"""ReLU6, of forks."""

from fcnproto.layers.base import Pointwise


class ReLU6(Pointwise):
    """min(max(x, 0), 6), with negative_slope · x below 0 (MobileNet-YOLO, relu6_layer.cpp)."""

    type = "ReLU6"
    fork = "MobileNet-YOLO"
    settings = "relu6_param"
