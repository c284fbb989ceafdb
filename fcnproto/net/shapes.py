"""Walk a graph's shapes: every blob, every weight, and what Caffe says of each when it builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from fcnproto.errors import LayerError, NetError, Problem, Severity, raise_if_any
from fcnproto.layers import fillers
from fcnproto.layers.base import Weight
from fcnproto.net.graph import Graph, Node
from fcnproto.proto.caffe_pb2 import ParamSpec
from fcnproto.types import INT_MAX, Shape, show

MOST_AXES = 32  # blob.hpp, kMaxBlobAxes


@dataclass(frozen=True)
class Place:
    """Where a weight stands: the index of its node in the graph, and its number in the layer."""

    node: int
    index: int


@dataclass(frozen=True)
class Shapes:
    """What a walk found out.

    `blobs` has the shape of each version of a blob, None where it cannot be known without the data.
    `weights` has the learned arrays of each node whose bottoms are known. `owners` says for each
    weight which one it is, since layers share those of the same name.
    """

    blobs: Mapping[str, Shape | None]
    weights: Mapping[int, tuple[Weight, ...]]
    owners: Mapping[Place, Place]

    def multiply_adds(self, node: Node) -> int | None:
        """How many multiply-adds a layer takes; None where its shapes are not known."""
        bottoms, tops = (
            [shape for blob in blobs if (shape := self.blobs.get(blob)) is not None]
            for blobs in (node.bottoms, node.tops)
        )
        if (len(bottoms), len(tops)) != (len(node.bottoms), len(node.tops)):
            return None
        return node.layer.multiply_adds(bottoms, tops)

    def total_multiply_adds(self, nodes: Iterable[Node]) -> int:
        """Those of several layers, as far as their shapes are known."""
        return sum(self.multiply_adds(node) or 0 for node in nodes if not node.layer.feeds)


def infer(graph: Graph, given: Mapping[str, Shape] = MappingProxyType({})) -> Shapes:
    """The shapes of a graph's blobs and weights; NetError with all that Caffe would refuse.

    `given` overrides the shapes of tops of layers that read nothing, such as images.
    """
    shapes, problems = walk(graph, given)
    raise_if_any(NetError, problems)
    return shapes


def walk(
    graph: Graph, given: Mapping[str, Shape] = MappingProxyType({})
) -> tuple[Shapes, tuple[Problem, ...]]:
    """As infer, but with the problems beside what could be found out in spite of them."""
    blobs: dict[str, Shape | None] = {}
    weights: dict[int, tuple[Weight, ...]] = {}
    problems: list[Problem] = []
    planes: dict[str, Shape] = {}
    for index, node in enumerate(graph.nodes):
        blobs.update(dict.fromkeys(node.tops))
        bottoms = [shape for bottom in node.bottoms if (shape := blobs.get(bottom)) is not None]
        if len(bottoms) < len(node.bottoms) or not _countable(node):
            continue  # what is missing has been said where it began
        try:
            tops = node.layer.output_shapes(bottoms)
            if not node.bottoms:
                tops = [given.get(top, shape) for top, shape in zip(node.tops, tops, strict=False)]
            blobs.update(zip(node.tops, tops, strict=False))
            weights[index] = tuple(node.layer.weights(bottoms))
            for weight in weights[index]:
                _check_weight(weight)
            for top, shape in zip(node.tops, tops, strict=False):
                _check_top(top, shape)
        except LayerError as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
            # What is computed of sizes without bounds only grows, and has been refused.
            blobs.update({top: None for top in node.tops if prod(blobs[top] or ()) > INT_MAX})
            continue
        problems += _misplaced(graph, node, bottoms, tops, planes)
        if None in tops:
            problems.append(graph.problem(node, _UNKNOWN, Severity.NOTE))
        problems += [
            graph.problem(node, f"its top '{top}' is empty: {show(shape)}", Severity.WARNING)
            for top, shape in zip(node.tops, tops, strict=False)
            if shape is not None and prod(shape) == 0
        ]
    owners, misfits = _share(graph, weights)
    return Shapes(blobs, weights, owners), (*problems, *misfits)


_UNKNOWN = "its tops' shapes are not known without its data: what lies below is not checked"


def _misplaced(
    graph: Graph,
    node: Node,
    bottoms: Sequence[Shape],
    tops: Sequence[Shape | None],
    planes: dict[str, Shape],
) -> Iterator[Problem]:
    """Values that are put where another layer counted them in a plane of another width.

    `planes` has the plane in which each blob of places counts; what this node counts is added.
    """
    gives, takes = node.layer.gives_places, node.layer.takes_places
    if gives is not None and len(node.tops) > gives:
        planes[node.tops[gives]] = bottoms[0][2:]
    if takes is None or len(node.bottoms) <= takes or not tops or tops[0] is None:
        return
    counted, plane = planes.get(node.bottoms[takes]), tops[0][2:]
    if counted is None or len(counted) != len(plane):
        return
    if counted[1:] != plane[1:] or counted[0] > plane[0]:
        message = (
            f"its places in '{node.bottoms[takes]}' were counted in a plane of {show(counted)}, and"
            f" its top has one of {show(plane)}: values land elsewhere"
        )
        yield graph.problem(node, message, Severity.WARNING)


def _countable(node: Node) -> bool:
    """Whether the layer has as many bottoms and tops as its type asks for."""
    layer = node.layer
    return (
        len(node.bottoms) in layer.bottoms
        and len(node.tops) in layer.tops
        and (not layer.top_per_bottom or len(node.bottoms) == len(node.tops))
    )


def _check_top(name: str, shape: Shape | None) -> None:
    """What Blob::Reshape checks (blob.cpp)."""
    if shape is None:
        return
    if len(shape) > MOST_AXES:
        raise LayerError(f"its top '{name}' has {len(shape)} axes; Caffe allows {MOST_AXES}")
    if any(size < 0 for size in shape):
        raise LayerError(f"its top '{name}' would have a negative size: {show(shape)}")
    count = 1
    for size in shape:
        if count and size > INT_MAX // count:
            raise LayerError(
                f"its top '{name}' would be too large: {show(shape)} is more than {INT_MAX} numbers"
            )
        count *= size


def _check_weight(weight: Weight) -> None:
    _check_top("weights", weight.shape)
    if not prod(weight.shape):
        raise LayerError(f"its weights would be empty: {show(weight.shape)}")
    fillers.check(weight.filler, weight.shape)


_UNNAMED = ParamSpec()


@dataclass
class _Shared:
    """A named weight, and the rates that layers have given it so far."""

    owner: Place
    title: str
    shape: Shape
    rates: dict[str, float]


def _share(
    graph: Graph, weights: Mapping[int, tuple[Weight, ...]]
) -> tuple[dict[Place, Place], list[Problem]]:
    """Who owns each weight; layers share what has the same name (net.cpp, AppendParam)."""
    owners: dict[Place, Place] = {}
    problems: list[Problem] = []
    named: dict[str, _Shared] = {}
    for index, arrays in weights.items():
        node = graph.nodes[index]
        specs = node.layer.proto.param
        if len(specs) > len(arrays):
            problems.append(
                graph.problem(
                    node, f"it has {len(arrays)} weights, but param is given {len(specs)} times"
                )
            )
        for number, weight in enumerate(arrays):
            place = Place(index, number)
            spec = specs[number] if number < len(specs) else _UNNAMED
            shared = named.get(spec.name)
            if spec.name and shared is not None:
                owners[place] = shared.owner
                problems += [
                    graph.problem(node, f"param '{spec.name}' is shared, but {message}")
                    for message in _misfits(shared, weight, spec)
                ]
            else:
                owners[place] = place
                rates = {name: getattr(spec, name) for name in _RATES if spec.HasField(name)}
                named[spec.name] = _Shared(place, node.title, weight.shape, rates)
    return owners, problems


_RATES = ("lr_mult", "decay_mult")


def _misfits(shared: _Shared, weight: Weight, spec: ParamSpec) -> Iterator[str]:
    if spec.share_mode == ParamSpec.PERMISSIVE:
        fits = prod(weight.shape) == prod(shared.shape)
    else:
        fits = weight.shape == shared.shape
    if not fits:
        yield (
            f"layer '{shared.title}' has it as {show(shared.shape)}, and here it would be"
            f" {show(weight.shape)}"
        )
    for rate in _RATES:
        if spec.HasField(rate):
            value = getattr(spec, rate)
            given = shared.rates.setdefault(rate, value)
            if given != value:
                yield f"its {rate} is {given:g} before, and here {value:g}"
