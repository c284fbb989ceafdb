"""What the data layer of a run's training net is told beside where the data lie."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fcnproto.datasets import IGNORE
from fcnproto.datasets.folder import FolderSegDataLayer
from fcnproto.datasets.pictures import read_stored
from fcnproto.parallel import spread
from fcnproto.types import Array
from fcnproto.zoo.kinds import AugmentSpec


@dataclass(frozen=True)
class Feeding:
    """Settings of param_str, and how often images are fed in a step."""

    settings: Mapping[str, object]
    passes: int
    """The solver's iter_size."""


def feeding(reader: FolderSegDataLayer, augment: AugmentSpec, batch: int) -> Feeding:
    """How `batch` images come to a step: at a time where all are cut to one size, else singly.

    The size is that of the middle image, by each side. Raises DataError for images that cannot be
    read.
    """
    if augment.crop is None:
        return Feeding(augment.settings, batch)
    heights, widths = zip(*_sizes(reader), strict=True)
    sides = (statistics.median_low(heights), statistics.median_low(widths))
    crop = tuple(min(side, augment.crop) for side in sides)
    return Feeding({**augment.settings, "crop": crop, "batch": batch}, 1)


def map_counts(reader: FolderSegDataLayer) -> list[Array]:
    """The pixels of each label 0 … 255 in each label map, in no order."""

    def work(share: Iterator[int]) -> list[Array]:
        maps = (reader.label(reader.label_tops[0], index) for index in share)
        return [np.bincount(labels.ravel(), minlength=IGNORE + 1) for labels in maps]

    return [counts for some in spread(work, range(len(reader))) for counts in some]


def _sizes(reader: FolderSegDataLayer) -> list[tuple[int, int]]:
    """The height and width of each image, in no order."""

    def work(share: Iterator[str]) -> list[tuple[int, int]]:
        return [read_stored(reader.file("data", name)).upright for name in share]

    return [size for sizes in spread(work, reader.names) for size in sizes]
