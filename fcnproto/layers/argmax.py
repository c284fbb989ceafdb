"""ArgMax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from fcnproto.errors import LayerError
from fcnproto.layers.base import (
    Layer,
    Tensor,
    Tensors,
    Torch,
    axis_index,
    identity_along,
    require,
    shapes_of,
)
from fcnproto.layers.spatial import CoordMap
from fcnproto.proto.caffe_pb2 import ArgMaxParameter
from fcnproto.types import Dims, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


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

    def numbered_classes(self, bottoms: Sequence[Dims]) -> int | None:
        """All channels, where it says of each pixel which is the greatest."""
        (bottom,) = bottoms
        along = self.param.HasField("axis") and self.param.axis in (1, 1 - len(bottom))
        return bottom[1] if along and not self.param.out_max_val else None

    def may_score(self, top: int) -> bool:
        """Never: where it does not number classes, it has the greatest values, or places."""
        return False

    def coord_map(self) -> CoordMap:
        """The identity, if the axis is not that of rows or columns."""
        if not self.param.HasField("axis"):
            raise LayerError("without an axis it does not keep an image's pixels")
        return identity_along(self.param.axis)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """ArgMax, ReduceMax or TopK; of each image as one row where there is no axis."""
        (x,) = bottoms
        dims, top_k, values_too = b.dims(x), self.param.top_k, self.param.out_max_val
        if self.param.HasField("axis"):
            axis = self.param.axis % len(dims)
            if values_too:
                return [_greatest(b, x, axis, top_k)]
            return [_places(b, x, axis, top_k, dims[axis])]
        rows = x if len(dims) == 2 else b.node("Flatten", x)
        fixed = [size for size in dims[1:] if size is not None]
        size = prod(fixed) if len(fixed) == len(dims[1:]) else None
        found = [_places(b, rows, 1, top_k, size)]
        if values_too:
            found.append(_greatest(b, rows, 1, top_k))
        axes = b.ints([1, *range(3, len(dims))])
        tops = [b.node("Unsqueeze", row, axes) for row in found]
        return tops if len(tops) == 1 else [b.node("Concat", *tops, axis=1)]

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """The first top_k of a stable sort; of equal values the last counts as the greatest."""
        (x,) = bottoms
        if self.param.HasField("axis"):
            axis = axis_index(self.param.axis, tuple(x.shape))
            values, places = self._greatest(t, x, axis)
            return [values if self.param.out_max_val else places.to(x.dtype)]
        values, places = self._greatest(t, x.reshape(len(x), -1), 1)
        both = [places.to(x.dtype), values][: 1 + self.param.out_max_val]
        top = t.torch.stack(both, 1)
        return [top.reshape(self.output_shapes(shapes_of(bottoms))[0])]

    def _greatest(self, t: Torch, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The top_k greatest values along an axis, and where they stand."""
        ordered = t.torch.sort(x.flip(axis), dim=axis, descending=True, stable=True)
        wanted = slice(self.param.top_k)
        values, places = (part.movedim(axis, 0)[wanted].movedim(0, axis) for part in ordered)
        return values, x.shape[axis] - 1 - places


def _greatest(b: Builder, x: str, axis: int, top_k: int) -> str:
    """The top_k greatest values along an axis, in falling order."""
    if top_k == 1:
        return b.reduce("ReduceMax", x, [axis])
    values, _ = b.node_with("TopK", [x, b.ints([top_k])], 2, axis=axis)
    return values


def _places(b: Builder, x: str, axis: int, top_k: int, size: int | None) -> str:
    """Where they are on an axis of that size; of equal values the last comes first.

    Caffe sorts pairs of value and index, both falling. TopK takes the first of equal values first,
    and so gets them backwards.
    """
    if top_k == 1:
        return b.floats(b.node("ArgMax", x, axis=axis, select_last_index=1))
    start, end, step = (b.ints([number]) for number in (-1, -(2**63), -1))
    backwards = b.node("Slice", x, start, end, b.ints([axis]), step)
    _, found = b.node_with("TopK", [backwards, b.ints([top_k])], 2, axis=axis)
    if size is None:
        last = b.node("Sub", b.sizes(x, axis, axis + 1), b.ints([1]))
    else:
        last = b.ints([size - 1])
    return b.floats(b.node("Sub", last, found))
