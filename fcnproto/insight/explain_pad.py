"""Why the first layer of an FCN is padded, and what a smaller pad would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

from fcnproto.errors import LayerError, NetError, Problem, Severity, printable
from fcnproto.layers.base import Layer
from fcnproto.layers.spatial import Window
from fcnproto.net.coords import crop_offset
from fcnproto.net.graph import Graph, Node
from fcnproto.net.receptive_field import fields
from fcnproto.net.shapes import Shapes, infer, walk
from fcnproto.proto.caffe_pb2 import LayerParameter
from fcnproto.types import Shape


@dataclass(frozen=True)
class PadCost:
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
    costs: tuple[PadCost, ...]
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
        tuple(PadCost(p, cost) for p in pads if (cost := trial.multiply_adds(p)) is not None),
    )


_MOST_WALKED = 64 * 300
"""Strides times layers: each pad that is tried takes a walk through the layers for each size."""


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
        period = max(strides, default=1)
        if not 0 < period * len(graph.nodes) <= _MOST_WALKED:
            raise NetError(
                Problem(
                    f"one pixel of a blob is {period} of the image's, in {len(graph.nodes)} layers:"
                    " too many sizes would have to be tried",
                    graph.path,
                )
            )
        return cls(
            graph,
            shapes,
            tuple(graph.nodes[index] for index in firsts),
            windows[0].pad,
            windows[0].neutral_pad,
            {blob: shape for blob, shape in images.items() if shape[2:] == size},
            period,
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
        return shapes.total_multiply_adds(graph.nodes)

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
            if not node.layer.crops:
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
        elif layer.windows_on_plane is not None:
            found[index] = layer.windows_on_plane
            behind.update(node.tops)
    return found


def _with_pad(layer: Layer, pad: int) -> Layer:
    """The same layer with another pad; its settings may have it once, per axis, or as _h and _w."""

    def change(proto: LayerParameter) -> None:
        param = getattr(proto, str(layer.settings))
        for name in ("pad", "pad_h", "pad_w"):
            param.ClearField(name)
        if isinstance(param.pad, int):
            param.pad = pad
        else:
            param.pad.append(pad)

    return layer.with_settings(change)


def _with_offset(graph: Graph, node: Node) -> Layer:
    """A Crop of rows and columns at the offset at which its bottoms come together.

    Raises NetError where there is none.
    """
    node.layer.coord_map()  # refuses one whose rows and columns cannot be told
    return node.layer.cut_at(*crop_offset(graph, *node.bottoms))


def pad_text(account: PadAccount) -> str:
    """The account of a pad in sentences."""
    return "\n".join(map(printable, _pad_lines(account))) + "\n"


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
    if not costs.get(account.pad):
        return  # not built with that pad, or nothing is multiplied
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
