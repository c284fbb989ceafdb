"""What fills a new array: Caffe's fillers, one class each (filler.hpp)."""

from __future__ import annotations

import builtins
from math import prod, sqrt
from typing import TYPE_CHECKING, ClassVar

from fcnproto.errors import LayerError
from fcnproto.layers.base import Weight, require
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.types import Floats, Shape, show

if TYPE_CHECKING:
    import numpy as np


class Filler:
    """A way to fill an array, and what Caffe demands of its settings and of the array's shape."""

    type: ClassVar[str]
    """The name that prototxt uses."""
    least_axes: ClassVar[int] = 0

    registry: ClassVar[dict[str, builtins.type[Filler]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Filler.registry[cls.type] = cls

    def __init__(self, param: FillerParameter) -> None:
        self.param = param

    def check(self, shape: Shape) -> None:
        """Raise LayerError if Caffe would abort when it fills an array of this shape."""
        if prod(shape) <= 0:
            raise LayerError(f"filler {self.type} cannot fill an empty array, {show(shape)}")
        if len(shape) < self.least_axes:
            raise LayerError(
                f"filler {self.type} needs at least {self.least_axes} axes, found {show(shape)}"
            )
        self._check_sparse(shape)

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """A new array; where it is random, its distribution is Caffe's, its numbers are `rng`'s."""
        raise NotImplementedError(f"filler {self.type} does not fill")

    def _check_sparse(self, shape: Shape) -> None:
        require(
            self.param.sparse == -1,
            f"filler {self.type} cannot be sparse, found sparse: {self.param.sparse}",
        )


class Constant(Filler):
    """`value` everywhere."""

    type = "constant"

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """The same value everywhere."""
        import numpy as np

        return np.full(shape, self.param.value, np.float32)


class Uniform(Filler):
    """Uniform between `min` and `max`."""

    type = "uniform"

    def check(self, shape: Shape) -> None:
        """As for any filler; min must not exceed max."""
        super().check(shape)
        low, high = self.param.min, self.param.max
        require(low <= high, f"filler uniform needs min <= max, found {low:g} and {high:g}")

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """Independent numbers from min to max."""
        return _uniform(rng, self.param.min, self.param.max, shape)


class Gaussian(Filler):
    """Normal with `mean` and `std`; with `sparse`, on average that many inputs are not zero."""

    type = "gaussian"

    def check(self, shape: Shape) -> None:
        """As for any filler; std must be positive."""
        super().check(shape)
        std = self.param.std
        require(std > 0, f"filler gaussian needs a positive std, found {std:g}")

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """Independent normal numbers; with sparse, each is kept with odds of sparse / outputs."""
        values = self.param.mean + self.param.std * _normal(rng, shape)
        if self.param.sparse >= 0:
            values *= rng.random(shape, "float32") < self.param.sparse / shape[0]
        return values

    def _check_sparse(self, shape: Shape) -> None:
        sparse = self.param.sparse
        if sparse == -1:
            return
        require(sparse >= 0, f"sparse must be at least 0 (or -1 for dense), found {sparse}")
        require(len(shape) > 0, "filler gaussian with sparse needs at least one axis")
        # Each weight is kept with probability sparse / outputs.
        require(
            sparse <= shape[0],
            f"sparse must be at most the first axis of {show(shape)}, found {sparse}",
        )


class PositiveUnitball(Filler):
    """Uniform in (0, 1), then scaled so that each output's weights sum to one."""

    type = "positive_unitball"
    least_axes = 1

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """Positive numbers, each output's adding up to one."""
        rows = rng.random((shape[0], prod(shape[1:])), "float32")
        scaled: Floats = rows / rows.sum(axis=1, keepdims=True)
        return scaled.reshape(shape)


class Xavier(Filler):
    """Uniform in ±sqrt(3 / n), n being fan_in, fan_out or their average (Glorot and Bengio)."""

    type = "xavier"
    least_axes = 1

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """Independent numbers from -sqrt(3 / n) to sqrt(3 / n)."""
        bound = sqrt(3 / _fan(self.param, shape))
        return _uniform(rng, -bound, bound, shape)


class MSRA(Filler):
    """Normal with deviation sqrt(2 / n), n as for xavier (He et al.)."""

    type = "msra"
    least_axes = 1

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """Independent normal numbers of variance 2 / n."""
        return _normal(rng, shape) * sqrt(2 / _fan(self.param, shape))


class Bilinear(Filler):
    """The kernel of bilinear interpolation, in every pair of the first two axes."""

    type = "bilinear"

    def check(self, shape: Shape) -> None:
        """As for any filler; the array must have 4 axes and a square kernel."""
        super().check(shape)
        require(len(shape) == 4, f"filler bilinear needs 4 axes, found {show(shape)}")
        require(
            shape[2] == shape[3],
            f"filler bilinear needs a square kernel, found {shape[2]}×{shape[3]}",
        )

    def fill(self, shape: Shape, rng: np.random.Generator) -> Floats:
        """The same kernel for every pair of an output and an input."""
        import numpy as np

        return np.broadcast_to(bilinear_kernel(shape[-1]), shape).copy()


def bilinear_kernel(size: int) -> Floats:
    """The size × size kernel of bilinear interpolation by a factor of ceil(size / 2).

    Bit for bit Caffe's (filler.hpp, BilinearFiller), which reckons in float32.
    """
    import numpy as np

    factor = -(-size // 2)
    centre = np.float32((size - 1) / (2 * factor))
    row = np.float32(1) - np.abs(np.arange(size, dtype=np.float32) / np.float32(factor) - centre)
    kernel: Floats = np.outer(row, row)
    return kernel


def _uniform(rng: np.random.Generator, low: float, high: float, shape: Shape) -> Floats:
    return (low + (high - low) * rng.random(shape, "float32")).astype("float32", copy=False)


def _normal(rng: np.random.Generator, shape: Shape) -> Floats:
    return rng.standard_normal(shape, "float32")


def _fan(param: FillerParameter, shape: Shape) -> float:
    """How many numbers a weight is scaled by (filler.hpp, XavierFiller)."""
    count = prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    if param.variance_norm == FillerParameter.FAN_OUT:
        return fan_out
    if param.variance_norm == FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


def make(param: FillerParameter) -> Filler:
    """The filler that a message describes; LayerError if Caffe has none of that name."""
    kind = Filler.registry.get(param.type)
    if kind is None:
        raise LayerError(
            f"unknown filler '{param.type}'; Caffe has {', '.join(sorted(Filler.registry))}"
        )
    return kind(param)


def check(param: FillerParameter, shape: Shape) -> None:
    """Raise LayerError if Caffe would abort when it fills an array of this shape."""
    make(param).check(shape)


def fill(param: FillerParameter, shape: Shape, rng: np.random.Generator) -> Floats:
    """A new array, filled; LayerError if Caffe would abort."""
    filler = make(param)
    filler.check(shape)
    return filler.fill(shape, rng)


def start(weight: Weight, rng: np.random.Generator) -> Floats:
    """What a learned array is before anything is learned; LayerError if Caffe would abort."""
    array = fill(weight.filler, weight.shape, rng)
    for index, value in enumerate(weight.diagonal):
        array[..., index, index] = value
    return array


def constant(value: float) -> FillerParameter:
    """The filler of the same value everywhere."""
    return FillerParameter(type="constant", value=value)
