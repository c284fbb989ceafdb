"""What does not reach the output is not computed.

- A layer that multiplies and adds for each channel (BatchNorm by stored statistics, BN, Scale,
  Bias, Power) becomes a part of the convolution before it, or of the one behind it: with
  y = W ∗ x + c, a · y + b is (a · W) ∗ x + (a · c + b), and W ∗ (a · x + b) is
  (W · a) ∗ x + (c + Σ W · b). Kernels are multiplied in float64.
- A Crop moves up before layers that work pixel by pixel, so that they see only what it keeps.
- Layers whose tops nobody reads are dropped.

Layers that depend on no input stay, for runtimes compute them once, when they load a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fcnproto.errors import LayerError
from fcnproto.exporting.filled import Filled, Step
from fcnproto.exporting.rewrite.base import ITSELF, Rewritten, moved, read_once
from fcnproto.exporting.rewrite.crops import with_crops_raised
from fcnproto.exporting.rewrite.matrix_upsampling import separated
from fcnproto.layers.base import Layer, axis_index
from fcnproto.layers.batch_norm import BatchNorm
from fcnproto.layers.bias import Bias
from fcnproto.layers.bn import BN, Form
from fcnproto.layers.convolution import Convolution
from fcnproto.layers.convolution_depthwise import ConvolutionDepthwise
from fcnproto.layers.deconvolution import Deconvolution
from fcnproto.layers.depthwise_convolution import DepthwiseConvolution
from fcnproto.layers.inner_product import InnerProduct
from fcnproto.layers.power import Power
from fcnproto.layers.scale import Scale
from fcnproto.layers.spatial import Window
from fcnproto.model.builder import TitledArray
from fcnproto.types import Array, Shape


def dead(net: Filled) -> Rewritten:
    """The net without what its outputs do not need; it comes before `upsampling`."""
    steps = _folded_into_what_follows(net, _folded_into_what_precedes(net))
    if len(steps) < len(net.steps):
        net = net.rewritten(steps)
    return Rewritten(_needed(with_crops_raised(net)))


def _needed(net: Filled) -> Filled:
    """The net without layers that no output depends on; its inputs stay."""
    wanted = set(net.graph.outputs)
    kept: list[Step] = []
    for step in reversed(net.steps):
        if step.node.layer.feeds or wanted.intersection(step.node.tops):
            kept.append(step)
            wanted.update(step.node.bottoms)
    return net if len(kept) == len(net.steps) else net.rewritten(kept[::-1])


# Factors and shifts of channels -------------------------------------------------------------------


@dataclass(frozen=True)
class PerChannel:
    """factors · x + shifts, in float64; each is a scalar, or one number for each channel."""

    factors: Array
    shifts: Array
    axis: int
    """That of the channels, where they are not scalars."""


def _per_channel(net: Filled, step: Step) -> PerChannel | None:
    """What a layer multiplies and adds, if it does nothing else."""
    rule, node = _PER_CHANNEL.get(type(step.node.layer)), step.node
    shapes = [net.shapes.blobs[blob] for blob in node.bottoms]
    if rule is None or len(node.bottoms) != 1 or len(node.tops) != 1 or shapes[0] is None:
        return None
    found = rule(node.layer, [array.array.astype(np.float64) for array in step.arrays], shapes[0])
    if found is None or found.factors.ndim > 1 or not _finite(found.factors, found.shifts):
        return None
    return found


def _batch_norm(layer: Any, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
    if layer.reaches([bottom]) != [ITSELF]:
        return None  # by the batch's own statistics
    factor = arrays[2].item()
    mean, variance = (array / factor if factor else 0 * array for array in arrays[:2])
    return _normalized(np.ones_like(mean), np.zeros_like(mean), mean, variance, layer.param.eps)


def _bn(layer: Any, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
    if layer.reaches([bottom]) != [ITSELF]:
        return None
    flat = [array.reshape(-1) for array in arrays]
    if layer.form is Form.SEGNET:
        factors, shifts = flat
        return PerChannel(factors, shifts, axis=1)
    slope, bias, mean, variance = flat
    return _normalized(slope, bias, mean, variance, layer.param.eps)


def _normalized(
    slope: Array, bias: Array, mean: Array, variance: Array, eps: float
) -> PerChannel | None:
    if not (variance + eps > 0).all():
        return None
    factors = slope / np.sqrt(variance + eps)
    return PerChannel(factors, bias - mean * factors, axis=1)


def _scale(layer: Any, arrays: Sequence[Array], bottom: Shape) -> PerChannel:
    factors, *shifts = arrays
    axis = axis_index(layer.param.axis, bottom) if factors.ndim else 0
    return PerChannel(factors, shifts[0] if shifts else np.zeros_like(factors), axis)


def _bias(layer: Any, arrays: Sequence[Array], bottom: Shape) -> PerChannel:
    (shifts,) = arrays
    axis = axis_index(layer.param.axis, bottom) if shifts.ndim else 0
    return PerChannel(np.ones_like(shifts), shifts, axis)


def _power(layer: Any, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
    param = layer.param
    if param.power != 1 or param.scale == 0:
        return None
    return PerChannel(
        np.float64(param.scale) * np.ones(()), np.float64(param.shift) * np.ones(()), 0
    )


_PER_CHANNEL: Mapping[type[Layer], Callable[[Any, Sequence[Array], Shape], PerChannel | None]] = {
    BatchNorm: _batch_norm,
    BN: _bn,
    Scale: _scale,
    Bias: _bias,
    Power: _power,
}


# Into convolutions --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """Where a layer's output channels are, and how its kernels take a factor for each."""

    axis: Callable[[Any, Shape], int]
    times: Callable[[Any, Array, Array], Array]


def _first_axis(layer: Any, kernels: Array, factors: Array) -> Array:
    return kernels * factors.reshape(-1, *[1] * (kernels.ndim - 1))


def _deconvolved(layer: Any, kernels: Array, factors: Array) -> Array:
    """Its kernels are C × O/group × …, so that each group of inputs has its own outputs."""
    group = layer.param.group
    pairs = kernels.reshape(group, -1, *kernels.shape[1:])
    factors = factors.reshape(group, 1, -1, *[1] * (kernels.ndim - 2))
    return (pairs * factors).reshape(kernels.shape)


def _matrix(layer: Any, kernels: Array, factors: Array) -> Array:
    return kernels * factors if layer.param.transpose else kernels * factors[:, None]


def _own_axis(layer: Any, top: Shape) -> int:
    return axis_index(layer.param.axis, top)


_RULES: Mapping[type[Layer], _Rule] = {
    Convolution: _Rule(_own_axis, _first_axis),
    DepthwiseConvolution: _Rule(_own_axis, _first_axis),
    ConvolutionDepthwise: _Rule(lambda layer, top: 1, _first_axis),
    Deconvolution: _Rule(_own_axis, _deconvolved),
    InnerProduct: _Rule(lambda layer, top: len(top) - 1, _matrix),
}


def _folded_into_what_precedes(net: Filled) -> list[Step]:
    """The steps, with what alone reads a convolution's top made a part of the convolution."""
    steps: list[Step] = []
    places: dict[str, int] = {}
    for step in net.steps:
        found = _per_channel(net, step)
        blob = step.node.bottoms[0] if found is not None else ""
        if found is not None and blob in places and read_once(net.graph, blob):
            shape = net.shapes.blobs[blob]
            folded = _with_outputs(steps[places[blob]], found, shape)
            if folded is not None:
                steps[places[blob]] = moved(folded, folded.node.bottoms, step.node.tops)
                places[step.node.tops[0]] = places[blob]
                continue
        places |= dict.fromkeys(step.node.tops, len(steps))
        steps.append(step)
    return steps


def _with_outputs(step: Step, found: PerChannel, top: Shape | None) -> Step | None:
    """A convolution whose tops are multiplied and added to; None if it cannot be that."""
    layer = step.node.layer
    rule = _RULES.get(type(layer))
    if rule is None or top is None or len(step.node.tops) != 1:
        return None
    if found.factors.ndim and found.axis != rule.axis(layer, top):
        return None
    outputs = top[rule.axis(layer, top)]
    kernels, *biases = (array.array.astype(np.float64) for array in step.arrays)
    factors, shifts = (np.broadcast_to(each, outputs) for each in (found.factors, found.shifts))
    if _is_upsampling(layer, kernels) and np.ptp(factors):
        return None  # it stays one kernel for all channels, which is worth more
    bias = factors * biases[0] + shifts if biases else shifts
    return _with_arrays(step, rule.times(layer, kernels, factors), bias)


def _is_upsampling(layer: Layer, kernels: Array) -> bool:
    """Whether it is a Deconvolution that enlarges each channel by the same kernel."""
    if not isinstance(layer, Deconvolution) or kernels.ndim != 4:
        return False
    try:
        separated(kernels, layer.param.group)
    except LayerError:
        return False
    return True


def _folded_into_what_follows(net: Filled, steps: Sequence[Step]) -> list[Step]:
    """The steps, with what a convolution alone reads made a part of the convolution."""
    made = {top: step for step in steps for top in step.node.tops}
    gone: set[str] = set()
    folded: list[Step] = []
    for step in steps:
        while (
            earlier := made.get(step.node.bottoms[0]) if step.node.bottoms else None
        ) is not None:
            blob, found = step.node.bottoms[0], _per_channel(net, earlier)
            if found is None or not read_once(net.graph, blob):
                break
            changed = _with_inputs(step, found, net.shapes.blobs[blob])
            if changed is None:
                break
            gone.add(blob)
            step = moved(changed, earlier.node.bottoms, step.node.tops)
        folded.append(step)
    return [step for step in folded if not gone.intersection(step.node.tops)]


def _with_inputs(step: Step, found: PerChannel, bottom: Shape | None) -> Step | None:
    """A Convolution whose bottom is multiplied and added to; None if it cannot be that."""
    layer = step.node.layer
    if type(layer) not in (Convolution, DepthwiseConvolution) or bottom is None:
        return None
    assert isinstance(layer, Convolution)
    axis, group = axis_index(layer.param.axis, bottom), layer.param.group
    if len(step.node.bottoms) != 1 or (found.factors.ndim and found.axis != axis):
        return None
    if found.shifts.any() and any(map(_reads_zeros, layer.windows(bottom))):
        return None  # to those around the image nothing is added
    kernels, *biases = (array.array.astype(np.float64) for array in step.arrays)
    factors, shifts = (
        np.broadcast_to(each, bottom[axis]).reshape(group, 1, -1, *[1] * (kernels.ndim - 2))
        for each in (found.factors, found.shifts)
    )
    pairs = kernels.reshape(group, -1, *kernels.shape[1:])
    bias = (pairs * shifts).sum(axis=tuple(range(2, pairs.ndim))).reshape(-1)
    bias = bias + biases[0] if biases else bias
    return _with_arrays(step, (pairs * factors).reshape(kernels.shape), bias)


def _reads_zeros(window: Window) -> bool:
    """Whether it may cover pixels outside: as padding, or past the end by less than a stride."""
    return window.pad > 0 or (window.extent > 1 and window.stride > 1)


def _with_arrays(step: Step, kernels: Array, bias: Array) -> Step | None:
    """A convolution with other kernels and biases; None if float32 does not hold them."""
    node = step.node
    arrays = [kernels, bias] if len(step.arrays) > 1 or bias.any() else [kernels]
    with np.errstate(over="ignore"):
        arrays = [array.astype(np.float32) for array in arrays]
    if not _finite(*arrays):
        return None
    proto = type(node.layer.proto)()
    proto.CopyFrom(node.layer.proto)
    proto.ClearField("param")  # what it shared with others is now its own
    getattr(proto, str(node.layer.settings)).bias_term = len(arrays) > 1
    named = tuple(
        TitledArray(f"{node.tops[0]}/folded/{index}", array) for index, array in enumerate(arrays)
    )
    return Step(replace(node, layer=type(node.layer)(proto, node.layer.context)), named)


def _finite(*arrays: Array) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
