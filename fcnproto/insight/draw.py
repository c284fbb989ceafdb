"""Pictures of nets: DOT, what Graphviz makes of it, and a page to look around in.

Graphviz lays the net out; we say what stands in the boxes, which edges make up the column in the
middle, and in which colours. The page holds Graphviz's picture and needs nothing else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise
from pathlib import PurePath
from typing import Any
from xml.etree import ElementTree

from fcnproto.errors import FcnprotoError, LayerError, Problem, printable
from fcnproto.insight.summary import (
    LayerRow,
    Summary,
    in_height_and_width,
    size_of,
    summarize,
)
from fcnproto.layers.base import Kind
from fcnproto.net.graph import Graph, Node
from fcnproto.net.receptive_field import field_words
from fcnproto.proto import printer
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.types import show


@dataclass(frozen=True)
class Colours:
    """A box's inside and its edge, on light and on dark paper."""

    fill: str
    stroke: str
    dark_fill: str
    dark_stroke: str


# After Okabe and Ito, whose colours stay apart in the eyes of the colour-blind; the insides are
# thinned so that text can be read on them.
COLOURS = {
    Kind.DATA: Colours("#e2e2e2", "#3d3d3d", "#333333", "#d2d2d2"),
    Kind.CONVOLUTION: Colours("#cfe3f4", "#0072b2", "#0d3350", "#56a8e0"),
    Kind.UPSAMPLING: Colours("#ffd3b0", "#d55e00", "#5a2800", "#ff9a4d"),
    Kind.POOLING: Colours("#faf0a0", "#8f7d00", "#4a4200", "#f0e442"),
    Kind.CROP: Colours("#eebfdc", "#a03c78", "#551a40", "#e894c6"),
    Kind.FUSION: Colours("#bfe8d8", "#00795a", "#003d2e", "#2fd3a5"),
    Kind.NORMALIZATION: Colours("#e6f7ff", "#56b0dc", "#10303f", "#a5dcfa"),
    Kind.LOSS: Colours("#b9b9b9", "#000000", "#585858", "#ffffff"),
    Kind.OTHER: Colours("#fdfdfd", "#7d7d7d", "#17181a", "#808080"),
}
PAPER = Colours("#ffffff", "#ffffff", "#121417", "#121417")
INK = Colours("#1b1b1b", "#1b1b1b", "#ececec", "#ececec")
PALE_INK = Colours("#505050", "#505050", "#b6b6b6", "#b6b6b6")
LINE = Colours("#4a4a4a", "#4a4a4a", "#c9c9c9", "#c9c9c9")
REFERENCE = Colours("#9a9a9a", "#9a9a9a", "#7c7c7c", "#7c7c7c")

_NAMED = {
    **{kind.name.lower(): colours for kind, colours in COLOURS.items()},
    "paper": PAPER,
    "ink": INK,
    "pale": PALE_INK,
    "line": LINE,
    "reference": REFERENCE,
}

FONT = "Helvetica,Arial,sans-serif"


@dataclass(frozen=True)
class Box:
    """A layer and the layers that overwrite its top in place."""

    index: int
    rows: tuple[LayerRow, ...]

    @property
    def kind(self) -> Kind:
        """That of its first layer; whatever brings data in is data."""
        layer = self.rows[0].node.layer
        return Kind.DATA if layer.feeds else layer.kind


@dataclass(frozen=True)
class Edge:
    """From one box to another; by way of a blob of which perhaps only the size is read."""

    start: int
    end: int
    only_size: bool


@dataclass(frozen=True)
class Picture:
    """The boxes of a net, and what goes from one to the other."""

    graph: Graph
    summary: Summary
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]

    @property
    def title(self) -> str:
        """The net's name, or its file's."""
        return self.summary.name or PurePath(self.graph.path or "net").stem

    @cached_property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """The boxes in ways through the net, the longest first, then what it leaves, and so on.

        Each way goes straight down; so the longest is a column with the others beside it.
        """
        ways: dict[int, list[int]] = {box.index: [] for box in self.boxes}
        for edge in self.edges:
            if not edge.only_size:
                ways[edge.end].append(edge.start)
        left = dict.fromkeys(ways)
        columns: list[tuple[int, ...]] = []
        while left:
            column = _longest(ways, left)
            if len(column) == 1:  # nothing that is left leads anywhere
                columns += [(index,) for index in left]
                break
            columns.append(column)
            for index in column:
                del left[index]
        return tuple(columns)


def _longest(ways: Mapping[int, Sequence[int]], left: Collection[int]) -> tuple[int, ...]:
    """The longest way among the boxes that are left, which are in the order of the net."""
    length: dict[int, int] = {}
    before: dict[int, int | None] = {}
    for index in left:
        starts = [start for start in ways[index] if start in left]
        before[index] = max(starts, key=lambda start: length[start], default=None)
        length[index] = 1 + max((length[start] for start in starts), default=0)
    place: int | None = max(length, key=lambda index: length[index])
    column = []
    while place is not None:
        column.append(place)
        place = before[place]
    return tuple(reversed(column))


def picture(graph: Graph) -> Picture:
    """What is to be drawn of a net; NetError if Caffe would refuse it."""
    summary = summarize(graph)
    shapes = {top.blob: top.shape for row in summary.rows for top in row.tops}
    home: dict[str, int] = {}
    boxes: dict[int, list[LayerRow]] = {}
    edges: dict[Edge, None] = {}
    for index, row in enumerate(summary.rows):
        node = row.node
        if _folds(graph, node):
            place = home[node.bottoms[0]]
            boxes[place].append(row)
            home[node.tops[0]] = place
            continue
        boxes[index] = [row]
        home.update(dict.fromkeys(node.tops, index))
        sizes_only = _sizes_only(node, [shapes[blob] or () for blob in node.bottoms])
        for bottom, only_size in zip(node.bottoms, sizes_only, strict=True):
            edges[Edge(home[bottom], index, only_size)] = None
    found = tuple(Box(index, tuple(rows)) for index, rows in boxes.items())
    return Picture(graph, summary, found, tuple(edges))


def _folds(graph: Graph, node: Node) -> bool:
    """Whether a layer only changes the one blob that it reads, in its place."""
    if not len(node.bottoms) == len(node.tops) == 1:
        return False
    return graph.blobs[node.bottoms[0]] == graph.blobs[node.tops[0]]


def _sizes_only(node: Node, bottoms: Sequence[tuple[int, ...]]) -> list[bool]:
    try:
        return [plane is None for plane in node.layer.reaches(bottoms)]
    except LayerError:
        return [False] * len(bottoms)


# DOT ------------------------------------------------------------------------------------------


def dot(net: Picture) -> str:
    """The picture in Graphviz's language."""
    return "\n".join(["digraph net {", *(f"  {line}" for line in _statements(net)), "}"]) + "\n"


def _statements(net: Picture) -> Iterator[str]:
    yield (
        f'graph [bgcolor="{PAPER.fill}", fontname="{FONT}", fontsize=11, fontcolor="{INK.fill}",'
        f" nodesep=0.35, ranksep=0.32, pad=0.25, labelloc=t, label={_title(net)}]"
    )
    yield (
        f'node [shape=box, style="rounded,filled", fontname="{FONT}", fontsize=12,'
        f' fontcolor="{INK.fill}", penwidth=1.6, margin="0.16,0.07"]'
    )
    yield f'edge [color="{LINE.stroke}", penwidth=1.3, arrowsize=0.65]'
    group = {index: number for number, column in enumerate(net.columns) for index in column}
    for box in net.boxes:
        colours = COLOURS[box.kind]
        attributes = [
            f"label={_label(box)}",
            f'fillcolor="{colours.fill}"',
            f'color="{colours.stroke}"',
            f'id="layer-{box.index}"',
            f"tooltip={_quoted(box.rows[0].name)}",
            f"group=column{group[box.index]}",
        ]
        yield f"n{box.index} [{', '.join(attributes)}]"
    straight = {pair for column in net.columns for pair in pairwise(column)}
    for edge in net.edges:
        is_straight = (edge.start, edge.end) in straight
        yield f"n{edge.start} -> n{edge.end} [{_edge(edge, is_straight)}]"


def _edge(edge: Edge, is_straight: bool) -> str:
    if edge.only_size:
        colour = REFERENCE.stroke
        return f'style=dashed, color="{colour}", penwidth=1.0, weight=0, arrowhead=empty'
    # Whatever joins two columns may be long: skips are.
    return f"weight={50 if is_straight else 1}"


def _title(net: Picture) -> str:
    """The net's name, and what each colour stands for."""
    kinds = [kind for kind in Kind if any(box.kind is kind for box in net.boxes)]
    cells = "".join(
        f'<td bgcolor="{COLOURS[kind].fill}" color="{COLOURS[kind].stroke}" border="1"'
        f' cellpadding="4"><font point-size="10">{escape(kind.value)}</font></td>'
        for kind in kinds
    )
    inputs = ", ".join(
        f"{top.blob} {'?' if top.shape is None else show(top.shape)}" for top in net.summary.inputs
    )
    name = _text(net.title)
    return (
        f'<<table border="0" cellspacing="4" cellpadding="2"><tr>'
        f'<td colspan="{max(len(kinds), 1)}"><font point-size="16"><b>{name}</b></font></td></tr>'
        f'<tr><td colspan="{max(len(kinds), 1)}"><font color="{PALE_INK.fill}">'
        f"{_text(inputs)}</font></td></tr><tr>{cells or '<td></td>'}</tr></table>>"
    )


def _label(box: Box) -> str:
    first, *others = box.rows
    layer = first.node.layer
    settings = " ".join(filter(None, [layer.type, layer.brief()]))
    lines = [f"<b>{_text(first.name)}</b>", _small(settings)]
    if others:
        lines.append(_small("+ " + ", ".join(row.type for row in others)))
    shapes = [top.shape for top in first.tops if top.shape is not None]
    if shapes:
        lines.append(_small(show(shapes[0]) if shapes[0] else "a scalar"))
    return f"<{'<br/>'.join(lines)}>"


def _small(words: str) -> str:
    return f'<font point-size="10" color="{PALE_INK.fill}">{_text(words)}</font>'


def _text(words: str) -> str:
    """Text for a label: escaped, and never empty, which Graphviz's labels must not be."""
    return escape(printable(words)) or " "


def _quoted(words: str) -> str:
    words = printable(words)
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


# Pictures -------------------------------------------------------------------------------------

FORMATS = (".dot", ".gv", ".svg", ".png", ".pdf", ".html")

_SECONDS = 300
"""How long Graphviz may take."""

_DPI = 110


def draw(graph: Graph, suffix: str) -> bytes:
    """A picture of a net, as a file of this suffix holds it.

    Raises FcnprotoError if there is no such kind of picture, or if Graphviz is needed and missing.
    """
    if suffix not in FORMATS:
        raise FcnprotoError(f"'{suffix}' is no kind of picture: name it {', '.join(FORMATS)}")
    net = picture(graph)
    source = dot(net)
    if suffix in (".dot", ".gv"):
        return source.encode()
    if suffix in (".png", ".pdf"):
        return graphviz(source, suffix.removeprefix("."))
    svg = _themed(net, graphviz(source, "svg"))
    return svg if suffix == ".svg" else page(net, svg.decode()).encode()


def suffix_of(path: str) -> str:
    """The kind of picture that a file's name asks for; standard output is DOT."""
    return ".dot" if path == "-" else PurePath(path).suffix.lower()


def graphviz(source: str, kind: str) -> bytes:
    """What Graphviz's program makes of a DOT source; FcnprotoError if it is missing or fails."""
    program = shutil.which("dot")
    if program is None:
        raise FcnprotoError(
            "Graphviz's program dot is not there, which lays nets out: install it (apt install"
            " graphviz, brew install graphviz, winget install graphviz), or write a .dot file"
        )
    command = [program, f"-T{kind}", *([f"-Gdpi={_DPI}"] if kind == "png" else [])]
    try:
        done = subprocess.run(
            command, input=source.encode(), capture_output=True, timeout=_SECONDS, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise FcnprotoError(f"Graphviz took more than {_SECONDS} s over this net") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise FcnprotoError(Problem(f"Graphviz failed: {words[0]}")) from error
    return done.stdout


_SVG = "http://www.w3.org/2000/svg"


def _themed(net: Picture, svg: bytes) -> bytes:
    """Graphviz's SVG with colours that change on dark paper, and layers' names as titles."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    by_fill = {colours.fill: name for name, colours in _NAMED.items()}
    by_stroke = {colours.stroke: name for name, colours in _NAMED.items()}
    for element in root.iter():
        classes = [element.get("class", "")]
        for attribute, names in (("fill", by_fill), ("stroke", by_stroke)):
            name = names.get(element.get(attribute, ""))
            if name is not None:
                classes.append(f"{attribute}-{name}")
        if any(classes):
            element.set("class", " ".join(filter(None, classes)))
    titles = {f"layer-{box.index}": printable(box.rows[0].name) for box in net.boxes}
    for group in root.iter(f"{{{_SVG}}}g"):
        title = group.find(f"{{{_SVG}}}title")
        if title is not None:
            if group.get("id") in titles:
                title.text = titles[group.get("id", "")]
            else:
                group.remove(title)
    style = ElementTree.Element(f"{{{_SVG}}}style")
    style.text = _style()
    root.insert(0, style)
    themed: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return themed


def _style() -> str:
    rules = "".join(
        f".fill-{name}{{fill:{colours.dark_fill}}}.stroke-{name}{{stroke:{colours.dark_stroke}}}"
        for name, colours in _NAMED.items()
    )
    paper = f":root{{background:{PAPER.dark_fill}}}"
    return f"@media (prefers-color-scheme: dark){{{paper}{rules}}}"


def page(net: Picture, svg: str) -> str:
    """A page that shows the picture, and each layer's figures when it is clicked."""
    boxes = {f"layer-{box.index}": [_facts(net, row) for row in box.rows] for box in net.boxes}
    totals = {
        "parameters": f"{net.summary.parameters:,}",
        "multiply-adds": f"{net.summary.multiply_adds:,}",
        "peak memory of inference": size_of(net.summary.inference),
        "peak memory of training": size_of(net.summary.training),
    }
    data = json.dumps({"boxes": boxes, "totals": totals}).replace("<", "\\u003c")
    from fcnproto.zoo.templates import from_template  # Jinja is heavy

    return from_template(
        "draw.html.j2",
        title=escape(printable(net.title)),
        svg=svg[svg.index("<svg") :],
        data=data,
    )


def _facts(net: Picture, row: LayerRow) -> dict[str, Any]:
    """What the page tells of a layer."""
    blobs = net.graph.blobs
    stride, size, offset = field_words(row.plane)
    shared = f" (shared with {', '.join(row.shared)})" if row.shared else ""
    facts = [("bottom", blobs[bottom]) for bottom in row.node.bottoms]
    for top in row.tops:
        shape = "?" if top.shape is None else show(top.shape)
        facts += [("top", f"{blobs[top.blob]} {shape}")]
        facts += [("in H and W", in_height_and_width(top.sizes))]
    facts += [
        ("parameters", f"{row.parameters:,}{shared}"),
        ("multiply-adds", "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"),
        ("memory", size_of(row.memory)),
        ("receptive field", size and f"{size} pixels of {row.image}"),
        ("stride", stride),
        ("field's offset", offset),
        ("line", "" if row.node.line is None else str(row.node.line)),
    ]
    return {
        "name": row.name,
        "type": row.type,
        "words": " ".join([row.name, row.type, *(blobs[top.blob] for top in row.tops)]).lower(),
        "facts": [fact for fact in facts if fact[1]],
        "prototxt": printer.format(NetParameter(layer=[_without_weights(row.node)])),
    }


def _without_weights(node: Node) -> Any:
    proto = type(node.layer.proto)()
    proto.CopyFrom(node.layer.proto)
    proto.ClearField("blobs")
    return proto
