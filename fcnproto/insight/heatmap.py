"""A classifier made convolutional: a score for each class at each place of an image, in one pass.

Long, Shelhamer and Darrell 2015, section 3.1 and figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.errors import (
    FcnprotoError,
    NetError,
    Problem,
    WeightsError,
    nearest,
    raise_if_any,
)
from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.export import Prepared, describe, prepare
from fcnproto.insight.maps import Axes, axes_of, eye, number, over_image, plane_of
from fcnproto.insight.verify import On
from fcnproto.model.given import Given
from fcnproto.net.graph import Graph, build
from fcnproto.net.shapes import infer
from fcnproto.proto import printer
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.runtime.images import ImageError, png_of
from fcnproto.runtime.sheet import Captioned, sheet
from fcnproto.surgery.convolutionize import convolutionize, is_convolutional
from fcnproto.surgery.fit import LayerFit, WeightSource
from fcnproto.surgery.rules import Action
from fcnproto.types import Array, Shown, show
from fcnproto.zoo.legend import name_of

SHOWN = 3
"""So many classes are shown where none are named: those with the highest values."""


@dataclass(frozen=True, repr=False, eq=False)
class Heatmap(Shown):
    """What a classifier makes of every place of an image."""

    title: str
    """The image's path, or what it is called where it came from memory."""
    image: Array
    """H×W×3 uint8 RGB, as the net saw it."""
    scores: Array
    """C×h×w float32: what the classifier's last layer with weights gives."""
    maps: Array
    """C×h×w float32: what the net gives, probabilities where it ends in a softmax."""
    axes: Axes
    classes: tuple[str, ...] = ()
    """The names of the classes, as far as they are known."""

    @property
    def places(self) -> tuple[int, int]:
        """How many rows and columns of places there are."""
        return self.maps.shape[1], self.maps.shape[2]

    @property
    def stride(self) -> tuple[float, float]:
        """How many pixels of the image lie between two places."""
        return float(self.axes[0].scale), float(self.axes[1].scale)

    @cached_property
    def highest(self) -> tuple[int, ...]:
        """The classes, the one with the highest value anywhere first."""
        peaks = self.maps.reshape(len(self.maps), -1).max(axis=1)
        return tuple(np.argsort(-peaks, kind="stable").tolist())

    @cached_property
    def best(self) -> Array:
        """The class with the highest value at each place, h×w."""
        best: Array = self.maps.argmax(axis=0)
        return best

    def name(self, number: int) -> str:
        """What a class is called: its name, or `class 7`."""
        return name_of(number, self.classes)

    def number(self, which: int | str) -> int:
        """The class of a number or a name; FcnprotoError if there is none."""
        text = str(which)
        if text in self.classes:
            return self.classes.index(text)
        if text.isascii() and text.isdigit():
            if int(text) < len(self.maps):
                return int(text)
            message = f"the net has {len(self.maps)} classes, 0 to {len(self.maps) - 1}"
            raise FcnprotoError(f"{message}, and no class {text}")
        known = "" if self.classes else "; names are not known of it, numbers are"
        raise FcnprotoError(f"there is no class '{text}'{nearest(text, self.classes)}{known}")

    def picture(self, classes: Sequence[int | str] = ()) -> Image.Image:
        """The image, and the maps of some classes over it, each on its own scale of colours.

        By default those of the classes with the highest values.
        """
        return picture([self], classes)

    def row(self, classes: Sequence[int | str] = ()) -> list[Captioned]:
        """The image and its maps, each with a caption."""
        rows, columns = self.places
        height, width = self.image.shape[:2]
        caption = f"{height} x {width} pixels, {rows} x {columns} places"
        cells = [Captioned(Image.fromarray(self.image), caption)]
        for which in self.chosen(classes):
            plane = self.maps[which]
            over = over_image(self.image, plane, self.axes)
            peak = number(float(plane.max()))
            cells.append(Captioned(over, f"{self.name(which)}, up to {peak}"))
        return cells

    def chosen(self, classes: Sequence[int | str] = ()) -> tuple[int, ...]:
        """The numbers of these classes; without any, of those with the highest values."""
        words = [classes] if isinstance(classes, str) else classes
        return tuple(map(self.number, words)) or self.highest[:SHOWN]

    def lines(self, classes: Sequence[int | str] = ()) -> list[str]:
        """A line on the places, and one on each of these classes."""
        rows, columns = self.places
        strides = dict.fromkeys(f"{axis:g}" for axis in self.stride)
        found = [f"{self.title}: {rows}×{columns} places, one every {'×'.join(strides)} pixels"]
        for which in self.chosen(classes):
            plane = self.maps[which]
            row, column = divmod(int(plane.argmax()), columns)
            wins = int((self.best == which).sum())
            found.append(
                f"  {self.name(which)}: highest at place {row}, {column}, with"
                f" {number(float(plane.max()))}; the best class of {wins} of {rows * columns}"
            )
        return found

    def as_json(self, classes: Sequence[int | str] = ()) -> dict[str, Any]:
        """The maps of these classes for JSON."""
        return {
            "image": self.title,
            "size": list(self.image.shape[:2]),
            "places": list(self.places),
            "stride": list(self.stride),
            "offset": [float(axis.shift) for axis in self.axes],
            "best": self.best.tolist(),
            "maps": {self.name(which): self.maps[which].tolist() for which in self.chosen(classes)},
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_png_(self) -> bytes:
        return png_of(self.picture())


def picture(heatmaps: Sequence[Heatmap], classes: Sequence[int | str] = ()) -> Image.Image:
    """A row for each image: the image, and maps over it."""
    rows = [heatmap.row(classes) for heatmap in heatmaps]
    widest = max(map(len, rows))
    return sheet([""] * widest, rows)


class Slider:
    """A classifier in its convolutional form, ready to be run over images of any size."""

    def __init__(
        self,
        source: NetSource,
        weights: WeightSource,
        *,
        name: str = "",
        given: Given = Given(),
        on: On = On(),
    ) -> None:
        """Make it convolutional, unless it is already. `name` is what the zoo calls it.

        Raises NetError for a net that cannot be made so, WeightsError for weights that do not fit.
        """
        self.source, self.weights, self.name, self.on = source, weights, name, on
        graph = build(for_inference(source))
        made, fitted = source, weights
        self.is_as_it_was = is_convolutional(graph)
        if not self.is_as_it_was:
            result = convolutionize(graph, [weights])
            raise_if_any(WeightsError, _unfilled(result.report, weights.title))
            made = parse_net(printer.format(result.net), source.path)
            fitted = WeightSource(weights.title, result.weights)
        self.net = prepare(made, fitted)
        self.about = describe(self.net, name, given)
        self.blobs = scores_and_output(self.net)
        self.eye = eye(self.net, tuple(dict.fromkeys(self.blobs)), self.about, name, on)
        self.window = _window(graph, self.net, self.eye.image, self.blobs[1])
        axes = axes_of(self.net, self.blobs[0], self.eye.image)
        if axes is None or axes[0].scale <= 1:
            raise NetError(
                Problem(
                    f"it gives '{self.blobs[1]}' for every pixel, as an FCN does: a classifier is"
                    " needed, which gives its scores for windows of an image",
                    source.path,
                )
            )
        self.axes = axes

    def __call__(self, image: Array, title: str = "image") -> Heatmap:
        """The map of an image (H×W×3 uint8 RGB); ImageError if it is smaller than the window."""
        if any(have < need for have, need in zip(image.shape, self.window, strict=False)):
            message = (
                f"it is {show(image.shape[:2])}, smaller than the net's window of"
                f" {show(self.window)}: --size HxW makes it larger"
            )
            raise ImageError(Problem(message, title))
        found = self.eye.see(image)
        scores, output = (plane_of(found[blob], blob) for blob in self.blobs)
        if not np.isfinite(scores).all():
            message = "its scores are infinite or not a number: the weights have diverged"
            raise ImageError(Problem(message, title))
        names = self.about.classes.get(self.blobs[1], ())
        return Heatmap(title, image, scores, output, self.axes, tuple(names))


def _unfilled(report: Sequence[LayerFit], title: str) -> Iterator[Problem]:
    """The layers that the weights lack."""
    for entry in report:
        if entry.action is Action.FILLER:
            yield Problem("there are no weights for it", title, layer=entry.layer)


def scores_and_output(net: Prepared) -> tuple[str, str]:
    """The top of the last layer with weights, which is scores, and what the net makes of it."""
    inference = net.inference
    weighted = [
        inference.graph.blobs[node.tops[0]]
        for index, node in enumerate(inference.graph.nodes)
        if inference.shapes.weights.get(index) and node.tops
    ]
    if not weighted:
        raise NetError(Problem("it has no layer with weights", inference.graph.path))
    return weighted[-1], list(inference.outputs)[-1]


def _window(graph: Graph, net: Prepared, image: str, output: str) -> tuple[int, int]:
    """The part of an image that a place is about: the classifier's own image.

    For a net that was convolutional before, the largest square for which it gives one place.
    """
    if not is_convolutional(graph):
        shape = infer(graph).blobs.get(graph.inputs[0]) or ()
        return shape[2], shape[3]
    inference = net.inference

    def places(side: int) -> int:
        try:
            shapes = infer(inference.graph, {image: (1, 3, side, side)})
        except NetError:
            return 0
        return max((shapes.blobs.get(output) or (0, 0, 0, 0))[2:], default=0)

    low, high = 0, 1
    while places(high) <= 1:
        if high > _LARGEST:
            raise NetError(Problem("no image of any size has more than one place", graph.path))
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if places(middle) <= 1 else (low, middle)
    return low, low


_LARGEST = 2**13


def resized(image: Array, size: tuple[int, int] | None) -> Array:
    """An image (H×W×3 uint8) at another height and width."""
    if size is None:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
