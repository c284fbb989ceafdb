"""ELU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import ELUParameter

if TYPE_CHECKING:
    from fcnproto.builder import Builder


class ELU(Pointwise):
    """x where x > 0, else alpha · (exp(x) − 1) (elu_layer.cpp)."""

    type = "ELU"
    settings = "elu_param"

    param: ELUParameter

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Elu."""
        return [b.node("Elu", bottoms[0], alpha=self.param.alpha)]
