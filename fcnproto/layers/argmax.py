"""ArgMax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fcnproto.errors import LayerError
from fcnproto.layers.base import Layer, Shape, axis_index, identity_along, require, show
from fcnproto.layers.spatial import CoordMap
from fcnproto.proto.caffe_pb2 import ArgMaxParameter


class ArgMax(Layer):
    """The indices of the top_k greatest values, or those values (argmax_layer.cpp).

    With an axis: along it, indices, or values if out_max_val. Without: over all of each image,
    N × 1 × k indices, or N × 2 × k indices and then values, with ones up to the bottom's rank.
    """

    type = "ArgMax"
    settings = "argmax_param"

    param: ArgMaxParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape with top_k along the axis, or N × 1 or 2 × top_k × 1 …"""
        (bottom,) = bottoms
        top_k = self.param.top_k
        require(top_k >= 1, "top_k must be positive, found 0")
        if self.param.HasField("axis"):
            axis = axis_index(self.param.axis, bottom)
            require(
                top_k <= bottom[axis],
                f"top_k {top_k} is more than the {bottom[axis]} values of axis {axis} of a blob of "
                f"shape {show(bottom)}",
            )
            return [(*bottom[:axis], top_k, *bottom[axis + 1 :])]
        require(len(bottom) > 0, "a blob with at least 1 axis is needed, found a scalar")
        values = prod(bottom[1:])
        require(
            top_k <= values,
            f"top_k {top_k} is more than the {values} values of each image of shape "
            f"{show(bottom[1:])}",
        )
        ones = (1,) * (len(bottom) - 3)
        return [(bottom[0], 2 if self.param.out_max_val else 1, top_k, *ones)]

    def coord_map(self) -> CoordMap:
        """The identity, if the axis is not that of rows or columns."""
        if not self.param.HasField("axis"):
            raise LayerError("without an axis it does not keep an image's pixels")
        return identity_along(self.param.axis)
