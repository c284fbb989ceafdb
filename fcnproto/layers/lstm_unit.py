"""LSTMUnit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Shape, exactly, require, show

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class LSTMUnit(Layer):
    """One step of an LSTM's cell (lstm_unit_layer.cpp).

    Bottoms: the cell before, 1 × N × D; the gates' inputs, 1 × N × 4D; continuation marks, 1 × N.
    Tops: the cell and the hidden state, 1 × N × D each.
    """

    type = "LSTMUnit"
    bottoms = exactly(3)
    tops = exactly(2)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The cell's shape, twice."""
        cell, gates, marks = bottoms
        require(len(cell) == 3 and cell[0] == 1, f"the cell must be 1 × N × D, found {show(cell)}")
        _, streams, outputs = cell
        for name, found, wanted in (
            ("gates' inputs", gates, (1, streams, 4 * outputs)),
            ("continuation marks", marks, (1, streams)),
        ):
            require(found == wanted, f"the {name} must be {show(wanted)}, found {show(found)}")
        return [cell, cell]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Sigmoid, Tanh, Mul and Add."""
        cell, gates, marks = bottoms
        return lstm_step(b, cell, gates, b.node("Unsqueeze", marks, b.ints([-1])))


def lstm_step(b: Builder, cell: str, gates: str, marks: str) -> tuple[str, str]:
    """The next cell and hidden state, … × D each, from … × 4D gates' inputs and … × 1 marks."""
    *parts, candidate = b.parts(gates, 4, axis=-1)
    enter, forget, leave = (b.node("Sigmoid", part) for part in parts)
    kept = b.node("Mul", b.node("Mul", forget, marks), cell)
    cell = b.node("Add", kept, b.node("Mul", enter, b.node("Tanh", candidate)))
    return cell, b.node("Mul", leave, b.node("Tanh", cell))
