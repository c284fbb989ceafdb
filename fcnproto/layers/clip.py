"""Clip."""

from collections.abc import Iterator

from fcnproto.layers.base import Pointwise
from fcnproto.proto.caffe_pb2 import ClipParameter


class Clip(Pointwise):
    """min(max(x, min), max) (clip_layer.cpp); without clip_param both bounds are 0."""

    type = "Clip"
    settings = "clip_param"

    param: ClipParameter

    def oddities(self) -> Iterator[str]:
        """Bounds that leave one value only."""
        if not self.param.min < self.param.max:
            yield (
                f"clips to {self.param.min:g} … {self.param.max:g}: "
                "its output is the same everywhere"
            )
