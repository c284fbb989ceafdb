"""The layers around a padded convolution whose surroundings are constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from fcnproto.errors import LayerError
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import works_by_pixels
from fcnproto.exporting.rewrite.padding.lines import convolved, joined, of_image
from fcnproto.exporting.rewrite.padding.surroundings import (
    Lines,
    Member,
)
from fcnproto.net.graph import Node

LONGEST_PERIOD = 64
"""Of the sizes for which a map is the same but for its middle; 32 in all published nets."""


@dataclass(frozen=True)
class Region:
    """The layers that may be windowed, in order.

    `lines` has the maps that they read and write; `images` names the image that each of these maps
    is made of, which is itself one of them.
    """

    members: tuple[Member, ...]
    lines: Mapping[str, Lines]
    images: Mapping[str, str]

    def without(self, node: Node) -> Region:
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

    def leading_to(self, exits: Sequence[str]) -> Region:
        """The region without layers that lead to none of these blobs."""
        wanted = set(exits)
        kept = []
        for member in reversed(self.members):
            if wanted.intersection(member.step.node.tops):
                kept.append(member)
                wanted.update(member.step.node.bottoms)
        return self.of(kept[::-1])

    def of(self, members: Sequence[Member]) -> Region:
        """Other layers on the same maps, as far as they read or write them."""
        blobs = {
            blob
            for member in members
            for blob in (*member.step.node.bottoms, *member.step.node.tops)
        }
        lines = {blob: line for blob, line in self.lines.items() if blob in blobs}
        return Region(tuple(members), lines, self.images)

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
            if top in net.inference.outputs
            or any(id(reader) not in inside for reader in net.graph.readers.get(top, ()))
        ]


def grown(net: Filled) -> Region:
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
    return Region((), lines, images).of(members)


def _member(net: Filled, step: FilledLayer) -> Member | None:
    """A layer with its windows, if it is one that can be windowed."""
    node, layer = step.node, step.node.layer
    if not node.bottoms or any(
        channels_of(net, blob) is None for blob in (*node.bottoms, *node.tops)
    ):
        return None
    if layer.windows_on_plane is not None:
        return _windowed(step)
    channels = [channels_of(net, blob) or 1 for blob in node.bottoms]
    return Member(step, None) if works_by_pixels(layer, channels) else None


def _windowed(step: FilledLayer) -> Member | None:
    node, layer = step.node, step.node.layer
    if len(node.bottoms) != 1 or len(node.tops) != 1:
        return None
    windows = layer.windows_on_plane
    if windows is None or not (layer.convolves or layer.takes_largest):
        return None
    return Member(step, windows) if all(window.dilation for window in windows) else None


def channels_of(net: Filled, blob: str) -> int | None:
    """The channels of N × C × H × W; None for any other blob."""
    dims = net.dims[blob]
    return dims[1] if len(dims) == 4 else None


def _pads_beyond_kernel(member: Member) -> bool:
    """Whether a convolution gives pixels that see nothing of its bottom."""
    assert member.windows is not None
    return member.step.node.layer.convolves and any(
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
    sizes = net.dims[image][2:]
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
    depth = channels_of(net, node.bottoms[0]) or 1
    phases = [len(line.lengths) for line in lines]
    lengths: list[list[int]] = [[0] * count for count in phases]
    for phase in range(max(phases)):
        places = [phase % count for count in phases]
        sizes = [line.lengths[place] for line, place in zip(lines, places, strict=True)]
        (shape,) = node.layer.output_shapes([(1, depth, *sizes)])
        assert shape is not None
        for axis in (0, 1):
            lengths[axis][places[axis]] = shape[2 + axis]
    rows, columns = (
        convolved(line, window, sizes, clip=node.layer.takes_largest)
        for line, window, sizes in zip(lines, member.windows, lengths, strict=True)
    )
    return rows, columns
