"""RNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Tensor, Tensors, Torch, Weight
from fcnproto.layers.recurrent import Recurrent
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class RNN(Recurrent):
    """h_t = tanh(W_hh h_{t−1} + W_xh x_t + b_h), o_t = tanh(W_ho h_t + b_o) (rnn_layer.cpp).

    Weights: W_xh (D × inputs), b_h (D), W_xh_static (D × static inputs) if there are any, W_hh
    (D × D), W_ho (D × D), b_o (D). State: h.
    """

    type = "RNN"
    states = 1
    gates = 1
    products = 0

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """Those of the hidden state, then those of the output."""
        outputs = self.param.num_output
        output = self._matrix(outputs, outputs), self._biases(outputs)
        return [*super().weights(bottoms), *output]

    def step(self, b: Builder, states: Sequence[str], gates: str, marks: str) -> Sequence[str]:
        """Tanh."""
        return (b.node("Tanh", gates),)

    def outputs(self, b: Builder, hidden: str) -> str:
        """MatMul, Add and Tanh."""
        matrix = b.own("W_ho", b.array(b.weights - 2).T)
        return b.node(
            "Tanh", b.node("Add", b.node("MatMul", hidden, matrix), b.weight(b.weights - 1))
        )

    def torch_step(self, t: Torch, states: Tensors, gates: Tensor, mark: Tensor) -> Tensors:
        """Tanh."""
        return (gates.tanh(),)

    def torch_outputs(self, t: Torch, hidden: Tensor, weights: Tensors) -> Tensor:
        """linear and tanh."""
        return t.functional.linear(hidden, weights[-2], weights[-1]).tanh()
