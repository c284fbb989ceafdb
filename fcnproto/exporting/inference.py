"""What is left of a net for inference: which layers, and which of its sizes stay open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from fcnproto.errors import NetError, Problem, Severity, raise_if_any
from fcnproto.layers.base import Layer
from fcnproto.net.graph import Graph, Node, State
from fcnproto.net.shapes import Shapes, infer, walk
from fcnproto.proto.caffe_pb2 import BlobProto
from fcnproto.proto.source import NetSource
from fcnproto.types import Dims, Shape

Weights = Mapping[str, Sequence[np.ndarray[Any, Any]]]
Dimensions = tuple[int | str, ...]


@dataclass(frozen=True)
class Inference:
    """What is left of a net for inference, and which of its sizes are open.

    `inputs` has the dimensions of each input and `outputs` of each output, a name where a size is
    open; `dims` those of every blob, None where a size follows from open ones; `shapes` is what the
    shape walk says of the net at a size that it fits; `trials` are the inputs' shapes from which
    `dims` were found; `notes` say what is fixed or was assumed.
    """

    graph: Graph
    inputs: Mapping[str, Dimensions]
    outputs: Mapping[str, Dimensions]
    dims: Mapping[str, Dims]
    shapes: Shapes
    trials: tuple[Mapping[str, Shape], ...]
    notes: tuple[Problem, ...] = ()

    def sized(self, height: int, width: int) -> dict[str, Shape]:
        """The inputs' shapes for one image of this size, as far as they are open to it."""
        open_sizes = {0: 1, 2: height, 3: width}
        return {
            blob: tuple(
                open_sizes.get(axis, size) if isinstance(named, str) and len(shape) == 4 else size
                for axis, (named, size) in enumerate(zip(self.inputs[blob], shape, strict=True))
            )
            for blob, shape in self.trials[0].items()
        }

    def with_nodes(self, nodes: Sequence[Node]) -> Inference:
        """The same inputs and outputs, computed by other nodes."""
        blobs = {top: self.graph.blobs.get(top, top) for node in nodes for top in node.tops}
        graph = replace(self.graph, nodes=tuple(nodes), blobs=blobs)
        walks = [infer(graph, trial) for trial in self.trials]
        return replace(self, graph=graph, dims=_dims(graph, walks), shapes=walks[0])


def inference(graph: Graph, weights: Weights = MappingProxyType({})) -> Inference:
    """The part of a net that infers, with the sizes that it is open to.

    `weights` help where a data layer does not say what images it brings: a shape is found that they
    fit. Raises NetError, with every problem, if the net has no input or output, if its shapes do
    not work out, or if layers cannot be written in ONNX.
    """
    net = _with_inputs_named(cut(graph))
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
    walked_at = _walks(net)
    names, trials, fixed = _open_axes(net, base, walked_at)
    probes = [_sound(walked_at(trial)) for trial in trials]
    dims, uncounted = _dims(net, probes), _uncounted(net)

    def named(blob: str) -> Dimensions:
        return tuple(
            (
                f"{blob}_0"
                if axis == 0 and blob in uncounted
                else _name_of(blob, axis, names, probes)
            )
            if size is None
            else size
            for axis, size in enumerate(dims[blob])
        )

    return Inference(
        net,
        {blob: named(blob) for blob in base},
        {blob: named(blob) for blob in net.outputs},
        dims,
        probes[0],
        tuple(trials),
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


def _with_inputs_named(net: Graph) -> Graph:
    """The net with its inputs called as their blobs are, where layers overwrite them in place.

    What is written there last, which has the blob's name in a graph, is called after its layer.
    """
    names: dict[str, str] = {}
    for node in net.nodes:
        for top in node.tops if node.layer.feeds else ():
            blob = net.blobs[top]
            if top == blob:
                continue
            last = net.producers.get(blob)
            names[top] = blob
            names[blob] = f"{blob}@{last.layer.name}" if last is not None else blob
    if not names:
        return net

    def renamed(blobs: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(blob, blob) for blob in blobs)

    nodes = tuple(
        replace(node, bottoms=renamed(node.bottoms), tops=renamed(node.tops)) for node in net.nodes
    )
    blobs = {names.get(version, version): blob for version, blob in net.blobs.items()}
    return replace(net, nodes=nodes, outputs=renamed(net.outputs), blobs=blobs)


def _informed(net: Graph, weights: Weights) -> Graph:
    """The net with layers that know how many arrays a file has for them.

    That tells forms of a layer apart that share a name, such as BN's.
    """
    shapes, _ = walk(net)
    nodes = []
    for index, node in enumerate(net.nodes):
        given, wanted = weights.get(node.layer.name, ()), shapes.weights.get(index, ())
        if wanted and given and len(given) != len(wanted) and not node.layer.proto.blobs:
            node = replace(node, layer=_with_empty_arrays(node.layer, len(given)))
        nodes.append(node)
    return replace(net, nodes=tuple(nodes))


def _with_empty_arrays(layer: Layer, count: int) -> Layer:
    return layer.with_settings(lambda proto: proto.blobs.extend([BlobProto()] * count))


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
_STEPS = (*_SMALL_STEPS, *_LARGE_STEPS)
"""By so much an axis must be able to grow to count as open. A few pixels prove nothing: strides
swallow them, and InnerProduct then still finds the size that it was made for. Many pixels do not
either: nets that halve and double a map fit every second size, or every thirty-second.
"""

_LONGEST_PERIOD = 64

_AXES = {0: "N", 2: "H", 3: "W"}

Axis = tuple[str, int]


_Walked = tuple[Shapes, Sequence[Problem]]


def _walks(net: Graph) -> Callable[[Mapping[str, Shape]], _Walked]:
    """What `walk` finds of a net, which is walked once for each size."""
    known: dict[tuple[tuple[str, Shape], ...], _Walked] = {}

    def walked_at(given: Mapping[str, Shape]) -> _Walked:
        key = tuple(given.items())
        if key not in known:
            known[key] = walk(net, given)
        return known[key]

    return walked_at


def _sound(walked: _Walked) -> Shapes:
    shapes, problems = walked
    raise_if_any(NetError, problems)
    return shapes


def _open_axes(
    net: Graph,
    base: Mapping[str, Shape],
    walked_at: Callable[[Mapping[str, Shape]], _Walked],
) -> tuple[dict[Axis, str], list[Mapping[str, Shape]], list[Problem]]:
    """The names of the inputs' open axes, sizes that work, `base` first, and why the other axes
    are not open.
    """
    reference, told = walked_at(base)
    raise_if_any(NetError, told)
    before = set(told)
    trials = [base]
    names: dict[Axis, str] = {}
    fixed: list[Problem] = []

    def grown(axes: Sequence[Axis], step: int) -> dict[str, Shape]:
        """The inputs, larger along some axes."""
        return {
            blob: tuple(size + step * ((blob, axis) in axes) for axis, size in enumerate(shape))
            for blob, shape in base.items()
        }

    def obstacle(axes: Sequence[Axis], step: int) -> Node | None:
        """The first layer that does not fit inputs that are larger along some axes."""
        shapes, problems = walked_at(grown(axes, step))
        new = [problem for problem in problems if problem not in before]
        said = {problem.layer for problem in new if problem.severity is not Severity.NOTE}
        for index, node in enumerate(net.nodes):
            if (
                node.title in said
                or shapes.weights.get(index) != reference.weights.get(index)
                or (node.layer.size_is_fixed and _planes(node, shapes) != _planes(node, reference))
            ):
                return node
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
            in_the_way: list[tuple[Node, int | None]] = []
            for axes in (alone, together):
                found = {step: obstacle(axes, step) for step in _STEPS}
                small = [node for step in _SMALL_STEPS if (node := found[step])]
                # Crops hide a few pixels between images that are fused; many they do not.
                large = [step for step in _LARGE_STEPS if found[step] is None]
                if not small and large:
                    trials += [grown(axes, step) for step, node in found.items() if node is None]
                    names.update(dict.fromkeys(axes, _axis_name(blob, axis, len(shape), names)))
                    break
                periods = range(2, _LONGEST_PERIOD + 1) if None in found.values() else ()
                fitting = (n for n in periods if not any(obstacle(axes, n * m) for m in (1, 2, 3)))
                first = next(node for node in found.values() if node)
                in_the_way.append((first, next(fitting, None)))
            else:
                node, period = next((each for each in in_the_way if each[1]), in_the_way[0])
                fixed.append(_fixed(net, blob, axis, shape, node, period))
    return names, trials, fixed


def _planes(node: Node, shapes: Shapes) -> list[Shape]:
    """The sizes of a node's bottoms but for their items and channels."""
    return [(shapes.blobs[blob] or ())[2:] for blob in node.bottoms]


def _fixed(
    net: Graph, blob: str, axis: int, shape: Shape, node: Node, period: int | None
) -> Problem:
    what = _AXES[axis] if len(shape) == 4 or axis == 0 else f"axis {axis}"
    message = (
        f"it fits no other {what} of input '{blob}' than {shape[axis]}, which is fixed at that"
    )
    if period is not None:
        offset = shape[axis] % period
        sizes = f"{period}k + {offset}" if offset else f"{period}k"
        message = f"of all {what} only {sizes} fits input '{blob}', which is fixed at {shape[axis]}"
    return net.problem(node, message, Severity.NOTE)


def _axis_name(blob: str, axis: int, rank: int, names: Mapping[Axis, str]) -> str:
    name = _AXES.get(axis) if rank == 4 or axis == 0 else None
    return f"{blob}_{axis}" if name is None or name in names.values() else name


def _common(shapes: Sequence[Shape | None]) -> Dims:
    """The sizes that all shapes agree on, None for the others."""
    known = [shape for shape in shapes if shape is not None]
    return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*known, strict=True))


def _dims(net: Graph, walks: Sequence[Shapes]) -> dict[str, Dims]:
    """The sizes of every blob that hold for all of these shapes, None for the others."""
    dims = {blob: _common([shapes.blobs[blob] for shapes in walks]) for blob in net.blobs}
    return dims | {blob: (None, *dims[blob][1:]) for blob in _uncounted(net) if dims[blob]}


def _uncounted(net: Graph) -> set[str]:
    """The blobs whose number of items follows from what the data hold."""
    found: set[str] = set()
    for node in net.nodes:
        if node.layer.items_by_data or found.intersection(node.bottoms):
            found.update(node.tops)
    return found


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
