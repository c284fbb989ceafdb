"""DummyData."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from fcnproto.errors import LayerError
from fcnproto.layers import fillers
from fcnproto.layers.base import Layer, Tensors, Torch, at_least, exactly, require
from fcnproto.proto.caffe_pb2 import DummyDataParameter, FillerParameter
from fcnproto.types import Shape

Each = TypeVar("Each")


class DummyData(Layer):
    """Blobs from fillers: constants once, random numbers at each pass (dummy_data_layer.cpp)."""

    type = "DummyData"
    settings = "dummy_data_param"
    bottoms = exactly(0)
    feeds = True
    tops = at_least(1)

    param: DummyDataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """As shape says, or the older num, channels, height and width."""
        shapes = self._shapes()
        for filler, shape in zip(self._fillers(), shapes, strict=True):
            fillers.make(filler)
            if filler.type == "constant":  # only these are filled when the net is built
                fillers.check(filler, shape)
        return shapes

    def oddities(self) -> Iterator[str]:
        """Fillers that Caffe refuses only when it first fills their tops."""
        try:
            for filler, shape in zip(self._fillers(), self._shapes(), strict=True):
                fillers.check(filler, shape)
        except LayerError as error:
            yield from (f"Caffe stops at its first pass: {p.message}" for p in error.problems)

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """What the fillers give."""
        each = zip(self._fillers(), self._shapes(), strict=True)
        return [t.tensor(fillers.fill(filler, shape, t.rng)) for filler, shape in each]

    def _fillers(self) -> Sequence[FillerParameter]:
        given = list(self.param.data_filler) or [fillers.constant(0)]
        return self._each("data_filler", given)

    def _shapes(self) -> Sequence[Shape]:
        older = ("num", "channels", "height", "width")
        if not any(getattr(self.param, name) for name in older):
            return self._each("shape", [tuple(shape.dim) for shape in self.param.shape])
        require(not self.param.shape, f"give either shape or {', '.join(older)}, not both")
        sizes = [self._each(name, list(getattr(self.param, name))) for name in older]
        return list(zip(*sizes, strict=True))

    def _each(self, name: str, given: list[Each]) -> list[Each]:
        """What is given, for each top: once for all, or once for each."""
        tops = len(self.proto.top)
        require(
            len(given) in (1, tops),
            f"{name} must be given once, or once for each of {tops} tops, found {len(given)}",
        )
        return given * tops if len(given) == 1 else given
