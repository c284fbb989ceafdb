"""HDF5Output."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Layer, exactly, require
from fcnproto.proto.caffe_pb2 import HDF5OutputParameter
from fcnproto.types import Shape


class HDF5Output(Layer):
    """Writes its bottoms, data and labels, to a file (hdf5_output_layer.cpp)."""

    type = "HDF5Output"
    settings = "hdf5_output_param"
    bottoms = exactly(2)
    tops = exactly(0)
    writes = True

    param: HDF5OutputParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """None: it has no tops."""
        require(self.param.file_name != "", "file_name must name a file, found none")
        return ()
