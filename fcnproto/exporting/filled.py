"""A net for inference whose layers hold their arrays: what rewrites take and give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fcnproto.errors import Problem, WeightsError, raise_if_any
from fcnproto.exporting.inference import Inference, Weights
from fcnproto.layers.base import Weight
from fcnproto.model.builder import TitledArray
from fcnproto.net.graph import Graph, Node
from fcnproto.net.shapes import Place, Shapes
from fcnproto.types import Array, Dims, show


@dataclass(frozen=True)
class FilledLayer:
    """A layer in its place, with its arrays in Caffe's order."""

    node: Node
    arrays: tuple[TitledArray, ...] = ()


@dataclass(frozen=True)
class Filled:
    """The steps of a net, in order, and its inputs, outputs and sizes."""

    inference: Inference
    steps: tuple[FilledLayer, ...]

    @property
    def graph(self) -> Graph:
        """The net as a graph; its nodes are those of the steps."""
        return self.inference.graph

    @property
    def shapes(self) -> Shapes:
        """What the shape walk says of the net, at a size that it fits."""
        return self.inference.shapes

    @property
    def dims(self) -> Mapping[str, Dims]:
        """The sizes of every blob, None where they follow from open ones."""
        return self.inference.dims

    def rewritten(self, steps: Sequence[FilledLayer]) -> Filled:
        """The same inputs and outputs, computed by other steps."""
        return Filled(self.inference.with_nodes([step.node for step in steps]), tuple(steps))


def with_weights(net: Inference, weights: Weights) -> Filled:
    """Give each layer its arrays.

    `weights` has the arrays of each layer by its name, in the shapes that the net asks for.
    Raises WeightsError with every array that is missing or does not fit.
    """
    raise_if_any(WeightsError, _misfits(net, weights))
    owned = _owned(net, weights)
    steps = [
        FilledLayer(node, _arrays(net, index, owned)) for index, node in enumerate(net.graph.nodes)
    ]
    return Filled(net, tuple(steps))


def _owned(net: Inference, weights: Weights) -> dict[Place, Array]:
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


def _arrays(net: Inference, index: int, owned: Mapping[Place, Array]) -> tuple[TitledArray, ...]:
    """The arrays of a node; shared ones are their owner's, and apart if of another shape."""
    arrays = []
    for number, weight in enumerate(net.shapes.weights[index]):
        owner = net.shapes.owners[Place(index, number)]
        owners = net.shapes.weights[owner.node][owner.index]
        at = owner if owners.shape == weight.shape else Place(index, number)
        title = f"{net.graph.nodes[at.node].layer.name}/{at.index}"
        arrays.append(TitledArray(title, owned[owner].reshape(weight.shape)))
    return tuple(arrays)


def _misfits(net: Inference, weights: Weights) -> Iterator[Problem]:
    """Every array that is missing, or whose shape is not the one that the net asks for."""
    named: set[str] = set()
    for index, wanted in net.shapes.weights.items():
        node = net.graph.nodes[index]
        is_first = node.layer.name not in named
        named.add(node.layer.name)
        owned = [n for n in range(len(wanted)) if net.shapes.owners[Place(index, n)].node == index]
        given = weights.get(node.layer.name, ())
        if owned and not is_first:
            yield net.graph.problem(
                node,
                "there are no weights for it: they go by a layer's name, and another layer"
                " before it has the same; give it another name",
            )
            continue
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
