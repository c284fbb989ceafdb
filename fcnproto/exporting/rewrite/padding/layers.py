"""The layers that windows need: they are no layers of Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from fcnproto.layers.base import Layer, Pads, Pointwise
from fcnproto.layers.convolution import Convolution, settings_of
from fcnproto.layers.spatial import Affine, CoordMap, Window
from fcnproto.model.builder import Builder
from fcnproto.proto.caffe_pb2 import LayerParameter
from fcnproto.types import INT_MAX, Array, Shape


class PaddedConvolution(Convolution, registered=False):
    """A Convolution with a padding of its own on each side; `pads` are as ONNX orders them."""

    def __init__(self, layer: Layer, pads: Pads, *, bias: bool) -> None:
        proto = LayerParameter()
        proto.CopyFrom(layer.proto)
        proto.convolution_param.bias_term = bias
        super().__init__(proto, layer.context)
        self._pads = pads

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × O × what the kernels fit on."""
        num, _, *sizes = bottoms[0]
        outs = [
            window.within(-window.pad, size + after - 1)[1] + 1
            for size, after, window in zip(sizes, self._pads[2:], self.plane(), strict=True)
        ]
        return [(num, self.param.num_output, *outs)]

    def plane(self) -> tuple[Window, Window]:
        """The windows, with the padding before, which decides where the top's pixels lie."""
        (rows, columns), (above, left, _, _) = super().plane(), self._pads
        return replace(rows, pad=above), replace(columns, pad=left)

    @property
    def zeros(self) -> Pads:
        """As they were given."""
        return self._pads

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv with this padding."""
        operands = [b.weight(index) for index in range(b.weights)]
        settings = settings_of(self.plane(), self.param.group) | {"pads": list(self._pads)}
        return [b.node("Conv", bottoms[0], *operands, **settings)]


class Subtraction(Pointwise, registered=False):
    """A constant of each channel subtracted."""

    type = "Subtraction"

    def __init__(self, name: str, constants: Array) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.constants = constants

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """BatchNormalization, which onnxruntime computes in its blocked layout, unlike Sub."""
        ones, zeros = np.ones_like(self.constants), np.zeros_like(self.constants)
        operands = [b.literal(ones), b.own("constants", -self.constants), b.literal(zeros)]
        return [b.node("BatchNormalization", bottoms[0], *operands, b.literal(ones), epsilon=0.0)]


class Trim(Layer, registered=False):
    """Rows and columns cut off at the borders; `cuts` are as ONNX orders pads."""

    type = "Trim"

    def __init__(self, name: str, cuts: Sequence[int]) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.cuts = tuple(cuts)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """What is left."""
        above, left, below, right = self.cuts
        num, channels, height, width = bottoms[0]
        return [(num, channels, height - above - below, width - left - right)]

    def coord_map(self) -> CoordMap:
        """Shifted by what is cut off before."""
        return CoordMap(Affine(shift=Fraction(self.cuts[0])), Affine(shift=Fraction(self.cuts[1])))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Slice."""
        starts, ends = self.cuts[:2], [-cut if cut else INT_MAX for cut in self.cuts[2:]]
        return [b.node("Slice", bottoms[0], b.ints(starts), b.ints(ends), b.ints([2, 3]))]
