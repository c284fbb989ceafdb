"""Padding by 100 pixels without computing it: only what the image reaches is computed.

The published nets put 100 zeros around the image, so that a third to a half of their
multiplications are with zeros or with what became of them. Every map is an outer ring, shaped by
its own zero padding, around cells that are constant in each channel, around what the image reaches.
As long as ring and image do not meet, the layers here compute a window around the image's reach
alone:

- a convolution's padding of constants becomes one of zeros, by subtracting the constants c from its
  bottom and adding Σ W·c to its bias;
- where a layer that cannot be proved safe reads a map, or it is the net's output, it is put into
  its surroundings, which are read from a table.

Where windows begin and end follows from the layers' own windows for images of all sizes at once
(see `lines`), so it holds for every net that pads its image, whatever its kernels and strides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from fcnproto.builder import Builder, unused
from fcnproto.errors import LayerError, Problem, Severity
from fcnproto.filled import Filled, Named, Step
from fcnproto.graph import Node
from fcnproto.layers.base import Layer, Pointwise, Shape
from fcnproto.layers.convolution import Convolution, settings_of
from fcnproto.layers.deconvolution import Deconvolution
from fcnproto.layers.pooling import Pooling
from fcnproto.layers.spatial import INT_MAX, Affine, CoordMap, Window
from fcnproto.proto.caffe_pb2 import LayerParameter, PoolingParameter
from fcnproto.rewrite.base import Rewritten, works_by_pixels
from fcnproto.rewrite.cost import nominal_multiply_adds
from fcnproto.rewrite.lines import Line, convolved, joined, of_image
from fcnproto.rewrite.surroundings import Array, Lines, Member, Surrounded, constants, tables

LONGEST_PERIOD = 64
"""Of the sizes for which a map is the same but for its middle; 32 in all published nets."""


def padding(net: Filled) -> Rewritten:
    """Compute what the image reaches, and read the rest from tables."""
    region = _grown(net)
    if not region.members:
        return _alone(net, "no layer pads its image by more than its kernel covers")
    while region.members:
        planned = _planned(net, region)
        if isinstance(planned, _Plan):
            writer = _Writer(net, planned)
            endless = writer.endless()
            if endless is None:
                return _with_gain(net, writer.rewritten())
            planned = endless
        region = region.without(planned)
    return _alone(net, "what surrounds the image's reach meets it at once")


def _alone(net: Filled, why: str) -> Rewritten:
    message = f"its padding is computed as it stands: {why}"
    return Rewritten(net, (Problem(message, net.graph.path, severity=Severity.NOTE),))


def _with_gain(net: Filled, rewritten: Filled) -> Rewritten:
    if nominal_multiply_adds(rewritten) >= nominal_multiply_adds(net):
        return _alone(net, "nothing would be gained")
    return Rewritten(rewritten)


# The region: layers whose maps have a part that the image does not reach ------------------------


@dataclass(frozen=True)
class _Region:
    """The layers that may be windowed, in order.

    `lines` has the maps that they read and write; `images` names the image that each of these maps
    is made of, which is itself one of them.
    """

    members: tuple[Member, ...]
    lines: Mapping[str, Lines]
    images: Mapping[str, str]

    def without(self, node: Node) -> _Region:
        """The region without a layer and all that depends on it."""
        gone: set[str] = set()
        kept = []
        for member in self.members:
            each = member.step.node
            if each is node or gone.intersection(each.bottoms):
                gone.update(each.tops)
            else:
                kept.append(member)
        return self.of(kept)

    def leading_to(self, exits: Sequence[str]) -> _Region:
        """The region without layers that lead to none of these blobs."""
        wanted = set(exits)
        kept = []
        for member in reversed(self.members):
            if wanted.intersection(member.step.node.tops):
                kept.append(member)
                wanted.update(member.step.node.bottoms)
        return self.of(kept[::-1])

    def of(self, members: Sequence[Member]) -> _Region:
        """Other layers on the same maps, as far as they read or write them."""
        blobs = {
            blob
            for member in members
            for blob in (*member.step.node.bottoms, *member.step.node.tops)
        }
        lines = {blob: line for blob, line in self.lines.items() if blob in blobs}
        return _Region(tuple(members), lines, self.images)

    def is_image(self, blob: str) -> bool:
        """Whether a map is an image: zeros lie around it, and all of it is computed."""
        return self.images.get(blob) == blob

    def exits(self, net: Filled) -> list[str]:
        """The maps that layers outside of the region read, or that are outputs."""
        inside = {id(member.step.node) for member in self.members}
        return [
            top
            for member in self.members
            for top in member.step.node.tops
            if top in net.net.outputs
            or any(id(reader) not in inside for reader in net.graph.readers.get(top, ()))
        ]


def _grown(net: Filled) -> _Region:
    """All layers whose tops the image does not reach as a whole, rings and reach apart."""
    candidates, periods = _repeating(net)
    members: list[Member] = []
    lines: dict[str, Lines] = {}
    images: dict[str, str] = {}
    for member in candidates:
        node = member.step.node
        try:
            if member.windows is not None and node.bottoms[0] not in lines:
                if not _pads_beyond_kernel(member):
                    continue
                image = node.bottoms[0]
                lines[image] = _image_lines(net, image, periods[image])
                images[image] = image
            if not all(bottom in lines for bottom in node.bottoms):
                continue
            if member.windows is None and any(images[blob] == blob for blob in node.bottoms):
                continue  # its top may be taken for an image in turn
            top = _top_lines(net, member, [lines[bottom] for bottom in node.bottoms])
        except LayerError:
            continue
        sources = {images[bottom] for bottom in node.bottoms}
        if len(sources) == 1 and all(line.is_apart for line in top):
            members.append(member)
            lines.update(dict.fromkeys(node.tops, top))
            images.update(dict.fromkeys(node.tops, sources.pop()))
    return _Region((), lines, images).of(members)


def _member(net: Filled, step: Step) -> Member | None:
    """A layer with its windows, if it is one that can be windowed."""
    node, layer = step.node, step.node.layer
    if not node.bottoms or any(
        _channels(net, blob) is None for blob in (*node.bottoms, *node.tops)
    ):
        return None
    if isinstance(layer, Convolution | Pooling):
        return _windowed(step)
    channels = [_channels(net, blob) or 1 for blob in node.bottoms]
    return Member(step, None) if works_by_pixels(layer, channels) else None


def _windowed(step: Step) -> Member | None:
    node, layer = step.node, step.node.layer
    assert isinstance(layer, Convolution | Pooling)
    if len(node.bottoms) != 1 or len(node.tops) != 1 or isinstance(layer, Deconvolution):
        return None
    if isinstance(layer, Pooling) and layer.param.pool != PoolingParameter.MAX:
        return None
    try:
        windows = layer.plane()
    except LayerError:
        return None
    return Member(step, windows) if all(window.dilation for window in windows) else None


def _channels(net: Filled, blob: str) -> int | None:
    """The channels of N × C × H × W; None for any other blob."""
    dims = net.net.dims[blob]
    return dims[1] if len(dims) == 4 else None


def _pads_beyond_kernel(member: Member) -> bool:
    """Whether a convolution gives pixels that see nothing of its bottom."""
    assert member.windows is not None
    return isinstance(member.step.node.layer, Convolution) and any(
        window.pad >= window.extent for window in member.windows
    )


def _repeating(net: Filled) -> tuple[list[Member], dict[str, tuple[int, int]]]:
    """The layers that can be windowed, and for each map that they read or write a period.

    Images whose sizes differ by that, along rows and along columns, are the same to all these
    layers but for the middle of their maps. Layers that would make it too long are left out.
    """
    members: list[Member] = []
    strides: dict[str, tuple[int, int]] = {}
    images: dict[str, str] = {}
    periods: dict[str, tuple[int, int]] = {}
    for step in net.steps:
        member = _member(net, step)
        if member is None:
            continue
        bottom = step.node.bottoms[0]
        image = images.setdefault(bottom, bottom)
        down, across = strides.setdefault(bottom, (1, 1))
        if member.windows is not None:
            rows, columns = member.windows
            down, across = down * rows.stride, across * columns.stride
        so_far = periods.setdefault(image, (1, 1))
        period = lcm(so_far[0], down), lcm(so_far[1], across)
        if max(period) > LONGEST_PERIOD:
            continue
        periods[image] = period
        members.append(member)
        strides |= dict.fromkeys(step.node.tops, (down, across))
        images |= dict.fromkeys(step.node.tops, image)
    # A map may be taken for an image that itself is made of one.
    return members, {blob: periods[image] for blob, image in images.items()}


def _image_lines(net: Filled, image: str, period: tuple[int, int]) -> Lines:
    sizes = net.net.dims[image][2:]
    rows, columns = (
        of_image(range(1, each + 1) if size is None else (size,))
        for size, each in zip(sizes, period, strict=True)
    )
    return rows, columns


def _top_lines(net: Filled, member: Member, bottoms: Sequence[Lines]) -> Lines:
    node = member.step.node
    if member.windows is None:
        # All bottoms are of one size, which the net has checked.
        if len(bottoms) == 1:
            return bottoms[0]
        rows, columns = (joined([each[axis] for each in bottoms]) for axis in (0, 1))
        return rows, columns
    (lines,) = bottoms
    channels = _channels(net, node.bottoms[0]) or 1
    phases = [len(line.lengths) for line in lines]
    lengths: list[list[int]] = [[0] * count for count in phases]
    for phase in range(max(phases)):
        places = [phase % count for count in phases]
        sizes = [line.lengths[place] for line, place in zip(lines, places, strict=True)]
        (shape,) = node.layer.output_shapes([(1, channels, *sizes)])
        assert shape is not None
        for axis in (0, 1):
            lengths[axis][places[axis]] = shape[2 + axis]
    is_pool = isinstance(node.layer, Pooling)
    rows, columns = (
        convolved(line, window, sizes, clip=is_pool)
        for line, window, sizes in zip(lines, member.windows, lengths, strict=True)
    )
    return rows, columns


# The plan: which part of each map is computed ---------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """The cells of a map that are computed along an axis, by phase: from first to before ends."""

    first: int
    ends: tuple[int, ...]

    def seen_through(self, window: Window) -> _Window:
        """The cells that a layer reads to compute these."""
        first, _ = window.covered_by(self.first)
        return _Window(first, tuple(window.covered_by(end - 1)[1] + 1 for end in self.ends))

    def moved_over(self, window: Window) -> _Window:
        """The cells that a layer computes of these, and rounds down."""
        spans = [window.within(self.first, end - 1) for end in self.ends]
        return _Window(spans[0][0], tuple(last + 1 for _, last in spans))

    def padded(self, before: int, after: int) -> _Window:
        """The cells and so many more before and after."""
        return _Window(self.first - before, tuple(end + after for end in self.ends))


def _hull(windows: Sequence[_Window]) -> _Window:
    ends = zip(*(window.ends for window in windows), strict=True)
    return _Window(min(window.first for window in windows), tuple(map(max, ends)))


Pads = tuple[int, int]
"""Cells put before and after a bottom's window; with negative numbers so many are left out."""


@dataclass(frozen=True)
class _Course:
    """The plan along one axis: windows of maps, and pads by layer (its first top) and bottom."""

    windows: Mapping[str, _Window]
    pads: Mapping[str, tuple[Pads, ...]]


@dataclass(frozen=True)
class _Plan:
    """How the layers of a region are windowed, and the maps that are put into surroundings."""

    region: _Region
    rows: _Course
    columns: _Course
    exits: tuple[str, ...]

    def pads(self, top: str) -> list[tuple[int, int, int, int]]:
        """For each bottom of a layer the pads as ONNX orders them: top, left, bottom, right."""
        return [
            (above, left, below, right)
            for (above, below), (left, right) in zip(
                self.rows.pads[top], self.columns.pads[top], strict=True
            )
        ]


def _planned(net: Filled, region: _Region) -> _Plan | Node:
    """A plan for all layers of a region, or the first that does not let itself be planned."""
    exits = region.exits(net)
    region = region.leading_to(exits)
    courses = []
    for axis in (0, 1):
        course = _course(region, exits, axis)
        if isinstance(course, Node):
            return course
        courses.append(course)
    return _Plan(region, courses[0], courses[1], tuple(exits))


def _course(region: _Region, exits: Sequence[str], axis: int) -> _Course | Node:
    lines = {blob: both[axis] for blob, both in region.lines.items()}
    wanted = _wanted(region, exits, lines, axis)
    windows = {
        blob: _Window(0, line.lengths) for blob, line in lines.items() if region.is_image(blob)
    }
    pads: dict[str, tuple[Pads, ...]] = {}
    for member in region.members:
        node = member.step.node
        top, bottoms = node.tops[0], [windows[bottom] for bottom in node.bottoms]
        if member.windows is None:
            # What lies around what is wanted does a single bottom no harm.
            meet = len(bottoms) > 1
            pads[top] = tuple(
                _pads(bottom, wanted[top], 1) if meet else (0, 0) for bottom in bottoms
            )
            tops = {bottom.padded(*each) for bottom, each in zip(bottoms, pads[top], strict=True)}
            if len(tops) > 1:
                return node
            (window,) = tops
        else:
            moved = member.windows[axis]
            each = _pads(bottoms[0], wanted[top].seen_through(moved), moved.stride)
            padded = bottoms[0].padded(*each)
            line, is_image = lines[node.bottoms[0]], region.is_image(node.bottoms[0])
            is_constant = is_image or line.holds(padded.first, padded.ends)
            if max(each) > 0 and (isinstance(node.layer, Pooling) or not is_constant):
                return node
            pads[top] = (each,)
            window = padded.moved_over(moved)
        if min(window.ends) <= window.first or not lines[top].holds(window.first, window.ends):
            return node
        windows.update(dict.fromkeys(node.tops, window))
    return _Course(windows, pads)


def _pads(window: _Window, needed: _Window, stride: int) -> Pads:
    """What must be put around a window to hold the needed cells of images of every phase."""
    after = max(need - end for need, end in zip(needed.ends, window.ends, strict=True))
    if after < 0:  # what a stride leaves over need not be cut off
        after = -(-after // stride * stride)
    return window.first - needed.first, after


def _wanted(
    region: _Region, exits: Sequence[str], lines: Mapping[str, Line], axis: int
) -> dict[str, _Window]:
    """What must at least be computed of each map, from the exits back.

    What is read with a padding of constants is wanted as far as the image reaches, what is read
    without as far as the reader goes.
    """
    demands: dict[str, list[_Window]] = {}
    for blob in exits:
        demands.setdefault(blob, []).append(_reached(lines[blob]))
    unpadded = _unpadded(region)
    wanted: dict[str, _Window] = {}
    for member in reversed(region.members):
        node = member.step.node
        window = _hull([each for top in node.tops for each in demands.get(top, ())])
        wanted.update(dict.fromkeys(node.tops, window))
        for bottom in node.bottoms:
            if member.windows is None:
                need = window
            elif bottom in unpadded or isinstance(node.layer, Pooling):
                need = window.seen_through(member.windows[axis])
            else:
                need = _reached(lines[bottom])
            demands.setdefault(bottom, []).append(need)
    return wanted


def _reached(line: Line) -> _Window:
    return _Window(line.first, line.ends)


def _unpadded(region: _Region) -> set[str]:
    """The maps around which no constants are put, but as much of them is computed as is read.

    Those are the maps that are computed from images themselves: a few more rows of a layer with so
    few channels cost less than to subtract constants from its large maps.
    """
    found: set[str] = set()
    for member in region.members:
        node = member.step.node
        is_first = member.windows is not None and region.is_image(node.bottoms[0])
        if is_first or (member.windows is None and found.issuperset(node.bottoms)):
            found.update(node.tops)
    return found


# Writing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """The net's steps, with those of the plan's layers replaced."""

    net: Filled
    plan: _Plan

    def rewritten(self) -> Filled:
        """The whole net."""
        members = {id(member.step.node): member for member in self.plan.region.members}
        written: set[str] = set()
        steps: list[Step] = []
        for step in self.net.steps:
            member = members.get(id(step.node))
            if member is None:
                steps.append(step)
                continue
            for each in self._windowed(member):
                if written.isdisjoint(each.node.tops):  # else it is what two layers read
                    written.update(each.node.tops)
                    steps.append(each)
            steps += [self._surrounded(top) for top in step.node.tops if top in self.plan.exits]
        return self.net.rewritten(steps)

    def endless(self) -> Node | None:
        """The first layer from whose bottom numbers would be subtracted that are not finite."""
        for member in self.plan.region.members:
            node = member.step.node
            if self._subtracts(node) and not np.isfinite(self._around(node.bottoms[0])).all():
                return node
        return None

    @cached_property
    def tables(self) -> Mapping[str, Array]:
        """What lies around each map."""
        region = self.plan.region
        channels = {blob: _channels(self.net, blob) or 1 for blob in region.lines}
        return tables(region.members, region.lines, channels)

    def _around(self, blob: str) -> Array:
        return constants(self.tables[blob])

    def _subtracts(self, node: Node) -> bool:
        """Whether the constants around a layer's bottom are subtracted, to pad it with zeros."""
        is_padded = any(max(pads) > 0 for pads in self.plan.pads(node.tops[0]))
        return is_padded and not self.plan.region.is_image(node.bottoms[0])

    def _windowed(self, member: Member) -> Iterator[Step]:
        """A layer on windows, and what must be done to its bottoms before."""
        node = member.step.node
        tops = tuple(map(self._window_of, node.tops))
        pads_of_bottoms = self.plan.pads(node.tops[0])
        bottoms = []
        for index, (blob, pads) in enumerate(zip(node.bottoms, pads_of_bottoms, strict=True)):
            bottom = self._window_of(blob)
            if min(pads) < 0:
                trimmed = self._called(f"{tops[0]}/bottom{index}")
                cuts = tuple(max(-pad, 0) for pad in pads)
                yield Step(Node(Trim(trimmed, cuts), (bottom,), (trimmed,)))
                bottom = trimmed
            bottoms.append(bottom)
        if isinstance(node.layer, Convolution):
            yield from self._convolution(member.step, bottoms[0], pads_of_bottoms[0], tops)
        else:
            is_pool = isinstance(node.layer, Pooling)
            layer = _without_padding(node.layer) if is_pool else node.layer
            windowed = replace(node, layer=layer, bottoms=tuple(bottoms), tops=tops)
            yield replace(member.step, node=windowed)

    def _convolution(
        self, step: Step, bottom: str, pads: tuple[int, int, int, int], tops: tuple[str, ...]
    ) -> Iterator[Step]:
        """A convolution whose bottom is padded with zeros, which stand for the constants."""
        node, arrays = step.node, step.arrays
        above, left, below, right = (max(pad, 0) for pad in pads)
        if self._subtracts(node):
            around = self._around(node.bottoms[0])
            less = self._called(f"{bottom}/less")
            yield Step(Node(Subtraction(less, around), (bottom,), (less,)))
            bottom, arrays = less, _with_constants(step, around)
        layer = PaddedConvolution(node.layer, (above, left, below, right), bias=len(arrays) > 1)
        yield Step(replace(node, layer=layer, bottoms=(bottom,), tops=tops), arrays)

    def _window_of(self, blob: str) -> str:
        return blob if self.plan.region.is_image(blob) else self._called(f"{blob}/window")

    def _called(self, name: str) -> str:
        """A name for a new map; the same name gives the same."""
        return unused(name, self.net.graph.blobs)

    def _surrounded(self, blob: str) -> Step:
        courses = self.plan.rows.windows[blob], self.plan.columns.windows[blob]
        layer = Surrounded(
            blob,
            self.tables[blob],
            self.plan.region.lines[blob],
            (courses[0].first, courses[1].first),
            (courses[0].ends, courses[1].ends),
        )
        return Step(Node(layer, (self._window_of(blob), self.plan.region.images[blob]), (blob,)))


def _with_constants(step: Step, around: Array) -> tuple[Named, ...]:
    """The arrays of a convolution from whose bottom constants have been subtracted.

    The new bias goes by the top: kernels may be shared, constants are not.
    """
    layer, (kernels, *biases) = step.node.layer, step.arrays
    assert isinstance(layer, Convolution)
    groups = around.astype(np.float64).reshape(layer.param.group, 1, -1)
    sums = kernels.array.sum(axis=(2, 3), dtype=np.float64)
    sums = sums.reshape(layer.param.group, -1, sums.shape[1])
    bias = (sums * groups).sum(axis=2).ravel()
    if biases:
        bias += biases[0].array
    return kernels, Named(f"{step.node.tops[0]}/bias", bias.astype(np.float32))


def _without_padding(layer: Layer) -> Layer:
    """A pooling layer of whole windows only."""
    proto = LayerParameter()
    proto.CopyFrom(layer.proto)
    param = proto.pooling_param
    for name in ("pad", "pad_h", "pad_w"):
        param.ClearField(name)
    param.round_mode = PoolingParameter.FLOOR
    return type(layer)(proto, layer.context)


class PaddedConvolution(Convolution, registered=False):
    """A Convolution with a padding of its own on each side; `pads` are as ONNX orders them."""

    def __init__(self, layer: Layer, pads: tuple[int, int, int, int], *, bias: bool) -> None:
        proto = LayerParameter()
        proto.CopyFrom(layer.proto)
        proto.convolution_param.bias_term = bias
        super().__init__(proto, layer.context)
        self.pads = pads

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """N × O × what the kernels fit on."""
        num, _, *sizes = bottoms[0]
        outs = [
            window.within(-window.pad, size + after - 1)[1] + 1
            for size, after, window in zip(sizes, self.pads[2:], self.plane(), strict=True)
        ]
        return [(num, self.param.num_output, *outs)]

    def plane(self) -> tuple[Window, Window]:
        """The windows, with the padding before, which decides where the top's pixels lie."""
        (rows, columns), (above, left, _, _) = super().plane(), self.pads
        return replace(rows, pad=above), replace(columns, pad=left)

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Conv with this padding."""
        operands = [b.weight(index) for index in range(b.weights)]
        settings = settings_of(self.plane(), self.param.group) | {"pads": list(self.pads)}
        return [b.node("Conv", bottoms[0], *operands, **settings)]


class Subtraction(Pointwise, registered=False):
    """A constant of each channel subtracted."""

    type = "Subtraction"

    def __init__(self, name: str, constants: Array) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.constants = constants

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """BatchNormalization, which onnxruntime computes in its blocked layout, unlike Sub."""
        ones, zeros = np.ones_like(self.constants), np.zeros_like(self.constants)
        operands = [b.literal(ones), b.own("constants", -self.constants), b.literal(zeros)]
        return [b.node("BatchNormalization", bottoms[0], *operands, b.literal(ones), epsilon=0.0)]


class Trim(Layer, registered=False):
    """Rows and columns cut off at the borders; `cuts` are as ONNX orders pads."""

    type = "Trim"

    def __init__(self, name: str, cuts: Sequence[int]) -> None:
        super().__init__(LayerParameter(name=name, type=self.type))
        self.cuts = tuple(cuts)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """What is left."""
        above, left, below, right = self.cuts
        num, channels, height, width = bottoms[0]
        return [(num, channels, height - above - below, width - left - right)]

    def coord_map(self) -> CoordMap:
        """Shifted by what is cut off before."""
        return CoordMap(Affine(shift=Fraction(self.cuts[0])), Affine(shift=Fraction(self.cuts[1])))

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Slice."""
        starts, ends = self.cuts[:2], [-cut if cut else INT_MAX for cut in self.cuts[2:]]
        return [b.node("Slice", bottoms[0], b.ints(starts), b.ints(ends), b.ints([2, 3]))]
