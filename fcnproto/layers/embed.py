"""Embed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensors, Torch, Weight, require
from fcnproto.proto.caffe_pb2 import EmbedParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Embed(Layer):
    """A learned vector for each index (embed_layer.cpp).

    Bottom and top: any shape of indices → that shape × O. Weights: input_dim × O, and O biases
    unless bias_term is false.
    """

    type = "Embed"
    settings = "embed_param"

    param: EmbedParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's axes, then num_output."""
        for name in ("num_output", "input_dim"):
            require(getattr(self.param, name) > 0, f"{name} must be positive, found 0")
        require(
            prod(bottoms[0]) > 0 or not self.param.bias_term,
            f"a bias cannot be added to an empty input, {show(bottoms[0])}",
        )
        return [(*bottoms[0], self.param.num_output)]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The vectors, and the biases if there are any."""
        outputs = self.param.num_output
        weights = [Weight((self.param.input_dim, outputs), self.param.weight_filler)]
        if self.param.bias_term:
            weights.append(Weight((outputs,), self.param.bias_filler))
        return weights

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Gather; indices are cut off to whole numbers."""
        top = b.node("Gather", b.weight(0), b.indices(bottoms[0]))
        if self.param.bias_term:
            top = b.node("Add", top, b.weight(1))
        return [top]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """embedding."""
        top = t.functional.embedding(bottoms[0].long(), weights[0])
        return [top + weights[1] if self.param.bias_term else top]
