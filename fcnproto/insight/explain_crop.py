"""Why a crop offset is what it is, what a first pad of 100 is for, and what a pixel sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from fcnproto.errors import LayerError, NetError, Problem, nearest, printable
from fcnproto.layers.base import Kind
from fcnproto.layers.spatial import Affine, CoordMap, Window
from fcnproto.net.coords import Alignment, Ascent, align, way
from fcnproto.net.graph import Graph, Node

Pair = tuple[Fraction, Fraction]
"""Of rows and of columns."""

# Crop -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """A layer on the way to the ancestor, and by how much it moves the crop's offset.

    Offsets are counted in pixels of the blob that is cropped; all moves add up to the crop's.
    """

    step: Ascent
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
        return self.step.node.layer.windows_on_plane

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
        if windows is None:
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
    found = [node for node in graph.nodes if node.layer.crops]
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
    if len(found) * len(graph.nodes) > _MOST_LAYERS:
        name = graph.blobs.get(found[0].tops[0], found[0].title)
        message = (
            f"it has {len(found)} crops in {len(graph.nodes)} layers: name one, such as {name}"
        )
        raise NetError(Problem(message, graph.path))
    accounts, problems = [], []
    for node in found:
        try:
            accounts.append(_account(graph, node))
        except (NetError, LayerError) as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
    return accounts, problems


_MOST_LAYERS = 2**16
"""So many are told of at once, crops times the layers that each may lie behind."""


def _account(graph: Graph, node: Node) -> CropAccount:
    alignment = align(graph, *node.bottoms)
    there = node.layer.coord_map()
    ways = [way(graph, bottom, alignment.ancestor) for bottom in node.bottoms]
    moved, reference = (
        _moves(steps, alignment.moved, sign) for steps, sign in zip(ways, (-1, 1), strict=True)
    )
    written = int(there.rows.shift), int(there.columns.shift)
    return CropAccount(node, alignment, written, moved, reference)


def _moves(steps: Sequence[Ascent], unit: CoordMap, sign: int) -> tuple[Move, ...]:
    """The moves of a way; `unit` has the size of the cropped blob's pixels at the ancestor."""
    moves = []
    rows, columns = sign / unit.rows.scale, sign / unit.columns.scale
    for step in reversed(steps):
        moves.append(Move(step, (rows, columns)))
        rows, columns = rows * step.map.rows.scale, columns * step.map.columns.scale
    return tuple(reversed(moves))


def crop_text(graph: Graph, account: CropAccount) -> str:
    """The account of a crop in sentences."""
    return "\n".join(map(printable, _crop_lines(graph, account))) + "\n"


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
