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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fcnproto.errors import Problem, Severity
from fcnproto.exporting.cost import nominal_multiply_adds
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.exporting.rewrite.base import Rewritten
from fcnproto.exporting.rewrite.padding.layers import PaddedConvolution, Subtraction, Trim
from fcnproto.exporting.rewrite.padding.plan import WindowPlan, planned
from fcnproto.exporting.rewrite.padding.region import channels_of, grown
from fcnproto.exporting.rewrite.padding.surroundings import Member, Surrounded, constants, tables
from fcnproto.model.builder import TitledArray, unused
from fcnproto.net.graph import Node
from fcnproto.types import Array


def padding(net: Filled) -> Rewritten:
    """Compute what the image reaches, and read the rest from tables."""
    region = grown(net)
    if not region.members:
        return _alone(net, "no layer pads its image by more than its kernel covers")
    while region.members:
        plan = planned(net, region)
        if isinstance(plan, WindowPlan):
            writer = _Writer(net, plan)
            infinite = writer.infinite()
            if infinite is None:
                return _with_gain(net, writer.rewritten())
            plan = infinite
        region = region.without(plan)
    return _alone(net, "what surrounds the image's reach meets it at once")


def _alone(net: Filled, why: str) -> Rewritten:
    message = f"its padding is computed as it stands: {why}"
    return Rewritten(net, (Problem(message, net.graph.path, severity=Severity.NOTE),))


def _with_gain(net: Filled, rewritten: Filled) -> Rewritten:
    if nominal_multiply_adds(rewritten) >= nominal_multiply_adds(net):
        return _alone(net, "nothing would be gained")
    return Rewritten(rewritten)


# Writing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """The net's steps, with those of the plan's layers replaced."""

    net: Filled
    plan: WindowPlan

    def rewritten(self) -> Filled:
        """The whole net."""
        members = {id(member.step.node): member for member in self.plan.region.members}
        written: set[str] = set()
        steps: list[FilledLayer] = []
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

    def infinite(self) -> Node | None:
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
        channels = {blob: channels_of(self.net, blob) or 1 for blob in region.lines}
        return tables(region.members, region.lines, channels)

    def _around(self, blob: str) -> Array:
        return constants(self.tables[blob])

    def _subtracts(self, node: Node) -> bool:
        """Whether the constants around a layer's bottom are subtracted, to pad it with zeros."""
        is_padded = any(max(pads) > 0 for pads in self.plan.pads(node.tops[0]))
        return is_padded and not self.plan.region.is_image(node.bottoms[0])

    def _windowed(self, member: Member) -> Iterator[FilledLayer]:
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
                yield FilledLayer(Node(Trim(trimmed, cuts), (bottom,), (trimmed,)))
                bottom = trimmed
            bottoms.append(bottom)
        if node.layer.convolves:
            yield from self._convolution(member.step, bottoms[0], pads_of_bottoms[0], tops)
        else:
            layer = node.layer.without_padding() if node.layer.takes_largest else node.layer
            windowed = replace(node, layer=layer, bottoms=tuple(bottoms), tops=tops)
            yield replace(member.step, node=windowed)

    def _convolution(
        self, step: FilledLayer, bottom: str, pads: tuple[int, int, int, int], tops: tuple[str, ...]
    ) -> Iterator[FilledLayer]:
        """A convolution whose bottom is padded with zeros, which stand for the constants."""
        node, arrays = step.node, step.arrays
        above, left, below, right = (max(pad, 0) for pad in pads)
        if self._subtracts(node):
            around = self._around(node.bottoms[0])
            less = self._called(f"{bottom}/less")
            yield FilledLayer(Node(Subtraction(less, around), (bottom,), (less,)))
            bottom, arrays = less, _with_constants(step, around)
        layer = PaddedConvolution(node.layer, (above, left, below, right), bias=len(arrays) > 1)
        yield FilledLayer(replace(node, layer=layer, bottoms=(bottom,), tops=tops), arrays)

    def _window_of(self, blob: str) -> str:
        return blob if self.plan.region.is_image(blob) else self._called(f"{blob}/window")

    def _called(self, name: str) -> str:
        """A name for a new map; the same name gives the same."""
        return unused(name, self.net.graph.blobs)

    def _surrounded(self, blob: str) -> FilledLayer:
        courses = self.plan.rows.windows[blob], self.plan.columns.windows[blob]
        layer = Surrounded(
            blob,
            self.tables[blob],
            self.plan.region.lines[blob],
            (courses[0].first, courses[1].first),
            (courses[0].ends, courses[1].ends),
        )
        return FilledLayer(
            Node(layer, (self._window_of(blob), self.plan.region.images[blob]), (blob,))
        )


def _with_constants(step: FilledLayer, around: Array) -> tuple[TitledArray, ...]:
    """The arrays of a convolution from whose bottom constants have been subtracted.

    The new bias goes by the top: kernels may be shared, constants are not.
    """
    layer, (kernels, *biases) = step.node.layer, step.arrays
    groups = around.astype(np.float64).reshape(layer.param.group, 1, -1)
    sums = kernels.array.sum(axis=(2, 3), dtype=np.float64)
    sums = sums.reshape(layer.param.group, -1, sums.shape[1])
    bias = (sums * groups).sum(axis=2).ravel()
    if biases:
        bias += biases[0].array
    return kernels, TitledArray(f"{step.node.tops[0]}/bias", bias.astype(np.float32))
