"""What is left of a net for inference: without losses and data, its blobs called as in a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fcnproto.errors import NetError, Problem, Severity, nearest, raise_if_any
from fcnproto.layers.eltwise import Eltwise
from fcnproto.layers.power import Power
from fcnproto.layers.slice import Slice
from fcnproto.layers.tile import Tile
from fcnproto.model.builder import NAMELESS, unused
from fcnproto.net.graph import Graph, Node, State
from fcnproto.proto.caffe_pb2 import LayerParameter, NetParameter
from fcnproto.proto.source import NetSource
from fcnproto.words import quoted, some


@dataclass(frozen=True)
class Asked:
    """What a user says of a net beyond its text, for it to infer."""

    size: tuple[int, int] | None = None
    """Of its images: height, width."""
    identity: tuple[str, ...] = ()
    """The layers that hand on their bottom, whatever their type."""
    samples: int | None = None
    """How many samples are averaged of what layers draw at random; by default their mean."""


def for_inference(source: NetSource, identity: Collection[str] = ()) -> NetSource:
    """A net with the data layers that only another phase or stage has, where inference has none.

    The layers named in `identity` hand on their bottom. Raises NetError where there is no such
    layer, or one with several bottoms or tops.
    """
    state = State(stages=tuple(source.net.state.stage))
    made = {top for layer in source.net.layer if state.keeps(layer) for top in layer.top}
    net = type(source.net)()
    net.CopyFrom(source.net)
    for layer in net.layer:
        if not (layer.bottom or state.keeps(layer) or made.intersection(layer.top)):
            layer.ClearField("include")
            layer.ClearField("exclude")
            made.update(layer.top)
    _make_identities(net, identity, source)
    return replace(source, net=net)


def _make_identities(net: NetParameter, names: Collection[str], source: NetSource) -> None:
    """Turn the layers of these names into powers of 1, which change nothing."""
    known = [layer.name for layer in net.layer]
    problems = [
        Problem(f"--identity {name}: there is no such layer{nearest(name, known)}", source.path)
        for name in names
        if name not in known
    ]
    for layer, line in zip(net.layer, source.lines, strict=True):
        if layer.name not in names:
            continue
        if (len(layer.bottom), len(layer.top)) != (1, 1):
            found = f"found {len(layer.bottom)} and {len(layer.top)}"
            message = f"--identity needs a layer with one bottom and one top, {found}"
            problems.append(Problem(message, source.path, line, None, layer.name))
        same = LayerParameter(
            name=layer.name,
            type=Power.type,
            bottom=layer.bottom,
            top=layer.top,
            include=layer.include,
            exclude=layer.exclude,
        )
        layer.CopyFrom(same)
    raise_if_any(NetError, problems)


def cut(graph: Graph) -> Graph:
    """The net without its losses and measures, and without what nothing then depends on.

    The blob that a loss or a measure compares becomes an output, and so do those that are written
    to files; labels vanish. The other outputs are the tops that nobody reads.
    """
    compared = [node.bottoms[0] for node in graph.nodes if node.layer.measures and node.bottoms]
    written = [blob for node in graph.nodes if node.layer.writes for blob in node.bottoms]
    kept: list[Node] = []
    gone: set[str] = set()
    for node in graph.nodes:
        if node.layer.measures or node.layer.writes or gone.intersection(node.bottoms):
            gone.update(node.tops)
        else:
            kept.append(node)
    made = {top for node in kept if not node.layer.feeds for top in node.tops}
    found = dict.fromkeys((*compared, *written, *graph.outputs))
    outputs = tuple(blob for blob in found if blob in made)
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


def named(net: Graph) -> Graph:
    """The net with blobs called as a model calls them.

    An input that layers overwrite in place is called as its blob is, and what is written there
    last, which has the blob's name in a graph, is called after its layer. A blob without a name,
    which Caffe allows and ONNX does not, gets one.
    """
    nameless = unused(NAMELESS, net.blobs)
    titles = {version: blob or nameless for version, blob in net.blobs.items()}
    names = {"": nameless}
    for node in net.nodes:
        for top in node.tops if node.layer.feeds else ():
            blob, title = net.blobs[top], titles[top]
            if top != blob:
                last = net.producers.get(blob)
                after = f"{title}@{last.layer.name}" if last else title
                names |= {top: title, blob: unused(after, net.blobs)}
    return _renamed(net, names, titles)


def _renamed(net: Graph, names: Mapping[str, str], titles: Mapping[str, str]) -> Graph:
    """A net with other names for some of its blobs' versions; `titles` has their blobs."""

    def renamed(blobs: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(blob, blob) for blob in blobs)

    nodes = tuple(
        replace(node, bottoms=renamed(node.bottoms), tops=renamed(node.tops)) for node in net.nodes
    )
    blobs = {names.get(version, version): titles[version] for version in net.blobs}
    return replace(net, nodes=nodes, outputs=renamed(net.outputs), blobs=blobs)


def with_constants(net: Graph) -> tuple[Graph, tuple[Problem, ...]]:
    """The net with data whose values are known as constants, the others' layers apart from them.

    Where nothing else feeds the net, they are what is fed instead, and notes say so.
    """
    nodes: list[Node] = []
    for node in net.nodes:
        parts = node.layer.apart()
        # A layer that stays whole keeps the tops that Caffe adds, too.
        nodes += (
            [
                replace(node, layer=layer, tops=tuple(node.tops[n] for n in places))
                for layer, places in parts
            ]
            if len(parts) > 1
            else [replace(node, layer=parts[0][0])]
        )
    net = replace(net, nodes=tuple(nodes))
    if any(node.layer.feeds for node in nodes):
        return net, ()
    fed = [node for node in nodes if node.layer.stand_in() is not None]
    notes = tuple(
        net.problem(node, "nothing else feeds the net: it is an input", Severity.NOTE)
        for node in fed
    )
    return replace(
        net, nodes=tuple(replace(node, layer=node.layer.stand_in() or node.layer) for node in nodes)
    ), notes


def sampled(net: Graph, samples: int | None) -> tuple[Graph, tuple[Problem, ...]]:
    """The net with layers that draw numbers in the TEST phase: as their mean, or with samples.

    With `samples` each input is repeated so many times, and the outputs are averaged over them.
    """
    drawing = [node for node in net.nodes if node.layer.draws]
    if not drawing:
        return net, ()
    names = _listed(drawing)
    if samples is None:
        message = f"{names} draw at random in TEST; their mean is exported: --samples N draws N"
        return net, (Problem(message, net.path, severity=Severity.NOTE),)
    ins = [top for node in net.nodes if node.layer.feeds for top in node.tops]
    inside = {blob: unused(f"{blob}@samples", net.blobs) for blob in (*ins, *net.outputs)}

    def within(blobs: Sequence[str]) -> tuple[str, ...]:
        return tuple(inside.get(blob, blob) for blob in blobs)

    nodes: list[Node] = []
    for node in net.nodes:
        if node.layer.feeds:
            nodes.append(node)
            nodes += [_repeated(blob, inside[blob], samples) for blob in node.tops]
        else:
            layer = node.layer.drawn() if node.layer.draws else node.layer
            nodes.append(Node(layer, within(node.bottoms), within(node.tops), node.line))
    for blob in net.outputs:
        nodes += _averaged(blob, inside[blob], samples)
    blobs = {top: net.blobs.get(top, top) for node in nodes for top in node.tops}
    message = f"{names} draw at random: outputs are means of {samples} samples"
    note = Problem(message, net.path, severity=Severity.NOTE)
    return replace(net, nodes=tuple(nodes), blobs=blobs), (note,)


def _repeated(blob: str, top: str, samples: int) -> Node:
    proto = LayerParameter(name=top, type=Tile.type, bottom=[blob], top=[top])
    proto.tile_param.axis, proto.tile_param.tiles = 0, samples
    return Node(Tile(proto), (blob,), (top,))


def _averaged(blob: str, bottom: str, samples: int) -> list[Node]:
    """The mean of what lies behind each other along the first axis."""
    if samples == 1:
        proto = LayerParameter(name=blob, type=Power.type, bottom=[bottom], top=[blob])
        return [Node(Power(proto), (bottom,), (blob,))]
    parts = tuple(f"{bottom}_{number}" for number in range(samples))
    cutting = LayerParameter(name=bottom, type=Slice.type, bottom=[bottom], top=parts)
    cutting.slice_param.axis = 0
    adding = LayerParameter(name=blob, type=Eltwise.type, bottom=parts, top=[blob])
    adding.eltwise_param.coeff.extend([1 / samples] * samples)
    return [Node(Slice(cutting), (bottom,), parts), Node(Eltwise(adding), parts, (blob,))]


def _listed(nodes: Sequence[Node]) -> str:
    """Their names, the first few."""
    return some(quoted(node.title for node in nodes), 4)


def obstacles(net: Graph) -> Iterator[Problem]:
    """What keeps layers from being written in ONNX: a line for each kind of obstacle, in which
    each type of layer stands once.
    """
    groups: dict[str, dict[str, list[Node]]] = {}
    for node in net.nodes:
        if not node.layer.feeds and (obstacle := node.layer.obstacle()) is not None:
            groups.setdefault(obstacle, {}).setdefault(node.layer.title, []).append(node)
    for obstacle, types in groups.items():
        listed = ", ".join(f"{title} ({_listed(nodes)})" for title, nodes in types.items())
        first, *others = [node for nodes in types.values() for node in nodes]
        title = None if others else first.title
        yield Problem(f"{obstacle}: {listed}", net.path, first.line, None, title)
