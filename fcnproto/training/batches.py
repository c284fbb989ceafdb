"""What Caffe's own data layers feed: batches from databases, HDF5 files and lists of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcnproto import weights as weight_files
from fcnproto.datasets.base import as_classes
from fcnproto.datasets.databases import Database
from fcnproto.datasets.lists import read_columns
from fcnproto.datasets.pictures import (
    read_greys,
    read_image,
    read_labels,
    read_stored,
    turned,
)
from fcnproto.datasets.tables import Tables
from fcnproto.errors import DataError, Problem, WeightsError
from fcnproto.files import read_lines
from fcnproto.layers.reading import Form, Reading
from fcnproto.net.nodes import Graph, Node
from fcnproto.training.net import Feed
from fcnproto.training.transforms import transformed
from fcnproto.types import Array, show

Key = tuple[int, tuple[int, ...]]
"""The number of a batch, which decides its chance, and those of its items."""

_MOST_MISSING = 20


class Items(ABC):
    """Things of which a batch is made, each an image or array and what belongs to it."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def place(self, index: int) -> str:
        """Where a person finds it."""

    @abstractmethod
    def item(self, index: int, rng: np.random.Generator) -> Sequence[Array]:
        """An array for each top, without the axis of the batch. Raises DataError."""

    def labels(self, index: int) -> Array | None:
        """Its label map H × W as it is stored; None if it has none. Raises DataError."""
        return None

    def _transformed(
        self, image: Array, labels: Array | None, rng: np.random.Generator
    ) -> tuple[Array, Array | None]:
        reading = self.reading
        mean = self._mean(len(image))
        return transformed(image, labels, reading.transform, reading.label_map, mean, rng)

    def _mean(self, channels: int) -> Array | None:
        given = self.reading.transform.mean
        if not given:
            return self.mean_of_file
        if len(given) not in (1, channels):
            raise DataError(f"mean_value is given {len(given)} times for {channels} channels")
        return np.resize(np.array(given, np.float32), (channels, 1, 1))

    mean_of_file: Array | None = None
    """What mean_file holds, C × H × W."""


class Batches:
    """A data layer's batches, and which blob of the net takes each of its tops.

    What the layer names lies where it says, beside the net, or in `data`. `seed` decides the order,
    crops and mirroring. Raises DataError with all that is missing or wrong, LayerError for what is
    not read here.
    """

    reader = None

    def __init__(self, graph: Graph, node: Node, data: Path | None, seed: int) -> None:
        self.reading = node.layer.reading()
        self.blobs = tuple(graph.blobs[top] for top in node.tops)
        near = Path(graph.path).parent if graph.path else Path()
        places = (near, *([data] if data else []))
        self._items = _items(self.reading, self.blobs, places)
        if self.reading.transform.mean_file:
            self._items.mean_of_file = _mean(_found(self.reading.transform.mean_file, places))
        self._seed = seed

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> Key:
        """The first batch in the order of the file."""
        return 0, tuple(islice(_round(len(self), None), self.reading.batch))

    def draws(self) -> Iterator[Key]:
        """What each pass reads, without end; shuffled anew after each time through."""
        rng = np.random.default_rng([self._seed, 1])
        skip = int(rng.integers(self.reading.skip)) % len(self) if self.reading.skip else 0
        numbers = islice(_round(len(self), rng if self.reading.shuffle else None), skip, None)
        return ((batch, tuple(islice(numbers, self.reading.batch))) for batch in count())

    def feed(self, key: Key) -> dict[str, npt.NDArray[Any]]:
        """A batch: an array for each blob. Raises DataError."""
        batch, numbers = key
        rng = np.random.default_rng([self._seed, 2, batch])
        items = [self._item(number, rng) for number in numbers]
        columns = list(zip(*items, strict=True))
        for column in columns:
            sizes = {array.shape for array in column}
            if len(sizes) > 1:
                found = ", ".join(map(show, sorted(sizes)[:3]))
                message = (
                    f"a batch holds items of one size, found {found}: give a crop or a new size, or"
                    " batch_size 1"
                )
                raise DataError(Problem(message, self._items.place(numbers[0])))
        return {blob: np.stack(column) for blob, column in zip(self.blobs, columns, strict=False)}

    def labels(self, index: int) -> Iterator[tuple[str, Feed]]:
        """The label map of an item, where it has one, with the file that holds it."""
        labels = self._items.labels(index)
        if labels is not None and len(self.blobs) > 1:
            yield self._items.place(index), {self.blobs[1]: labels[np.newaxis, np.newaxis]}

    def _item(self, number: int, rng: np.random.Generator) -> Sequence[Array]:
        try:
            return self._items.item(number, rng)
        except DataError as error:
            place = self._items.place(number)
            raise DataError(
                *(p if p.path else Problem(p.message, place) for p in error.problems)
            ) from error


def _round(size: int, rng: np.random.Generator | None) -> Iterator[int]:
    """All numbers below `size`, again and again; in an order drawn anew each time with `rng`."""
    while True:
        yield from range(size) if rng is None else rng.permutation(size).tolist()


# Forms ----------------------------------------------------------------------------------------


def _items(reading: Reading, blobs: Sequence[str], places: Sequence[Path]) -> Items:
    if reading.form is Form.DATABASE:
        return _Database(reading, places, len(blobs))
    if reading.form is Form.DATABASES:
        return _Databases(reading, places)
    if reading.form is Form.TABLES:
        return _Rows(reading, places, blobs)
    return _Images(reading, places, len(blobs))


class _Database(Items):
    def __init__(self, reading: Reading, places: Sequence[Path], tops: int) -> None:
        super().__init__(reading)
        self._file, self._tops = Database(_found(reading.source, places)), tops

    def __len__(self) -> int:
        return len(self._file)

    def place(self, index: int) -> str:
        return f"{self._file.path}, item {index + 1}"

    def item(self, index: int, rng: np.random.Generator) -> Sequence[Array]:
        array, number = self._file.item(index, self.reading.transform.colour)
        image, _ = self._transformed(array, None, rng)
        return [image, np.array(number, np.float32)][: self._tops]


class _Databases(Items):
    def __init__(self, reading: Reading, places: Sequence[Path]) -> None:
        super().__init__(reading)
        images, labels = (
            Database(_found(name, places)) for name in (reading.source, reading.labels)
        )
        if len(images) != len(labels):
            message = f"has {len(labels)} label maps for {len(images)} images"
            raise DataError(Problem(message, str(labels.path)))
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def place(self, index: int) -> str:
        return f"{self._labels.path}, item {index + 1}"

    def labels(self, index: int) -> Array:
        array, _ = self._labels.item(index)
        if len(array) != 1:
            message = f"a label map has one channel, found {len(array)}"
            raise DataError(Problem(message, self.place(index)))
        labels: Array = array[0]
        return labels

    def item(self, index: int, rng: np.random.Generator) -> Sequence[Array]:
        array, _ = self._images.item(index, self.reading.transform.colour)
        image, labels = self._transformed(array, self.labels(index), rng)
        assert labels is not None
        return [image, labels[np.newaxis]]


class _Rows(Items):
    def __init__(self, reading: Reading, places: Sequence[Path], names: Sequence[str]) -> None:
        super().__init__(reading)
        listed = _found(reading.source, places)
        files = [_found(line, (*places, listed.parent)) for line in read_lines(listed) if line]
        if not files:
            raise DataError(Problem("names no HDF5 file: expected one in each line", str(listed)))
        self._tables = Tables(files, names)
        if not len(self._tables):
            raise DataError(Problem("its files have no rows", str(listed)))

    def __len__(self) -> int:
        return len(self._tables)

    def place(self, index: int) -> str:
        return self._tables.place(index)

    def item(self, index: int, rng: np.random.Generator) -> Sequence[Array]:
        return list(self._tables.row(index).values())


class _Images(Items):
    def __init__(self, reading: Reading, places: Sequence[Path], tops: int) -> None:
        super().__init__(reading)
        self._tops = tops
        source = _found(reading.source, places)
        if reading.labels:
            labels = _found(reading.labels, places)
            pairs = [[line for line in read_lines(path) if line] for path in (source, labels)]
            if len(pairs[0]) != len(pairs[1]):
                message = f"names {len(pairs[1])} label maps for {len(pairs[0])} images"
                raise DataError(Problem(message, str(labels)))
            lines: list[tuple[str, ...]] = list(zip(*pairs, strict=True))
        else:
            lines = read_columns(source, 1 if reading.form is Form.IMAGES else 2)
        if not lines:
            raise DataError(Problem("names nothing: expected something in each line", str(source)))
        near = (*places, source.parent)
        named = reading.roots if reading.form is Form.PAIRS else reading.roots[:1]
        self._files = [
            tuple(_found(root + name, near) for root, name in zip(named, line, strict=False))
            for line in lines
        ]
        missing = [file for files in self._files for file in files if not file.is_file()]
        if missing:
            problems = [Problem(f"there is no such file; {source} names it", str(each))
                        for each in missing[:_MOST_MISSING]]  # fmt: skip
            raise DataError(*problems)
        self._numbers = (
            [_number(line[1], source) for line in lines] if reading.form is Form.NUMBERS else []
        )

    def __len__(self) -> int:
        return len(self._files)

    def place(self, index: int) -> str:
        return str(self._files[index][-1])

    def labels(self, index: int) -> Array | None:
        if self.reading.form is not Form.PAIRS:
            return None
        path = self._files[index][1]
        if self.reading.label_map.greys:
            return read_greys(path)
        labels = as_classes(path, read_labels(path))
        stored = read_stored(self._files[index][0])
        # A map that was drawn over the stored pixels lies as they do, and the image is turned.
        lies = labels.shape == stored.size != stored.upright
        return turned(labels, stored.turn) if lies else labels

    def item(self, index: int, rng: np.random.Generator) -> Sequence[Array]:
        rgb = read_image(self._files[index][0], upright=True)
        if self.reading.transform.colour is False:
            image = _grey(rgb)[np.newaxis]
        else:
            image = rgb[:, :, ::-1].transpose(2, 0, 1)
        found, labels = self._transformed(image, self.labels(index), rng)
        second: Array = np.zeros((1, *found.shape[1:]), np.uint8)
        if labels is not None:
            second = labels[np.newaxis]
        elif self._numbers:
            second = np.array(self._numbers[index], np.float32)
        size = np.array(image.shape[1:], np.float32).reshape(1, 1, 2)
        return [found, second, size][: self._tops]


def _grey(rgb: Array) -> Array:
    """H × W × 3 as greys, by the weights of ITU-R BT.601, as OpenCV has them."""
    grey: Array = np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return grey


def _number(text: str, source: Path) -> int:
    try:
        return int(text)
    except ValueError as error:
        message = f"expected an image and a whole number in each line, found '{text}'"
        raise DataError(Problem(message, str(source))) from error


# Files ----------------------------------------------------------------------------------------


def _found(name: str, places: Sequence[Path]) -> Path:
    """A file that is named: where the name says, as Caffe has it, else below one of the places.

    A path from another machine may begin with a slash, which below a place counts for nothing.
    """
    path = Path(name)
    if path.exists():
        return path
    below = (place / name.lstrip("/") for place in places)
    return next((each for each in below if each.exists()), path)


def _mean(path: Path) -> Array:
    try:
        blob = weight_files.read_blob(path)
    except WeightsError as error:
        raise DataError(*error.problems) from error
    return blob.reshape(blob.shape[-3:])
