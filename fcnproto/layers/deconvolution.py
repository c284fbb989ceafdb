"""Deconvolution."""

from fcnproto.layers.convolution import Convolution, plane_windows
from fcnproto.layers.spatial import CoordMap, Window


class Deconvolution(Convolution):
    """The transpose of Convolution, with which nets upsample (deconv_layer.cpp).

    Weights: C × O/group × kernel, and O biases unless bias_term is false.
    """

    type = "Deconvolution"

    def coord_map(self) -> CoordMap:
        """The way back of the convolution with the same settings."""
        rows, columns = plane_windows(self.param)
        return CoordMap(rows.deconvolved_to_input(), columns.deconvolved_to_input())

    def _size(self, window: Window, size: int) -> int:
        return window.deconvolve(size)

    def _matrix(self, channels: int) -> tuple[int, int]:
        return channels, self.param.num_output // self.param.group
