"""A net and its weights as one ONNX model that holds for every batch and image size.

Nothing here knows what a layer computes; layers write themselves through a Builder. What this
module decides is which layers belong to inference, which sizes stay open, and what values are
called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto

from fcnproto import __version__
from fcnproto.builder import Builder, Dims, model_of, rename
from fcnproto.errors import LayerError, NetError, Problem, Severity, WeightsError, raise_if_any
from fcnproto.graph import Graph, Node
from fcnproto.layers.base import Shape, Weight, show
from fcnproto.shapes import Place, Shapes, infer, walk

Weights = Mapping[str, Sequence[np.ndarray[Any, Any]]]
Dimensions = tuple[int | str, ...]

DEFAULT_OPSET = 21
"""The newest that onnxruntime 1.20, the oldest that is supported, reads."""


@dataclass(frozen=True)
class Inference:
    """What is left of a net for inference, and which of its sizes are open.

    `inputs` has the dimensions of each input and `outputs` of each output, a name where a size is
    open; `dims` those of every blob, None where a size follows from open ones; `shapes` is what the
    shape walk says of the net at a size that it fits.
    """

    graph: Graph
    inputs: Mapping[str, Dimensions]
    outputs: Mapping[str, Dimensions]
    dims: Mapping[str, Dims]
    shapes: Shapes


def inference(graph: Graph) -> Inference:
    """The part of a net that infers, with the sizes that it is open to.

    Raises NetError, with every problem, if it has no input or output, if its shapes do not work
    out, or if layers cannot be written in ONNX.
    """
    net = cut(graph)
    raise_if_any(NetError, _obstacles(net))
    sources = {top: node for node in net.nodes if node.layer.feeds for top in node.tops}
    walked, _ = walk(net)
    unknown = [blob for blob in sources if walked.blobs.get(blob) is None]
    raise_if_any(
        NetError,
        (
            net.problem(sources[blob], f"the shape of '{blob}' is not known without its data")
            for blob in unknown
        ),
    )
    base = {blob: shape for blob in sources if (shape := walked.blobs[blob]) is not None}
    names, probes = _open_axes(net, base)
    dims = {blob: _common([probe.blobs[blob] for probe in probes]) for blob in walked.blobs}

    def named(blob: str) -> Dimensions:
        return tuple(
            _name_of(blob, axis, names, probes) if size is None else size
            for axis, size in enumerate(dims[blob])
        )

    return Inference(
        net,
        {blob: named(blob) for blob in base},
        {blob: named(blob) for blob in net.outputs},
        dims,
        probes[0],
    )


def cut(graph: Graph) -> Graph:
    """The net without its losses and measures, and without what nothing then depends on.

    The blob that a loss or a measure compares becomes an output; labels vanish.
    """
    kept = [node for node in graph.nodes if not node.layer.measures]
    outputs = dict.fromkeys(
        node.bottoms[0] for node in graph.nodes if node.layer.measures and node.bottoms
    )
    read = {bottom for node in kept for bottom in node.bottoms}
    outputs.update(dict.fromkeys(top for node in kept for top in node.tops if top not in read))
    made = {top for node in kept if not node.layer.feeds for top in node.tops}
    wanted = tuple(blob for blob in outputs if blob in made)
    needed = set(wanted)
    alive: list[Node] = []
    for node in reversed(kept):
        if needed.intersection(node.tops):
            alive.append(node)
            needed.update(node.bottoms)
    return replace(graph, nodes=tuple(reversed(alive)), outputs=wanted)


def _obstacles(net: Graph) -> Iterator[Problem]:
    """Everything that keeps a net from being written in ONNX."""
    if not net.outputs:
        yield Problem("the net computes nothing: no layer reads its inputs", net.path)
    elif not any(node.layer.feeds for node in net.nodes):
        yield Problem("the net has no input", net.path)
    for node in net.nodes:
        if not node.layer.feeds and (obstacle := node.layer.obstacle()) is not None:
            yield net.problem(node, obstacle)


# Open sizes -----------------------------------------------------------------------------------

_SMALL_STEPS = (1, 2, 5)
_LARGE_STEPS = (64, 96, 128, 256)
"""By so much an axis must be able to grow to count as open. A few pixels prove nothing: strides
swallow them, and InnerProduct then still finds the size that it was made for."""

_AXES = {0: "N", 2: "H", 3: "W"}

Axis = tuple[str, int]


def _open_axes(net: Graph, base: Mapping[str, Shape]) -> tuple[dict[Axis, str], list[Shapes]]:
    """The names of the inputs' open axes, and the walks at sizes that work, `base` first."""
    reference = infer(net, base)
    probes = [reference]
    names: dict[Axis, str] = {}

    def works(axes: Sequence[Axis], step: int) -> bool:
        grown = {
            blob: tuple(size + step * ((blob, axis) in axes) for axis, size in enumerate(shape))
            for blob, shape in base.items()
        }
        shapes, problems = walk(net, grown)
        if any(p.severity is not Severity.NOTE for p in problems):
            return False
        if shapes.weights != reference.weights:
            return False
        probes.append(shapes)
        return True

    for blob, shape in base.items():
        for axis, size in enumerate(shape):
            if (blob, axis) in names or (axis == 1 and len(shape) >= 4):
                continue
            alone = [(blob, axis)]
            # Two images that are fused can only grow together.
            together = [
                (other, axis)
                for other in base
                if len(base[other]) > axis and base[other][axis] == size
            ]
            for axes in (alone, together):
                if any([works(axes, step) for step in _LARGE_STEPS]):
                    for step in _SMALL_STEPS:
                        works(axes, step)
                    names.update(dict.fromkeys(axes, _axis_name(blob, axis, len(shape), names)))
                    break
    return names, probes


def _axis_name(blob: str, axis: int, rank: int, names: Mapping[Axis, str]) -> str:
    name = _AXES.get(axis) if rank == 4 or axis == 0 else None
    return f"{blob}_{axis}" if name is None or name in names.values() else name


def _common(shapes: Sequence[Shape | None]) -> Dims:
    """The sizes that all shapes agree on, None for the others."""
    known = [shape for shape in shapes if shape is not None]
    return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*known, strict=True))


def _name_of(blob: str, axis: int, names: Mapping[Axis, str], probes: Sequence[Shapes]) -> str:
    """The name of an open size: the input's if it is always the same, else the blob's own."""

    def sizes(blob: str, axis: int) -> list[int]:
        return [shape[axis] for probe in probes if (shape := probe.blobs[blob]) is not None]

    if (blob, axis) in names:
        return names[blob, axis]
    for (other, index), name in names.items():
        if sizes(other, index) == sizes(blob, axis):
            return name
    return f"{blob}_{axis}"


# Writing --------------------------------------------------------------------------------------


def export(
    net: Inference, weights: Weights, *, opset: int = DEFAULT_OPSET, metadata: Mapping[str, str]
) -> ModelProto:
    """The net as an ONNX model, inputs and outputs under their blobs' names, float32.

    `weights` has the arrays of each layer by its name, in the shapes that the net asks for.
    Raises WeightsError with every array that is missing or does not fit, NetError if a layer
    cannot be written at this opset.
    """
    graph = net.graph
    raise_if_any(WeightsError, _misfits(net, weights))
    builder = Builder(opset, net.dims)
    values = {blob: blob for blob in net.inputs}
    problems: list[Problem] = []
    for index, node in enumerate(graph.nodes):
        if node.layer.feeds:
            continue
        titles, arrays = _arrays(net, index, weights)
        try:
            tops = builder.write(node, [values[bottom] for bottom in node.bottoms], titles, arrays)
        except LayerError as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
            tops = list(node.tops)
        values.update(zip(node.tops, tops, strict=True))
    raise_if_any(NetError, problems)
    _settle_names(net, builder, values)
    return model_of(
        builder,
        graph.name or "net",
        [(blob, TensorProto.FLOAT, sizes) for blob, sizes in net.inputs.items()],
        [(graph.blobs[blob], TensorProto.FLOAT, sizes) for blob, sizes in net.outputs.items()],
        metadata,
        ("fcnproto", __version__),
    )


def _arrays(
    net: Inference, index: int, weights: Weights
) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """The arrays of a node and what they are called; shared ones are their owner's."""
    titles, arrays = [], []
    for number, weight in enumerate(net.shapes.weights[index]):
        owner = net.shapes.owners[Place(index, number)]
        name = net.graph.nodes[owner.node].layer.name
        titles.append(f"{name}/{owner.index}")
        arrays.append(weights[name][owner.index].reshape(weight.shape))
    return titles, arrays


def _misfits(net: Inference, weights: Weights) -> Iterator[Problem]:
    """Every array that is missing, or whose shape is not the one that the net asks for."""
    for index, wanted in net.shapes.weights.items():
        node = net.graph.nodes[index]
        owned = [n for n in range(len(wanted)) if net.shapes.owners[Place(index, n)].node == index]
        given = weights.get(node.layer.name, ())
        if owned and not given:
            yield net.graph.problem(node, f"there are no weights for it; it has {_listed(wanted)}")
            continue
        if owned and len(given) != len(wanted):
            message = f"it has {len(wanted)} arrays, {_listed(wanted)}, but {len(given)} are given"
            yield net.graph.problem(node, message)
            continue
        for number in owned:
            if given[number].shape != wanted[number].shape:
                yield net.graph.problem(
                    node,
                    f"its array {number} is {show(wanted[number].shape)}, but"
                    f" {show(given[number].shape)} is given",
                )


def _listed(weights: Sequence[Weight]) -> str:
    return " and ".join(show(weight.shape) for weight in weights)


def _settle_names(net: Inference, builder: Builder, values: Mapping[str, str]) -> None:
    """Give every blob its own name where layers that do nothing left it an earlier one.

    The output of a chain conv → relu → dropout, all in place, is written by relu, but it is the
    dropout's top that bears the blob's name.
    """
    blobs = net.graph.blobs
    names: dict[str, str] = {}
    for blob, value in values.items():
        if blobs[blob] == blob != value and blobs.get(value) != value:
            names.setdefault(value, blob)
    for blob in net.outputs:
        value = values[blob]
        bears = names.get(value, value)
        if bears == blob:
            continue
        if value in net.inputs or bears in net.outputs:
            builder.copy(bears, blob)
        else:
            names[value] = blob
    rename(builder.nodes, names)
