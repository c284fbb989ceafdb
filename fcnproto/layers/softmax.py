"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise, Shape, axis_index, require, show
from fcnproto.proto.caffe_pb2 import SoftmaxParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class Softmax(Pointwise):
    """exp(x), divided by its sum over `axis` (softmax_layer.cpp)."""

    type = "Softmax"
    settings = "softmax_param"

    param: SoftmaxParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        axis = axis_index(self.param.axis, bottoms[0])
        require(bottoms[0][axis] > 0, f"axis {axis} has size 0 in {show(bottoms[0])}")
        return super().output_shapes(bottoms)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Softmax."""
        return [b.node("Softmax", bottoms[0], axis=self.param.axis)]
