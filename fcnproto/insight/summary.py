"""What a net is made of and what it costs: shapes, parameters, multiply-adds, memory, fields.

Memory is that of float32 blobs and weights; what a program needs besides, such as the columns that
Caffe's convolutions unroll images into, is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from fcnproto.errors import printable
from fcnproto.layers.base import Plane
from fcnproto.net.graph import Graph, Node
from fcnproto.net.receptive_field import Fields, field_json, field_words, fields
from fcnproto.net.shapes import Place, Shapes, infer
from fcnproto.net.size_formula import Formula, Sizes, formulas
from fcnproto.types import Shape, Shown, show
from fcnproto.words import columns

FLOAT = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Top:
    """A blob that a layer writes: its shape, and that in H and W, as far as they are known."""

    blob: str
    shape: Shape | None
    sizes: Sizes | None


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    `parameters` are those that no layer before it has; `multiply_adds` is None where shapes are
    unknown; `memory` is that of its tops in bytes, none where they lie in its bottom's. `plane` is
    what the pixels of its first top see of `image`, the first input that it depends on.
    """

    node: Node
    tops: tuple[Top, ...]
    parameters: int
    shared: tuple[str, ...]
    multiply_adds: int | None
    memory: int
    image: str | None
    plane: Plane | None

    @property
    def name(self) -> str:
        """The layer's name, or its type if it has none."""
        return self.node.title

    @property
    def type(self) -> str:
        """The layer's type."""
        return self.node.layer.type


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """A net's layers, and its totals. Memory is in bytes.

    `inference` is the most that is needed at once if each blob is dropped after its last reader:
    the weights, and the blobs alive. `training` keeps all blobs, a gradient for each that has one,
    and for each learned parameter a gradient and SGD's momentum. `uncounted` are layers whose
    multiply-adds are not known.
    """

    name: str
    state: str
    inputs: tuple[Top, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    multiply_adds: int
    activations: int
    inference: int
    training: int
    uncounted: tuple[str, ...]

    def __str__(self) -> str:
        return table(self).rstrip("\n")


def summarize(graph: Graph) -> Summary:
    """The summary of a net in a state; NetError if Caffe would refuse it."""
    shapes = infer(graph)
    survey = _Survey(graph, shapes, fields(graph, shapes), formulas_of(graph, shapes))
    rows = tuple(map(survey.row, range(len(graph.nodes))))
    weights = FLOAT * sum(row.parameters for row in rows)
    memory = Memory(graph, shapes)
    return Summary(
        graph.name,
        str(graph.state),
        tuple(survey.top(blob) for blob in graph.inputs),
        rows,
        sum(row.parameters for row in rows),
        sum(row.multiply_adds or 0 for row in rows),
        memory.total,
        weights + memory.peak,
        weights + memory.total + memory.gradients + 2 * FLOAT * survey.learned,
        tuple(row.name for row in rows if row.multiply_adds is None),
    )


def formulas_of(graph: Graph, shapes: Shapes) -> dict[str, Sizes]:
    """The shapes of blobs in the height and width of the first image, and of those of its size."""
    known = {blob: shape for blob in graph.inputs if (shape := shapes.blobs.get(blob)) is not None}
    planes = [shape[2:] for shape in known.values() if len(shape) == 4]
    images = [blob for blob, shape in known.items() if len(shape) == 4 and shape[2:] == planes[0]]
    return formulas(graph, shapes, images) if images else {}


@dataclass(frozen=True)
class _Survey:
    graph: Graph
    shapes: Shapes
    fields: Fields
    formulas: Mapping[str, Sizes]

    def row(self, index: int) -> LayerRow:
        node = self.graph.nodes[index]
        owned, shared = [], []
        for number, weight in enumerate(self.shapes.weights.get(index, ())):
            owner = self.shapes.owners[Place(index, number)]
            if owner == Place(index, number):
                owned.append(prod(weight.shape))
            else:
                shared.append(self.graph.nodes[owner.node].title)
        image, plane = self._field(node)
        return LayerRow(
            node,
            tuple(map(self.top, node.tops)),
            sum(owned),
            tuple(dict.fromkeys(shared)),
            self.shapes.multiply_adds(node),
            sum(
                _bytes(self.shapes, top)
                for position, top in enumerate(node.tops)
                if source_of(self.graph, node, position) is None
            ),
            image,
            plane,
        )

    def top(self, blob: str) -> Top:
        return Top(blob, self.shapes.blobs.get(blob), self.formulas.get(blob))

    @cached_property
    def learned(self) -> int:
        """How many parameters are learned."""
        return sum(
            prod(weight.shape)
            for index, weights in self.shapes.weights.items()
            for number, weight in enumerate(weights)
            if self.shapes.owners[Place(index, number)] == Place(index, number)
            and is_learned(self.graph.nodes[index], number)
        )

    def _field(self, node: Node) -> tuple[str | None, Plane | None]:
        for image, plane in self.fields.get(node.tops[0], {}).items() if node.tops else ():
            return image, plane
        return None, None


def is_learned(node: Node, number: int) -> bool:
    """Whether training changes a weight: its lr_mult is not 0."""
    specs = node.layer.proto.param
    return number >= len(specs) or specs[number].lr_mult != 0


def source_of(graph: Graph, node: Node, position: int) -> str | None:
    """The bottom in whose memory a top lies, if it does: in place, or shared."""
    if position < len(node.bottoms):
        bottom, top = node.bottoms[position], node.tops[position]
        if graph.blobs[bottom] == graph.blobs[top]:
            return bottom
    return node.bottoms[0] if node.layer.shares_memory and node.bottoms else None


def _bytes(shapes: Shapes, blob: str) -> int:
    shape = shapes.blobs.get(blob)
    return 0 if shape is None else FLOAT * prod(shape)


class Memory:
    """The memory of a net's blobs in bytes; versions of a blob, and views of one, are one."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self._graph = graph
        self._learning = {
            index
            for index, weights in shapes.weights.items()
            if any(is_learned(graph.nodes[index], number) for number in range(len(weights)))
        }
        self._roots: dict[str, str] = {}
        for node in graph.nodes:
            for position, top in enumerate(node.tops):
                source = source_of(graph, node, position)
                self._roots[top] = top if source is None else self._roots[source]
        self._sizes = {root: _bytes(shapes, root) for root in self._roots.values()}

    @property
    def total(self) -> int:
        """That of all blobs."""
        return sum(self._sizes.values())

    @property
    def peak(self) -> int:
        """That of the blobs alive at the layer where it is most; outputs stay alive."""
        last = {self._roots[blob]: len(self._graph.nodes) for blob in self._graph.outputs}
        born: dict[str, int] = {}
        for index, node in enumerate(self._graph.nodes):
            for blob in (*node.bottoms, *node.tops):
                root = self._roots[blob]
                born.setdefault(root, index)
                last[root] = max(last.get(root, 0), index)
        change = [0] * (len(self._graph.nodes) + 2)
        for root, start in born.items():
            change[start] += self._sizes[root]
            change[last[root] + 1] -= self._sizes[root]
        alive = most = 0
        for step in change:
            alive += step
            most = max(most, alive)
        return most

    @property
    def gradients(self) -> int:
        """That of the gradients of blobs between what is learned and the losses.

        A net without losses is taken to have one at each output.
        """
        below, above = self._below_learned(), self._above_losses()
        return sum(self._sizes[root] for root in {self._roots[blob] for blob in below & above})

    def _below_learned(self) -> set[str]:
        """The blobs that depend on anything learned."""
        found: set[str] = set()
        for index, node in enumerate(self._graph.nodes):
            if index in self._learning or found.intersection(node.bottoms):
                found.update(node.tops)
        return found

    def _above_losses(self) -> set[str]:
        """The blobs that a loss depends on."""
        found = {
            top
            for node in self._graph.nodes
            for position, top in enumerate(node.tops)
            if node.layer.is_loss or any(node.layer.proto.loss_weight[position : position + 1])
        } or set(self._graph.outputs)
        for node in reversed(self._graph.nodes):
            if found.intersection(node.tops):
                found.update(node.bottoms)
        return found


# Writing --------------------------------------------------------------------------------------

HEADINGS = (
    "layer",
    "type",
    "output",
    "in H and W",
    "parameters",
    "multiply-adds",
    "memory",
    "stride",
    "field",
    "offset",
)
_NUMBERS = frozenset(HEADINGS[4:])
"""The columns that are set flush right."""

LONGEST_FORMULA = 42


def table(summary: Summary, *, markdown: bool = False) -> str:
    """The summary as lines of text, or as a table of Markdown."""
    cells = [tuple(map(printable, _cells(row))) for row in summary.rows]
    totals = map(printable, _totals(summary))
    if markdown:
        rule = ["---:" if heading in _NUMBERS else "---" for heading in HEADINGS]
        lines = [_piped(line) for line in (HEADINGS, rule, *cells)]
        return "\n".join([*lines, "", *(f"- {line}" for line in totals)]) + "\n"
    numbers = [index for index, heading in enumerate(HEADINGS) if heading in _NUMBERS]
    lines = columns([HEADINGS, *cells], numbers, rule=True)
    return "\n".join([*lines, "", *totals]) + "\n"


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as JSON has it: numbers whole, memory in bytes, what is unknown null."""
    return {
        "name": summary.name,
        "state": summary.state,
        "inputs": {top.blob: top.shape for top in summary.inputs},
        "layers": list(map(_row_json, summary.rows)),
        "parameters": summary.parameters,
        "multiply_adds": summary.multiply_adds,
        "activation_memory": summary.activations,
        "inference_memory": summary.inference,
        "training_memory": summary.training,
        "uncounted": list(summary.uncounted),
    }


def _row_json(row: LayerRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "type": row.type,
        "line": row.node.line,
        "settings": row.node.layer.brief(),
        "bottoms": list(row.node.bottoms),
        "tops": {
            top.blob: {
                "shape": top.shape,
                "formula": None if top.sizes is None else [str(size) for size in top.sizes],
            }
            for top in row.tops
        },
        "parameters": row.parameters,
        "shared_with": list(row.shared),
        "multiply_adds": row.multiply_adds,
        "memory": row.memory,
        "field": None if row.plane is None else field_json(row.image, row.plane),
    }


def _cells(row: LayerRow) -> tuple[str, ...]:
    formula = in_height_and_width(row.tops[0].sizes) if row.tops else ""
    shapes = ", ".join("?" if top.shape is None else show(top.shape) for top in row.tops)
    return (
        row.name,
        row.type,
        shapes,
        formula if len(formula) <= LONGEST_FORMULA else "",
        f"= {', '.join(row.shared)}" if row.shared else f"{row.parameters:,}",
        "?" if row.multiply_adds is None else f"{row.multiply_adds:,}",
        size_of(row.memory),
        *field_words(row.plane),
    )


def in_height_and_width(sizes: Sizes | None) -> str:
    """How those axes of a shape depend on H and W that do; nothing where that is not known."""
    open_sizes = [str(size) for size in sizes or () if isinstance(size, Formula)]
    if len(open_sizes) > 1:
        open_sizes = [size if _is_one_term(size) else f"({size})" for size in open_sizes]
    return "×".join(open_sizes)


def _is_one_term(text: str) -> bool:
    return " " not in text or (text[0] in "⌊⌈" and text[-1] in "⌋⌉")


def size_of(count: int) -> str:
    """Bytes in the unit that suits them."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "B" else f"{count} B"
        size /= 1024
    return f"{size:.2f} GiB"


def _totals(summary: Summary) -> Iterator[str]:
    inputs = ", ".join(
        f"{top.blob} {'?' if top.shape is None else show(top.shape)}" for top in summary.inputs
    )
    yield f"net: {summary.name or '(no name)'}, {summary.state}, input {inputs or '(none)'}"
    yield f"parameters: {summary.parameters:,} ({size_of(FLOAT * summary.parameters)})"
    yield f"multiply-adds: {summary.multiply_adds:,}"
    yield f"activations: {size_of(summary.activations)}"
    yield f"peak memory of inference: {size_of(summary.inference)}"
    yield f"peak memory of training: {size_of(summary.training)} (SGD with momentum)"
    if summary.uncounted:
        yield f"not counted, for their shapes are unknown: {', '.join(summary.uncounted)}"


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
