"""What does not reach the output is not computed.

- A layer that multiplies and adds for each channel (BatchNorm by stored statistics, BN, Scale,
  Bias, Power) becomes a part of the convolution before it, or of the one behind it: with
  y = W ∗ x + c, a · y + b is (a · W) ∗ x + (a · c + b), and W ∗ (a · x + b) is
  (W · a) ∗ x + (c + Σ W · b). Kernels are multiplied in float64.
- A Crop moves up before layers that work pixel by pixel, so that they see only what it keeps.
- Layers whose tops nobody reads are dropped.

Layers that depend on no input stay: runtimes compute them once, when they load a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fcnproto.errors import LayerError
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import Rewritten, moved, read_once
from fcnproto.exporting.rewrite.crops import with_crops_raised
from fcnproto.exporting.rewrite.matrix_upsampling import separated
from fcnproto.layers.base import Layer, PerChannel
from fcnproto.model.builder import TitledArray
from fcnproto.proto.caffe_pb2 import LayerParameter
from fcnproto.types import Array, Shape


def fold(net: Filled) -> Rewritten:
    """The net without what its outputs do not need; it comes before `upsampling`."""
    steps = _folded_into_what_follows(net, _folded_into_what_precedes(net))
    if len(steps) < len(net.steps):
        net = net.rewritten(steps)
    return Rewritten(_needed(with_crops_raised(net)))


def _needed(net: Filled) -> Filled:
    """The net without layers that no output depends on; its inputs stay."""
    wanted = set(net.graph.outputs)
    kept: list[FilledLayer] = []
    for step in reversed(net.steps):
        if step.node.layer.feeds or wanted.intersection(step.node.tops):
            kept.append(step)
            wanted.update(step.node.bottoms)
    return net if len(kept) == len(net.steps) else net.rewritten(kept[::-1])


def _per_channel(net: Filled, step: FilledLayer) -> PerChannel | None:
    """What a layer multiplies and adds, if it does nothing else."""
    node = step.node
    shapes = [net.shapes.blobs[blob] for blob in node.bottoms]
    if len(node.bottoms) != 1 or len(node.tops) != 1 or shapes[0] is None:
        return None
    arrays = [array.array.astype(np.float64) for array in step.arrays]
    found = node.layer.per_channel(arrays, shapes[0])
    if found is None or found.factors.ndim > 1 or not _finite(found.factors, found.shifts):
        return None
    return found


def _folded_into_what_precedes(net: Filled) -> list[FilledLayer]:
    """The steps, with what alone reads a convolution's top made a part of the convolution."""
    steps: list[FilledLayer] = []
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


def _with_outputs(step: FilledLayer, found: PerChannel, top: Shape | None) -> FilledLayer | None:
    """A convolution whose tops are multiplied and added to; None if it cannot be that."""
    layer = step.node.layer
    axis = None if top is None else layer.output_axis(top)
    if top is None or axis is None or len(step.node.tops) != 1:
        return None
    if found.factors.ndim and found.axis != axis:
        return None
    kernels, *biases = (array.array.astype(np.float64) for array in step.arrays)
    factors, shifts = (np.broadcast_to(each, top[axis]) for each in (found.factors, found.shifts))
    if _is_upsampling(layer, kernels) and np.ptp(factors):
        return None  # it stays one kernel for all channels, which is worth more
    bias = factors * biases[0] + shifts if biases else shifts
    return _with_arrays(step, layer.with_output_factors(kernels, factors), bias)


def _is_upsampling(layer: Layer, kernels: Array) -> bool:
    """Whether it is a Deconvolution that enlarges each channel by the same kernel."""
    if not layer.deconvolves or kernels.ndim != 4:
        return False
    try:
        separated(kernels, layer.param.group)
    except LayerError:
        return False
    return True


def _folded_into_what_follows(net: Filled, steps: Sequence[FilledLayer]) -> list[FilledLayer]:
    """The steps, with what a convolution alone reads made a part of the convolution."""
    made = {top: step for step in steps for top in step.node.tops}
    gone: set[str] = set()
    folded: list[FilledLayer] = []
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


def _with_inputs(step: FilledLayer, found: PerChannel, bottom: Shape | None) -> FilledLayer | None:
    """A Convolution whose bottom is multiplied and added to; None if it cannot be that."""
    if len(step.node.bottoms) != 1 or bottom is None or not step.arrays:
        return None
    kernels, *biases = (array.array.astype(np.float64) for array in step.arrays)
    changed = step.node.layer.with_input_factors(kernels, found, bottom)
    if changed is None:
        return None
    kernels, bias = changed
    return _with_arrays(step, kernels, bias + biases[0] if biases else bias)


def _with_arrays(step: FilledLayer, kernels: Array, bias: Array) -> FilledLayer | None:
    """A convolution with other kernels and biases; None if float32 does not hold them."""
    node = step.node
    arrays = [kernels, bias] if len(step.arrays) > 1 or bias.any() else [kernels]
    with np.errstate(over="ignore"):
        arrays = [array.astype(np.float32) for array in arrays]
    if not _finite(*arrays):
        return None

    def change(proto: LayerParameter) -> None:
        proto.ClearField("param")  # what it shared with others is now its own
        getattr(proto, str(node.layer.settings)).bias_term = len(arrays) > 1

    named = tuple(
        TitledArray(f"{node.tops[0]}/folded/{index}", array) for index, array in enumerate(arrays)
    )
    return FilledLayer(replace(node, layer=node.layer.with_settings(change)), named)


def _finite(*arrays: Array) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
