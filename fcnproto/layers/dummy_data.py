"""DummyData."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from fcnproto.errors import LayerError
from fcnproto.layers import fillers
from fcnproto.layers.base import Kind, Layer, Tensors, Torch, at_least, exactly, require
from fcnproto.layers.input import Input
from fcnproto.proto.caffe_pb2 import DummyDataParameter, FillerParameter, LayerParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

Each = TypeVar("Each")


class DummyData(Layer):
    """Blobs from fillers: constants once, random numbers at each pass (dummy_data_layer.cpp)."""

    type = "DummyData"
    settings = "dummy_data_param"
    bottoms = exactly(0)
    tops = at_least(1)
    kind = Kind.DATA

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

    @property
    def feeds(self) -> bool:
        """Whether some of it is random; constants are known."""
        try:
            return any(not _is_constant(filler) for filler in self._fillers())
        except LayerError:
            return True

    def apart(self) -> Sequence[tuple[Layer, Sequence[int]]]:
        """Its constants and its random numbers."""
        try:
            fillers_, shapes = self._fillers(), self._shapes()
        except LayerError:
            return super().apart()
        groups = [
            [index for index, filler in enumerate(fillers_) if _is_constant(filler) == constant]
            for constant in (True, False)
        ]
        if not all(groups):
            return super().apart()
        return [(self._only(group, fillers_, shapes), group) for group in groups]

    def stand_in(self) -> Layer:
        """An Input of the same shapes."""
        proto = LayerParameter(name=self.name, type=Input.type, top=self.proto.top)
        for shape in self._shapes():
            proto.input_param.shape.add().dim.extend(shape)
        return Input(proto, self.context)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """ConstantOfShape."""
        return [
            b.node(
                "ConstantOfShape",
                b.ints(shape),
                value=b.attribute([filler.value]),
            )
            for filler, shape in zip(self._fillers(), self._shapes(), strict=True)
        ]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """What the fillers give."""
        each = zip(self._fillers(), self._shapes(), strict=True)
        return [t.tensor(fillers.fill(filler, shape, t.rng)) for filler, shape in each]

    def _only(
        self,
        tops: Sequence[int],
        given: Sequence[FillerParameter],
        shapes: Sequence[Shape],
    ) -> DummyData:
        proto = LayerParameter(name=self.name, type=self.type)
        for index in tops:
            proto.top.append(self.proto.top[index])
            proto.dummy_data_param.data_filler.add().CopyFrom(given[index])
            proto.dummy_data_param.shape.add().dim.extend(shapes[index])
        return DummyData(proto, self.context)

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


def _is_constant(filler: FillerParameter) -> bool:
    return bool(filler.type == fillers.Constant.type)
