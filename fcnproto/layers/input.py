"""Input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fcnproto.layers.base import Kind, Layer, at_least, exactly, require
from fcnproto.proto.caffe_pb2 import InputParameter
from fcnproto.types import Shape

IMAGE_AXES = 4


class Input(Layer):
    """The blobs that a net's user fills (input_layer.cpp)."""

    type = "Input"
    settings = "input_param"
    other_settings = ("python_param",)  # ours say in its param_str where the data lie
    bottoms = exactly(0)
    feeds = True
    tops = at_least(1)
    kind = Kind.DATA

    param: InputParameter

    @property
    def awaits_shape(self) -> bool:  # type: ignore[override]
        """Whether none is given; a shape of no axes is one, a scalar's."""
        return not self.param.shape

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """As given: once for all tops, or once for each; a context's size replaces H × W."""
        shapes = [self._sized(tuple(shape.dim)) for shape in self.param.shape] or [()]
        tops = len(self.proto.top)
        require(
            len(shapes) in (1, tops),
            f"shape must be given once, or once for each of {tops} tops, or not at all; found"
            f" {len(shapes)}",
        )
        return shapes * tops if len(shapes) == 1 else shapes

    def oddities(self) -> Iterator[str]:
        """An input without a shape: Caffe makes a scalar that holds nothing."""
        if self.awaits_shape:
            yield "it has no shape: its tops are scalars until a program reshapes them"

    def _sized(self, shape: Shape) -> Shape:
        size = self.context.size
        return shape if size is None or len(shape) != IMAGE_AXES else (*shape[:2], *size)
