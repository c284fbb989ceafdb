"""A net as a graph: filtered by phase, blobs in versions, every reader tied to what it reads.

This is Caffe's Net::Init up to the point where shapes begin (net.cpp, insert_splits.cpp). A blob
that layers overwrite in place gets a version for each writer, so nothing later needs to know that
in-place layers exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

from fcnproto.errors import LayerError, NetError, Problem, Severity, nearest, raise_if_any
from fcnproto.layers import layer_types
from fcnproto.layers.auto_crop import AutoCrop
from fcnproto.layers.base import Context, InPlace, Layer
from fcnproto.layers.spatial import IDENTITY
from fcnproto.net.coords import crop_offset
from fcnproto.net.nodes import Graph, Node, State
from fcnproto.proto.caffe_pb2 import (
    TEST,
    TRAIN,
    LayerParameter,
    NetParameter,
    Phase,
)
from fcnproto.proto.source import NetSource

__all__ = ["Graph", "Node", "State", "as_net", "assemble", "build", "with_offsets"]


def build(source: NetSource, state: State = State(), size: tuple[int, int] | None = None) -> Graph:
    """The graph of a net in a state; `size` (height, width) stands in for that of its images.

    Raises NetError with everything that is wrong with the net before shapes are looked at.
    """
    graph, problems = assemble(source, state, size)
    raise_if_any(NetError, (*source.problems, *problems))
    return graph


def assemble(
    source: NetSource, state: State = State(), size: tuple[int, int] | None = None
) -> tuple[Graph, tuple[Problem, ...]]:
    """As build, but with the problems beside as much of a graph as can be had."""
    # A net's own stages count besides those it is built with (net.cpp, Net::Net).
    state = replace(state, stages=(*state.stages, *source.net.state.stage))
    assembly = _Assembly(source, state, Context(state.phase, size))
    for index, layer in enumerate(source.net.layer):
        assembly.add(index, layer)
    graph, problems = assembly.finish()
    graph, more = _with_offsets(graph)
    return graph, (*problems, *more)


def _with_offsets(graph: Graph) -> tuple[Graph, tuple[Problem, ...]]:
    """A graph whose AutoCrops are Crops, at the offsets that the layers between them ask for."""
    problems: list[Problem] = []
    for index, node in enumerate(graph.nodes):
        if not node.layer.awaits_offset or len(node.bottoms) not in node.layer.bottoms:
            continue
        try:
            rows, columns = crop_offset(graph, *node.bottoms)
        except NetError as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
            continue
        crop = replace(node, layer=node.layer.cut_at(rows, columns))
        graph = replace(graph, nodes=(*graph.nodes[:index], crop, *graph.nodes[index + 1 :]))
    return graph, tuple(problems)


def with_offsets(source: NetSource) -> NetParameter:
    """A net whose layers of type AutoCrop are Crops with their offsets written in.

    Raises NetError where no offset fits.
    """
    net = NetParameter()
    net.CopyFrom(source.net)
    if not any(layer.type == AutoCrop.type for layer in net.layer):
        return net
    for phase in (TEST, TRAIN):
        graph, problems = assemble(source, State(phase))
        # By their tops too: the crops of CRF-RNN all have one name.
        found = {(node.layer.name, *node.layer.proto.top): node.layer.proto for node in graph.nodes}
        for layer in net.layer:
            key = layer.name, *layer.top
            if layer.type == AutoCrop.type and key in found:
                raise_if_any(NetError, [p for p in problems if p.layer == layer.name])
                layer.CopyFrom(found[key])
    return net


Complain = Callable[..., None]


_Version = tuple[str, int]


@dataclass(frozen=True)
class _Memory:
    """Where a version of a blob lies, and in which shape it is seen there; both are numbers."""

    place: int
    shape: int


@dataclass
class _Draft:
    """A node while blobs are still (name, number of version)."""

    layer: Layer
    bottoms: list[_Version]
    tops: list[_Version]
    line: int | None


_MOST_SUGGESTIONS = 20


@dataclass
class _Assembly:
    source: NetSource
    state: State
    context: Context
    drafts: list[_Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    version: dict[str, int] = field(default_factory=dict)  # the newest version of each blob
    writers: dict[_Version, str] = field(default_factory=dict)
    reads: Counter[_Version] = field(default_factory=Counter)
    unread: dict[str, None] = field(default_factory=dict)  # an ordered set of names
    memory: dict[_Version, _Memory] = field(default_factory=dict)
    overwritten: dict[str, _Version] = field(default_factory=dict)  # what a blob's memory now holds
    suggestions: int = 0
    strangers: dict[str, list[int]] = field(default_factory=dict)
    """For each type that Caffe does not have where it is said, for each layer of it."""
    lost: dict[str, str] = field(default_factory=dict)  # by which layer a blob was overwritten

    def add(self, index: int, proto: LayerParameter) -> None:
        line = self.source.lines[index]

        def complain(message: str, severity: Severity = Severity.ERROR) -> None:
            title = proto.name or f"({proto.type})"
            self.problems.append(Problem(message, self.source.path, line, None, title, severity))

        if proto.include and proto.exclude:
            complain("give either include rules or exclude rules, not both")
        if not self.state.keeps(proto):
            return
        kind = layer_types().get(proto.type)
        if kind is None and proto.type == "" and proto.name in self._of_refused_type:
            pass
        elif kind is None:
            if proto.type not in self.strangers:
                hint = self._suggested(proto.type, layer_types())
                complain(f"unknown layer type '{proto.type}'{hint}")
            self.strangers.setdefault(proto.type, []).append(len(self.problems) - 1)
        elif kind.fork is not None:
            if proto.type not in self.strangers:
                complain(f"type {kind.type} is not in BVLC Caffe ({kind.fork})", Severity.NOTE)
            self.strangers.setdefault(proto.type, []).append(len(self.problems) - 1)

        bottoms = [self._read(index, proto, name, complain) for name in proto.bottom]
        layer = None if kind is None else kind(proto, self.context)
        tops = [
            self._write(proto, position, layer, bottoms, complain)
            for position in range(len(proto.top))
        ]
        if layer is None:
            return
        if layer.auto_top:
            for position in range(len(tops), layer.tops.least):
                tops.append((f"(automatic {position} of {proto.name})", 0))
        for message in _counts(layer, len(tops)):
            complain(message)
        for weight, top in zip(proto.loss_weight, tops, strict=False):
            self.reads[top] += weight != 0  # the loss reads the blob too (insert_splits.cpp)
        self.drafts.append(_Draft(layer, bottoms, tops, line))

    def _read(self, index: int, proto: LayerParameter, name: str, complain: Complain) -> _Version:
        if name not in self.version:
            complain(f"no layer before it makes its bottom '{name}'{self._why(index, name)}")
        if name in self.lost:
            complain(
                f"its bottom '{name}' lies in the same memory as a blob of another shape, which"
                f" layer '{self.lost[name]}' overwrites: Caffe reads what is there now, and here it"
                " is read as it was",
                Severity.WARNING,
            )
        blob = self.overwritten.get(name, (name, self.version.get(name, -1)))
        self.reads[blob] += 1
        self.unread.pop(name, None)
        return blob

    def _why(self, index: int, name: str) -> str:
        """A guess at why a bottom is not there."""
        later = next((at for at in self._makers.get(name, ()) if at[0] > index), None)
        if later is not None:
            return f"; layer '{later[1]}' makes it, but stands further down"
        if name in self._left_out:
            return f"; layer '{self._left_out[name]}' makes it, but is left out in {self.state}"
        first, top = self._called.get(name, (index, ""))
        if first < index:
            return f"; layer '{name}' calls its top '{top}'"
        return self._suggested(name, self.version)

    def _suggested(self, name: str, known: Iterable[str]) -> str:
        """A suggestion, for the first few names that are not known: each takes its time."""
        self.suggestions += 1
        return nearest(name, list(known)) if self.suggestions <= _MOST_SUGGESTIONS else ""

    @cached_property
    def _of_refused_type(self) -> set[str]:
        """The layers of which the text's reader has said already what is wrong with their type."""
        return {
            problem.layer or ""
            for problem in self.source.problems
            if problem.severity is Severity.ERROR and problem.message.startswith("type ")
        }

    @cached_property
    def _makers(self) -> dict[str, list[tuple[int, str]]]:
        """For each blob the layers that make it in this state, with their numbers."""
        found: dict[str, list[tuple[int, str]]] = {}
        for index, layer in enumerate(self.source.net.layer):
            if self.state.keeps(layer):
                for top in layer.top:
                    found.setdefault(top, []).append((index, layer.name))
        return found

    @cached_property
    def _left_out(self) -> dict[str, str]:
        """For each blob the first layer that makes it and is left out in this state."""
        found: dict[str, str] = {}
        for layer in self.source.net.layer:
            if not self.state.keeps(layer):
                for top in layer.top:
                    found.setdefault(top, layer.name)
        return found

    @cached_property
    def _called(self) -> dict[str, tuple[int, str]]:
        """For each layer's name its number and its first top."""
        found: dict[str, tuple[int, str]] = {}
        for index, layer in enumerate(self.source.net.layer):
            if layer.top:
                found.setdefault(layer.name, (index, layer.top[0]))
        return found

    def _write(
        self,
        proto: LayerParameter,
        position: int,
        layer: Layer | None,
        bottoms: Sequence[_Version],
        complain: Complain,
    ) -> _Version:
        name = proto.top[position]
        in_place = position < len(proto.bottom) and proto.bottom[position] == name
        if name in self.version and not in_place:
            first = self.writers.get((name, self.version[name]), "")
            complain(
                f"its top '{name}' is already made by layer '{first}'; give one of them another"
                " name, or read it as the bottom in the same place to overwrite it"
            )
        elif in_place and layer is not None:
            self._check_in_place(name, layer, complain)
        old = self.overwritten.pop(name, (name, self.version.get(name, -1)))
        self.lost.pop(name, None)
        self.version[name] = self.version.get(name, -1) + 1
        blob = name, self.version[name]
        self.writers[blob] = proto.name
        self.unread[name] = None
        if in_place:
            self._overwrite(old, blob)
        else:
            self.memory[blob] = self._memory(layer, bottoms)
        return blob

    def _memory(self, layer: Layer | None, bottoms: Sequence[_Version]) -> _Memory:
        """Where a new blob lies: in memory of its own, unless its layer hands on its bottom's."""
        fresh = len(self.writers)
        shared = self.memory.get(bottoms[0]) if bottoms else None
        if layer is None or not layer.shares_memory or shared is None:
            return _Memory(fresh, fresh)
        return shared if _keeps_shape(layer) else _Memory(shared.place, fresh)

    def _overwrite(self, old: _Version, new: _Version) -> None:
        """Have every blob that lies in the same memory read what is written there now.

        Split, Flatten and Reshape do not copy: what overwrites a top of theirs overwrites their
        bottom and other tops with it (Blob::ShareData).
        """
        memory = self.memory.setdefault(old, _Memory(len(self.writers), len(self.writers)))
        self.memory[new] = memory
        for name, number in self.version.items():
            other = self.memory.get(self.overwritten.get(name, (name, number)))
            if name == new[0] or other is None or other.place != memory.place:
                continue
            if other.shape == memory.shape:
                self.overwritten[name] = new
            else:
                self.lost[name] = self.writers[new]

    def _check_in_place(self, name: str, layer: Layer, complain: Complain) -> None:
        if layer.in_place is InPlace.REFUSED:
            complain(f"a {layer.type} layer cannot overwrite its bottom '{name}'")
        elif layer.in_place is InPlace.NONSENSE:
            complain(
                f"a {layer.type} layer that overwrites its bottom '{name}' reads what it has"
                " already overwritten: Caffe does not notice, and computes nonsense",
                Severity.WARNING,
            )

    def finish(self) -> tuple[Graph, tuple[Problem, ...]]:
        for draft in self.drafts:
            self._check_sole_reader(draft)
        names = self._names()
        nodes = tuple(
            Node(
                draft.layer,
                tuple(names[blob] for blob in draft.bottoms),
                tuple(names[blob] for blob in draft.tops),
                draft.line,
            )
            for draft in self.drafts
        )
        outputs = tuple(names[name, self.version[name]] for name in self.unread)
        blobs = {version: name for (name, _), version in names.items()}
        net, path = self.source.net, self.source.path
        for first, *others in self.strangers.values():
            if others:
                told = self.problems[first]
                message = f"{told.message}; {len(others) + 1} layers are of it"
                self.problems[first] = replace(told, message=message)
        return Graph(net.name, nodes, outputs, blobs, self.state, path), tuple(self.problems)

    @cached_property
    def _reading(self) -> dict[_Version, list[_Draft]]:
        """The layers that read each version of a blob."""
        found: dict[_Version, list[_Draft]] = {}
        for draft in self.drafts:
            for bottom in dict.fromkeys(draft.bottoms):
                found.setdefault(bottom, []).append(draft)
        return found

    def _check_sole_reader(self, draft: _Draft) -> None:
        """Caffe copies a blob for each of several readers, and a copy cannot be overwritten."""
        for bottom, top in zip(draft.bottoms, draft.tops, strict=False):
            if bottom[0] == top[0] and self.reads[bottom] > 1:
                others = [
                    f"'{other.layer.name}'"
                    for other in self._reading.get(bottom, ())[:_MOST_SUGGESTIONS]
                    if other is not draft
                ]
                if draft.bottoms.count(bottom) > 1:
                    others.append("another of its own bottoms")
                readers = " and ".join(others or ["the loss"])
                message = (
                    f"it overwrites blob '{bottom[0]}', which {readers} also reads;"
                    " give its top another name"
                )
                title = draft.layer.name or f"({draft.layer.type})"
                self.problems.append(Problem(message, self.source.path, draft.line, None, title))

    def _names(self) -> dict[_Version, str]:
        names: dict[_Version, str] = {}
        taken = dict.fromkeys(self.version, 1)  # and how many are like each name
        blobs = dict.fromkeys(blob for d in self.drafts for blob in (*d.bottoms, *d.tops))
        for name, number in blobs:
            newest = self.version.get(name, number)
            title = name if number == newest else f"{name}@{self.writers.get((name, number), '')}"
            if number != newest:
                title = self._untaken(title, taken)
            names[name, number] = title
        for name in self.unread:  # tops of layers whose type is not known
            names.setdefault((name, self.version[name]), name)
        return names

    @staticmethod
    def _untaken(title: str, taken: dict[str, int]) -> str:
        """The name with ', or '2 and so on, if it is taken; which it is from now on."""
        candidate = title
        while candidate in taken:
            number = taken[title]
            candidate = f"{title}'" if number == 1 else f"{title}'{number}"
            taken[title] = number + 1
        taken[candidate] = 1
        return candidate


def _keeps_shape(layer: Layer) -> bool:
    """Whether a layer that hands on its bottom hands it on as it is."""
    try:
        return layer.coord_map() == IDENTITY
    except LayerError:
        return False


def _counts(layer: Layer, tops: int) -> Iterator[str]:
    """What is wrong with how many bottoms, tops, loss weights and the like a layer has."""
    proto = layer.proto
    bottoms = len(proto.bottom)
    if bottoms not in layer.bottoms:
        yield f"a {layer.type} layer takes {layer.bottoms} bottoms, found {bottoms}"
    if tops not in layer.tops:
        yield f"a {layer.type} layer gives {layer.tops} tops, found {tops}"
    if layer.top_per_bottom and bottoms != tops:
        yield f"a {layer.type} layer gives one top for each bottom, found {bottoms} and {tops}"
    if proto.propagate_down and len(proto.propagate_down) != bottoms:
        yield (
            f"propagate_down must be given once for each of {bottoms} bottoms, or not at all,"
            f" found {len(proto.propagate_down)}"
        )
    # A loss has a weight of 1 by default, which counts as one given (loss_layer.cpp).
    weights = len(proto.loss_weight) or int(layer.is_loss)
    if weights and weights != tops:
        yield f"loss_weight must be given once for each of {tops} tops, found {weights}"


def as_net(graph: Graph) -> NetParameter:
    """A graph's net as Caffe would save it: its layers, each with its phase."""
    net = NetParameter(name=graph.name) if graph.name else NetParameter()
    for node in graph.nodes:
        layer = net.layer.add()
        layer.CopyFrom(node.layer.proto)
        layer.ClearField("blobs")
        layer.phase = cast(Phase, node.layer.phase)
    return net
