"""Why a crop offset is what it is, what a first pad of 100 is for, and what a pixel sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Any

from fcnproto.coords import Alignment, Step, align, crop_offset, way
from fcnproto.errors import LayerError, NetError, Problem, Severity, nearest
from fcnproto.field import fields
from fcnproto.graph import Graph, Node
from fcnproto.layers.base import Kind, Layer, Shape, Windowed
from fcnproto.layers.crop import Crop
from fcnproto.layers.spatial import Affine, CoordMap, Window
from fcnproto.shapes import Shapes, infer, walk

Pair = tuple[Fraction, Fraction]
"""Of rows and of columns."""

# Crop -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """A layer on the way to the ancestor, and by how much it moves the crop's offset.

    Offsets are counted in pixels of the blob that is cropped; all moves add up to the crop's.
    """

    step: Step
    unit: Pair
    """By how much the offset grows if the layer's map shifts by one more pixel of its bottom."""

    @property
    def offset(self) -> Pair:
        """The layer's part of the crop's offset."""
        there = self.step.map
        return self.unit[0] * there.rows.shift, self.unit[1] * there.columns.shift

    @property
    def windows(self) -> tuple[Window, Window] | None:
        """The layer's windows, if it moves any."""
        layer = self.step.node.layer
        return layer.plane() if isinstance(layer, Windowed) else None

    @property
    def stays(self) -> bool:
        """Whether every pixel stays where it is, and as large."""
        return self.step.map == CoordMap()


@dataclass(frozen=True)
class Mend:
    """A kernel with which the offset is whole."""

    node: Node
    kernels: tuple[int, int]
    offset: Pair


@dataclass(frozen=True)
class CropAccount:
    """How the offset of a Crop comes about."""

    node: Node
    alignment: Alignment
    written: tuple[int, int]
    moved: tuple[Move, ...]
    """From the blob that is cropped to the common ancestor."""
    reference: tuple[Move, ...]
    """From the blob whose size is taken."""

    @property
    def computed(self) -> Pair:
        """The offset at which the pixels of both bottoms coincide."""
        return self.alignment.rows, self.alignment.columns

    @property
    def moves(self) -> tuple[Move, ...]:
        """Those of both ways."""
        return self.moved + self.reference

    @property
    def fractions(self) -> list[Move]:
        """The layers that move the offset by a fraction of a pixel."""
        return [m for m in self.moves if any(part.denominator != 1 for part in m.offset)]

    @property
    def pads(self) -> list[tuple[Move, Window]]:
        """The windows whose pad is not d(k − 1) / 2, rows before columns where they differ."""
        found = []
        for move in self.moves:
            for window in dict.fromkeys(move.windows or ()):
                if window.pad != window.neutral_pad:
                    found.append((move, window))
        return found

    @cached_property
    def mends(self) -> list[Mend]:
        """Kernels, of one more or less, with which the offset would be whole and not negative.

        Those of upsampling layers, nearest to the crop first; of others only if no such one helps.
        """
        if self.alignment.is_whole:
            return []
        upsampling = [m for m in self.moves if m.step.node.layer.kind is Kind.UPSAMPLING]
        others = [m for m in self.moves if m not in upsampling]
        for moves in (upsampling, others):
            found = [mend for move in moves for mend in self._mends_of(move)]
            if found:
                return found
        return []

    def _mends_of(self, move: Move) -> Iterator[Mend]:
        layer, windows = move.step.node.layer, move.windows
        if windows is None or not isinstance(layer, Windowed):
            return
        for change in (1, -1):
            changed = [replace(window, kernel=window.kernel + change) for window in windows]
            if any(window.kernel < 1 for window in changed):
                continue
            maps = zip(changed, (move.step.map.rows, move.step.map.columns), strict=True)
            shifts = [layer.place(window).shift - before.shift for window, before in maps]
            rows, columns = (
                offset + unit * shift
                for offset, unit, shift in zip(self.computed, move.unit, shifts, strict=True)
            )
            if all(offset.denominator == 1 and offset >= 0 for offset in (rows, columns)):
                kernels = changed[0].kernel, changed[1].kernel
                yield Mend(move.step.node, kernels, (rows, columns))


def crops(graph: Graph, blob: str | None = None) -> tuple[list[CropAccount], list[Problem]]:
    """The account of each Crop, or of the one that makes `blob`, or is called so.

    What cannot be accounted for, since its bottoms have no common ancestor or pixels of different
    size, is a problem. Raises NetError if there is no such Crop.
    """
    found = [node for node in graph.nodes if isinstance(node.layer, Crop)]
    if blob is not None:
        names = {name for node in found for name in (*map(graph.blobs.get, node.tops), node.title)}
        known = sorted(name for name in names if name)
        if blob not in known:
            raise NetError(
                Problem(f"no Crop makes a blob '{blob}'{nearest(blob, known)}", graph.path)
            )
        found = [n for n in found if blob in (n.title, *map(graph.blobs.get, n.tops))]
    if not found:
        raise NetError(Problem("the net has no Crop", graph.path))
    accounts, problems = [], []
    for node in found:
        try:
            accounts.append(_account(graph, node))
        except (NetError, LayerError) as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
    return accounts, problems


def _account(graph: Graph, node: Node) -> CropAccount:
    alignment = align(graph, *node.bottoms)
    there = node.layer.coord_map()
    ways = [way(graph, bottom, alignment.ancestor) for bottom in node.bottoms]
    moved, reference = (
        _moves(steps, alignment.moved, sign) for steps, sign in zip(ways, (-1, 1), strict=True)
    )
    written = int(there.rows.shift), int(there.columns.shift)
    return CropAccount(node, alignment, written, moved, reference)


def _moves(steps: Sequence[Step], unit: CoordMap, sign: int) -> tuple[Move, ...]:
    """The moves of a way; `unit` has the size of the cropped blob's pixels at the ancestor."""
    moves = []
    rows, columns = sign / unit.rows.scale, sign / unit.columns.scale
    for step in reversed(steps):
        moves.append(Move(step, (rows, columns)))
        rows, columns = rows * step.map.rows.scale, columns * step.map.columns.scale
    return tuple(reversed(moves))


def crop_text(graph: Graph, account: CropAccount) -> str:
    """The account of a crop in sentences."""
    return "\n".join(_crop_lines(graph, account)) + "\n"


def _crop_lines(graph: Graph, account: CropAccount) -> Iterator[str]:
    moved, reference = account.node.bottoms
    names = graph.blobs
    ancestor = names[account.alignment.ancestor]
    top = names[account.node.tops[0]]
    line = "" if account.node.line is None else f", line {account.node.line}"
    yield f"{top} (layer {account.node.title}{line}): {names[moved]} cropped to {names[reference]}"
    yield f"  offset written {_pair(account.written)}, computed {_pair(account.computed)}"
    for blob, moves, there in (
        (names[moved], account.moved, account.alignment.moved),
        (names[reference], account.reference, account.alignment.reference),
    ):
        if not moves:
            yield f"  {blob} is the common ancestor itself."
            continue
        yield f"  From {blob} to {ancestor}:"
        yield from (f"    {sentence}" for sentence in _sentences(graph, moves, names[moved]))
        yield f"    So pixel x of {blob} lies at {_formula(there)} of {ancestor}."
    parts = [part for move in account.moves if any(part := move.offset)]
    yield (
        f"  Pixel x of {names[reference]} lies at"
        f" {_formula(_shift(account.computed))} of {names[moved]}:"
        f" {_sum(parts)} = {_pair(account.computed)}."
    )
    yield from (f"  {line}" for line in _verdict(account))
    if account.fractions:
        parts_of = ", ".join(
            f"{move.step.node.title} brings in {_pair(move.offset)}" for move in account.fractions
        )
        whole = "together they are whole" if _is_whole(account.computed) else "they do not cancel"
        yield f"  Fractions of a pixel: {parts_of}; {whole}."
    if account.pads:
        pads = ", ".join(
            f"{move.step.node.title} {window.pad} (not {window.neutral_pad})"
            for move, window in account.pads
        )
        yield f"  Pads that are not d(k − 1)/2, and so shift pixels: {pads}."


def _sentences(graph: Graph, moves: Sequence[Move], moved: str) -> Iterator[str]:
    """A sentence for each layer that moves pixels, and one for those between that do not."""
    still: list[str] = []
    for move in moves:
        node = move.step.node
        if move.stays:
            still.append(node.title)
            continue
        if still:
            yield _still(still)
            still = []
        settings = ", ".join(map(str, dict.fromkeys(move.windows or ())))
        yield (
            f"{node.title} ({node.layer.type}{settings and ', '}{settings}): pixel x of"
            f" {graph.blobs[move.step.top]} lies at {_formula(move.step.map)} of"
            f" {graph.blobs[move.step.bottom]}, which adds {_pair(move.offset)} to the offset."
        )
    if still:
        yield _still(still)


def _still(names: Sequence[str]) -> str:
    verb = "leaves" if len(names) == 1 else "leave"
    return f"{', '.join(names)} {verb} every pixel where it is."


def _verdict(account: CropAccount) -> Iterator[str]:
    """What is wrong with the offset, if anything is, and what would mend it."""
    computed = account.computed
    if not _is_whole(computed):
        yield f"No crop can do that: an offset must be whole, and {_pair(computed)} is not."
    elif min(computed) < 0:
        yield f"No crop can do that: {_pair(computed)} is negative; pad the first layer more."
    elif computed != tuple(map(Fraction, account.written)):
        yield f"But {_pair(account.written)} is written: write offset: {_pair(computed)}."
    for mend in account.mends:
        kernels = _pair(mend.kernels)
        yield f"With a kernel of {kernels} in {mend.node.title} it would be {_pair(mend.offset)}."
    if not account.mends and not _is_whole(computed):
        yield "No kernel that is one larger or smaller makes it whole."


def crop_json(graph: Graph, account: CropAccount) -> dict[str, Any]:
    """The account of a crop as JSON has it; numbers for rows and columns, fractions as text."""

    def way_json(moves: Sequence[Move]) -> list[dict[str, Any]]:
        return [
            {
                "layer": move.step.node.title,
                "type": move.step.node.layer.type,
                "windows": [str(window) for window in move.windows or ()],
                "from": graph.blobs[move.step.top],
                "to": graph.blobs[move.step.bottom],
                "scale": [str(move.step.map.rows.scale), str(move.step.map.columns.scale)],
                "shift": [str(move.step.map.rows.shift), str(move.step.map.columns.shift)],
                "adds": list(map(str, move.offset)),
            }
            for move in moves
        ]

    moved, reference = (graph.blobs[bottom] for bottom in account.node.bottoms)
    return {
        "crop": account.node.title,
        "line": account.node.line,
        "moved": moved,
        "reference": reference,
        "ancestor": graph.blobs[account.alignment.ancestor],
        "written": list(account.written),
        "computed": list(map(str, account.computed)),
        "moved_to_ancestor": way_json(account.moved),
        "reference_to_ancestor": way_json(account.reference),
        "fractions_from": [move.step.node.title for move in account.fractions],
        "kernels_that_mend": [
            {
                "layer": mend.node.title,
                "kernel": list(mend.kernels),
                "offset": list(map(str, mend.offset)),
            }
            for mend in account.mends
        ],
        "pads": [
            {
                "layer": move.step.node.title,
                "pad": window.pad,
                "neutral": str(window.neutral_pad),
            }
            for move, window in account.pads
        ],
    }


def _is_whole(pair: Pair) -> bool:
    return all(part.denominator == 1 for part in pair)


def _shift(pair: Pair) -> CoordMap:
    return CoordMap(Affine(shift=pair[0]), Affine(shift=pair[1]))


def _formula(there: CoordMap) -> str:
    """Where pixel x lies: one formula if rows and columns have the same."""
    if there.rows == there.columns:
        return _axis_formula(there.rows)
    return f"({_axis_formula(there.rows)}, {_axis_formula(there.columns)})"


def _axis_formula(axis: Affine) -> str:
    scale = axis.scale
    if scale == 1:
        text = "x"
    elif scale.denominator == 1:
        text = f"{scale}x"
    else:
        text = f"{'' if scale.numerator == 1 else scale.numerator}x/{scale.denominator}"
    if not axis.shift:
        return text
    return f"{text} {'+' if axis.shift > 0 else '−'} {abs(axis.shift)}"


def _pair(pair: Sequence[Fraction | int]) -> str:
    """Rows and columns, or one number if they are the same."""
    rows, columns = (str(part).replace("-", "−") for part in pair)
    return rows if rows == columns else f"{rows}, {columns}"


def _sum(parts: Sequence[Pair]) -> str:
    if not parts:
        return "0"
    text = _pair(parts[0])
    for part in parts[1:]:
        shown = _pair(part)
        if part[0] == part[1]:
            text += f" − {shown[1:]}" if shown.startswith("−") else f" + {shown}"
        else:
            text += f" + ({shown})"
    return text


# Pad ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a net costs with a first pad: multiply-adds at the size asked for."""

    pad: int
    multiply_adds: int


@dataclass(frozen=True)
class PadAccount:
    """What the pad of a net's first layers is good for. Sizes are those of square images.

    None stands for what there is not: no size, or no pad.
    """

    firsts: tuple[Node, ...]
    pad: int
    neutral: Fraction
    smallest_size: int | None
    """The smallest from which on every size survives."""
    smallest_pad: int | None
    """The smallest with which every size from 1×1 on survives."""
    size: tuple[int, int]
    pad_for_size: int | None
    """The smallest with which `size` survives."""
    costs: tuple[Cost, ...]
    """With the pad as it is, and with the two smallest."""


def pad(graph: Graph) -> PadAccount:
    """What the pad of the first layers of a net is good for, at the size that its images have.

    With another pad, the offsets of all crops are those that then bring their bottoms together.
    Raises NetError if Caffe would refuse the net, if no layer that pads reads an image, or if the
    first layers' pads differ.
    """
    trial = _Trial.of(graph)
    smallest, for_size = trial.smallest_pad(), trial.smallest_pad_for(trial.size)
    pads = dict.fromkeys(p for p in (trial.pad, smallest, for_size) if p is not None)
    return PadAccount(
        trial.firsts,
        trial.pad,
        trial.neutral,
        trial.smallest_size(),
        smallest,
        trial.size,
        for_size,
        tuple(Cost(p, cost) for p in pads if (cost := trial.multiply_adds(p)) is not None),
    )


@dataclass(frozen=True)
class _Trial:
    """A net whose first pad and image size are tried out."""

    graph: Graph
    shapes: Shapes
    firsts: tuple[Node, ...]
    pad: int
    neutral: Fraction
    images: Mapping[str, Shape]
    period: int

    @classmethod
    def of(cls, graph: Graph) -> _Trial:
        shapes = infer(graph)
        firsts = _first_windows(graph)
        images = {b: s for b in graph.inputs if len(s := shapes.blobs.get(b) or ()) == 4}
        if not firsts or not images:
            raise NetError(Problem("no layer that pads reads an image", graph.path))
        windows = [window for pair in firsts.values() for window in pair]
        if len({window.pad for window in windows}) > 1:
            pads = ", ".join(f"{graph.nodes[i].title} {pair[0].pad}" for i, pair in firsts.items())
            raise NetError(Problem(f"its first layers pad differently: {pads}", graph.path))
        size = next(iter(images.values()))[2:]
        strides = [
            ceil(axis.stride)
            for seen in fields(graph, shapes).values()
            for plane in seen.values()
            for axis in plane
        ]
        return cls(
            graph,
            shapes,
            tuple(graph.nodes[index] for index in firsts),
            windows[0].pad,
            windows[0].neutral_pad,
            {blob: shape for blob, shape in images.items() if shape[2:] == size},
            max(strides, default=1),
        )

    @property
    def size(self) -> tuple[int, int]:
        height, width = next(iter(self.images.values()))[2:]
        return height, width

    def smallest_size(self) -> int | None:
        """The smallest size from which on all survive, with the pad as it is.

        Sizes grow in step with the image, so two periods of the net's strides show them all.
        """
        survived = 0
        for size in range(1, max(self.size) + 2 * self.period):
            survived = survived + 1 if self._survives(self.graph, (size, size)) else 0
            if survived == 2 * self.period:
                return size - survived + 1
        return None

    def smallest_pad(self) -> int | None:
        """The smallest pad with which all sizes survive."""
        failed = 1
        for pad in self._pads():
            graph = self._padded(pad)
            if graph is None or not self._survives(graph, (failed, failed)):
                continue
            sizes = range(1, 2 * self.period + 1)
            misfit = next((s for s in sizes if not self._survives(graph, (s, s))), None)
            if misfit is None:
                return pad
            failed = misfit
        return None

    def smallest_pad_for(self, size: tuple[int, int]) -> int | None:
        """The smallest pad with which one size survives."""
        for pad in self._pads():
            graph = self._padded(pad)
            if graph is not None and self._survives(graph, size):
                return pad
        return None

    def multiply_adds(self, pad: int) -> int | None:
        """What the net takes with this pad at its images' size; None if they do not survive."""
        graph = self._padded(pad)
        if graph is None or not self._survives(graph, self.size):
            return None
        shapes, _ = walk(graph, self._given(self.size))
        total = 0
        for node in graph.nodes:
            bottoms, tops = (
                [shape for blob in blobs if (shape := shapes.blobs.get(blob)) is not None]
                for blobs in (node.bottoms, node.tops)
            )
            total += node.layer.multiply_adds(bottoms, tops)
        return total

    def _pads(self) -> range:
        """Pads worth trying: a net of stride 32 needs a few dozen."""
        return range(max(self.pad, 8 * self.period) + 1)

    def _survives(self, graph: Graph, size: tuple[int, int]) -> bool:
        """Whether the net can be built, with the weights that it has, for images of this size."""
        shapes, problems = walk(graph, self._given(size))
        bad = any(problem.severity is not Severity.NOTE for problem in problems)
        return not bad and shapes.weights == self.shapes.weights

    def _given(self, size: tuple[int, int]) -> dict[str, Shape]:
        return {blob: (*shape[:2], *size) for blob, shape in self.images.items()}

    def _padded(self, pad: int) -> Graph | None:
        """The net with this first pad, and crops to suit; None if a crop cannot be."""
        if pad == self.pad:
            return self.graph
        nodes = [
            replace(node, layer=_with_pad(node.layer, pad)) if node in self.firsts else node
            for node in self.graph.nodes
        ]
        graph = replace(self.graph, nodes=tuple(nodes))
        for index, node in enumerate(nodes):
            if not isinstance(node.layer, Crop):
                continue
            try:
                nodes[index] = replace(node, layer=_with_offset(graph, node))
            except (LayerError, NetError):
                return None
            graph = replace(graph, nodes=tuple(nodes))
        return graph


def _first_windows(graph: Graph) -> dict[int, tuple[Window, Window]]:
    """The windows of those layers before which no layer has any, by their index in the graph."""
    behind: set[str] = set()
    found = {}
    for index, node in enumerate(graph.nodes):
        layer = node.layer
        if behind.intersection(node.bottoms):
            behind.update(node.tops)
        elif isinstance(layer, Windowed) and _pads_plane(layer):
            found[index] = layer.plane()
            behind.update(node.tops)
    return found


def _pads_plane(layer: Windowed) -> bool:
    try:
        layer.plane()
    except LayerError:
        return False
    return True


def _with_pad(layer: Layer, pad: int) -> Layer:
    """The same layer with another pad; its settings may have it once, per axis, or as _h and _w."""
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    changed = type(layer)(proto, layer.context)
    param = changed.param
    for name in ("pad", "pad_h", "pad_w"):
        param.ClearField(name)
    if isinstance(param.pad, int):
        param.pad = pad
    else:
        param.pad.append(pad)
    return changed


def _with_offset(graph: Graph, node: Node) -> Layer:
    """A Crop of rows and columns at the offset at which its bottoms come together.

    Raises NetError where there is none.
    """
    layer = node.layer
    layer.coord_map()  # refuses one whose rows and columns cannot be told
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    rows, columns = crop_offset(graph, *node.bottoms)
    proto.crop_param.axis = 2
    del proto.crop_param.offset[:]
    proto.crop_param.offset.extend([rows, columns])
    return type(layer)(proto, layer.context)


def pad_text(account: PadAccount) -> str:
    """The account of a pad in sentences."""
    return "\n".join(_pad_lines(account)) + "\n"


def _pad_lines(account: PadAccount) -> Iterator[str]:
    names = ", ".join(node.title for node in account.firsts)
    size = f"{account.size[0]}×{account.size[1]}"
    yield f"{names}: pad {account.pad}; {account.neutral} would leave every pixel where it is."
    if account.smallest_size is None:
        yield f"Images of other sizes than {size} do not all survive, however large they are."
    elif account.smallest_size == 1:
        yield "With it every image survives, from 1×1 on."
    else:
        least = account.smallest_size
        yield f"With it images survive from {least}×{least} on, and not all that are smaller."
    if account.smallest_pad is None:
        yield "No pad lets every size survive."
    else:
        least = account.smallest_pad
        yield f"The smallest pad with which every size from 1×1 on survives is {least}."
    if account.pad_for_size is not None:
        yield f"The smallest with which {size} survives is {account.pad_for_size}."
    yield from _cost_lines(account, size)


def _cost_lines(account: PadAccount, size: str) -> Iterator[str]:
    costs = {cost.pad: cost.multiply_adds for cost in account.costs}
    if account.pad not in costs:
        return
    ours = costs[account.pad]
    yield f"Multiply-adds at {size}:"
    for pad, cost in sorted(costs.items(), reverse=True):
        more = "" if pad == account.pad else f", {ours - cost:,} fewer ({(ours - cost) / ours:.1%})"
        yield f"  pad {pad}: {cost:,}{more if ours != cost else ''}"


def pad_json(account: PadAccount) -> dict[str, Any]:
    """The account of a pad as JSON has it."""
    return {
        "layers": [node.title for node in account.firsts],
        "pad": account.pad,
        "neutral_pad": str(account.neutral),
        "smallest_size": account.smallest_size,
        "smallest_pad": account.smallest_pad,
        "size": list(account.size),
        "smallest_pad_for_size": account.pad_for_size,
        "multiply_adds": {str(cost.pad): cost.multiply_adds for cost in account.costs},
    }
