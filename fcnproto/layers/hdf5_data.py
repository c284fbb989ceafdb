"""HDF5Data."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import at_least, require
from fcnproto.layers.reading import Form, Reading
from fcnproto.layers.source import DataLayer
from fcnproto.proto.caffe_pb2 import HDF5DataParameter
from fcnproto.types import Shape


class HDF5Data(DataLayer):
    """For each top the data set of its name, from the files that a list names.

    It cannot transform what it reads (hdf5_data_layer.cpp).
    """

    type = "HDF5Data"
    settings = "hdf5_data_param"
    other_settings = ()
    tops = at_least(1)

    param: HDF5DataParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """Batches of shapes that the files know."""
        require(
            not self.proto.HasField("transform_param"),
            "it does not transform data: remove transform_param",
        )
        self.check_source()
        return [self.images(), *[None] * (len(self.proto.top) - 1)]

    def reading(self) -> Reading:
        """Tables, row by row."""
        shuffle = self.param.shuffle
        return Reading(Form.TABLES, self.param.source, self.batch_size(), shuffle=shuffle)
