"""What is left of a net for inference: which layers, and which of its sizes stay open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from fcnproto.errors import NetError, Problem, Severity, raise_if_any
from fcnproto.exporting.cutting import cut, named, obstacles, sampled, with_constants
from fcnproto.layers.base import Layer
from fcnproto.net.graph import Graph, Node
from fcnproto.net.shapes import Shapes, infer, walk
from fcnproto.proto.caffe_pb2 import BlobProto
from fcnproto.types import Dims, Shape

Weights = Mapping[str, Sequence[np.ndarray[Any, Any]]]
Dimensions = tuple[int | str, ...]
Axis = tuple[str, int]


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


def inference(
    graph: Graph,
    weights: Weights = MappingProxyType({}),
    size: tuple[int, int] | None = None,
    samples: int | None = None,
) -> Inference:
    """The part of a net that infers, with the sizes that it is open to.

    `size` (height, width) is that of its images, where the net does not say it or says another.
    `weights` help where a data layer does not say what images it brings: a shape is found that they
    fit. `samples` is how many are averaged of what is drawn at random; by default it is the mean.
    Raises NetError, with every problem, if the net has no input or output, if its shapes do not
    work out, if only one size of images fits and nothing says it, or if layers cannot be written in
    ONNX.
    """
    net, fed = with_constants(cut(graph))
    raise_if_any(NetError, _obstacles(net))
    net, drawn = sampled(_informed(named(net), weights), samples)
    sources = _sources(net)
    walked, _ = walk(net)
    known = {
        blob: None if node.layer.awaits_shape else walked.blobs.get(blob)
        for blob, node in sources.items()
    }
    unknown = [blob for blob, shape in known.items() if shape is None]
    assumed = _assume(net, sources, unknown, weights, size) if unknown else {}
    known |= assumed
    base = {blob: _sized(shape, size) for blob, shape in known.items() if shape is not None}
    notes = [
        net.problem(
            sources[blob],
            f"what it brings is not known without its data: '{blob}' is taken as N×{shape[1]}×H×W",
            Severity.NOTE,
        )
        for blob, shape in assumed.items()
    ]
    names, trials, probes, fixed = _open_axes(net, base)
    if size is None:
        raise_if_any(NetError, _only_assumed(net, sources, assumed, names, weights))
    dims, uncounted = _dims(net, probes), _uncounted(net)

    def dimensions(blob: str) -> Dimensions:
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
        {blob: dimensions(blob) for blob in base},
        {blob: dimensions(blob) for blob in net.outputs},
        dims,
        probes[0],
        tuple(trials),
        (*fed, *drawn, *notes, *fixed),
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
    yield from obstacles(net)


# Images of unknown shape ------------------------------------------------------------------------

_CHANNELS = (3, 1, 4, 2, *range(5, 33))
_SIDES = 500, 224, 227, 256, 299, 321, 384, 448, 473, 512, 513, 713
_LARGEST_SIDE = 1024
_SIZES = (
    *((side, side) for side in _SIDES),
    *((360, 480), (480, 640), (240, 320), (512, 1024), (256, 512), (1024, 2048)),
    *((side, side) for side in range(1, _LARGEST_SIDE + 1)),
)
"""The heights and widths that nets are most often made for, then whatever is square."""


def _assume(
    net: Graph,
    sources: Mapping[str, Node],
    unknown: Sequence[str],
    weights: Weights,
    size: tuple[int, int] | None,
) -> dict[str, Shape]:
    """A shape for images that a data layer brings from who knows where.

    The channels are those with which most of the weights fit; a size is one at which all that
    read the image fit.
    """

    def misfits(channels: int, height: int, width: int) -> int:
        return _misfits(net, dict.fromkeys(unknown, (1, channels, height, width)), weights)

    named = filter(None, (sources[blob].layer.named_size for blob in unknown))
    sizes = [*named, *_SIZES] if size is None else [size]
    channels = _CHANNELS[0]
    if misfits(channels, *sizes[0]):
        channels = min(_CHANNELS, key=lambda count: misfits(count, *sizes[0]))
    for height, width in sizes:
        if not misfits(channels, height, width) or size is not None:
            return dict.fromkeys(unknown, (1, channels, height, width))
    raise NetError(
        *(
            net.problem(
                sources[blob],
                f"the shape of '{blob}' is not known without its data, and no image of up to"
                f" {_LARGEST_SIDE} pixels fits what reads it; put an Input layer in its place",
            )
            for blob in unknown
        )
    )


def _misfits(net: Graph, given: Mapping[str, Shape], weights: Weights) -> int:
    """How much does not fit at this shape: layers, and arrays of a file."""
    shapes, problems = walk(net, given)
    count = sum(problem.severity is Severity.ERROR for problem in problems)
    for index, wanted in shapes.weights.items():
        # In any order: forks store the arrays of one layer in different ones.
        held = [array.size for array in weights.get(net.nodes[index].layer.name, ())]
        fitting = Counter(held) & Counter(prod(weight.shape) for weight in wanted)
        count += min(len(held), len(wanted)) - fitting.total()
    return count


def _only_assumed(
    net: Graph,
    sources: Mapping[str, Node],
    assumed: Mapping[str, Shape],
    names: Mapping[Axis, str],
    weights: Weights,
) -> Iterator[Problem]:
    """Images of which only one size fits, which was taken though others would have done as well.

    It is not a guess where the data layer names it, or where weights fit no other.
    """
    for blob, shape in assumed.items():
        if all((blob, axis) in names for axis in (2, 3)) or sources[blob].layer.named_size:
            continue
        sides = [side for side in (shape[2] - 1, shape[2] + 1) if side]
        others = [
            dict.fromkeys(assumed, (*shape[:2], side, side)) | {blob: (*shape[:2], side, side)}
            for side in sides
        ]
        if all(_misfits(net, each, weights) for each in others):
            continue
        yield net.problem(
            sources[blob],
            f"the net is made for one size of '{blob}', which is not known without its data: put an"
            " Input layer in its place, or give --size HxW",
        )


def _sized(shape: Shape, size: tuple[int, int] | None) -> Shape:
    return shape if size is None or len(shape) != 4 else (*shape[:2], *size)


# Open sizes -----------------------------------------------------------------------------------

_SMALL_STEPS = (1, 2, 5)
_LARGE_STEPS = (64, 96, 128, 256)
_STEPS = (*_SMALL_STEPS, *_LARGE_STEPS)
"""By so much an axis must be able to grow to count as open. A few pixels prove nothing: strides
swallow them, and InnerProduct then still finds the size that it was made for. Many pixels do not
either: nets that halve and double a map fit every second size, or every thirty-second.
"""

_LONGEST_PERIOD = 64
_MULTIPLES = 64, 5040
"""A net that fits every n-th size fits these steps, if n divides them; strides are products of
small numbers, so one of the two is a multiple of every n that is found.
"""

_AXES = {0: "N", 2: "H", 3: "W"}


def _open_axes(
    net: Graph, base: Mapping[str, Shape]
) -> tuple[dict[Axis, str], list[Mapping[str, Shape]], list[Shapes], list[Problem]]:
    """The names of the inputs' open axes, sizes that work, `base` first, with what the shape walk
    says of each, and why the other axes are not open.
    """
    reference, told = walk(net, base)
    raise_if_any(NetError, told)
    before, constant = set(told), _constant(net)
    trials, probes = [base], [reference]
    names: dict[Axis, str] = {}
    fixed = [problem for problem in told if problem.severity is Severity.WARNING]

    def grown(axes: Sequence[Axis], step: int) -> dict[str, Shape]:
        """The inputs, larger along some axes."""
        return {
            blob: tuple(size + step * ((blob, axis) in axes) for axis, size in enumerate(shape))
            for blob, shape in base.items()
        }

    def tried(axes: Sequence[Axis], step: int) -> tuple[Shapes, Node | None]:
        """The shapes for inputs that are larger along some axes, and the first layer that does not
        fit them.
        """
        shapes, problems = walk(net, grown(axes, step))
        new = [problem for problem in problems if problem not in before]
        said = {problem.layer for problem in new if problem.severity is not Severity.NOTE}
        for index, node in enumerate(net.nodes):
            if (
                node.title in said
                or shapes.weights.get(index) != reference.weights.get(index)
                or (
                    (node.layer.size_is_fixed or (node.layer.crops and node.bottoms[1] in constant))
                    and _planes(node, shapes) != _planes(node, reference)
                )
            ):
                return shapes, node
        return shapes, None

    def fits(axes: Sequence[Axis], step: int) -> bool:
        return tried(axes, step)[1] is None

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
            for axes in (alone,) if alone == together else (alone, together):
                found = {step: tried(axes, step) for step in _STEPS}
                fitting = {step: shapes for step, (shapes, node) in found.items() if node is None}
                # Crops hide a few pixels between images that are fused; many they do not.
                if fitting.keys() >= {*_SMALL_STEPS} and fitting.keys() & {*_LARGE_STEPS}:
                    trials += [grown(axes, step) for step in fitting]
                    probes += fitting.values()
                    names.update(dict.fromkeys(axes, _axis_name(blob, axis, len(shape), names)))
                    break
                multiples = [step for step in _MULTIPLES if fits(axes, step)]
                periods = (
                    n
                    for n in range(2, _LONGEST_PERIOD + 1)
                    if any(step % n == 0 for step in multiples)
                )
                which = (n for n in periods if all(fits(axes, n * m) for m in (1, 2, 3)))
                first = next(node for _, node in found.values() if node)
                in_the_way.append((first, next(which, None)))
            else:
                node, period = next((each for each in in_the_way if each[1]), in_the_way[0])
                fixed.append(_fixed(net, blob, axis, shape, node, period))
    # Rows and columns that may each grow alone need not both: a Reshape counts their product.
    while len(names) > 1:
        both = (tried(list(names), step)[1] for step in _SMALL_STEPS)
        in_both = next((node for node in both if node is not None), None)
        if in_both is None:
            break
        name = list(names.values())[-1]
        for blob, axis in [each for each, other in names.items() if other == name]:
            del names[blob, axis]
            fixed.append(_fixed(net, blob, axis, base[blob], in_both, None))
        kept = [
            index
            for index, trial in enumerate(trials)
            if not any(
                size != base[blob][axis] and (blob, axis) not in names
                for blob, shape in trial.items()
                for axis, size in enumerate(shape)
            )
        ]
        trials, probes = [trials[index] for index in kept], [probes[index] for index in kept]
    return names, trials, probes, fixed


def _constant(net: Graph) -> set[str]:
    """The blobs that are the same whatever goes in: of one size, and what is cut to it of one too.

    Of a larger image only a part would be left, which must not be taken for the whole.
    """
    moving: set[str] = set()
    for node in net.nodes:
        if node.layer.feeds or moving.intersection(node.bottoms):
            moving.update(node.tops)
    return set(net.blobs) - moving


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
