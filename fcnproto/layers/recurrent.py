"""What LSTM and RNN share: sequences, and the hidden states between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

from fcnproto.layers.base import Context, Layer, Shape, Weight, between, exactly, require, show
from fcnproto.proto.caffe_pb2 import LayerParameter, RecurrentParameter


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

    def _exposed(self) -> int:
        return self.states if self.param.expose_hidden else 0

    def _static(self, bottoms: Sequence[Shape]) -> Shape | None:
        return bottoms[2] if len(bottoms) > 2 + self._exposed() else None

    def _matrix(self, rows: int, columns: int) -> Weight:
        return Weight((rows, columns), self.param.weight_filler)

    def _biases(self, rows: int) -> Weight:
        return Weight((rows,), self.param.bias_filler)
