"""What LSTM and RNN share: sequences, and the hidden states between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, ClassVar

from fcnproto.layers.base import (
    Context,
    Layer,
    Tensor,
    Tensors,
    Torch,
    Weight,
    between,
    exactly,
    require,
)
from fcnproto.proto.caffe_pb2 import LayerParameter, RecurrentParameter
from fcnproto.types import Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Recurrent(Layer):
    """T steps of N streams at once (recurrent_layer.cpp).

    Bottoms: the sequence, T × N × …; its continuation marks, T × N (0 where a new sequence begins);
    if wanted, a static input, N × …; and with expose_hidden the states before the first step,
    1 × N × D each. Tops: T × N × D, and with expose_hidden the states after the last step.
    """

    settings = "recurrent_param"
    states: ClassVar[int]
    """How many hidden states pass from step to step."""
    gates: ClassVar[int]
    """How many numbers each output needs to be computed from the inputs."""
    products: ClassVar[int]
    """How many products each output takes besides those of the matrices."""

    param: RecurrentParameter

    def __init__(self, proto: LayerParameter, context: Context = Context()) -> None:
        super().__init__(proto, context)
        exposed = self._exposed()
        self.bottoms = between(2 + exposed, 3 + exposed)
        self.tops = exactly(1 + exposed)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The outputs of all steps, then the states after the last."""
        sequence, marks = bottoms[:2]
        outputs = self.param.num_output
        require(outputs > 0, "num_output must be positive, found 0")
        require(
            len(sequence) >= 3,
            f"the sequence must have steps, streams and at least one more axis, found"
            f" {show(sequence)}",
        )
        steps, streams = sequence[:2]
        require(steps > 0 and streams > 0, f"the sequence is empty: {show(sequence)}")
        require(
            marks == (steps, streams),
            f"the continuation marks must be {show((steps, streams))}, found {show(marks)}",
        )
        static = self._static(bottoms)
        if static is not None:
            require(
                len(static) >= 2 and static[0] == streams,
                f"the static input must be {streams} × its own axes, found {show(static)}",
            )
        state = (1, streams, outputs)
        for found in bottoms[len(bottoms) - self._exposed() :]:
            require(found == state, f"a state must be {show(state)}, found {show(found)}")
        return [(steps, streams, outputs), *[state] * self._exposed()]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """From the sequence (matrix, biases), the static input if any, and the last step."""
        rows = self.gates * self.param.num_output
        weights = [self._matrix(rows, prod(bottoms[0][2:])), self._biases(rows)]
        static = self._static(bottoms)
        if static is not None:
            weights.append(self._matrix(rows, prod(static[1:])))
        weights.append(self._matrix(rows, self.param.num_output))
        return weights

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """Each matrix for each step, but the static input's once; then the units."""
        sequence, static = bottoms[0], self._static(bottoms)
        steps, streams = sequence[:2]
        matrices = [weight.shape for weight in self.weights(bottoms) if len(weight.shape) == 2]
        once = self.gates * self.param.num_output * prod(static[1:]) if static is not None else 0
        every = sum(map(prod, matrices)) - once + self.products * self.param.num_output
        return streams * (steps * every + once)

    def brief(self) -> str:
        """The outputs."""
        return str(self.param.num_output)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """MatMul for all steps at once, then Scan; each run starts from states of 0.

        Caffe would start its second run from the states after its first. ONNX's own LSTM and RNN
        cannot begin anew in the middle of a sequence.
        """
        sequence, marks, *others = bottoms
        exposed = self._exposed()
        static, states = others[: len(others) - exposed], others[len(others) - exposed :]
        gates = self._product(b, sequence, [0, 0, -1], 0)
        gates = b.node("Add", gates, b.weight(1))
        for value in static:
            gates = b.node("Add", gates, self._product(b, value, [0, -1], 2))
        hidden_weights = b.weight(2 + len(static))

        def step(states: Sequence[str], slices: Sequence[str]) -> tuple[Sequence[str], list[str]]:
            gates, marks = slices
            hidden = b.node("Mul", states[0], marks)
            gates = b.node("Gemm", hidden, hidden_weights, gates, transB=1)
            states = self.step(b, states, gates, marks)
            return states, [states[0]]

        first = b.ints([0])
        begin = [b.node("Squeeze", state, first) for state in states] or self._zeros(b, sequence)
        marks = b.node("Unsqueeze", marks, b.ints([2]))
        last, (hidden,) = b.scan(step, begin, [gates, marks])
        ends = [b.node("Unsqueeze", state, first) for state in last[:exposed]]
        return [self.outputs(b, hidden), *ends]

    def step(self, b: Builder, states: Sequence[str], gates: str, marks: str) -> Sequence[str]:
        """The states, N × D, after a step, from those before it, the gates' inputs and the marks.

        The first state is the hidden one; the gates' inputs are N × gates · D, the marks N × 1.
        """
        raise self._silent("a step")

    def outputs(self, b: Builder, hidden: str) -> str:
        """The outputs of all steps, given their hidden states."""
        return hidden

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Step by step; a pass starts from the states after the pass before (recurrent_layer.cpp).

        No gradient flows from pass to pass.
        """
        sequence, marks, *others = bottoms
        exposed = self._exposed()
        static, given = others[: len(others) - exposed], others[len(others) - exposed :]
        gates = t.functional.linear(sequence.flatten(2), weights[0], weights[1])
        for value in static:
            gates = gates + t.functional.linear(value.flatten(1), weights[2])
        recurrent = weights[2 + len(static)]
        states: Tensors = [state[0] for state in given] or self._remembered(t, gates)
        hidden = []
        for inputs, mark in zip(gates, marks[..., None], strict=True):
            inputs = inputs + t.functional.linear(states[0] * mark, recurrent)
            states = self.torch_step(t, states, inputs, mark)
            hidden.append(states[0])
        t.memory["states"] = [state.detach() for state in states]
        ends = [state[None] for state in states[:exposed]]
        return [self.torch_outputs(t, t.torch.stack(hidden), weights), *ends]

    def torch_step(self, t: Torch, states: Tensors, gates: Tensor, mark: Tensor) -> Tensors:
        """As `step`, in PyTorch."""
        raise self._silent("a step in PyTorch")

    def torch_outputs(self, t: Torch, hidden: Tensor, weights: Tensors) -> Tensor:
        """As `outputs`, in PyTorch."""
        return hidden

    def _product(self, b: Builder, value: str, shape: Sequence[int], weight: int) -> str:
        """A value of this shape, if it has more axes, times the transpose of a weight matrix."""
        if len(b.dims(value)) > len(shape):
            value = b.reshape(value, shape)
        return b.node("MatMul", value, b.own(f"{weight}^T", b.array(weight).T))

    def _zeros(self, b: Builder, sequence: str) -> list[str]:
        streams = b.sizes(sequence, 1, 2)
        shape = b.node("Concat", streams, b.ints([self.param.num_output]), axis=0)
        return [b.node("Expand", b.literal(0), shape)] * self.states

    def _exposed(self) -> int:
        return self.states if self.param.expose_hidden else 0

    def _static(self, bottoms: Sequence[Shape]) -> Shape | None:
        return bottoms[2] if len(bottoms) > 2 + self._exposed() else None

    def _matrix(self, rows: int, columns: int) -> Weight:
        return Weight((rows, columns), self.param.weight_filler)

    def _biases(self, rows: int) -> Weight:
        return Weight((rows,), self.param.bias_filler)

    def _remembered(self, t: Torch, gates: Tensor) -> Tensors:
        """The states after the pass before, or zeros."""
        zeros = gates.new_zeros(gates.shape[1], self.param.num_output)
        states: Tensors = t.memory.get("states", ())
        fits = [state.shape == zeros.shape for state in states] == [True] * self.states
        return states if fits else [zeros] * self.states
