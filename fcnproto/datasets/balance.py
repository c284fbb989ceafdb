"""Weights that let rare classes count as much as frequent ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.check import Progress, check
from fcnproto.datasets.folder import Layout, pair
from fcnproto.errors import DataError, Problem, Severity, raise_if_any
from fcnproto.files import read_lines
from fcnproto.proto.caffe_pb2 import BlobProto
from fcnproto.types import Array
from fcnproto.zoo.legend import name_of

RARE = 0.005
"""A class with a smaller share of the pixels is rare: a loss without weights hardly sees it."""


@dataclass(frozen=True)
class Balance:
    """The weight of each class, and what it follows from."""

    names: tuple[str, ...]
    pixels: Array
    """Of each class, int64."""
    weights: Array
    """Of each class, float64; 0 for a class without a pixel."""

    @property
    def shares(self) -> Array:
        """Each class's share of the pixels that are not ignored."""
        shares: Array = self.pixels / max(1, self.pixels.sum())
        return shares

    @property
    def rare(self) -> tuple[str, ...]:
        """The classes that are there, with hardly a pixel."""
        shares = zip(self.names, self.shares.tolist(), strict=True)
        return tuple(name for name, share in shares if 0 < share < RARE)

    @property
    def matrix(self) -> Array:
        """The matrix H of InfogainLoss, classes × classes float32: the weights on its diagonal."""
        return np.diag(self.weights).astype(np.float32)

    def blob(self) -> bytes:
        """The matrix as a binary BlobProto, the file that infogain_loss_param's source names."""
        blob = BlobProto()
        blob.shape.dim.extend((1, 1, *self.matrix.shape))
        blob.data.extend(self.matrix.ravel().tolist())
        return blob.SerializeToString()


def balance(maps: Iterable[Array], names: tuple[str, ...] = ()) -> Balance:
    """Class weights by median frequency, from each label map's pixels of labels 0 … 255.

    The frequency of a class is its share of the pixels, 255 left out, of the images that have it;
    its weight is the median of all frequencies over its own (Eigen and Fergus 2015). There are as
    many classes as names, or up to the largest label. Raises DataError if there is no pixel.
    """
    counts = np.array(list(maps), np.int64).reshape(-1, IGNORE + 1)[:, :IGNORE]
    used = np.flatnonzero(counts.sum(axis=0))
    if not len(used):
        raise DataError("no label map has a pixel that is not ignored")
    classes = len(names) or int(used[-1]) + 1
    if used[-1] >= classes:
        raise DataError(f"label {used[-1]} is used, and there are {classes} classes")
    counts = counts[:, :classes]
    pixels = counts.sum(axis=0)
    beside = (counts.sum(axis=1, keepdims=True) * (counts > 0)).sum(axis=0)
    frequencies = pixels / np.maximum(beside, 1)
    there = pixels > 0
    weights = np.zeros(classes)
    weights[there] = np.median(frequencies[there]) / frequencies[there]
    titles = names or tuple(map(name_of, range(classes)))
    return Balance(titles, pixels, weights)


def balance_folder(
    folder: Path, split: str | None = None, *, progress: Progress = lambda: None
) -> tuple[Balance, list[Problem]]:
    """The weights of a folder's classes, and warnings of what weighs nothing or much.

    `split` names that of a plain folder whose label maps count; all do by default. Raises
    DataError.
    """
    report = check(folder, progress=progress)
    raise_if_any(DataError, report.unread)
    maps = dict(report.maps)
    if split is not None:
        maps = {name: maps[name] for name in _names(folder, split) if name in maps}
    found = balance(maps.values(), report.names)
    absent = [name for name, count in zip(found.names, found.pixels, strict=True) if not count]
    problems = []
    if absent:
        message = f"{', '.join(absent)} never occurs and gets the weight 0"
        problems.append(Problem(message, str(folder), severity=Severity.WARNING))
    if found.rare:
        message = f"rare, under {RARE:.1%} of the pixels: {', '.join(found.rare)}"
        problems.append(Problem(message, str(folder), severity=Severity.WARNING))
    return found, problems


def _names(folder: Path, split: str) -> list[str]:
    """The label maps of a plain folder's split."""
    layout = Layout.of(folder)
    lists = {} if layout is None else layout.lists
    if layout is None or split not in lists:
        found = f"; found {', '.join(lists)}" if lists else ""
        raise DataError(Problem(f"there is no split '{split}'{found}", str(folder)))
    images, labels = layout.image_files(), layout.label_files()
    return [pair(line, images, labels)[1] for line in read_lines(lists[split]) if line]
