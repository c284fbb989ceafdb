"""SIFT Flow: scenes with two label maps, of what a thing is and of how it lies in space."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from fcnproto.datasets.base import FileReader, from_one
from fcnproto.datasets.mat import read_mat
from fcnproto.types import Array

_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
_FOLDERS = {"data": "Images", "sem": "SemanticLabels", "geo": "GeoLabels"}


class SIFTFlowSegDataLayer(FileReader):
    """SIFT Flow, with semantic (`sem`) and geometric (`geo`) labels."""

    dataset = "siftflow"
    directories: ClassVar = {
        "siftflow_dir": tuple(f"{folder}/{_SCENES}" for folder in _FOLDERS.values()),
    }
    splits = ("trainval", "test")

    def split_file(self) -> Path:
        """SPLIT.txt."""
        return self.folders["siftflow_dir"] / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """NAME.jpg in Images, NAME.mat in SemanticLabels and GeoLabels."""
        ending = ".jpg" if top in self.images else ".mat"
        return self.folders["siftflow_dir"] / _FOLDERS[top] / _SCENES / f"{name}{ending}"

    def read_label(self, top: str, path: Path) -> Array:
        """The variable S: 0 is void, and of the geometric labels −1 as well."""
        labels = read_mat(path, "S")
        if top == "geo":
            labels = np.where(labels == -1, 0, labels)
        return from_one(path, labels)
