"""A net and its weights as one ONNX model that holds for every batch and image size.

Nothing here knows what a layer computes; layers write themselves through a Builder. What this
module decides is which layers belong to inference, which sizes stay open, and what values are
called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from onnx import __version__ as onnx_version
from onnx.defs import onnx_opset_version

from fcnproto import __version__
from fcnproto.builder import Builder, Dims, model_of, rename
from fcnproto.errors import LayerError, NetError, Problem, Severity, WeightsError, raise_if_any
from fcnproto.graph import Graph, Node, State
from fcnproto.layers.base import Shape, Weight, show
from fcnproto.model import Model
from fcnproto.proto.source import NetSource
from fcnproto.shapes import Place, Shapes, infer, walk

Weights = Mapping[str, Sequence[np.ndarray[Any, Any]]]
Dimensions = tuple[int | str, ...]
Value = tuple[str, int, Dimensions]
"""An input or output as ONNX has it: its name, its elements' type, its dimensions."""

DEFAULT_OPSET = 21
"""The newest that onnxruntime 1.20, the oldest that is supported, reads."""


@dataclass(frozen=True)
class Inference:
    """What is left of a net for inference, and which of its sizes are open.

    `inputs` has the dimensions of each input and `outputs` of each output, a name where a size is
    open; `dims` those of every blob, None where a size follows from open ones; `shapes` is what the
    shape walk says of the net at a size that it fits; `notes` say what is fixed or was assumed.
    """

    graph: Graph
    inputs: Mapping[str, Dimensions]
    outputs: Mapping[str, Dimensions]
    dims: Mapping[str, Dims]
    shapes: Shapes
    notes: tuple[Problem, ...] = ()


def inference(graph: Graph, weights: Weights = MappingProxyType({})) -> Inference:
    """The part of a net that infers, with the sizes that it is open to.

    `weights` help where a data layer does not say what images it brings: a shape is found that they
    fit. Raises NetError, with every problem, if the net has no input or output, if its shapes do
    not work out, or if layers cannot be written in ONNX.
    """
    net = cut(graph)
    raise_if_any(NetError, _obstacles(net))
    net = _informed(net, weights)
    sources = _sources(net)
    walked, _ = walk(net)
    unknown = [blob for blob in sources if not walked.blobs.get(blob)]
    assumed = _assume(net, sources, unknown, weights) if unknown else {}
    known = {blob: walked.blobs.get(blob) or assumed.get(blob) for blob in sources}
    base = {blob: shape for blob, shape in known.items() if shape is not None}
    notes = [
        net.problem(
            sources[blob],
            f"what it brings is not known without its data: '{blob}' is taken as N×{shape[1]}×H×W",
            Severity.NOTE,
        )
        for blob, shape in assumed.items()
    ]
    names, probes, fixed = _open_axes(net, base)
    dims = {blob: _common([probe.blobs[blob] for probe in probes]) for blob in net.blobs}

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
        (*notes, *fixed),
    )


def for_inference(source: NetSource) -> NetSource:
    """A net with the data layers that only another phase or stage has, where inference has none."""
    state = State(stages=tuple(source.net.state.stage))
    made = {top for layer in source.net.layer if state.keeps(layer) for top in layer.top}
    net = type(source.net)()
    net.CopyFrom(source.net)
    for layer in net.layer:
        if not (layer.bottom or state.keeps(layer) or made.intersection(layer.top)):
            layer.ClearField("include")
            layer.ClearField("exclude")
            made.update(layer.top)
    return replace(source, net=net)


def cut(graph: Graph) -> Graph:
    """The net without its losses and measures, and without what nothing then depends on.

    The blob that a loss or a measure compares becomes an output; labels vanish. The other outputs
    are the tops that nobody reads.
    """
    compared = [node.bottoms[0] for node in graph.nodes if node.layer.measures and node.bottoms]
    kept: list[Node] = []
    gone: set[str] = set()
    for node in graph.nodes:
        if node.layer.measures or gone.intersection(node.bottoms):
            gone.update(node.tops)
        else:
            kept.append(node)
    made = {top for node in kept if not node.layer.feeds for top in node.tops}
    outputs = tuple(blob for blob in dict.fromkeys((*compared, *graph.outputs)) if blob in made)
    needed = set(outputs)
    alive: list[Node] = []
    for node in reversed(kept):
        if needed.intersection(node.tops):
            alive.append(node)
            needed.update(node.bottoms)
    blobs = dict.fromkeys(top for node in reversed(alive) for top in node.tops)
    return replace(
        graph,
        nodes=tuple(reversed(alive)),
        outputs=outputs,
        blobs={blob: graph.blobs[blob] for blob in blobs},
    )


def _informed(net: Graph, weights: Weights) -> Graph:
    """The net with layers that know how many arrays a file has for them.

    That tells forms of a layer apart that share a name, such as BN's.
    """
    shapes, _ = walk(net)
    nodes = []
    for index, node in enumerate(net.nodes):
        given, wanted = weights.get(node.layer.name, ()), shapes.weights.get(index, ())
        if wanted and given and len(given) != len(wanted) and not node.layer.proto.blobs:
            proto = type(node.layer.proto)()
            proto.CopyFrom(node.layer.proto)
            for _ in given:
                proto.blobs.add()
            node = replace(node, layer=type(node.layer)(proto, node.layer.context))
        nodes.append(node)
    return replace(net, nodes=tuple(nodes))


def _sources(net: Graph) -> dict[str, Node]:
    """The blobs that a net must be given, with the layers that bring them."""
    return {
        top: node
        for node in net.nodes
        if node.layer.feeds
        for top in node.tops
        if net.readers.get(top)
    }


def _obstacles(net: Graph) -> Iterator[Problem]:
    """Everything that keeps a net from being written in ONNX."""
    if not net.outputs:
        yield Problem("the net computes nothing: no layer reads its inputs", net.path)
    elif not _sources(net):
        yield Problem("the net has no input", net.path)
    for node in net.nodes:
        if not node.layer.feeds and (obstacle := node.layer.obstacle()) is not None:
            yield net.problem(node, obstacle)


# Images of unknown shape ------------------------------------------------------------------------

_CHANNELS = (3, 1, 4, 2, *range(5, 33))
_SIZES = (500, 224, 227, 256, 299, 321, 384, 448, 473, 512, 513, 713, *range(1, 1025))


def _assume(
    net: Graph, sources: Mapping[str, Node], unknown: Sequence[str], weights: Weights
) -> dict[str, Shape]:
    """A shape for images that a data layer brings from who knows where.

    The channels are those with which most of the weights fit; a size is one at which all that
    read the image fit.
    """

    def misfits(channels: int, size: int) -> int:
        given = dict.fromkeys(unknown, (1, channels, size, size))
        shapes, problems = walk(net, given)
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        return errors + sum(
            array.size != prod(weight.shape)
            for index, wanted in shapes.weights.items()
            for array, weight in zip(
                weights.get(net.nodes[index].layer.name, ()), wanted, strict=False
            )
        )

    crops = [sources[blob].layer.proto.transform_param.crop_size for blob in unknown]
    sizes = (*filter(None, crops), *_SIZES)
    channels = min(_CHANNELS, key=lambda count: misfits(count, sizes[0]))
    for size in sizes:
        if not misfits(channels, size):
            return dict.fromkeys(unknown, (1, channels, size, size))
    raise NetError(
        *(
            net.problem(
                sources[blob],
                f"the shape of '{blob}' is not known without its data, and no image of up to"
                f" {max(_SIZES)} pixels fits what reads it; put an Input layer in its place",
            )
            for blob in unknown
        )
    )


# Open sizes -----------------------------------------------------------------------------------

_SMALL_STEPS = (1, 2, 5)
_LARGE_STEPS = (64, 96, 128, 256)
"""By so much an axis must be able to grow to count as open. A few pixels prove nothing: strides
swallow them, and InnerProduct then still finds the size that it was made for."""

_AXES = {0: "N", 2: "H", 3: "W"}

Axis = tuple[str, int]


def _open_axes(
    net: Graph, base: Mapping[str, Shape]
) -> tuple[dict[Axis, str], list[Shapes], list[Problem]]:
    """The names of the inputs' open axes, the walks at sizes that work, `base` first, and why
    the other axes are not open.
    """
    reference = infer(net, base)
    probes = [reference]
    names: dict[Axis, str] = {}
    fixed: list[Problem] = []

    def obstacle(axes: Sequence[Axis], step: int) -> Node | None:
        """The first layer that does not fit inputs that are larger along some axes."""
        grown = {
            blob: tuple(size + step * ((blob, axis) in axes) for axis, size in enumerate(shape))
            for blob, shape in base.items()
        }
        shapes, problems = walk(net, grown)
        said = {problem.layer for problem in problems if problem.severity is not Severity.NOTE}
        for index, node in enumerate(net.nodes):
            if node.title in said or shapes.weights.get(index) != reference.weights.get(index):
                return node
        probes.append(shapes)
        return None

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
                found = [obstacle(axes, step) for step in _LARGE_STEPS]
                if None in found:
                    for step in _SMALL_STEPS:
                        obstacle(axes, step)
                    names.update(dict.fromkeys(axes, _axis_name(blob, axis, len(shape), names)))
                    break
            else:
                fixed += [_fixed(net, blob, axis, shape, node) for node in found[:1] if node]
    return names, probes, fixed


def _fixed(net: Graph, blob: str, axis: int, shape: Shape, node: Node) -> Problem:
    what = _AXES[axis] if len(shape) == 4 or axis == 0 else f"axis {axis}"
    message = (
        f"it fits no other {what} of input '{blob}' than {shape[axis]}, which is fixed at that"
    )
    return net.problem(node, message, Severity.NOTE)


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


class Result(Enum):
    """What a model gives for each score blob."""

    SCORE = "score"
    LABELS = "labels"
    """N×H×W: the class of the highest score, the first of equal ones."""
    BOTH = "both"


@dataclass(frozen=True)
class Interface:
    """How a model takes images and gives its results; as Caffe does, unless told."""

    result: Result = Result.SCORE
    images: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The inputs that are taken as uint8 N×H×W×C, with the mean to subtract."""
    reversed: Collection[str] = ()
    """Those of them that are RGB, where the net takes BGR."""
    every_blob: bool = False
    """Whether all blobs are outputs, not only the net's."""


def export(
    net: Inference,
    weights: Weights,
    *,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] = MappingProxyType({}),
    interface: Interface = Interface(),
) -> ModelProto:
    """As `write`, but as one message."""
    return write(net, weights, opset=opset, metadata=metadata, interface=interface).to_proto()


def write(
    net: Inference,
    weights: Weights,
    *,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] = MappingProxyType({}),
    interface: Interface = Interface(),
) -> Model:
    """The net as an ONNX model, inputs and outputs under their blobs' names, float32.

    `weights` has the arrays of each layer by its name, in the shapes that the net asks for.
    Raises WeightsError with every array that is missing or does not fit, NetError if a layer
    cannot be written at this opset.
    """
    graph = net.graph
    if opset > onnx_opset_version():
        raise NetError(f"onnx {onnx_version} knows opsets up to {onnx_opset_version()} only")
    raise_if_any(WeightsError, _misfits(net, weights))
    owned = _owned(net, weights)
    prepared = {blob: _unused(f"{blob}/bgr", net.dims) for blob in interface.images}
    builder = Builder(
        opset, {**net.dims, **{name: net.dims[blob] for blob, name in prepared.items()}}
    )
    values = {blob: prepared.get(blob, blob) for blob in net.inputs}
    inputs = _images(net, builder, interface, values)
    problems: list[Problem] = []
    for index, node in enumerate(graph.nodes):
        if node.layer.feeds:
            continue
        titles, arrays = _arrays(net, index, owned)
        try:
            tops = builder.write(node, [values[bottom] for bottom in node.bottoms], titles, arrays)
        except LayerError as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
            tops = list(node.tops)
        values.update(zip(node.tops, tops, strict=True))
    raise_if_any(NetError, problems)
    wanted = _wanted(net, interface)
    _settle_names(wanted, net, builder, values)
    outputs = [value for blob in wanted for value in _results(net, builder, blob, interface.result)]
    return model_of(
        builder, graph.name or "net", inputs, outputs, metadata, ("fcnproto", __version__)
    )


def _images(
    net: Inference,
    builder: Builder,
    interface: Interface,
    values: Mapping[str, str],
) -> list[Value]:
    """The model's inputs; images are brought into the form that the net takes, in `values`.

    The mean is subtracted as in Caffe before anything is padded: it can be no part of a bias.
    """
    inputs: list[Value] = []
    means = interface.images
    for blob, sizes in net.inputs.items():
        if blob not in means:
            inputs.append((blob, TensorProto.FLOAT, sizes))
            continue
        num, _, height, width = sizes
        inputs.append((blob, TensorProto.UINT8, (num, height, width, len(means[blob]))))
        builder.stand_beside(blob)
        planes = builder.node("Transpose", blob, perm=[0, 3, 1, 2])
        if blob in interface.reversed:
            planes = builder.node("Gather", planes, builder.ints([2, 1, 0]), axis=1)
        mean = np.reshape(np.asarray(means[blob], np.float32), (1, -1, 1, 1))
        result = builder.node("Sub", builder.floats(planes), builder.own("mean", mean))
        rename(builder.nodes[-1:], {result: values[blob]})
    return inputs


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "'"
    return name


def _wanted(net: Inference, interface: Interface) -> list[str]:
    """The blobs that are outputs."""
    if not interface.every_blob:
        return list(net.outputs)
    blobs = net.graph.blobs
    return [
        top for node in net.graph.nodes for top in node.tops if blobs[top] == top not in net.inputs
    ]


def _results(net: Inference, builder: Builder, blob: str, result: Result) -> list[Value]:
    """The outputs for a blob: itself, its label map, or both."""
    dims = net.dims[blob]
    sizes = net.outputs.get(blob) or tuple(
        f"{blob}_{axis}" if size is None else size for axis, size in enumerate(dims)
    )
    score = (blob, TensorProto.FLOAT, sizes)
    if result is Result.SCORE:
        return [score]
    classes = dims[1] if len(dims) > 1 else None
    if classes is None or classes > 2**16:
        raise NetError(
            Problem(f"output '{blob}' has no axis of classes, so it has no labels", net.graph.path)
        )
    kind = TensorProto.UINT8 if classes <= 2**8 else TensorProto.UINT16
    name = "labels" if len(net.outputs) == 1 else f"{blob}_labels"
    builder.stand_beside(name)
    best = builder.node("ArgMax", blob, axis=1, keepdims=0)
    labels = builder.node("Cast", best, to=kind)
    rename(builder.nodes[-1:], {labels: name})
    values = (name, kind, (sizes[0], *sizes[2:]))
    return [score, values] if result is Result.BOTH else [values]


def _owned(net: Inference, weights: Weights) -> dict[Place, np.ndarray[Any, Any]]:
    """The array for each owner of one; of layers that share it, the last to be loaded gives it."""
    places: dict[str, int] = {}
    for index, node in enumerate(net.graph.nodes):
        places.setdefault(node.layer.name, index)
    return {
        net.shapes.owners[Place(places[name], number)]: array
        for name, arrays in weights.items()
        if name in places
        for number, array in enumerate(arrays[: len(net.shapes.weights[places[name]])])
    }


def _arrays(
    net: Inference, index: int, owned: Mapping[Place, np.ndarray[Any, Any]]
) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """The arrays of a node and what they are called; shared ones are their owner's."""
    titles, arrays = [], []
    for number, weight in enumerate(net.shapes.weights[index]):
        owner = net.shapes.owners[Place(index, number)]
        titles.append(f"{net.graph.nodes[owner.node].layer.name}/{owner.index}")
        arrays.append(owned[owner].reshape(weight.shape))
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


def _settle_names(
    outputs: Iterable[str], net: Inference, builder: Builder, values: Mapping[str, str]
) -> None:
    """Give every blob its own name where layers that do nothing left it an earlier one.

    The output of a chain conv → relu → dropout, all in place, is written by relu, but it is the
    dropout's top that bears the blob's name.
    """
    blobs, outputs = net.graph.blobs, list(outputs)
    made = {output for node in builder.nodes for output in node.output}
    names: dict[str, str] = {}
    for blob, value in values.items():
        if blob in net.inputs or value not in made:
            continue
        if blobs[blob] == blob != value and blobs.get(value) != value:
            names.setdefault(value, blob)
    for blob in outputs:
        value = values[blob]
        bears = names.get(value, value)
        if bears == blob:
            continue
        if value not in made or bears in outputs:
            builder.copy(bears, blob)
        else:
            names[value] = blob
    rename(builder.nodes, names)
