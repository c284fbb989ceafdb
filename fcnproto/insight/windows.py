"""One pass of a convolutional classifier against the classifier on every window that it covers.

Both give the same numbers where no padding enters. Nets that pad do so around each window, where
the whole image goes on: so each place is computed twice, from its window alone, as people did, and
from all that its score sees of the image, which is larger by what the paddings add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fcnproto.errors import NetError, Problem
from fcnproto.exporting.export import prepare
from fcnproto.insight.heatmap import Heatmap, Slider, scores_and_output
from fcnproto.insight.maps import Eye, eye
from fcnproto.insight.verify import FAST_RTOL, RTOL
from fcnproto.layers.spatial import Reach
from fcnproto.net.receptive_field import fields
from fcnproto.runtime.sheet import Captioned, sheet
from fcnproto.types import Array, Shown, show
from fcnproto.words import columns

BATCH = 10
"""So many windows at a time, as the published classifiers take them."""
MOST_WINDOWS = 1024
_ROUNDS, _SECONDS = 3, 10.0
"""How often all is timed, and after how long it is not timed again."""


@dataclass(frozen=True, repr=False)
class WindowCheck(Shown):
    """How the windows of an image, computed one by one, compare with one pass. Times in seconds."""

    places: tuple[int, int]
    window: tuple[int, int]
    field: tuple[int, int]
    """All that a score sees: the window, and what paddings add."""
    whole: float
    one_by_one: float
    batched: float
    alone: float
    """The largest difference of a score where the net sees the window alone, of the largest score.
    """
    seen: float
    """The same where it sees all that the score sees."""
    same_best: int
    """Of how many windows alone the best class is the same."""
    rtol: float
    maps: Array
    """C×h×w float32: what the net gives for each window alone."""

    @property
    def agrees(self) -> bool:
        """Whether the scores from what each sees are those of the whole image."""
        return self.seen <= self.rtol

    def as_json(self) -> dict[str, Any]:
        """All of it for JSON."""
        numbers = {key: value for key, value in vars(self).items() if key != "maps"}
        return {**numbers, "batch": BATCH, "agrees": self.agrees}

    def __str__(self) -> str:
        count = self.places[0] * self.places[1]
        times = [
            ("the whole image at once", self.whole),
            (f"{count} windows of {show(self.window)}, one by one", self.one_by_one),
            (f"{count} windows, {min(BATCH, count)} at a time", self.batched),
        ]
        rows = [
            (what, f"{seconds * 1e3:.1f} ms", f"{seconds / self.whole:.1f} times")
            for what, seconds in times
        ]
        verdict = "the numbers agree" if self.agrees else "the numbers do NOT agree"
        lines = [
            *columns(rows, right=(1, 2)),
            f"{verdict}: from the {show(self.field)} pixels that a score sees, its largest"
            f" difference is {self.seen:.1e} of the largest score",
        ]
        if self.alone > self.rtol:
            lines.append(
                f"from its window alone it is {self.alone:.1e}, since paddings put zeros where the"
                f" image goes on; the best class is the same in {self.same_best} of {count}"
            )
        else:
            lines.append(f"from its window alone it is {self.alone:.1e}")
        return "\n".join(lines)


def check_windows(
    slider: Slider, heatmap: Heatmap, progress: Callable[[], object] = lambda: None
) -> WindowCheck:
    """Compute every window of an image, and compare numbers and time with its one pass.

    `progress` is called for each window, and again for each place with all that it sees.
    Raises NetError if there are too many, or if the net's places lie on no whole pixels.
    """
    rows, down = _places(slider, heatmap, 0)
    across, right = _places(slider, heatmap, 1)
    if rows * across > MOST_WINDOWS:
        message = (
            f"there are {rows}×{across} windows in it, and at most {MOST_WINDOWS} are computed:"
            " --size HxW makes it smaller"
        )
        raise NetError(Problem(message, heatmap.title))
    corners = [(row * down, column * right) for row in range(rows) for column in range(across)]
    windows = [_cut(heatmap.image, corner, slider.window) for corner in corners]
    alone_eye = _classifier(slider)

    def one_by_one() -> list[Array]:
        return [_see(alone_eye, [window]) for window in windows]

    def batched() -> list[Array]:
        return [
            _see(alone_eye, windows[start : start + BATCH])
            for start in range(0, len(windows), BATCH)
        ]

    found = []
    for window in windows:
        found.append(_see(alone_eye, [window]))
        progress()
    alone, maps = np.concatenate(found, axis=1)
    times: list[tuple[float, ...]] = []
    begun = perf_counter()
    while not times or (len(times) < _ROUNDS and perf_counter() - begun < _SECONDS):
        works = (lambda: slider.eye.see(heatmap.image), one_by_one, batched)
        times.append(tuple(_timed(work) for work in works))
    whole = heatmap.scores.reshape(len(heatmap.scores), -1).T
    seen = np.stack(list(_from_fields(slider, heatmap, progress)))
    largest = float(np.abs(whole).max(initial=0)) or 1.0
    field = _reaches(slider)
    once, each, batch = (median(column) for column in zip(*times, strict=True))
    return WindowCheck(
        (rows, across),
        slider.window,
        (field[0].size, field[1].size),
        whole=once,
        one_by_one=each,
        batched=batch,
        alone=float(np.abs(alone - whole).max(initial=0)) / largest,
        seen=float(np.abs(seen - whole).max(initial=0)) / largest,
        same_best=int((alone.argmax(axis=1) == whole.argmax(axis=1)).sum()),
        rtol=FAST_RTOL if slider.on.fast else RTOL,
        maps=maps.T.reshape(heatmap.maps.shape),
    )


def picture(heatmap: Heatmap, check: WindowCheck, classes: Sequence[int | str]) -> Image.Image:
    """The maps of one pass, and below them those of the windows alone, one of which is framed."""
    once = heatmap.row(classes)
    framed = Image.fromarray(heatmap.image)
    places = check.places[0] // 2, check.places[1] // 2
    top, left = (int(axis.scale) * at for axis, at in zip(heatmap.axes, places, strict=True))
    box = (left, top, left + check.window[1] - 1, top + check.window[0] - 1)
    pen = ImageDraw.Draw(framed)
    thick = max(2, max(framed.size) // 200)
    pen.rectangle(box, outline="black", width=2 * thick)
    pen.rectangle(box, outline="white", width=thick)
    count = check.places[0] * check.places[1]
    size = f"{check.window[0]} x {check.window[1]}"
    alone = replace(heatmap, maps=check.maps).row(classes)
    below = [Captioned(framed, f"{count} windows of {size}, one by one"), *alone[1:]]
    return sheet([""] * len(once), [once, below])


def _places(slider: Slider, heatmap: Heatmap, axis: int) -> tuple[int, int]:
    """How many places there are along an axis, and how many pixels apart."""
    stride = slider.axes[axis].scale
    if stride.denominator != 1:
        message = f"its places are {stride} pixels apart, which is not whole"
        raise NetError(Problem(message, slider.source.path))
    return heatmap.scores.shape[1 + axis], int(stride)


def _cut(image: Array, corner: tuple[int, int], size: tuple[int, int]) -> Array:
    """A window of an image as floats, NaN where it reaches beyond, which the net takes as zeros."""
    window = np.full((*size, 3), np.nan, np.float32)
    there = image[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    window[: there.shape[0], : there.shape[1]] = there
    return window


def _classifier(slider: Slider) -> Eye:
    """The classifier as it was, fully connected layers and all."""
    if slider.is_as_it_was:
        return slider.eye
    net = prepare(slider.source, slider.weights)
    blobs = tuple(dict.fromkeys(scores_and_output(net)))
    return eye(net, blobs, slider.about, slider.name, slider.on)


def _see(seeing: Eye, windows: Sequence[Array]) -> Array:
    """The scores of windows, and what the net makes of them, 2×N×C."""
    found = seeing.see(*windows)
    ends = seeing.blobs[0], seeing.blobs[-1]
    return np.stack([found[blob].reshape(len(windows), -1) for blob in ends])


def _timed(work: Any) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _reaches(slider: Slider) -> tuple[Reach, Reach]:
    """What a place's score sees of the image, its rows and columns."""
    net = slider.net.inference
    return fields(net.graph, net.shapes)[slider.blobs[0]][slider.eye.image]


def _from_fields(
    slider: Slider, heatmap: Heatmap, progress: Callable[[], object]
) -> Iterator[Array]:
    """The scores (C) of each place, from nothing but what they see of the image.

    Pieces begin at a multiple of the stride, so that all layers' windows fall as on the whole
    image, and end where the image or the field does.
    """
    reaches = _reaches(slider)
    pieces = [
        [
            _piece(reach, place, slider.axes[axis].scale.numerator, heatmap.image.shape[axis])
            for place in range(heatmap.scores.shape[1 + axis])
        ]
        for axis, reach in enumerate(reaches)
    ]
    seen: dict[tuple[int, int, int, int], Array] = {}  # several places can see the same
    for top, bottom, row in pieces[0]:
        for left, right, column in pieces[1]:
            piece = top, bottom, left, right
            if piece not in seen:
                found = slider.eye.see(heatmap.image[top:bottom, left:right])
                seen[piece] = found[slider.blobs[0]][0]
            progress()
            yield seen[piece][:, row, column]


def _piece(reach: Reach, place: int, stride: int, size: int) -> tuple[int, int, int]:
    """From where to where the image is cut for a place, and which place of the piece it is."""
    first, last = reach.of(place) or (0, size - 1)
    skipped = max(0, first) // stride
    return skipped * stride, min(size, last + 1), place - skipped
