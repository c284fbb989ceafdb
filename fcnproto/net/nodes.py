"""What a net is as a graph: its state, its layers in their places, the blobs that tie them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from fcnproto.errors import NetError, Problem, Severity, nearest
from fcnproto.layers.base import Layer
from fcnproto.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetState, NetStateRule


@dataclass(frozen=True)
class State:
    """What a net is built for; include and exclude rules of layers are compared with it."""

    phase: int = TEST
    level: int = 0
    stages: tuple[str, ...] = ()

    @classmethod
    def from_proto(cls, state: NetState) -> State:
        """The same as a value."""
        return cls(state.phase, state.level, tuple(state.stage))

    def meets(self, rule: NetStateRule) -> bool:
        """Whether every field that the rule gives agrees (net.cpp, StateMeetsRule)."""
        return (
            (not rule.HasField("phase") or rule.phase == self.phase)
            and (not rule.HasField("min_level") or rule.min_level <= self.level)
            and (not rule.HasField("max_level") or rule.max_level >= self.level)
            and all(stage in self.stages for stage in rule.stage)
            and not any(stage in self.stages for stage in rule.not_stage)
        )

    def keeps(self, layer: LayerParameter) -> bool:
        """Whether the layer belongs to the net: it is included by any rule, or excluded by none."""
        if layer.include:
            return any(map(self.meets, layer.include))
        return not any(map(self.meets, layer.exclude))

    def __str__(self) -> str:
        words = [f"phase {'TRAIN' if self.phase == TRAIN else 'TEST'}"]
        if self.level:
            words.append(f"level {self.level}")
        words += [f"stage {stage}" for stage in self.stages]
        return ", ".join(words)


@dataclass(frozen=True)
class Node:
    """A layer in its place: the versions of blobs that it reads and writes, and its line."""

    layer: Layer
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    line: int | None = None

    @property
    def title(self) -> str:
        """What messages call it: its name, or its type if it has none."""
        return self.layer.name or f"({self.layer.type})"


@dataclass(frozen=True)
class Graph:
    """The layers of a net in order, tied by versions of blobs.

    The last version of a blob has the blob's name; an earlier one is called `blob@layer` after
    the layer that wrote it. `outputs` are the tops that nobody reads.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    blobs: Mapping[str, str]
    """The blob that each version is of; the newest version is called as the blob is."""
    state: State = State()
    path: str | None = None

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that writes each version of a blob."""
        return {top: node for node in self.nodes for top in node.tops}

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """The nodes that read each version of a blob."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for bottom in node.bottoms:
                readers.setdefault(bottom, []).append(node)
        return readers

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tops of layers that read nothing: images, labels, whatever data come in."""
        return tuple(top for node in self.nodes if not node.bottoms for top in node.tops)

    def problem(self, node: Node, message: str, severity: Severity = Severity.ERROR) -> Problem:
        """A problem of one of this net's layers."""
        return Problem(message, self.path, node.line, None, node.title, severity)

    def node(self, name: str) -> Node:
        """The first layer of that name; NetError if there is none."""
        for node in self.nodes:
            if node.layer.name == name:
                return node
        names = [node.layer.name for node in self.nodes]
        raise NetError(Problem(f"there is no layer '{name}'{nearest(name, names)}", self.path))

    def upstream(self, blob: str) -> Iterator[tuple[Node, str]]:
        """Every node that `blob` depends on, nearest first, and the version through which."""
        wanted = {blob}
        for node in reversed(self.nodes):
            tops = [top for top in node.tops if top in wanted]
            if tops:
                yield node, tops[0]
                wanted.update(node.bottoms)
