"""AutoCrop, the crop of before BVLC Caffe had one."""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Kind, Layer, exactly, nchw
from fcnproto.layers.crop import Crop
from fcnproto.types import Shape


class AutoCrop(Layer):
    """The first bottom cut to where the second lies, which Caffe finds from the layers between.

    The FCNs of 2014 and 2015 write it as CROP of the V1 format (crop_layer.cpp of their branch),
    RCF as AutoCrop. A graph has a Crop with the offset in its place.
    """

    type = "AutoCrop"
    hands_on = True
    fork = "fcn of 2015, rcf"
    bottoms = exactly(2)
    kind = Kind.CROP
    awaits_offset = True

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's items and channels, the second's rows and columns."""
        return [(*nchw(bottoms[0])[:2], *nchw(bottoms[1])[2:])]

    def cut_at(self, rows: int, columns: int) -> Crop:
        """A Crop."""
        return Crop(self.proto, self.context).cut_at(rows, columns)
