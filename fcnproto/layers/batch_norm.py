"""BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

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
    require,
)
from fcnproto.layers.fillers import constant
from fcnproto.proto.caffe_pb2 import (
    TEST,
    BatchNormParameter,
    ParamSpec,
)
from fcnproto.types import Array, Shape, show

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

_STATISTICS = 3  # mean, variance, factor
_FUSED = 5  # and scale and bias
_LEAST_EPS = 1e-5  # cuDNN takes no smaller one


class BatchNorm(Pointwise):
    """Each channel less its mean, over its deviation (batch_norm_layer.cpp).

    Weights: mean (C) and variance (C), both to be divided by a factor (1), where 0 stands for no
    statistics yet. Statistics are of the batch in TRAIN, the stored ones in TEST or where
    use_global_stats says so. There is no learned scale or shift: Scale has them.

    In forks it has them: with scale_bias, or a filler of either, scale (C) and bias (C) are two
    more weights (NVIDIA, batch_norm_layer.cpp). Then the factor is not looked at, the phase alone
    says whose the statistics are, and eps is at least 1e-5.
    """

    type = "BatchNorm"
    settings = "batch_norm_param"
    kind = Kind.NORMALIZATION

    param: BatchNormParameter

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's shape."""
        shape = bottoms[0]
        require(len(shape) >= 2, f"the input must have at least 2 axes, found {show(shape)}")
        require(prod(shape) > 0, f"the input must not be empty, found {show(shape)}")
        for index, spec in enumerate(() if self.is_fused else self.proto.param[:3]):
            require(
                spec.lr_mult == 0,
                f"its statistics are not learned: lr_mult of param {index} must be 0, found"
                f" {spec.lr_mult:g}",
            )
        return (shape,)

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """Mean, variance and the factor that divides both; scale and bias where it has them."""
        channels = bottoms[0][1]
        own = [Weight((size,), constant(0)) for size in (channels, channels, 1)]
        if not self.is_fused:
            return own
        given = self.param.HasField("scale_filler")
        fillers = self.param.scale_filler if given else constant(1), self.param.bias_filler
        return [*own, *(Weight((channels,), filler) for filler in fillers)]

    def arranged(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Mean, variance, factor, scale, bias, where a file has scale, bias, mean, variance, 1.

        So does Xilinx's Caffe, and so did DIGITS; the last array tells, which has one number.
        """
        if len(arrays) != _FUSED or arrays[-1].size != 1 or arrays[-1].ndim == arrays[0].size == 1:
            return arrays
        scale, bias, mean, variance, one = (array.reshape(-1) for array in arrays)
        return [mean, variance, one, scale, bias]

    def statistics(self, arrays: Sequence[Array]) -> tuple[Array, Array]:
        """The stored ones, which are 0 where the factor is, or divided by it."""
        factor = 1 if self.is_fused else arrays[2].item()
        mean, variance = (array / factor if factor else 0 * array for array in arrays[:2])
        return mean, variance

    @property
    def is_fused(self) -> bool:
        """Whether it has a scale and a bias of its own, by its settings or its arrays."""
        settings = self.param.HasField("scale_filler") or self.param.HasField("bias_filler")
        return self.param.scale_bias or settings or len(self.proto.blobs) == _FUSED

    @property
    def eps(self) -> float:
        """What is added to the variance."""
        return max(self.param.eps, _LEAST_EPS) if self.is_fused else self.param.eps

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """The quotient; the squares too where the statistics are the batch's."""
        return prod(tops[0]) * (1 if self._uses_stored else 2)

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """The pixel itself, or all of the image where the statistics are the batch's."""
        return super().reaches(bottoms) if self._uses_stored else [all_of(bottoms[0])]

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """By the stored statistics; those of a batch are not known before."""
        if not self._uses_stored:
            return None
        mean, variance = self.statistics(arrays)
        scale, bias = arrays[3:] if self.is_fused else (mean * 0 + 1, mean * 0)
        return by_statistics(scale, bias, mean, variance, self.eps)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """BatchNormalization; its formula where the statistics are the batch's own."""
        (x,) = bottoms
        if not self._uses_stored:
            rank = len(b.dims(x))
            y = normalized(b, x, rank, self.eps)[0]
            if self.is_fused:
                across = (1, -1, *[1] * (rank - 2))
                y = b.node("Mul", y, b.own("scale", b.array(3).reshape(across)))
                y = b.node("Add", y, b.own("bias", b.array(4).reshape(across)))
            return [y]
        import numpy as np

        if self.is_fused:
            mean, variance, _, scale, bias = (b.array(i) for i in range(_FUSED))
        else:
            factor = b.array(2).item()
            mean, variance = (b.array(i) * np.float32(1 / factor if factor else 0) for i in (0, 1))
            scale, bias = np.ones_like(mean), np.zeros_like(mean)
        named = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
        operands = [b.own(name, array) for name, array in named.items()]
        return [b.node("BatchNormalization", x, *operands, epsilon=self.eps)]

    def param_spec(self, index: int) -> ParamSpec:
        """That of statistics, which no gradient changes; scale and bias may come first or last."""
        specs = self.proto.param
        if index >= _STATISTICS:
            first = len(specs) <= _FUSED and any(spec.lr_mult for spec in specs[:2])
            return super().param_spec(index - _STATISTICS if first else index)
        spec = ParamSpec()
        spec.CopyFrom(super().param_spec(index))
        spec.lr_mult = 0
        return spec

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """With the stored statistics, or with the batch's, which are then stored."""
        (x,) = bottoms
        if self._uses_stored:
            factor = t.torch.ones_like(weights[2]) if self.is_fused else weights[2]
            factor = t.torch.where(factor == 0, 0, 1 / factor)
            mean, variance = (weight.detach() * factor.detach() for weight in weights[:2])
        else:
            axes = [axis for axis in range(x.dim()) if axis != 1]
            mean = x.mean(axes)
            variance = (x - _across(mean, x)).square().mean(axes)
            self._store(t, weights, mean.detach(), variance.detach(), x.numel() // x.shape[1])
        deviation = (variance + self.eps).sqrt()
        y = (x - _across(mean, x)) / _across(deviation, x)
        if self.is_fused:
            scale, bias = weights[_STATISTICS:]
            y = y * _across(scale, x) + _across(bias, x)
        return [y]

    @property
    def _uses_stored(self) -> bool:
        """Whether the statistics are the stored ones: in TEST, unless the settings say."""
        if self.param.HasField("use_global_stats") and not self.is_fused:
            return self.param.use_global_stats
        return self.phase == TEST

    def _store(
        self, t: Torch, weights: Tensors, mean: Tensor, variance: Tensor, numbers: int
    ) -> None:
        """Add the batch's statistics to the stored ones, which fade."""
        unbiased = variance * (numbers / (numbers - 1) if numbers > 1 else 1)
        kept = self.param.moving_average_fraction
        with t.torch.no_grad():
            if self.is_fused:  # a mean that fades in: the factor is not looked at
                for weight, new in zip(weights, (mean, variance + self.eps), strict=False):
                    weight.mul_(kept).add_((1 - kept) * new)
                return
            for weight, new in zip(weights, (mean, unbiased, 1), strict=True):
                weight.mul_(kept).add_(new)


def by_statistics(
    slope: Array, bias: Array, mean: Array, variance: Array, eps: float
) -> PerChannel | None:
    """slope · (x − mean) / √(variance + eps) + bias; None where that root is none."""
    if not (variance + eps > 0).all():
        return None
    factors = slope / (variance + eps) ** 0.5
    return PerChannel(factors, bias - mean * factors, axis=1)


def normalized(b: Builder, x: str, rank: int, eps: float) -> tuple[str, str, str]:
    """(x − mean) / √(variance + eps) of each channel, then the mean and the variance.

    These are of the batch itself, over all axes but the channels'.
    """
    axes = [axis for axis in range(rank) if axis != 1]
    mean = b.reduce("ReduceMean", x, axes)
    centred = b.node("Sub", x, mean)
    variance = b.reduce("ReduceMean", b.node("Mul", centred, centred), axes)
    deviation = b.node("Sqrt", b.node("Add", variance, b.literal(eps)))
    return b.node("Div", centred, deviation), mean, variance


def _across(channels: Tensor, x: Tensor) -> Tensor:
    """One number for each channel, to be combined with `x`."""
    return channels.reshape(-1, *[1] * (x.dim() - 2))
