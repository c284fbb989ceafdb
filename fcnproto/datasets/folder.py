"""A plain folder: images and label maps with the same names, and files that name the splits."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fcnproto.datasets.base import IGNORE, FileReader, as_classes
from fcnproto.datasets.pictures import (
    IMAGES,
    LABELS,
    UNFIT,
    by_name,
    holds,
    read_image,
    read_labels,
    read_palette,
    unfit,
)
from fcnproto.errors import DataError, Problem
from fcnproto.files import read_lines
from fcnproto.parallel import spread
from fcnproto.types import Array, Colour
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec
from fcnproto.zoo.legend import LABEL_MAP, LEGEND, Legend

IMAGE_FOLDERS = ("images", "JPEGImages")
LABEL_FOLDERS = ("labels", "masks", "annotations", "SegmentationClass")
LISTS = ("", "ImageSets/Segmentation")
"""Where the files that name the splits can lie."""


@dataclass(frozen=True)
class Layout:
    """Where a folder has its images, its label maps and its splits."""

    folder: Path
    images: Path
    labels: Path

    @classmethod
    def of(cls, folder: Path) -> Layout | None:
        """What is there under the usual names; None if images or label maps are not.

        Of several folders for label maps the first with label maps in it is taken.
        """
        images = [folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()]
        labels = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
        if not images or not labels:
            return None
        full = (each for each in labels if holds(each, (*LABELS, *UNFIT)))
        return cls(folder, images[0], next(full, labels[0]))

    @cached_property
    def lists(self) -> dict[str, Path]:
        """The splits' files by their names; those in the folder itself come first."""
        found: dict[str, Path] = {}
        for place in LISTS:
            for path in sorted((self.folder / place).glob("*.txt")):
                if path.name not in (LEGEND, LABEL_MAP) and not path.name.startswith("."):
                    found.setdefault(path.stem, path)
        return found

    def image_files(self) -> dict[str, Path]:
        """The images by name. Raises DataError."""
        return by_name(self.images, IMAGES)

    def label_files(self) -> dict[str, Path]:
        """The label maps by name. Raises DataError."""
        return by_name(self.labels, LABELS)

    def lossy_files(self) -> dict[str, Path]:
        """Pictures from which no label map is read, where label maps should be."""
        return by_name(self.labels, UNFIT) if self.labels != self.images else {}


_PASCAL_NAME = re.compile(r"\d{4}_\d{6}", re.ASCII)


def is_pascal(folder: Path) -> bool:
    """Whether JPEGImages/ and SegmentationClass/ are PASCAL VOC's own: no classes of one's own
    are named, and the images are called as VOC's or its split is there."""
    if any((folder / name).is_file() for name in (LEGEND, LABEL_MAP)):
        return False
    if (folder / LISTS[1] / "seg11valid.txt").is_file():
        return True
    names = (path.stem for path in (folder / "JPEGImages").glob("*.*"))
    return all(_PASCAL_NAME.fullmatch(name) for name in names)


class FolderSegDataLayer(FileReader):
    """Data of one's own: images/NAME.jpg (or another format), labels/NAME.png or .npy, SPLIT.txt.

    JPEGImages/ serves for images/, and masks/, annotations/ or SegmentationClass/ for labels/.
    The setting `lists` names the folder of SPLIT.txt where it is not the data's own; a line names
    an image, or an image and its label map. Images are turned upright as their Exif says. Labels
    are class numbers from 0, 255 where they are ignored. classes.txt names the classes, one in
    each line, if it is there. While it trains, every image comes once before one comes again.
    """

    dataset = "folder"
    directories: ClassVar = {"data_dir": ("images", "labels")}
    options = ("mean", "lists")

    @classmethod
    def placed(cls, folder: Path) -> dict[str, str] | None:
        """The folder itself, if images and label maps are in it."""
        found = Layout.of(folder)
        if found is None:
            return None
        names = found.images.name, found.labels.name
        if names == ("JPEGImages", "SegmentationClass") and is_pascal(folder):
            return None
        return {"data_dir": str(folder)}

    def split_file(self) -> Path:
        """SPLIT.txt, in `lists`, in the data's folder or its ImageSets/Segmentation/."""
        if "lists" in self.settings:
            return Path(self.settings["lists"]) / f"{self.split}.txt"
        usual = self.layout.folder / f"{self.split}.txt"
        return self.layout.lists.get(self.split, usual)

    def file(self, top: str, name: str) -> Path:
        """The image NAME.*, or the label map that goes with it, in whatever format it is."""
        if top in self.images:
            return self._images.get(name, self.layout.images / f"{name}.jpg")
        label = self._listed.get(name, name)
        return self._labels.get(label, self.layout.labels / f"{label}.png")

    def picture(self, top: str, index: int) -> Array:
        """What the image's file holds, upright."""
        return read_image(self.file(top, self.names[index]), upright=True)

    def read_label(self, top: str, path: Path) -> Array:
        """The numbers in the file."""
        return as_classes(path, read_labels(path))

    def classes(self, top: str) -> tuple[str, ...]:
        """The names in classes.txt, if it is there."""
        return Legend.of(self.layout.folder).names

    def draw(self, rng: random.Random) -> Iterator[int]:
        """All images in an order drawn anew each time."""
        order = list(range(len(self)))
        while True:
            rng.shuffle(order)
            yield from order

    @cached_property
    def layout(self) -> Layout:
        """Where everything is; where it should be, if it is not there."""
        folder = self.folders["data_dir"]
        return Layout.of(folder) or Layout(folder, folder / "images", folder / "labels")

    def _read_split(self) -> tuple[str, ...]:
        lines = super()._read_split()
        pairs = [pair(line, self._images, self._labels) for line in lines]
        self._listed = dict(pairs)
        return tuple(name for name, _ in pairs)

    def _no_split(self, path: Path) -> Problem:
        problem = super()._no_split(path)
        if "lists" in self.settings or self.layout.lists:
            return problem
        made = "`fcnproto dataset split DIR -o DIR` makes them"
        return replace(problem, message=f"{problem.message}; {made}")

    def _splits(self, folder: Path) -> list[str]:
        lists = super()._splits(folder)
        return [name for name in lists if f"{name}.txt" not in (LEGEND, LABEL_MAP)]

    def _missing(self) -> Iterator[Problem]:
        yield from super()._missing()
        lossy = self.layout.lossy_files()
        labels = (self._listed[name] for name in self.names)
        yield from (unfit(lossy[each]) for each in labels if each in lossy.keys() - self._labels)

    def _setting_problems(self) -> Iterator[Problem]:
        yield from super()._setting_problems()
        yield from self._wrong("lists", (str,), "a folder's name")

    @cached_property
    def _images(self) -> dict[str, Path]:
        return self.layout.image_files()

    @cached_property
    def _labels(self) -> dict[str, Path]:
        return self.layout.label_files()


def pair(line: str, images: Mapping[str, Any], labels: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the image and the label map that a line of a split names.

    It is a name, or a path with an ending; or the path of an image and that of its label map, with
    blanks, a comma or a semicolon between them. Of paths from elsewhere what stands below the
    image's or the label map's folder counts.
    """
    whole = _named(line, images)
    parts = re.split(r"[\s,;]+", line.strip())
    if whole in images or len(parts) != 2:
        return whole, whole
    return _named(parts[0], images), _named(parts[1], labels)


def _named(text: str, known: Mapping[str, Any]) -> str:
    path = Path(text.replace("\\", "/"))  # as Windows writes it
    ending = path.suffix.lower() in (*IMAGES, *LABELS)
    parts = [part for part in (path.with_suffix("") if ending else path).parts if part != "/"]
    names = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((name for name in names if name in known), "/".join(parts))


# What a folder says of itself -------------------------------------------------------------------


@dataclass(frozen=True)
class FolderSpec:
    """What a folder says of its data: where they lie, names and colours, the splits."""

    layout: Layout
    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    """A colour (RGB) of each class."""
    splits: Mapping[str, Path]
    """The file that names each split's images."""
    val_images: int | None
    """How many images val has; None if there is no val."""

    @property
    def dataset(self) -> DatasetSpec:
        """The zoo's folder with what this one says."""
        usual = specs.dataset("folder")
        (label,) = usual.labels
        return replace(
            usual,
            labels=(replace(label, classes=self.names),),
            palette=(*self.palette, *usual.palette[len(self.palette) :]),
            validation_images=self.val_images or usual.validation_images,
        )


def spec(folder: Path, classes: int | None = None) -> FolderSpec:
    """What a folder says of its data.

    Names and colours are those of classes.txt or labelmap.txt; colours else those of the label
    maps' own palette, or PASCAL VOC's. Without names the classes are called class 0 to class n:
    as many as `classes`, or else all label maps are read for the largest. Raises DataError.
    """
    layout = Layout.of(folder)
    if layout is None:
        raise DataError(no_layout(folder))
    legend, labels = Legend.of(folder), layout.label_files()
    if not labels:
        lossy = [unfit(path) for path in layout.lossy_files().values()]
        raise DataError(*lossy or [Problem("there are no label maps", str(layout.labels))])
    names = legend.names or Legend.given(classes or _highest(labels) + 1).names
    own = read_palette(next(iter(labels.values())))
    usual = specs.voc_palette()
    # A palette of greys is what graphics programs give to pictures without colours.
    own = () if all(len(set(colour)) == 1 for colour in own[: len(names)]) else own
    given = {number: entry.colour for number, entry in enumerate(legend.classes)}
    palette = tuple(
        given.get(number) or (own[number] if number < len(own) else usual[number])
        for number in range(len(names))
    )
    val = layout.lists.get("val")
    count = None if val is None else sum(bool(line) for line in read_lines(val))
    return FolderSpec(layout, names, palette, layout.lists, count)


def drawn(folder: Path) -> str | None:
    """What to do with a folder that has annotations, as programs to draw with write them."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in (".json", ".xml"))
    found = next(files, None)
    if found is None:
        return None
    return f"but {found.name}: `fcnproto dataset convert` makes label maps of annotations"


def no_layout(folder: Path) -> Problem:
    """That a folder has no images or no label maps, and what was expected."""
    if not folder.is_dir():
        return Problem("there is no such folder", str(folder))
    has_images = any((folder / name).is_dir() for name in IMAGE_FOLDERS)
    missing, places = ("label maps", LABEL_FOLDERS) if has_images else ("images", IMAGE_FOLDERS)
    if has_images and (mended := drawn(folder)):
        return Problem(f"there are no label maps, {mended}", str(folder))
    expected = ", ".join(f"{name}/" for name in places)
    return Problem(f"there are no {missing}: expected one of {expected}", str(folder))


def _highest(labels: Mapping[str, Path]) -> int:
    """The largest class in label maps."""

    def work(share: Iterator[Path]) -> int:
        highest = 0
        for path in share:
            classes = as_classes(path, read_labels(path))
            highest = max(highest, int(classes[classes != IGNORE].max(initial=0)))
        return highest

    return max(spread(work, tuple(labels.values())))
