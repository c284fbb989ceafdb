"""InnerProduct."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, Layer, Tensors, Torch, Weight, axis_index, require
from fcnproto.proto.caffe_pb2 import InnerProductParameter
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class InnerProduct(Layer):
    """Fully connected: all axes from `axis` on as one vector (inner_product_layer.cpp).

    Bottom and top: batch axes × I → batch axes × O. Weights: O × I (I × O with `transpose`), and O
    biases unless bias_term is false.
    """

    type = "InnerProduct"
    settings = "inner_product_param"
    kind = Kind.CONVOLUTION
    fully_connected = True

    param: InnerProductParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The axes before `axis`, then num_output."""
        batch = bottoms[0][: axis_index(self.param.axis, bottoms[0])]
        require(self.param.num_output > 0, "num_output must be positive, found 0")
        require(
            prod(batch) > 0 or not self.param.bias_term,
            f"a bias cannot be added to an empty batch, {show(batch)}",
        )
        return [(*batch, self.param.num_output)]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The matrix, and the biases if there are any."""
        inputs = prod(bottoms[0][axis_index(self.param.axis, bottoms[0]) :])
        outputs = self.param.num_output
        shape = (inputs, outputs) if self.param.transpose else (outputs, inputs)
        weights = [Weight(shape, self.param.weight_filler)]
        if self.param.bias_term:
            weights.append(Weight((outputs,), self.param.bias_filler))
        return weights

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A row of the matrix for each output."""
        rows, columns = self.weights(bottoms)[0].shape
        return prod(bottoms[0]) * (columns if self.param.transpose else rows)

    def brief(self) -> str:
        """The outputs."""
        return str(self.param.num_output)

    def output_axis(self, top: Shape) -> int:
        """The last."""
        return len(top) - 1

    def with_output_factors(self, kernels: Array, factors: Array) -> Array:
        """Along the rows of the matrix, or its columns if it is transposed."""
        return kernels * (factors if self.param.transpose else factors[:, None])

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Gemm of N × I; MatMul where there is another number of batch axes than one."""
        (x,) = bottoms
        rank = len(b.dims(x))
        axis = axis_index(self.param.axis, (1,) * rank)
        bias = [b.weight(1)] if self.param.bias_term else []
        if axis == 1:
            rows = x if rank == 2 else b.node("Flatten", x)
            transposed = None if self.param.transpose else 1
            return [b.node("Gemm", rows, b.weight(0), *bias, transB=transposed)]
        rows = x if axis == rank - 1 else b.node("Reshape", x, b.ints([*[0] * axis, -1]))
        matrix = b.weight(0) if self.param.transpose else b.own("weight", b.array(0).T)
        top = b.node("MatMul", rows, matrix)
        return [b.node("Add", top, *bias) if bias else top]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """linear."""
        x, (matrix, *biases) = bottoms[0], weights
        axis = axis_index(self.param.axis, tuple(x.shape))
        rows = x.reshape(*x.shape[:axis], prod(x.shape[axis:]))
        matrix = matrix.T if self.param.transpose else matrix
        return [t.functional.linear(rows, matrix, biases[0] if biases else None)]
