"""What a model makes of one scene, as a value: label maps, scores, shares, a picture, files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.files import beside, replacing
from fcnproto.runtime import overlay as overlays
from fcnproto.runtime.images import label_png, png_of
from fcnproto.types import Array, Colour
from fcnproto.zoo.legend import name_of

_ROWS = 2**20  # labels that are counted at once, for what is counted becomes numbers of 8 bytes


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A scene, segmented; or the error that kept it from being, which any use of it raises."""

    title: str
    """The image's path, or what it is called where it came from memory."""
    picture: Mapping[str, Array] = field(default_factory=dict)
    """What the model saw, by its inputs: H×W×3 uint8 RGB, or depth as H×W float32."""
    label_maps: Mapping[str, Array] = field(default_factory=dict)
    """By score blob H×W uint8, or uint16 beyond 256 classes; the first one is `labels`."""
    score_maps: Mapping[str, Array] = field(default_factory=dict)
    """By score blob C×H×W float32; empty where the model gives labels only, or ran in tiles."""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The class names of each score blob, as far as they are known."""
    palette: Sequence[Colour] = ()
    notes: tuple[Problem, ...] = ()
    """Warnings, such as of pixels without depth."""
    error: FcnprotoError | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.error is None

    @property
    def labels(self) -> Array:
        """The class of each pixel, H×W uint8, or uint16 beyond 256 classes."""
        return self.label_maps[self._first]

    @property
    def scores(self) -> Array | None:
        """The score of each class at each pixel, C×H×W float32; None where none were kept."""
        return self.score_maps.get(self._first)

    @property
    def image(self) -> Array:
        """The image, H×W×3 uint8 RGB; black where the model saw none."""
        self._check()
        rgb = next((array for array in self.picture.values() if array.ndim == 3), None)
        return np.zeros((*self.labels.shape, 3), np.uint8) if rgb is None else rgb

    @property
    def shares(self) -> Mapping[str, float]:
        """The classes found, the largest first, with their shares of the pixels: they sum to 1."""
        return self.all_shares[self._first]

    @cached_property
    def all_shares(self) -> Mapping[str, Mapping[str, float]]:
        """The same for each label map, by its score blob."""
        self._check()
        found: dict[str, dict[str, float]] = {}
        for blob, labels in self.label_maps.items():
            shares = found[blob] = {}
            for number, count in _counted(labels):
                name = self.name(number, blob)  # which a stranger's model may give to two classes
                shares[name] = shares.get(name, 0.0) + count / labels.size
        return found

    def name(self, number: int, blob: str | None = None) -> str:
        """What a class is called: its name, or `class 7`."""
        names = self.classes.get(self._first if blob is None else blob, ())
        return name_of(number, names)

    def overlay(self, *, legend: bool = True) -> Image.Image:
        """The image with its classes' colours over it, contours, and a legend below."""
        found = _counted(self.labels)[: overlays.MOST_LISTED] if legend else []
        names = {number: self.name(number) for number, _ in found}
        return Image.fromarray(overlays.overlay(self.image, self.labels, self.palette, names))

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write the label maps and the overlay, each whole or not at all, and give their paths.

        `path` is that of the label map, a PNG of class numbers with the palette's colours, or a
        folder, in which it is called as the image is. Beside it go `<stem>.<blob>.png` for further
        label maps, and last `<stem>.overlay.jpg`. Raises FcnprotoError if they cannot be written,
        or if one would replace the image itself.
        """
        first = Path(path)
        self._check()
        if first.is_dir():
            first = first / f"{Path(self.title).stem}.png"
        elif first.suffix.lower() != ".png":
            raise FcnprotoError(
                Problem("is no folder, and a label map's name ends in .png", str(first))
            )
        if first.exists() and Path(self.title).exists() and first.samefile(self.title):
            raise FcnprotoError(
                Problem(f"its result would be {first}, the image itself: name another", self.title)
            )
        files = []
        for number, (name, content) in enumerate(self.files(first.stem)):
            file = first.with_name(name) if number else first
            with replacing(file) as temporary:
                temporary.write_bytes(content)
            files.append(file)
        return tuple(files)

    def files(self, stem: str) -> Iterator[tuple[str, bytes]]:
        """What `save` writes, each with its name: the label maps in their order, the overlay."""
        first = Path(f"{stem}.png")
        for number, (blob, labels) in enumerate(self.label_maps.items()):
            name = beside(first, f".{blob}.png").name if number else first.name
            yield name, label_png(labels, self.palette)
        yield beside(first, ".overlay.jpg").name, self.overlay_jpeg()

    def overlay_jpeg(self) -> bytes:
        """The overlay with its legend, as JPEG."""
        content = io.BytesIO()
        self.overlay().save(content, "JPEG", quality=90)
        return content.getvalue()

    @property
    def _first(self) -> str:
        self._check()
        return next(iter(self.label_maps))

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Segmentation {self.error}>"
        height, width = self.labels.shape
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares.items())
        return f"<Segmentation {self.title}: {height}×{width}, {shares}>"

    def _repr_png_(self) -> bytes | None:
        if self.error is not None:
            return None
        return png_of(self.overlay())


def _counted(labels: Array) -> list[tuple[int, int]]:
    """The labels that occur and how often, the most frequent first."""
    flat = labels.reshape(-1)
    length = 2**8 if labels.dtype == np.uint8 else 2**16
    counts = np.zeros(length, np.int64)
    for start in range(0, flat.size, _ROWS):
        counts += np.bincount(flat[start : start + _ROWS], minlength=length)
    return sorted(
        ((int(number), int(counts[number])) for number in np.flatnonzero(counts)),
        key=lambda pair: -pair[1],
    )
