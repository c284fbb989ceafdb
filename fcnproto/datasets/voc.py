"""PASCAL VOC, and the labels that SBD has for more of its images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fcnproto.datasets.base import FileReader, as_classes
from fcnproto.datasets.mat import read_mat
from fcnproto.datasets.pictures import read_labels
from fcnproto.types import Array


class VOCSegDataLayer(FileReader):
    """PASCAL VOC as it is distributed: JPEGs, palette PNGs with 255 on outlines, ImageSets.

    Split seg11valid, the part of VOC 2011's val that SBD does not train on, is shipped.
    """

    dataset = "voc"
    directories: ClassVar = {"voc_dir": ("JPEGImages", "SegmentationClass")}
    options = ("mean",)
    splits = ("train", "seg11valid")

    def split_file(self) -> Path:
        """ImageSets/Segmentation/SPLIT.txt."""
        folder = self.folders["voc_dir"]
        return folder / "ImageSets" / "Segmentation" / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """JPEGImages/NAME.jpg or SegmentationClass/NAME.png."""
        folder = self.folders["voc_dir"]
        if top in self.images:
            return folder / "JPEGImages" / f"{name}.jpg"
        return folder / "SegmentationClass" / f"{name}.png"

    def read_label(self, top: str, path: Path) -> Array:
        """The palette's indices, which are the classes."""
        return as_classes(path, read_labels(path))


class SBDDSegDataLayer(FileReader):
    """The Semantic Boundaries Dataset: VOC's images, labels in .mat files."""

    dataset = "voc"
    directories: ClassVar = {"sbdd_dir": ("img", "cls")}
    options = ("mean",)

    def split_file(self) -> Path:
        """SPLIT.txt."""
        return self.folders["sbdd_dir"] / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """img/NAME.jpg or cls/NAME.mat."""
        place = f"img/{name}.jpg" if top in self.images else f"cls/{name}.mat"
        return self.folders["sbdd_dir"] / place

    def read_label(self, top: str, path: Path) -> Array:
        """GTcls.Segmentation, which counts as VOC does."""
        return as_classes(path, read_mat(path, "GTcls", "Segmentation"))
