"""What a net computes of an image: its blobs, each with its place on it, and their picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from fcnproto.errors import NetError, Problem
from fcnproto.exporting.export import Prepared
from fcnproto.exporting.write import Interface, write
from fcnproto.insight.verify import On
from fcnproto.layers.spatial import Affine
from fcnproto.model.file import Model
from fcnproto.model.metadata import Metadata
from fcnproto.model.parts import part
from fcnproto.net.coords import to_input
from fcnproto.runtime.session import Session
from fcnproto.surgery.layouts import image_mean
from fcnproto.types import Array, show

Axes = tuple[Affine, Affine]
"""From a map's rows and columns to those of the image; the scale is the stride."""


@dataclass(frozen=True)
class Eye:
    """A net that takes one colour image, ready to give some of its blobs."""

    session: Session
    image: str
    """The blob that holds the image."""
    blobs: tuple[str, ...]
    mean: tuple[float, ...]
    """B, G, R."""

    def feed(self, *pictures: Array) -> dict[str, Array]:
        """Images of one size (H×W×3 uint8 RGB) as the net takes them: N×3×H×W, BGR less the mean.

        Pixels of float images that are NaN become zero, as padding is.
        """
        mean = np.asarray(self.mean, np.float32)
        batch = np.stack([picture[:, :, ::-1].astype(np.float32) - mean for picture in pictures])
        blob = np.ascontiguousarray(np.nan_to_num(batch).transpose(0, 3, 1, 2))
        return {self.image: blob}

    def see(self, *pictures: Array) -> dict[str, Array]:
        """The blobs for images of one size."""
        return self.session.run(self.feed(*pictures), self.blobs)


def eye(net: Prepared, blobs: Sequence[str], about: Metadata, name: str = "", on: On = On()) -> Eye:
    """A net with its weights as a session that gives these blobs.

    Raises NetError for a net that takes something else than one colour image.
    """
    graph = net.inference.graph
    if [sizes[1:2] for sizes in net.inference.inputs.values()] != [(3,)]:
        listed = ", ".join(
            f"'{blob}' {show(sizes)}" for blob, sizes in net.inference.inputs.items()
        )
        message = f"a net with one input of 3 channels is needed, found {listed}"
        raise NetError(Problem(message, graph.path))
    (image,) = net.inference.inputs
    whole = write(net.filled, interface=Interface(every_blob=True))
    proto = part(whole.proto, [image], blobs)
    read = {name for node in proto.graph.node for name in node.input}
    model = Model(proto, {name: array for name, array in whole.tensors.items() if name in read})
    mean = about.mean.get(image) or image_mean([graph.name, name])
    return Eye(on.session(model.to_bytes()), image, tuple(blobs), tuple(mean))


def axes_of(net: Prepared, blob: str, image: str) -> Axes | None:
    """Where a blob's pixels lie on the image; None if that cannot be followed."""
    try:
        return to_input(net.inference.graph, blob, image)
    except NetError:
        return None


# Pictures -----------------------------------------------------------------------------------------


def laid(plane: Array, axes: Axes, size: tuple[int, int]) -> Array:
    """A map (h×w) over an image of this size: each pixel has the value of the map's pixel there.

    NaN where the map ends before the image does.
    """
    (rows, row_there), (columns, column_there) = (
        _nearest(axis, length, image)
        for axis, length, image in zip(axes, plane.shape, size, strict=True)
    )
    over: Array = np.asarray(plane, np.float32)[np.ix_(rows, columns)]
    return np.where(row_there[:, np.newaxis] & column_there, over, np.float32(np.nan))


def _nearest(axis: Affine, length: int, image: int) -> tuple[Array, Array]:
    """For each pixel of the image the map's nearest, and whether there is one."""
    back = axis.inverse()
    places = np.arange(image) * float(back.scale) + float(back.shift)
    nearest = np.floor(places + 0.5).astype(np.intp)
    return np.clip(nearest, 0, length - 1), (nearest >= 0) & (nearest < length)


_HEAT = np.array(
    [(20, 11, 52), (91, 16, 110), (164, 42, 93), (222, 87, 49), (250, 158, 18), (252, 250, 160)],
    np.float64,
)
"""Colours from the smallest value to the largest, ever lighter, so that print and every eye tell
them apart."""


def heat(values: Array, low: float, high: float) -> Array:
    """Numbers as colours (uint8 RGB), from dark for `low` to light for `high`."""
    span = high - low
    shares = np.clip((values - low) / span, 0, 1) if span > 0 else np.zeros(values.shape)
    places = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(shares, places, _HEAT[:, channel]) for channel in range(3)]
    colours: Array = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


MOST_PIXELS = 2**20
_SEEN_THROUGH = 0.35  # of the image, so that it can be made out


def over_image(
    image: Array, plane: Array, axes: Axes, low: float | None = None, high: float | None = None
) -> Image.Image:
    """A map as colours over its image in grey (H×W×3 uint8 RGB); what it does not cover is dark.

    By default the colours go from the map's smallest value to its largest. Of an image of more than
    MOST_PIXELS fewer pixels are drawn.
    """
    step = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / MOST_PIXELS))
    if step > 1:
        image = image[::step, ::step]
        smaller = Affine(Fraction(1, step))
        axes = smaller.after(axes[0]), smaller.after(axes[1])
    over = laid(plane, axes, (image.shape[0], image.shape[1]))
    there = ~np.isnan(over)
    finite = plane[np.isfinite(plane)]
    low = float(finite.min(initial=np.inf)) if low is None else low
    high = float(finite.max(initial=-np.inf)) if high is None else high
    colours = heat(np.where(there, over, low), low, high).astype(np.float32)
    grey = image.mean(axis=2, keepdims=True, dtype=np.float32)
    shown = np.where(
        there[:, :, np.newaxis],
        colours * (1 - _SEEN_THROUGH) + grey * _SEEN_THROUGH,
        grey * 0.5,
    )
    return Image.fromarray(np.round(shown).astype(np.uint8))


def number(value: float) -> str:
    """A value of a map in few characters; the pictures' font has no minus sign of its own."""
    return "0" if abs(value) < 5e-4 else f"{value:.3g}"


def plane_of(array: Array, blob: str) -> Array:
    """The maps (C×h×w) of one image; NetError for a blob that is none."""
    if array.ndim != 4:
        raise NetError(f"'{blob}' is {show(array.shape)}, which has no rows and columns")
    maps: Array = array[0]
    return maps
