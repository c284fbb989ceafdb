"""The head of an FCN in numbers: the kernels, pads and crop offsets that put scores on the image.

Scores at a large stride are upsampled by a Deconvolution to the next smaller stride, where a Crop
brings them and that stride's own scores together, and so on until they lie on the image (Long,
Shelhamer and Darrell 2015, section 4.2). Nothing here knows a backbone: all follows from where its
blobs lie and how large they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from fcnproto.errors import LayerError, ZooError
from fcnproto.layers.spatial import Affine, Window
from fcnproto.net.coords import to_input
from fcnproto.net.graph import Graph
from fcnproto.types import Shape

IMAGE = 1
"""The image's own stride."""


@dataclass(frozen=True)
class Trunk:
    """A backbone whose first layer does not pad, and the blobs of it that a head scores.

    Padding the first layer by p is the same as giving it an image that is larger by 2p, so sizes
    are asked for, and positions said, in pixels of the padded image.
    """

    graph: Graph
    image: str
    blobs: Mapping[int, str]
    """The scored blobs by stride, the largest stride first."""

    def positions(self) -> dict[int, Affine]:
        """Where the pixels of each scored blob lie on the padded image.

        Raises ZooError if a blob is not at the stride that it is said to be at.
        """
        positions = {}
        for stride, blob in self.blobs.items():
            rows, columns = to_input(self.graph, blob, self.image)
            if not rows.scale == columns.scale == stride:
                raise ZooError(
                    f"blob '{blob}' is said to be at stride {stride}, but its rows are at"
                    f" {rows.scale} and its columns at {columns.scale}"
                )
            if rows != columns:
                raise ZooError(f"the rows and columns of blob '{blob}' lie differently")
            positions[stride] = rows
        return positions

    def sizes(self, height: int, width: int) -> dict[int, tuple[int, int]]:
        """The size of each scored blob for a padded image; LayerError if a layer does not fit."""
        shapes: dict[str, Shape] = {}
        for node in self.graph.nodes:
            bottoms = tuple(shapes[bottom] for bottom in node.bottoms)
            tops = self._seen.get((node.tops, bottoms))
            if tops is None:
                tops = self._seen[node.tops, bottoms] = node.layer.output_shapes(bottoms)
            for top, shape in zip(node.tops, tops, strict=True):
                if shape is None:
                    raise ZooError(
                        self.graph.problem(node, "a backbone's layer must have a known shape")
                    )
                shapes[top] = (*shape[:2], height, width) if top == self.image else shape
        return {stride: (shapes[blob][2], shapes[blob][3]) for stride, blob in self.blobs.items()}

    @cached_property
    def _seen(self) -> dict[tuple[tuple[str, ...], tuple[Shape, ...]], Sequence[Shape | None]]:
        """What layers have answered: at large strides many images come to the same few sizes."""
        return {}


@dataclass(frozen=True)
class Upsampling:
    """A Deconvolution and the Crop behind it, from one stride to a smaller one."""

    stride: int
    """The stride that it goes to."""
    window: Window
    offset: int
    """Of the Crop; on the image, for a first layer that does not pad."""
    even_offset: Fraction
    """The offset that a kernel of 2f - f % 2 asks for, whole or not."""

    def offset_for(self, pad: int) -> int:
        """The Crop's offset where the first layer pads by `pad`."""
        return self.offset + (pad if self.stride == IMAGE else 0)


def plan(positions: Mapping[int, Affine], *, padded: bool) -> tuple[Upsampling, ...]:
    """The steps from the largest stride to the image.

    A factor of f takes a kernel of 2f - f % 2 where the crop offset then is whole, else one of
    2f - 1, and a pad of ceil((f - 1) / 2) if `padded`, none otherwise. Raises ZooError if neither
    kernel leads to a whole offset.
    """
    strides = list(positions)
    steps = []
    position = positions[strides[0]]
    for stride, smaller in zip(strides, [*strides[1:], IMAGE], strict=True):
        factor = stride // smaller
        reference = positions.get(smaller, Affine())
        kernels = (2 * factor - factor % 2, 2 * factor - 1)
        windows = [Window(kernel, factor, factor // 2 if padded else 0) for kernel in kernels]
        offsets = [
            _offset(position.after(window.deconvolved_to_input()), reference, smaller)
            for window in windows
        ]
        for window, offset in zip(windows, offsets, strict=True):
            if offset.denominator == 1:
                steps.append(Upsampling(smaller, window, int(offset), offsets[0]))
                position = position.after(window.deconvolved_to_input())
                break
        else:
            raise ZooError(
                f"no crop brings stride {stride} onto stride {smaller}: with kernels of"
                f" {kernels[0]} and {kernels[1]} its offset would be {offsets[0]} and {offsets[1]}"
            )
    return tuple(steps)


def _offset(upsampled: Affine, reference: Affine, stride: int) -> Fraction:
    """How far to crop: a skip to lie on what was upsampled, or the latter to lie on the image."""
    if stride == IMAGE:
        return upsampled.inverse().after(reference).shift
    return reference.inverse().after(upsampled).shift


def misplaced(steps: Sequence[Upsampling], pad: int) -> str | None:
    """Why no input of any size has a crop with this first pad, if none has."""
    for step in steps:
        if step.offset_for(pad) < 0:
            return (
                f"the crop at stride {step.stride} would need an offset of {step.offset_for(pad)}"
            )
    return None


def misfit(
    trunk: Trunk, steps: Sequence[Upsampling], pad: int, size: tuple[int, int]
) -> str | None:
    """Why an input of this size has no crop with this first pad, if it has none."""
    message = misplaced(steps, pad)
    if message is not None:
        return message
    try:
        sizes = trunk.sizes(size[0] + 2 * pad, size[1] + 2 * pad)
    except LayerError as error:
        return error.problems[0].message
    for axis, name in enumerate(("rows", "columns")):
        along = {stride: shape[axis] for stride, shape in sizes.items()}
        message = _misfit_along(along, steps, pad, size[axis])
        if message is not None:
            return f"{name}: {message}"
    return None


def _misfit_along(
    sizes: Mapping[int, int], steps: Sequence[Upsampling], pad: int, image: int
) -> str | None:
    """The same along one axis, given the sizes of the scored blobs by stride."""
    upsampled = next(iter(sizes.values()))
    for step in steps:
        upsampled = step.window.deconvolve(upsampled)
        if step.stride == IMAGE:
            wanted, there = image, upsampled
        else:
            wanted, there = upsampled, sizes[step.stride]
        offset = step.offset_for(pad)
        if wanted < 1 or offset + wanted > there:
            return f"the crop at stride {step.stride} takes {wanted} from {offset} on of {there}"
    return None


def first_misfit(trunk: Trunk, steps: Sequence[Upsampling], pad: int) -> int | None:
    """The smallest square input that has no crop, or None if every input from 1×1 has one.

    Sizes along an axis grow in step: S more pixels of image are one more at stride S, and S / s
    more at stride s. So S sizes in a row show them all, save where an image is smaller than a
    kernel; twice as many are looked at, two at a time, for an axis does not know of the other.
    """
    period = max(trunk.blobs)
    for size in range(1, period + 1):
        if misfit(trunk, steps, pad, (size, size + period)) is not None:
            alone = misfit(trunk, steps, pad, (size, size)) is not None
            return size if alone else size + period
    return None


def smallest_pad(trunk: Trunk, steps: Sequence[Upsampling], start: int) -> int:
    """The smallest first pad from `start` on with which every input from 1×1 has a crop.

    Raises ZooError if there seems to be none.
    """
    failed = 1
    for pad in _pads(start, max(trunk.blobs)):
        if misfit(trunk, steps, pad, (failed, failed)) is None:
            again = first_misfit(trunk, steps, pad)
            if again is None:
                return pad
            failed = again
    raise ZooError(
        f"no first pad from {start} on lets every input size be cropped:"
        f" {misfit(trunk, steps, start, (failed, failed))}"
    )


def _pads(start: int, stride: int) -> Iterable[int]:
    """Pads worth trying: each adds a pixel of room on the image, and 32s nets need a few dozen."""
    return range(start, start + 16 * stride)
