"""PASCAL-Context: whole scenes of VOC 2010, the task of 59 classes and background."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcnproto.datasets.base import FileReader
from fcnproto.datasets.mat import read_mat
from fcnproto.errors import DataError, Problem
from fcnproto.files import read_lines
from fcnproto.types import Array
from fcnproto.zoo import specs

SAME = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
"""Classes of the task that the full list calls otherwise."""

_SHIPPED = specs.MODELS / "datasets" / "pascalcontext-400.txt"


class PASCALContextSegDataLayer(FileReader):
    """PASCAL-Context; what is none of the 59 classes is background.

    The two lists of classes are read where the labels lie (labels.txt and 59_labels.txt), as in the
    published layer, or taken from the zoo if they are not there.
    """

    dataset = "pascalcontext"
    directories: ClassVar = {"voc_dir": ("VOC2010/JPEGImages",), "context_dir": ("trainval",)}

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._classes_of = self._lookup()

    def split_file(self) -> Path:
        """VOC2010/ImageSets/Main/SPLIT.txt."""
        return self.folders["voc_dir"] / "VOC2010" / "ImageSets" / "Main" / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """VOC2010/JPEGImages/NAME.jpg or trainval/NAME.mat."""
        if top in self.images:
            return self.folders["voc_dir"] / "VOC2010" / "JPEGImages" / f"{name}.jpg"
        return self.folders["context_dir"] / "trainval" / f"{name}.mat"

    def read_label(self, top: str, path: Path) -> Array:
        """LabelMap, its classes of the full list made those of the task."""
        labels = read_mat(path, "LabelMap")
        most = len(self._classes_of) - 1
        low, high = labels.min(initial=0), labels.max(initial=0)
        if low < 0 or high > most or (labels.dtype.kind == "f" and (labels % 1).any()):
            message = f"expected classes of the full list, 0 to {most}; found {low} to {high}"
            raise DataError(Problem(message, str(path)))
        found: Array = self._classes_of[labels.astype(np.intp)]
        return found

    def _lookup(self) -> Array:
        """For each class of the full list its class of the task, or 0."""
        folder = self.folders["context_dir"]
        full_path, task_path = folder / "labels.txt", folder / "59_labels.txt"
        full = _read_list(full_path if full_path.is_file() else _SHIPPED)
        zoo_names = {name: number for number, name in enumerate(self.spec.classes)}
        task = _read_list(task_path) if task_path.is_file() else zoo_names
        lookup = np.zeros(max(full.values()) + 1, np.uint8)
        problems = []
        for name, number in task.items():
            if number == 0:
                continue  # background
            full_name = SAME.get(name, name)
            if full_name not in full:
                problems.append(Problem(f"'{full_name}' is not in the full list", str(task_path)))
            else:
                lookup[full[full_name]] = number
        if problems:
            raise DataError(*problems)
        return lookup


def _read_list(path: Path) -> dict[str, int]:
    """The numbers of classes by name, spaces left out, of lines like `25: bird`."""
    found: dict[str, int] = {}
    problems = []
    for number, line in enumerate(read_lines(path), 1):
        index, colon, name = line.partition(":")
        if not line:
            continue
        if not (colon and index.strip().isdecimal() and int(index) < 2**16):
            problems.append(Problem(f"expected 'NUMBER: CLASS', found '{line}'", str(path), number))
            continue
        found[name.replace(" ", "")] = int(index)
    if not found and not problems:
        problems.append(Problem("names no class", str(path)))
    if problems:
        raise DataError(*problems)
    return found
