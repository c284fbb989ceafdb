"""Data."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import between
from fcnproto.layers.reading import Form, Reading
from fcnproto.layers.source import DataLayer
from fcnproto.proto.caffe_pb2 import DataParameter
from fcnproto.types import Shape


class Data(DataLayer):
    """Images, and labels if wanted, from a database (data_layer.cpp)."""

    type = "Data"
    settings = "data_param"
    other_settings = ("transform_param",)
    tops = between(1, 2)

    param: DataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """Images of a shape that the database knows, and a label for each."""
        self.check_transform()
        self.check_source()
        return [self.images(), (self.batch_size(),)][: len(self.proto.top)]

    def reading(self) -> Reading:
        """Arrays, or encoded images, with a number each."""
        colour = True if self.param.force_encoded_color else None
        return Reading(
            Form.DATABASE,
            self.param.source,
            self.batch_size(),
            self.transform(colour=colour),
            skip=self.param.rand_skip,
        )
