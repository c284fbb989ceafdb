"""BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.layers.base import Pointwise, Shape, Weight, require, show
from fcnproto.layers.fillers import constant
from fcnproto.proto.caffe_pb2 import BatchNormParameter


class BatchNorm(Pointwise):
    """Each channel less its mean, over its deviation (batch_norm_layer.cpp).

    Weights: mean (C) and variance (C), both to be divided by a factor (1), where 0 stands for no
    statistics yet. Statistics are of the batch in TRAIN, the stored ones in TEST or where
    use_global_stats says so. There is no learned scale or shift: Scale has them.
    """

    type = "BatchNorm"
    settings = "batch_norm_param"

    param: BatchNormParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        shape = bottoms[0]
        require(len(shape) >= 2, f"the input must have at least 2 axes, found {show(shape)}")
        require(prod(shape) > 0, f"the input must not be empty, found {show(shape)}")
        for index, spec in enumerate(self.proto.param[:3]):
            require(
                spec.lr_mult == 0,
                f"its statistics are not learned: lr_mult of param {index} must be 0, found"
                f" {spec.lr_mult:g}",
            )
        return (shape,)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """Mean, variance and the factor that divides both."""
        channels = bottoms[0][1]
        return tuple(Weight((size,), constant(0)) for size in (channels, channels, 1))
