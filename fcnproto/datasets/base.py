"""What every dataset's reader is: the names of a split, their files, and what a net is fed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcnproto.datasets import augment
from fcnproto.datasets.augment import Augmentation, Change
from fcnproto.datasets.pictures import read_depth, read_image
from fcnproto.errors import DataError, Problem, nearest
from fcnproto.files import read_lines
from fcnproto.types import Array
from fcnproto.words import some
from fcnproto.zoo import specs

IGNORE = 255
"""The label that marks pixels excluded from learning and measuring."""

_SHARED = ("split", "seed", "randomize", "batch", *augment.SETTINGS)

MOST_BATCH = 1024

Draw = tuple[int, int]
"""Which image of all that are ever fed it is, from 0 on, and its number in the split."""


class Reader(ABC):
    """A dataset's split, fed one image at a time as the published Python layers feed it.

    A subclass with a `dataset` is such a layer: its class name is the layer's, `directories` and
    `options` are the settings of its param_str besides those that all have: split, seed and
    randomize as published, and ours, `batch` (so many images at a time, of one size) and those of
    fcnproto.datasets.augment.

    Raises DataError, with every problem there is, for settings that are missing, unknown or of the
    wrong kind, and for a split that is not there.
    """

    registry: ClassVar[dict[str, type[Reader]]] = {}
    dataset: ClassVar[str]
    """The zoo's name for it: its means, classes and palette."""
    directories: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The settings that name directories, and the folders that stand in each."""
    options: ClassVar[tuple[str, ...]] = ()
    splits: ClassVar[tuple[str, str]] = ("train", "val")
    """The published ones, to train and to measure."""
    images: ClassVar[Mapping[str, str]] = {"data": "color"}
    """The kind of image (a key of the zoo's means) of each top that is one."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "dataset" in vars(cls):
            Reader.registry[cls.__name__] = cls

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        problems = list(self._setting_problems())
        if problems:
            raise DataError(*problems)
        self.split: str = settings["split"]
        self.spec = specs.dataset(self.dataset)
        self.batch: int = settings.get("batch", 1)
        self.augmentation = Augmentation.of(settings)
        own = settings.get("seed")
        self._chance = random.SystemRandom().getrandbits(64) if own is None else own
        self.names = self._read_split()

    def __len__(self) -> int:
        return len(self.names)

    # What a subclass says -------------------------------------------------------------------

    @property
    def tops(self) -> tuple[str, ...]:
        """What a net is fed, in the order of the layer's tops."""
        return (*self.images, *self.label_tops)

    @property
    def label_tops(self) -> tuple[str, ...]:
        """Those of the tops that are label maps."""
        return tuple(label.name for label in self.spec.labels)

    @abstractmethod
    def _read_split(self) -> tuple[str, ...]:
        """The names of the split's images."""

    @abstractmethod
    def picture(self, top: str, index: int) -> Array:
        """An image as it is stored: H×W×3 uint8 RGB, or a depth map H×W float32."""

    @abstractmethod
    def label(self, top: str, index: int) -> Array:
        """A label map H×W uint8 of classes from 0, with 255 for what is ignored."""

    @abstractmethod
    def place(self, top: str, index: int) -> str:
        """Where a person finds what a top is fed with for an image: a file's path."""

    # What it gives --------------------------------------------------------------------------

    def read(self, index: int) -> dict[str, Array]:
        """What each top is fed with for an image of the split, without the axis of the batch.

        Images are C×H×W float32, BGR where they are in colour, less the mean; label maps are
        1×H×W uint8. Raises DataError if a file cannot be read, or if sizes differ.
        """
        return self._read(index, None)

    def draws(self) -> Iterator[tuple[Draw, ...]]:
        """What is fed at a time: `batch` images in the reader's order, without end."""
        numbered = enumerate(self.order())
        while True:
            yield tuple(islice(numbered, self.batch))

    def feed(self, draws: Sequence[Draw]) -> dict[str, Array]:
        """What each top is fed with for images of the split, N×C×H×W; changed at random if asked.

        Raises DataError as `read` does, and for images of several sizes.
        """
        images = [self._read(index, number) for number, index in draws]
        sizes = [images[0][top].shape == each[top].shape for each in images for top in self.tops]
        if not all(sizes):
            names = ", ".join(self.names[index] for _, index in draws)
            message = f"images of one batch must have one size: give 'crop' too ({names})"
            raise DataError(Problem(message, self.place(self.tops[0], draws[0][1])))
        return {top: np.stack([each[top] for each in images]) for top in self.tops}

    def classes(self, top: str) -> tuple[str, ...]:
        """The class names of a label map; empty if nobody has named them."""
        return next((label.classes for label in self.spec.labels if label.name == top), ())

    @property
    def is_random(self) -> bool:
        """Whether images come in random order: by default in training splits."""
        return bool(self.settings.get("randomize", True)) and "train" in self.split

    def order(self) -> Iterator[int]:
        """The images' numbers in the order in which a net is fed, without end.

        What measures is fed in the order of the split file. What trains is fed at random, the same
        for the same seed; None seeds differently each time.
        """
        if not self.is_random:
            return cycle(range(len(self)))
        return self.draw(random.Random(self.settings.get("seed")))

    def draw(self, rng: random.Random) -> Iterator[int]:
        """Numbers drawn one by one, each from all images, as the published layers do.

        An image may come twice before another comes once. The sequence is that of Python 3's
        random.randint.
        """
        while True:
            yield rng.randint(0, len(self) - 1)

    # How it is read -------------------------------------------------------------------------

    def _read(self, index: int, number: int | None) -> dict[str, Array]:
        """An image of the split, changed as chance has it for the number-th that is fed."""
        stored = {
            top: self.picture(top, index) if top in self.images else self.label(top, index)
            for top in self.tops
        }
        sizes = {top: array.shape[:2] for top, array in stored.items()}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{top} {size[0]}×{size[1]}" for top, size in sizes.items())
            message = f"image and label map must have one size, found {found}"
            raise DataError(Problem(message, self.place(self.tops[-1], index)))
        change = None
        if self.augmentation is not None and number is not None:
            chance = random.Random(f"{self._chance} {number}")
            change = self.augmentation.drawn(sizes[self.tops[0]], chance)
        arrays = {}
        for top, array in stored.items():
            if top in self.images:
                arrays[top] = self._prepared(top, index, array, change)
            else:
                labels = array if change is None else change.labels(array, IGNORE)
                arrays[top] = labels[np.newaxis]
        return arrays

    def _prepared(self, top: str, index: int, image: Array, change: Change | None) -> Array:
        kind = self.images[top]
        if change is not None:
            image = change.picture(image)
            image = change.coloured(image) if kind == "color" else image
        if image.ndim == 2:
            prepared = self._prepared_depth(kind, image, self.place(top, index))
        else:
            prepared = self._prepared_colours(kind, image)
        return prepared if change is None else change.placed(prepared, 0)

    def _prepared_colours(self, kind: str, image: Array) -> Array:
        # HHA is no colour: the published layers leave its channels in the order of the file.
        ordered = image[:, :, ::-1] if kind == "color" else image
        prepared = ordered.astype(np.float32)
        prepared -= self.mean(kind)
        return np.ascontiguousarray(prepared.transpose(2, 0, 1))

    def _prepared_depth(self, kind: str, depth: Array, place: str) -> Array:
        unknown = np.count_nonzero(depth <= 0)
        if unknown:
            message = f"depth is 0 at {unknown} pixels and has no logarithm: fill them in first"
            raise DataError(Problem(message, place))
        prepared: Array = np.log(depth) - self.mean(kind)
        return prepared[np.newaxis]

    def mean(self, kind: str) -> Array:
        """What is subtracted from a kind of image, channel by channel.

        A mean that param_str gives is float64 as in the published layers, and the zoo's float32:
        the last bit of what is fed depends on it.
        """
        if "mean" in self.settings:
            return np.asarray(self.settings["mean"], np.float64)
        return np.asarray(self.spec.mean[kind], np.float32)

    # What is wrong with its settings --------------------------------------------------------

    def _setting_problems(self) -> Iterator[Problem]:
        title = type(self).__name__
        known = (*self.directories, *_SHARED, *self.options)
        for key in self.settings:
            if key not in known:
                hint = nearest(str(key), known) or f"; it knows {', '.join(known)}"
                yield Problem(f"{title} has no setting '{key}'{hint}")
        for key in (*self.directories, "split"):
            value = self.settings.get(key)
            if not isinstance(value, str) or not value:
                found = "none" if key not in self.settings else repr(value)
                yield Problem(f"{title} needs the setting '{key}', a text; found {found}")
        yield from self._wrong("seed", (int, type(None)), "a whole number")
        yield from self._wrong("randomize", (bool, int), "True or False")
        batch = self.settings.get("batch", 1)
        if not isinstance(batch, int) or not 1 <= batch <= MOST_BATCH:
            yield Problem(f"{title}'s 'batch' must be 1 to {MOST_BATCH}, found {batch!r}")
        for refusal in augment.refusals(self.settings):
            yield Problem(f"{title}'s {refusal}")
        if "mean" in self.settings and not _is_mean(self.settings["mean"]):
            found = repr(self.settings["mean"])
            yield Problem(f"{title}'s 'mean' must be three numbers, found {found}")

    def _wrong(self, key: str, kinds: tuple[type, ...], what: str) -> Iterator[Problem]:
        if key in self.settings and not isinstance(self.settings[key], kinds):
            found = repr(self.settings[key])
            yield Problem(f"{type(self).__name__}'s '{key}' must be {what}, found {found}")


class FileReader(Reader):
    """A dataset that lies in files, which its split's file names.

    Raises DataError as any reader, and for images without labels or the reverse.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        problems = list(self._missing())
        if problems:
            raise DataError(*problems)

    # What a subclass says -------------------------------------------------------------------

    @abstractmethod
    def split_file(self) -> Path:
        """The file that names the images of the split, one in each line."""

    @abstractmethod
    def file(self, top: str, name: str) -> Path:
        """The file that holds what a top is fed with for an image."""

    @abstractmethod
    def read_label(self, top: str, path: Path) -> Array:
        """A label map H×W of classes from 0, with 255 for what is ignored."""

    # What it gives --------------------------------------------------------------------------

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The directories that the settings name."""
        return {key: Path(self.settings[key]) for key in self.directories}

    def picture(self, top: str, index: int) -> Array:
        """What the image's file holds."""
        path = self.file(top, self.names[index])
        return read_depth(path) if self.images[top] == "depth" else read_image(path)

    def label(self, top: str, index: int) -> Array:
        """What the label map's file holds, as a net learns it."""
        return self.read_label(top, self.file(top, self.names[index]))

    def place(self, top: str, index: int) -> str:
        """The file."""
        return str(self.file(top, self.names[index]))

    @classmethod
    def placed(cls, folder: Path) -> dict[str, str] | None:
        """The directories' settings for data in `folder`; None if they are not there.

        The folder is the dataset's own, or that in which all datasets lie.
        """
        places = cls._places()
        found: dict[str, str] = {}
        for key, inside in cls.directories.items():
            candidates = [folder, *(folder / place for place in places.get(key, ()))]
            for candidate in candidates:
                if all((candidate / each).is_dir() for each in inside):
                    found[key] = str(candidate)
                    break
            else:
                return None
        return found

    @classmethod
    def _places(cls) -> dict[str, list[str]]:
        """Where the zoo's nets have each directory, under the folder of all datasets."""
        spec = specs.dataset(cls.dataset)
        places: dict[str, list[str]] = {}
        for source in (spec.train, spec.val):
            if source.layer == cls.__name__:
                for key in cls.directories:
                    place = str(source.settings[key]).removeprefix("$data").lstrip("/")
                    places.setdefault(key, []).append(place)
        return places

    @classmethod
    def found_settings(cls, _directories: Mapping[str, str]) -> dict[str, Any]:
        """Further settings of a dataset that is found where its directories are."""
        return {}

    # How it is read -------------------------------------------------------------------------

    def _read_split(self) -> tuple[str, ...]:
        path = self.split_file()
        if not path.is_file():
            # Lists that papers made for datasets that lack them are shipped with the zoo.
            shipped = specs.MODELS / "datasets" / f"{self.dataset}-{self.split}.txt"
            if not shipped.is_file():
                raise DataError(self._no_split(path))
            path = shipped
        names = tuple(self.split_name(line) for line in read_lines(path) if line)
        if not names:
            raise DataError(Problem("names no image: expected one in each line", str(path)))
        return names

    def split_name(self, line: str) -> str:
        """The image that a line of a split file names."""
        return line

    def _no_split(self, path: Path) -> Problem:
        found = self._splits(path.parent)
        shown = f"; found {some(found, 8)}" if found else ""
        return Problem(
            f"there is no split '{self.split}': expected a file with an image's name a line{shown}",
            str(path),
        )

    def _splits(self, folder: Path) -> list[str]:
        """The splits whose files are in a folder."""
        return sorted(each.stem for each in folder.glob("*.txt") if each.stem[0] != ".")

    def _missing(self) -> Iterator[Problem]:
        for name in self.names:
            files = {top: self.file(top, name) for top in self.tops}
            gone = [top for top, path in files.items() if not path.is_file()]
            for top in gone:
                what = "image" if top in self.images else "label map"
                yield Problem(f"'{name}' of split '{self.split}' has no {what}", str(files[top]))


def located(data: Path) -> tuple[type[FileReader], dict[str, str]] | None:
    """The dataset in a folder, known by the folders in it, and its directories' settings.

    The folder is the dataset's own, or that in which all datasets lie; None if there is none.
    Raises DataError if the folder is not there, or several datasets are in it.
    """
    if not data.is_dir():
        raise DataError(Problem("there is no such folder", str(data)))
    found = [(kind, placed) for kind in in_files() if (placed := kind.placed(data))]
    # A folder that is a dataset's own takes precedence over those that lie in it.
    found = [each for each in found if set(each[1].values()) == {str(data)}] or found
    # Own data in the layout of a published dataset's: the plain folder's reader tells them apart.
    found = [each for each in found if each[0].dataset == "folder"] or found
    if len(found) > 1:
        folders = ", ".join(folder for _, placed in found for folder in placed.values())
        raise DataError(Problem(f"several datasets are here, name one of {folders}", str(data)))
    return found[0] if found else None


def in_files() -> list[type[FileReader]]:
    """The readers of datasets that lie in files."""
    return [kind for kind in Reader.registry.values() if issubclass(kind, FileReader)]


def layout(kind: type[FileReader]) -> str:
    """What a reader expects to find, in words."""
    folders = [f"{folder}/" for inside in kind.directories.values() for folder in inside]
    return f"{kind.__name__} reads {', '.join(folders)}"


def as_classes(path: Path, labels: Array) -> Array:
    """A label map as uint8, as Caffe's layers take it; DataError for what uint8 cannot hold."""
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high > IGNORE or (labels.dtype.kind == "f" and (labels % 1).any()):
        message = f"expected classes, whole numbers from 0 to {IGNORE}; found {low} to {high}"
        raise DataError(Problem(message, str(path)))
    return labels.astype(np.uint8)


def from_one(path: Path, labels: Array) -> Array:
    """A label map that counts from 1, counted from 0: what was 0 becomes 255. Raises DataError."""
    return as_classes(path, labels) - np.uint8(1)


def _is_mean(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) == 3
        and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
    )
