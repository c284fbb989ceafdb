"""Parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, Weight, exactly
from fcnproto.layers.fillers import constant
from fcnproto.proto.caffe_pb2 import ParameterParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Parameter(Layer):
    """A learned array as a blob; zeros until it is loaded or learned (parameter_layer.hpp)."""

    type = "Parameter"
    zeros_are_sound = True
    settings = "parameter_param"
    bottoms = exactly(0)

    param: ParameterParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """As given; by default a scalar."""
        return (tuple(self.param.shape.dim),)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The array."""
        return (Weight(tuple(self.param.shape.dim), constant(0)),)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """The array."""
        return [b.weight(0)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The array itself."""
        return [weights[0]]
