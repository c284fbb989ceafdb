"""LSTMUnit."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Layer, Tensor, Tensors, Torch, exactly, require
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


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

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Each cell times its forget gate and its input gate times its input, then the output's."""
        return 3 * prod(tops[0])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Sigmoid, Tanh, Mul and Add."""
        cell, gates, marks = bottoms
        return lstm_step(b, cell, gates, b.node("Unsqueeze", marks, b.ints([-1])))

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Sigmoids, tanhs and products."""
        cell, gates, marks = bottoms
        return lstm_step_in_torch(t, cell, gates, marks[..., None])


def lstm_step(b: Builder, cell: str, gates: str, marks: str) -> tuple[str, str]:
    """The next cell and hidden state, … × D each, from … × 4D gates' inputs and … × 1 marks."""
    *parts, candidate = b.parts(gates, 4, axis=-1)
    enter, forget, leave = (b.node("Sigmoid", part) for part in parts)
    kept = b.node("Mul", b.node("Mul", forget, marks), cell)
    cell = b.node("Add", kept, b.node("Mul", enter, b.node("Tanh", candidate)))
    return cell, b.node("Mul", leave, b.node("Tanh", cell))


def lstm_step_in_torch(
    t: Torch, cell: Tensor, gates: Tensor, marks: Tensor
) -> tuple[Tensor, Tensor]:
    """The cell and the hidden state after a step; marks are 0 where a sequence begins."""
    enters, stays, leaves, new = gates.chunk(4, -1)
    cell = marks * stays.sigmoid() * cell + enters.sigmoid() * new.tanh()
    return cell, leaves.sigmoid() * cell.tanh()
