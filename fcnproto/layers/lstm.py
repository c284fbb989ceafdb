"""LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Tensor, Tensors, Torch
from fcnproto.layers.lstm_unit import (
    lstm_step,
    lstm_step_in_torch,
)
from fcnproto.layers.recurrent import Recurrent

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class LSTM(Recurrent):
    """Long short-term memory (lstm_layer.cpp).

    Weights: W_xc (4D × inputs), b_c (4D), W_xc_static (4D × static inputs) if there are any, W_hc
    (4D × D); the four gates are stacked in the order input, forget, output, cell.
    States: h, c.
    """

    type = "LSTM"
    states = 2
    gates = 4
    products = 3

    def step(self, b: Builder, states: Sequence[str], gates: str, marks: str) -> Sequence[str]:
        """As LSTMUnit."""
        cell, hidden = lstm_step(b, states[1], gates, marks)
        return hidden, cell

    def torch_step(self, t: Torch, states: Tensors, gates: Tensor, mark: Tensor) -> Tensors:
        """As LSTMUnit."""
        cell, hidden = lstm_step_in_torch(t, states[1], gates, mark)
        return hidden, cell
