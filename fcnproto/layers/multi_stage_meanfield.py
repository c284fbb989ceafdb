"""MultiStageMeanfield, of CRF-RNN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fcnproto.errors import CrfError, LayerError
from fcnproto.layers.base import (
    Kind,
    Layer,
    Plane,
    Tensors,
    Torch,
    Weight,
    all_of,
    between,
    require,
    shapes_of,
)
from fcnproto.layers.fillers import constant
from fcnproto.layers.spatial import IDENTITY, CoordMap
from fcnproto.proto.caffe_pb2 import MultiStageMeanfieldParameter
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.crf.mean_field import MeanField, Weights


SPATIAL, BILATERAL = 3.0, 5.0
"""The weights that the published nets start from."""

_FILTER = 2 * (3 + 6)  # products for each value: spread and gathered at 3 and at 6 vertices


class MultiStageMeanfield(Layer):
    """Mean-field inference in a dense CRF (Zheng et al. 2015; multi_stage_meanfield.cpp).

    Bottoms: the unary scores, the scores that iteration starts from (both N × C × H × W), and the
    image as the net takes it; caffe-tvg's form has an image index besides, and a second top that
    is zero. Weights, 1 × 1 × C × C: spatial, bilateral, compatibility; caffe-tvg has four more
    that count only with detections or superpixels, which are read from files of each image and
    refused. Every image of a batch is taken by itself, at any size.
    """

    type = "MultiStageMeanfield"
    is_mean_field = True
    fork = "crfasrnn"
    settings = "multi_stage_meanfield_param"
    bottoms = between(3, 4)
    tops = between(1, 2)
    kind = Kind.OTHER

    param: MultiStageMeanfieldParameter

    def mean_field(self) -> MeanField:
        """The settings of the iteration; LayerError for those that make none."""
        from fcnproto.crf.mean_field import MeanField  # numpy is heavy

        self._check_potentials()
        param = self.param
        try:
            return MeanField(
                param.theta_alpha, param.theta_beta, param.theta_gamma, param.num_iterations
            )
        except CrfError as error:
            raise LayerError(error.problems[0].message) from error

    def matrices(self, arrays: Sequence[Array]) -> Weights:
        """The three C × C matrices that the weights mean."""
        import numpy as np

        from fcnproto.crf.mean_field import Weights

        spatial, bilateral, compatibility = (
            np.asarray(array, np.float32).reshape(array.shape[-2:]) for array in arrays[:3]
        )
        if self.param.is_no_class_weights:
            one = np.eye(len(spatial), dtype=np.float32)
            return Weights(spatial[0, 0] * one, bilateral[0, 0] * one, -one)
        return Weights(spatial, bilateral, compatibility)

    def of_arrays(self, gradients: Sequence[Weights]) -> list[Array]:
        """The gradients of the three arrays, for those of the matrices, one of each image."""
        import numpy as np

        summed = [
            np.stack([getattr(each, name) for each in gradients]).sum(axis=0)
            for name in ("spatial", "bilateral", "compatibility")
        ]
        if self.param.is_no_class_weights:
            for matrix in summed:
                total = np.trace(matrix)
                matrix[:] = 0
                matrix[0, 0] = total
            summed[2][:] = 0  # it is not read
        return [matrix.reshape(1, 1, *matrix.shape) for matrix in summed]

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The unary scores' shape; caffe-tvg's second top is 1 × 1 × 1 × 200."""
        unary, start, image = bottoms[:3]
        for bottom in (unary, start, image):
            require(len(bottom) == 4, f"4 axes (N × C × H × W) are needed, found {show(bottom)}")
        require(
            unary == start,
            f"the first two bottoms must have one shape, found {show(unary)} and {show(start)}",
        )
        require(
            image[0] == unary[0] and image[2:] == unary[2:],
            f"the image must have the scores' batch, height and width, found {show(image)} and"
            f" {show(unary)}",
        )
        require(unary[1] >= 2, f"a random field needs at least two classes, found {unary[1]}")
        self.mean_field()
        return [unary, (1, 1, 1, _MOST_DETECTIONS)][: len(self.proto.top)]

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """Spatial, bilateral and compatibility matrices, and caffe-tvg's four arrays besides."""
        classes = bottoms[0][1]
        shape = (1, 1, classes, classes)
        spatial, bilateral = (
            self._diagonal(name, usual, classes)
            for name, usual in (("spatial", SPATIAL), ("bilateral", BILATERAL))
        )
        matrices = [
            Weight(shape, constant(0), diagonal)
            for diagonal in (spatial, bilateral, (-1.0,) * classes)
        ]
        if not self._is_tvg:
            return matrices
        layers = self.param.ho_num_layers if self.param.HasField("ho_num_layers") else 1
        unused = [(1, 1, 1, size) for size in (classes, classes, layers, layers)]
        return [*matrices, *(Weight(each, constant(0)) for each in unused)]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """In each iteration both filters and three products with C × C matrices."""
        per_value = _FILTER + 3 * bottoms[0][1]
        return self.param.num_iterations * prod(tops[0]) * per_value

    def coord_map(self) -> CoordMap:
        """The identity."""
        return IDENTITY

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """All of the scores and of the image."""
        return [*map(all_of, bottoms[:3]), None][: len(bottoms)]

    def brief(self) -> str:
        """The iterations."""
        return f"{self.param.num_iterations} iterations"

    def oddities(self) -> Iterator[str]:
        """Settings that only the code of the first release takes, and that it never reads."""
        for name in (
            "spatial_filter_weight",
            "bilateral_filter_weight",
            "forced_spatial_filter_weight",
            "forced_bilateral_filter_weight",
        ):
            if self.param.HasField(name) and self._is_tvg:
                yield f"{name} stops caffe-tvg, and no other version reads it"

    def obstacle(self) -> str | None:
        """None: a model ends before it, and what runs the model computes it."""
        return None

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Computed by numpy, image by image; backward as the layer's own (mean_field.py).

        The image gets no gradient, and the normalisation of the kernels counts as constant.
        """
        shapes = self.output_shapes(shapes_of(bottoms))
        unary, start, image = bottoms[:3]
        top = _function(t.torch).apply(self, unary, start, image, *weights[:3])
        return [top, *(t.torch.zeros(shape, device=top.device) for shape in shapes[1:])]

    @property
    def _is_tvg(self) -> bool:
        """Whether it is caffe-tvg's form, by what only that form has."""
        return (
            len(self.proto.bottom) == 4
            or len(self.proto.top) == 2
            or len(self.proto.blobs) == 7
            or self.param.is_no_class_weights
        )

    def _check_potentials(self) -> None:
        for name, what in (
            ("detection_potentials_enabled", "detections"),
            ("ho_potentials_enabled", "superpixels"),
            ("ho_w2_enabled", "superpixels"),
        ):
            require(
                not getattr(self.param, name),
                f"{name} asks for {what}, which caffe-tvg reads from files of each image: nets"
                " with them are not supported",
            )

    def _diagonal(self, name: str, usual: float, classes: int) -> tuple[float, ...]:
        """What the fork starts a matrix's diagonal from.

        Where the settings do not say it, the published nets' weights: the first release reads
        files in the working directory, and the others stop.
        """
        field, scalar = f"{name}_filter_weights_str", f"{name}_filter_weight"
        text = getattr(self.param, field)
        if not text:
            value = getattr(self.param, scalar) if self.param.HasField(scalar) else usual
            return (value,) * classes
        try:
            values = tuple(map(float, text.split()))
        except ValueError as error:
            raise LayerError(f"{field} must be numbers with spaces, found '{text}'") from error
        needed = 1 if self.param.is_no_class_weights else classes
        require(
            len(values) >= needed,
            f"{field} must have a number for each of the {needed} classes, found {len(values)}",
        )
        return (*values, *values[:1] * classes)[:classes]


_MOST_DETECTIONS = 200


@cache
def _function(torch: ModuleType) -> Any:
    """The layer as a function of PyTorch, made when PyTorch is there."""
    import numpy as np

    def numbers(tensor: Any) -> Array:
        array: Array = tensor.detach().cpu().numpy()
        return array

    class MeanFieldFunction(torch.autograd.Function):  # type: ignore[misc,name-defined]
        """Forward and backward of MultiStageMeanfield on N images."""

        @staticmethod
        def forward(
            ctx: Any,
            layer: MultiStageMeanfield,
            unary: Any,
            start: Any,
            image: Any,
            *arrays: Any,
        ) -> Any:
            field, weights = layer.mean_field(), layer.matrices([*map(numbers, arrays)])
            images = list(zip(numbers(unary), numbers(start), numbers(image), strict=True))
            if any(ctx.needs_input_grad):
                done = [field.forward(*each, weights) for each in images]
                ctx.passed = [passed for _, passed in done]
                ctx.layer, ctx.field, ctx.weights = layer, field, weights
                scores = [each for each, _ in done]
            else:
                scores = [field(*each, weights) for each in images]
            return torch.as_tensor(np.stack(scores), device=unary.device)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> tuple[Any, ...]:
            found = [
                ctx.field.backward(each, passed, ctx.weights)
                for each, passed in zip(numbers(gradient), ctx.passed, strict=True)
            ]
            of_arrays = ctx.layer.of_arrays([each.weights for each in found])
            of_scores = [
                np.stack([each.unary for each in found]),
                np.stack([each.q0 for each in found]),
            ]
            unary, start, *weights = (
                torch.as_tensor(array, device=gradient.device) for array in of_scores + of_arrays
            )
            return None, unary, start, None, *weights

    return MeanFieldFunction
