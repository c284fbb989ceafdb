"""DepthwiseConvolution, of forks."""

from __future__ import annotations

from fcnproto.layers.base import require
from fcnproto.layers.convolution import Convolution


class DepthwiseConvolution(Convolution):
    """A Convolution with a group for each input channel (yonghenglh6/DepthwiseConvolution).

    For any other group the fork's GPU code computes something else than its CPU code.
    """

    type = "DepthwiseConvolution"
    fork = "DepthwiseConvolution"

    @property
    def zeros(self) -> None:
        """None: runtimes have kernels of their own for it, which no other form is faster than."""
        return None

    def _check_channels(self, channels: int) -> None:
        super()._check_channels(channels)
        group = self.param.group
        require(group == channels, f"group must be the {channels} input channels, found {group}")
