"""Reduction."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, axis_index, require
from fcnproto.proto.caffe_pb2 import ReductionParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

_OPERATORS = {
    ReductionParameter.SUM: "ReduceSum",
    ReductionParameter.ASUM: "ReduceL1",
    ReductionParameter.SUMSQ: "ReduceSumSquare",
    ReductionParameter.MEAN: "ReduceMean",
}


class Reduction(Layer):
    """The sum, mean, or sum of absolute or squared values over all axes from `axis` on.

    The result is multiplied by coeff (reduction_layer.cpp).
    """

    type = "Reduction"
    settings = "reduction_param"

    param: ReductionParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's axes before `axis`."""
        (bottom,) = bottoms
        axis = axis_index(self.param.axis, bottom)
        # The other operations do without the array of ones that Caffe makes here.
        needs_values = self.param.operation in (ReductionParameter.SUM, ReductionParameter.MEAN)
        require(
            not needs_values or prod(bottom[axis:]) > 0,
            f"there is nothing to add up from axis {axis} of {show(bottom)} on",
        )
        return [bottom[:axis]]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The squares, if any, and coeff, if any."""
        squares = self.param.operation == ReductionParameter.SUMSQ
        scaled = self.param.operation == ReductionParameter.MEAN or self.param.coeff != 1
        return squares * prod(bottoms[0]) + scaled * prod(tops[0])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """ReduceSum, ReduceL1, ReduceSumSquare or ReduceMean, then Mul."""
        (x,) = bottoms
        axes = range(len(b.dims(x)))[self.param.axis :]
        top = b.reduce(_OPERATORS[self.param.operation], x, axes, keep=False)
        if self.param.coeff != 1:
            top = b.node("Mul", top, b.literal(self.param.coeff))
        return [top]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """sum or mean."""
        (x,) = bottoms
        axis = axis_index(self.param.axis, tuple(x.shape))
        values = x.reshape(*x.shape[:axis], prod(x.shape[axis:]))
        operation = self.param.operation
        if operation == ReductionParameter.ASUM:
            values = values.abs()
        elif operation == ReductionParameter.SUMSQ:
            values = values.square()
        top = values.mean(-1) if operation == ReductionParameter.MEAN else values.sum(-1)
        return [top * self.param.coeff]
