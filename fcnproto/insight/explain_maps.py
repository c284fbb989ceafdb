"""Each step of a net as maps over an image: what every blob holds, where it lies, what it sees."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.errors import NetError, Problem, nearest
from fcnproto.exporting.export import Prepared, describe, prepare
from fcnproto.insight.maps import Axes, axes_of, eye, number, over_image
from fcnproto.insight.verify import On
from fcnproto.model.given import Given
from fcnproto.net.graph import Node
from fcnproto.net.receptive_field import field_words, fields
from fcnproto.proto.source import NetSource
from fcnproto.runtime.images import png_of
from fcnproto.runtime.sheet import Captioned, sheet
from fcnproto.surgery.fit import WeightSource
from fcnproto.types import Array, show
from fcnproto.zoo.templates import from_template

IN_PICTURE, ON_PAGE = 5, 8
"""So many maps of a blob are shown in a row of a picture, and on a page."""


@dataclass(frozen=True, eq=False)
class Step:
    """A blob, and the layers that made it."""

    blob: str
    layers: tuple[tuple[str, str], ...]
    """Their names and types; those after the first overwrite it in place."""
    array: Array
    """1×C×h×w float32, or fewer axes after layers that flatten."""
    axes: Axes | None
    """Where its pixels lie on the image; None if it has none, or they lie nowhere."""
    field: tuple[str, str, str]
    """Stride, size and offset of its receptive field, in words."""
    names: tuple[str, ...] = ()
    """Of its channels, where they are classes."""

    @property
    def planes(self) -> Array:
        """Its maps, C×h×w; none where it has no rows and columns."""
        is_plane = self.array.ndim == 4 and self.axes is not None
        found: Array = self.array[0] if is_plane else np.empty((0, 0, 0), np.float32)
        return found

    def chosen(self, most: int) -> list[int]:
        """The maps to show: all classes in order, or those that vary most over the image."""
        planes = self.planes
        if self.names or not len(planes):
            return list(range(min(most, len(planes))))
        spread = planes.reshape(len(planes), -1).std(axis=1)
        order: list[int] = np.argsort(-spread, kind="stable").tolist()
        return order[:most]

    def title(self, channel: int) -> str:
        """What a map is called."""
        return self.names[channel] if channel < len(self.names) else f"map {channel}"

    @property
    def text(self) -> str:
        """What made it, and how it lies to the image, in a line."""
        made = ", ".join(
            f"{kind} {name}" if name != self.blob else kind for name, kind in self.layers
        )
        where = ""
        if self.axes is not None:
            stride, size, _ = self.field
            where = f"; stride {stride}, receptive field {size}"
        return f"{made}; {show(self.array.shape)}{where}"

    def as_json(self) -> dict[str, Any]:
        """The same for JSON, with each map's extent."""
        return {
            "blob": self.blob,
            "layers": [{"name": name, "type": kind} for name, kind in self.layers],
            "shape": list(self.array.shape),
            "stride": [float(axis.scale) for axis in self.axes] if self.axes else None,
            "offset": [float(axis.shift) for axis in self.axes] if self.axes else None,
            "maps": [
                {
                    "channel": channel,
                    "name": self.title(channel),
                    "least": float(self.planes[channel].min()),
                    "most": float(self.planes[channel].max()),
                }
                for channel in self.chosen(len(self.planes))
            ],
        }


def steps(
    source: NetSource,
    weights: WeightSource,
    image: Array,
    blobs: Sequence[str] = (),
    *,
    name: str = "",
    given: Given = Given(),
    on: On = On(),
) -> list[Step]:
    """What a net's blobs hold of an image (H×W×3 uint8 RGB), in their order; by default all.

    Raises NetError for a blob that there is none of, and for a net that does not take the image.
    """
    net = prepare(source, weights)
    made = _made(net)
    unknown = [blob for blob in blobs if blob not in made]
    if unknown:
        raise NetError(
            *(
                Problem(f"it computes no blob '{blob}'{nearest(blob, made)}", source.path)
                for blob in unknown
            )
        )
    wanted = [blob for blob in made if not blobs or blob in blobs]
    about = describe(net, name, given)
    seeing = eye(net, wanted, about, name, on)
    arrays = seeing.see(image)
    inference = net.inference
    seen = fields(inference.graph, inference.shapes)
    classes = next(iter(about.classes.values()), ())
    found = []
    for blob in wanted:
        plane = seen.get(blob, {}).get(seeing.image)
        array = arrays[blob]
        is_scores = array.ndim == 4 and array.shape[1] == len(classes)
        found.append(
            Step(
                blob,
                tuple((node.title, node.layer.type) for node in made[blob]),
                array,
                axes_of(net, blob, seeing.image) if array.ndim == 4 else None,
                field_words(plane),
                tuple(classes) if is_scores else (),
            )
        )
    return found


def _made(net: Prepared) -> dict[str, list[Node]]:
    """The blobs that a net computes, with the layers that write each, the last ones in place."""
    made: dict[str, list[Node]] = {}
    graph = net.inference.graph
    for node in graph.nodes:
        if node.layer.feeds:
            continue
        for top in node.tops:
            made.setdefault(graph.blobs[top], []).append(node)
    return made


def picture(found: Sequence[Step], image: Array) -> Image.Image:
    """A row of maps over the image for each blob that has any; NetError if none has."""
    rows = [_row(step, image, IN_PICTURE) for step in found if len(step.planes)]
    if not rows:
        raise NetError("none of these blobs has maps that lie on the image")
    widest = max(map(len, rows))
    return sheet([""] * widest, rows)


def _row(step: Step, image: Array, most: int) -> list[Captioned]:
    """Maps over the image; those of classes share their colours, so that they can be compared."""
    planes = step.planes
    low, high = (float(planes.min()), float(planes.max())) if step.names else (None, None)
    return [
        Captioned(
            over_image(image, planes[channel], step.axes, low, high),
            f"{step.blob}, {step.title(channel)}: {number(float(planes[channel].min()))}"
            f" to {number(float(planes[channel].max()))}",
        )
        for channel in step.chosen(most)
        if step.axes is not None
    ]


def page(found: Sequence[Step], image: Array, title: str) -> str:
    """The steps as a page of HTML that needs nothing else: a strip of maps for each blob."""
    return from_template(
        "maps.html.j2",
        title=escape(title),
        image=_embedded(Image.fromarray(image)),
        size=show(image.shape[:2]),
        steps=[
            {
                "blob": escape(step.blob),
                "text": escape(step.text),
                "more": max(0, len(step.planes) - ON_PAGE),
                "maps": list(_on_page(step, image)),
            }
            for step in found
        ],
    )


def _on_page(step: Step, image: Array) -> Iterator[dict[str, str]]:
    for cell, channel in zip(_row(step, image, ON_PAGE), step.chosen(ON_PAGE), strict=True):
        plane = step.planes[channel]
        yield {
            "name": escape(step.title(channel)),
            "extent": f"{number(float(plane.min()))} to {number(float(plane.max()))}",
            "picture": _embedded(cell.picture),
        }


def _embedded(image: Image.Image) -> str:
    small = image.quantize(128) if image.mode == "RGB" else image
    return f"data:image/png;base64,{b64encode(png_of(small)).decode()}"
