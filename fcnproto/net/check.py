"""Every problem of a net or solver at once: what Caffe refuses, and what it accepts as nonsense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from fcnproto.errors import LayerError, NetError, Problem, PrototxtError, Severity
from fcnproto.net import solver_rules
from fcnproto.net.coords import align
from fcnproto.net.graph import Graph, State, assemble
from fcnproto.net.shapes import Shapes, walk
from fcnproto.net.unsound import unsound_settings
from fcnproto.proto.caffe_pb2 import BlobProto, LayerParameter
from fcnproto.proto.source import NetSource, SolverSource
from fcnproto.types import Shape, show


def check_net(
    source: NetSource, state: State = State(), size: tuple[int, int] | None = None
) -> list[Problem]:
    """Every problem of a net in a state, in the order of its lines.

    `size` (height, width) stands in for the size of its images.
    """
    graph, structural = assemble(source, state, size)
    shapes, spatial = walk(graph)
    problems = [*source.problems, *structural, *spatial]
    problems += [*_own_weights(graph, shapes), *_oddities(graph), *_crops(graph)]
    problems += unsound_settings(graph)
    if not source.net.layer:
        problems.append(Problem("the net has no layers", source.path, severity=Severity.WARNING))
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)


def check_solver(source: SolverSource, size: tuple[int, int] | None = None) -> list[Problem]:
    """Every problem of a solver and of the nets that it names or holds.

    Paths in it are relative to the working directory, as in Caffe.
    """
    problems = list(source.problems)
    param, path = source.solver, source.path
    refusals = list(solver_rules.refusals(param))
    for complaints, severity in (
        (refusals, Severity.ERROR),
        (solver_rules.missing_folder(param), Severity.ERROR),
        (solver_rules.oddities(param), Severity.WARNING),
    ):
        problems += [
            Problem(message, path, source.line(name), severity=severity)
            for name, message in complaints
        ]
    if refusals or any(problem.severity is Severity.ERROR for problem in source.problems):
        return problems  # which nets it means is not certain
    for nets in (_train_nets, solver_rules.test_nets):
        try:
            for net in nets(source):
                problems += check_net(net.source, net.state, size)
        except (NetError, PrototxtError) as error:
            problems += error.problems
    return list(dict.fromkeys(problems))


def _train_nets(source: SolverSource) -> list[solver_rules.SolverNet]:
    return [solver_rules.train_net(source)]


def _own_weights(graph: Graph, shapes: Shapes) -> Iterator[Problem]:
    """Weights in the prototxt itself that Caffe refuses (blob.cpp, base_conv_layer.cpp)."""
    for index, weights in shapes.weights.items():
        node = graph.nodes[index]
        blobs = node.layer.proto.blobs
        given = [_shape_of(blob) for blob in blobs]
        for number, (blob, shape) in enumerate(zip(blobs, given, strict=True)):
            found = len(blob.double_data) or len(blob.data)
            if found != prod(shape):
                message = f"blob {number} is {show(shape)}, but holds {found} numbers"
                yield graph.problem(node, message)
        wanted = [weight.shape for weight in weights]
        if blobs and node.layer.checks_blobs and given != wanted:
            message = f"its blobs must be {_listed(wanted)}, found {_listed(given)}"
            yield graph.problem(node, message)


_LEGACY_SHAPE = "num", "channels", "height", "width"


def _shape_of(blob: BlobProto) -> Shape:
    """Any of the older fields hides the shape (blob.cpp, Blob::FromProto)."""
    if any(blob.HasField(name) for name in _LEGACY_SHAPE):
        return blob.num, blob.channels, blob.height, blob.width
    return tuple(blob.shape.dim)


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(show, shapes))


def _oddities(graph: Graph) -> Iterator[Problem]:
    """What Caffe accepts in single layers though it makes no sense."""
    for node in graph.nodes:
        layer = node.layer
        if not layer.name:
            yield graph.problem(node, "it has no name", Severity.WARNING)
        own = {layer.settings, *layer.other_settings}
        for field, _ in layer.proto.ListFields():
            if field.name in _SETTINGS and field.name not in own:
                message = f"a {layer.type} layer does not read {field.name}"
                yield graph.problem(node, message, Severity.WARNING)
        for message in layer.oddities():
            yield graph.problem(node, message, Severity.WARNING)


_SETTINGS = frozenset(
    field.name for field in LayerParameter.DESCRIPTOR.fields if field.name.endswith("_param")
)


def _crops(graph: Graph) -> Iterator[Problem]:
    """Crops whose written offset is not the one at which their bottoms' pixels coincide."""
    for node in graph.nodes:
        layer = node.layer
        if not layer.crops or len(node.bottoms) not in layer.bottoms:
            continue
        try:
            there = layer.coord_map()
            alignment = align(graph, *node.bottoms)
        except (LayerError, NetError):
            continue  # no coordinates to compare, or the crop itself is refused
        written = there.rows.shift, there.columns.shift
        computed = alignment.rows, alignment.columns
        if written != computed:
            message = (
                f"it crops at offset {_pair(*written)}, but '{node.bottoms[0]}' lies on"
                f" '{node.bottoms[1]}' at offset {_pair(*computed)}"
            )
            yield graph.problem(node, message, Severity.WARNING)


def _pair(rows: object, columns: object) -> str:
    return str(rows) if rows == columns else f"{rows}, {columns}"
