"""Share a folder's images out to train and val, with each class in proportion.

The images of the rarest class are shared out first, each to the split that still wants most of that
class (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data").
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.check import Progress, Report, check
from fcnproto.datasets.folder import Layout, no_layout
from fcnproto.errors import DataError, FcnprotoError, Problem, raise_if_any
from fcnproto.files import replacing
from fcnproto.types import Array

SHARE = 0.2
"""Of the images, that are measured on."""
SEED = 1337


@dataclass(frozen=True)
class Split:
    """The names of the images to train on and to measure on, each in alphabetical order."""

    train: tuple[str, ...]
    val: tuple[str, ...]

    def write(self, folder: Path, *, force: bool = False) -> tuple[Path, Path]:
        """Write train.txt and val.txt into a folder, which is made if it is not there.

        Raises FcnprotoError if one of them is there and `force` does not say to overwrite it.
        """
        files = folder / "train.txt", folder / "val.txt"
        there = [path for path in files if path.exists() and not force]
        if there:
            raise FcnprotoError(
                *(Problem("it exists; --force overwrites it", str(path)) for path in there)
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path, names in zip(files, (self.train, self.val), strict=True):
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names), "utf-8")
        return files


def split_folder(
    folder: Path,
    val: float = SHARE,
    seed: int = SEED,
    *,
    progress: Progress = lambda: None,
) -> Split:
    """Share out the images of a folder that have label maps.

    `val` is the share of the images that is measured on; at least one is, and at least one trains.
    Raises DataError for fewer than two images, and for label maps that cannot be read.
    """
    layout = Layout.of(folder)
    if layout is None:
        raise DataError(no_layout(folder))
    return split_checked(layout, check(folder, progress=progress), val, seed)


def split_checked(layout: Layout, report: Report, val: float = SHARE, seed: int = SEED) -> Split:
    """As `split_folder`, of a folder that has been read."""
    raise_if_any(DataError, report.unread)
    images = layout.image_files()
    maps = {name: each for name, each in report.maps.items() if name in images}
    if len(maps) < 2:
        raise DataError(Problem(_too_few(len(maps)), str(layout.folder)))
    return share_out(maps, val, seed)


def share_out(maps: Mapping[str, Array], val: float = SHARE, seed: int = SEED) -> Split:
    """Share out images by the pixels of each label in them; 255 is no class.

    Raises DataError for fewer than two images.
    """
    if len(maps) < 2:
        raise DataError(_too_few(len(maps)))
    names = sorted(maps)
    random.Random(seed).shuffle(names)
    count = min(max(1, round(val * len(names))), len(names) - 1)
    present = np.array([maps[name][:IGNORE] > 0 for name in names])
    in_val = _chosen(present, count)
    chosen = [{name for name, each in zip(names, in_val, strict=True) if each == v} for v in (0, 1)]
    return Split(tuple(sorted(chosen[0])), tuple(sorted(chosen[1])))


def _too_few(images: int) -> str:
    has = "1 image has a label map" if images == 1 else f"{images} images have a label map"
    return f"{has}: to train on some and measure on others there must be two or more"


def _chosen(present: Array, count: int) -> Sequence[bool]:
    """Which of the images (rows of images × classes, bool) are for val, `count` of them."""
    images = len(present)
    room = np.array([images - count, count], float)  # of train, of val
    wanted = present.sum(axis=0) * room[:, np.newaxis] / images
    left = np.ones(images, bool)
    in_val = np.zeros(images, bool)
    while left.any():
        remaining = present[left].sum(axis=0)
        if not remaining.any():
            rows = np.flatnonzero(left)  # images without a class go where there is room
            wants = room
        else:
            rarest = int(np.where(remaining > 0, remaining, images + 1).argmin())
            rows = np.flatnonzero(left & present[:, rarest])
            wants = wanted[:, rarest]
        row = rows[0]
        # Where both want it alike, it goes to the split with more room; a full one gets no more.
        target = max((0, 1), key=lambda each: (room[each] > 0, wants[each], room[each]))
        in_val[row] = bool(target)
        left[row] = False
        room[target] -= 1
        wanted[target] -= present[row]
    return [bool(each) for each in in_val]
