"""Unpooling, of DeconvNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Kind, Layer, Tensors, Torch, nchw, require
from fcnproto.proto.caffe_pb2 import UnpoolingParameter
from fcnproto.types import Array, Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Unpooling(Layer):
    """A larger map of a given size, without a mask (DeconvNet, unpooling_layer.cpp).

    MAX puts each value at its window's first pixel, clamped to the map. AVE shares it out over the
    window as far as that lies in the map, TILE repeats it there; where windows overlap they add up.
    With a mask it is Upsample, as which it is read.
    """

    type = "Unpooling"
    fork = "deconvnet"
    settings = "unpooling_param"
    kind = Kind.UPSAMPLING
    size_is_fixed = True

    param: UnpoolingParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × C × the size that is given."""
        num, channels, *_ = nchw(bottoms[0])
        height = self.param.unpool_h or self.param.unpool_size
        width = self.param.unpool_w or self.param.unpool_size
        require(height > 0 and width > 0, "unpool_size, or unpool_h and unpool_w, must be given")
        require(all(kernel > 0 for kernel in self._kernels()), "kernel_size must be given")
        require(all(stride > 0 for stride in self._strides()), "stride must be above 0")
        pads = self.param.pad, self.param.pad_h, self.param.pad_w
        require(not any(pads), "pad must be 0")
        return [(num, channels, height, width)]

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """A matrix product for rows, and one for columns."""
        (x,) = bottoms
        shape = tuple(size or 1 for size in b.dims(x))
        rows, columns = self._matrices(shape)
        x = b.node("MatMul", b.own("rows", rows), x)
        return [b.node("MatMul", x, b.own("columns", columns.T))]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The same products. TILE's gradient is AVE's, as in Caffe."""
        (x,) = bottoms
        rows, columns = (t.tensor(each) for each in self._matrices(tuple(x.shape)))
        top = rows @ x @ columns.T
        if self.param.unpool == UnpoolingParameter.TILE:
            rows, columns = (t.tensor(each) for each in self._matrices(tuple(x.shape), shared=True))
            course = rows @ x @ columns.T
            top = top.detach() + (course - course.detach())
        return [top]

    def _matrices(self, bottom: Shape, shared: bool = False) -> tuple[Array, Array]:
        """What each row, and each column, of the top takes of the bottom's."""
        import numpy as np

        ((*_, height, width),) = self.output_shapes([bottom])
        shared = shared or self.param.unpool == UnpoolingParameter.AVE
        found = []
        lines = zip(bottom[2:], (height, width), self._kernels(), self._strides(), strict=True)
        for size, wanted, kernel, stride in lines:
            matrix = np.zeros((wanted, size), np.float32)
            for place in range(size):
                start = place * stride
                if self.param.unpool == UnpoolingParameter.MAX:
                    row = min(start, wanted - 1)
                    matrix[row] = 0  # the last value stays
                    matrix[row, place] = 1
                elif start < wanted:
                    end = min(start + kernel, wanted)
                    matrix[start:end, place] = 1 / (end - start) if shared else 1
            found.append(matrix)
        return found[0], found[1]

    def _kernels(self) -> tuple[int, int]:
        size = self.param.kernel_size
        return self.param.kernel_h or size, self.param.kernel_w or size

    def _strides(self) -> tuple[int, int]:
        size = self.param.stride
        return self.param.stride_h or size, self.param.stride_w or size
