"""BN, of PSPNet and of SegNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from math import prod
from typing import TYPE_CHECKING

from fcnproto.errors import LayerError
from fcnproto.layers.base import (
    Kind,
    PerChannel,
    Plane,
    Pointwise,
    Tensor,
    Tensors,
    Torch,
    Weight,
    all_of,
    between,
    nchw,
    require,
)
from fcnproto.layers.batch_norm import by_statistics, normalized
from fcnproto.proto.caffe_pb2 import (
    TEST,
    BNParameter,
    FillerParameter,
    ParamSpec,
)
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder


class Form(Enum):
    """Whose BN a layer is: they share nothing but the name."""

    PSPNET = "PSPNet"
    SEGNET = "SegNet"


_FIELDS = {
    Form.PSPNET: ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine"),
    Form.SEGNET: ("bn_mode", "scale_filler", "shift_filler"),
}
SEGNET_EPS = 1e-9

_WEIGHTS = {4: Form.PSPNET, 2: Form.SEGNET}


class BN(Pointwise):
    """Batch normalization with scale and shift, in one of two forms (bn_layer.cpp of each fork).

    PSPNet's: slope · (x − mean) / √(variance + eps) + bias with the weights slope, bias, running
    mean and running variance; in training, unless frozen, with the batch's mean and variance.
    SegNet's has the weights scale and shift. With bn_mode LEARN, in TEST too, it is
    scale · (x − m) / √(v + 1e-9) + shift with the batch's mean m and variance v, which two more
    tops can give; with INFERENCE it is scale · x + shift. All weights are 1 × C × 1 × 1.
    """

    type = "BN"
    fork = "pspnet, segnet"
    settings = "bn_param"
    tops = between(1, 3)
    kind = Kind.NORMALIZATION

    param: BNParameter

    @property
    def form(self) -> Form | None:
        """Whose BN it is, by its settings, its tops or its weights; None if nothing tells.

        Raises LayerError if they contradict each other, or if it has other weights than both.
        """
        arrays = len(self.proto.blobs)
        if arrays and arrays not in _WEIGHTS:
            raise LayerError(f"it should have 4 weights (PSPNet) or 2 (SegNet), found {arrays}")
        clues = list(self._clues())
        if len({form for form, _ in clues}) > 1:
            reasons = "; ".join(f"{reason}: {form.value}" for form, reason in clues)
            raise LayerError(f"it mixes PSPNet's BN with SegNet's ({reasons})")
        return clues[0][0] if clues else None

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape; SegNet's mean and variance are 1 × C × 1 × 1."""
        image = nchw(bottoms[0])
        require(prod(image) > 0, f"its bottom is empty: {show(bottoms[0])}")
        if self.form is Form.SEGNET:
            return [image, *[(1, image[1], 1, 1)] * (len(self.proto.top) - 1)]
        return super().output_shapes(bottoms)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """SegNet's scale and shift, or PSPNet's slope, bias, mean and variance."""
        if self.form is Form.SEGNET:
            fillers = [self.param.scale_filler, self.param.shift_filler]
        else:
            mean = FillerParameter(type="constant", value=0)
            variance = FillerParameter(type="constant", value=int(self.param.frozen))
            fillers = [self.param.slope_filler, self.param.bias_filler, mean, variance]
        shape = (1, nchw(bottoms[0])[1], 1, 1)
        return [Weight(shape, filler) for filler in fillers]

    def statistics(self, arrays: Sequence[Array]) -> tuple[Array, Array] | None:
        """PSPNet's running ones."""
        return (arrays[2], arrays[3]) if len(arrays) == 4 else None

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """A product for each number; the squares and a quotient with statistics of the batch."""
        return prod(tops[0]) * (3 if self._uses_batch else 1)

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixel itself, or all of the image where the statistics are the batch's."""
        return [all_of(bottoms[0])] if self._uses_batch else super().reaches(bottoms)

    def param_spec(self, index: int) -> ParamSpec:
        """PSPNet's statistics are not learned, nor is anything where it is frozen."""
        spec = ParamSpec()
        spec.CopyFrom(super().param_spec(index))
        if self.form is not Form.SEGNET and (index >= 2 or self.param.frozen):
            spec.lr_mult = spec.decay_mult = 0
        return spec

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """By stored statistics, by the batch's, or by none, as the form and the settings say."""
        shape = nchw(tuple(bottoms[0].shape))
        x = bottoms[0].reshape(shape)
        if self.form is not Form.SEGNET:
            return [self._pspnet(t, x, weights)]
        scale, shift = weights
        if self.param.bn_mode == BNParameter.INFERENCE:
            return [scale * x + shift]
        mean, variance = _statistics(x)
        top = scale * (x - mean) / (variance + _SEGNET_EPS).sqrt() + shift
        return [top, mean, variance][: len(self.proto.top)]

    @property
    def _uses_batch(self) -> bool:
        """Whether it normalizes by the batch's own statistics."""
        if self.form is Form.SEGNET:
            return self.param.bn_mode == BNParameter.LEARN
        return self.phase != TEST and not self.param.frozen

    def oddities(self) -> Iterator[str]:
        """What depends on the batch in TEST, and what may be either form."""
        form = self.form
        if form is None:
            yield (
                "taken for PSPNet's BN, since nothing tells it from SegNet's: "
                "add frozen: false or, for SegNet's, bn_mode to bn_param"
            )
        elif form is Form.SEGNET and self.phase == TEST and self.param.bn_mode == BNParameter.LEARN:
            yield "bn_mode LEARN normalizes by the batch's own statistics in TEST too"

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """By the stored statistics; those of a batch are not known before."""
        if self._uses_batch:
            return None
        flat = [array.reshape(-1) for array in arrays]
        if self.form is Form.SEGNET:
            scale, shift = flat
            return PerChannel(scale, shift, axis=1)
        slope, bias, mean, variance = flat
        return by_statistics(slope, bias, mean, variance, self.param.eps)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """BatchNormalization; formulas for the batch's own statistics, or folded ones."""
        if self.form is Form.SEGNET:
            return self._segnet(b, b.four_axes(bottoms[0]))
        (x,) = bottoms
        if self.phase == TEST or self.param.frozen:
            arrays = [b.own(str(index), b.array(index).reshape(-1)) for index in range(4)]
            return [b.node("BatchNormalization", x, *arrays, epsilon=self.param.eps)]
        top, _, _ = normalized(b, x, len(b.dims(x)), self.param.eps)
        slope, bias = (b.per_channel(index, len(b.dims(x))) for index in (0, 1))
        return [b.node("Add", b.node("Mul", top, slope), bias)]

    def _segnet(self, b: Builder, x: str) -> Sequence[str]:
        statistics: list[str] = []
        if self.param.bn_mode == BNParameter.LEARN:
            x, *statistics = normalized(b, x, 4, SEGNET_EPS)
        top = b.node("Add", b.node("Mul", x, b.weight(0)), b.weight(1))
        return [top, *statistics][: len(self.proto.top)]

    def _clues(self) -> Iterator[tuple[Form, str]]:
        for form, fields in _FIELDS.items():
            for name in fields:
                if self.param.HasField(name):
                    yield form, name
        if len(self.proto.top) > 1:
            yield Form.SEGNET, f"{len(self.proto.top)} tops"
        if len(self.proto.param) > 2:
            yield Form.PSPNET, f"{len(self.proto.param)} param"
        if self.proto.blobs:
            yield _WEIGHTS[len(self.proto.blobs)], f"{len(self.proto.blobs)} weights"

    def _pspnet(self, t: Torch, x: Tensor, weights: Tensors) -> Tensor:
        slope, bias, *stored = weights
        mean, variance = (statistic.detach() for statistic in stored)
        if self.phase != TEST and not self.param.frozen:
            mean, variance = _statistics(x)
            with t.torch.no_grad():
                for old, new in zip(stored, (mean, variance), strict=True):
                    old.mul_(self.param.momentum).add_(new, alpha=1 - self.param.momentum)
        if self.param.frozen:
            slope, bias = slope.detach(), bias.detach()
        return slope * (x - mean) / (variance + self.param.eps).sqrt() + bias


_SEGNET_EPS = 1e-9


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the variance of each channel, 1 × C × 1 × 1."""
    mean = x.mean((0, 2, 3), keepdim=True)
    return mean, (x - mean).square().mean((0, 2, 3), keepdim=True)
