"""What a worker does: it loads the model once, and segments the images that it is sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fcnproto.cluster.manifest import SCHEMA
from fcnproto.cluster.places import Folder, Place
from fcnproto.crf.dense_crf import DenseCRF
from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.files import own_folder
from fcnproto.model.given import Mean, said
from fcnproto.model.metadata import Metadata
from fcnproto.parallel import ahead, cores
from fcnproto.runtime.images import ImageError, ImageSource
from fcnproto.runtime.refining import Refining
from fcnproto.runtime.segment_files import Reading, Scenes
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.segmenter import Scene, Segmenter
from fcnproto.runtime.session import Session
from fcnproto.runtime.source import ModelSource
from fcnproto.types import Colour
from fcnproto.zoo.legend import ClassesLike

if TYPE_CHECKING:
    from fcnproto.model.file import Model


@dataclass(frozen=True)
class How:
    """How a model is run, in values that mean the same on every machine."""

    device: str = "auto"
    fast: bool = False
    cache: bool = True
    tile: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    refine: str | DenseCRF | None = None
    dataset: str | None = None
    mean: Mean | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        refine: str | DenseCRF | None = None,
        dataset: str | None = None,
        mean: Mean | None = None,
        classes: ClassesLike | None = None,
        palette: Sequence[Colour] | str | PathLike[str] | None = None,
        **rest: Any,
    ) -> How:
        """As `Segmenter` takes it; files of classes, colours and settings are read here and now."""
        given = said(dataset, mean, classes, palette)
        if refine is not None:
            refine = Refining.of(refine, Metadata()).crf or refine
        return cls(
            refine=refine,
            dataset=dataset,
            mean=mean,
            classes=tuple(given.classes),
            palette=tuple(given.palette),
            **rest,
        )

    def segmenter(self, session: Session) -> Segmenter:
        """A segmenter that runs so."""
        return Segmenter(
            session,
            tile=self.tile,
            scales=self.scales,
            flip=self.flip,
            refine=self.refine,
            dataset=self.dataset,
            mean=self.mean,
            classes=self.classes or None,
            palette=self.palette or None,
            scores=False,
        )


@dataclass(frozen=True)
class Files:
    """A model's files by name, the model first; `title` is what it is called in messages."""

    title: str
    content: Mapping[str, Any]
    """uint8 arrays, which workers of one machine share in the object store."""

    @classmethod
    def of(cls, model: str | PathLike[str] | bytes | Model) -> Files:
        """A model as `Segmenter` takes it. Raises FcnprotoError if it cannot be read."""
        if isinstance(model, str | PathLike):
            return cls._read(Path(model))
        content = model if isinstance(model, bytes) else model.to_bytes()
        return cls("model", {"model.onnx": np.frombuffer(content, np.uint8)})

    @classmethod
    def _read(cls, path: Path) -> Files:
        found = {path.name: path, **ModelSource.of(path).beside()}
        try:
            return cls(
                str(path), {name: np.fromfile(file, np.uint8) for name, file in found.items()}
            )
        except OSError as error:
            message = f"cannot be read: {reason(error)}"
            raise FcnprotoError(Problem(message, str(error.filename or path))) from error

    @property
    def digest(self) -> str:
        """SHA-256 of them."""
        found = hashlib.sha256()
        for content in self.content.values():
            found.update(content)
        return found.hexdigest()

    def write(self, folder: Path) -> Path:
        """Write them into a folder, and give the model's path."""
        for name, content in self.content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            content.tofile(folder / name)
        return folder / next(iter(self.content))

    def session(self, how: How, threads: int | None = None) -> Session:
        """The model, loaded as one machine loads it, from a file.

        Raises FcnprotoError, which names the model as the user does.
        """
        path = self.write(own_folder())
        try:
            return Session(path, how.device, fast=how.fast, threads=threads, cache=how.cache)
        except FcnprotoError as error:
            raise type(error)(*self.renamed(error.problems, path)) from error

    def renamed(self, problems: Sequence[Problem], path: Path) -> list[Problem]:
        """Problems of a copy of the model as those of the model."""
        return [
            replace(each, path=self.title) if each.path == str(path) else each for each in problems
        ]


@dataclass(frozen=True)
class Told:
    """What is to be said of a model before it is run."""

    device: str
    precision: str
    kinds: tuple[str, ...]
    refining: tuple[str, ...]
    warnings: tuple[Problem, ...]
    pairs: int = 0
    """How many label maps it can be measured on, of what was asked."""


@dataclass(frozen=True)
class Job:
    """A model, how it is run, and where the results go, if not into the dataset."""

    model: Any
    """A reference to its Files in the object store."""
    digest: str
    how: How
    output: Folder | None = None
    companions: Mapping[str, Path] = field(default_factory=dict)
    readers: Mapping[str, Reading] = field(default_factory=dict)

    def load(self, threads: int | None) -> Segmenter:
        """The model, ready to run. Raises FcnprotoError if it cannot be loaded or run so."""
        import ray

        files: Files = ray.get(self.model)
        session = files.session(self.how, threads)
        try:
            return self.how.segmenter(session)
        except FcnprotoError as error:
            path = Path(session.path or "")
            raise type(error)(*files.renamed(error.problems, path)) from error


_READERS = 8  # threads that wait for files of other machines


@dataclass
class _Image:
    """A row's image, and what became of it."""

    path: str
    scene: Scene | FcnprotoError
    row: dict[str, Any] = field(default_factory=dict)
    maps: Mapping[str, Any] = field(default_factory=dict)


class Worker:
    """A callable class for Ray Data's `map_batches`: tables of images to tables of results."""

    def __init__(self, job: Job, threads: int | None) -> None:
        """Raises FcnprotoError if the model cannot be loaded."""
        self._job = job
        self._segmenter = job.load(threads)
        self._scenes = Scenes.of(self._segmenter, job.companions, job.readers)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the columns of results; an image that fails has its error there."""
        start = time.perf_counter()
        images = [self._image(table, row) for row in range(table.num_rows)]
        scenes = ahead(self._scene, images, workers=_READERS, most=2 * _READERS)
        results = self._segmenter.stream(scenes)
        done = list(ahead(self._done, zip(images, results, strict=True), workers=cores(), most=8))
        seconds = (time.perf_counter() - start) / max(1, len(done))
        for image in done:
            image.row |= {"model": self._job.digest, "seconds": seconds}
        return self._table(table, done)

    def _image(self, table: pa.Table, row: int) -> _Image:
        """What a row is of: its picture, its bytes, or what its path leads to."""
        names = table.column_names
        path = table.column("path")[row].as_py() if "path" in names else None
        title = path or "image"
        if "error" in names and (error := table.column("error")[row].as_py()) is not None:
            return _Image(title, ImageError(Problem(error)))
        if "image" in names:
            return _Image(title, _picture(table.column("image")[row]))
        if "bytes" in names:
            content = table.column("bytes")[row].as_py()
            return _Image(title, ImageSource(Path(title), content or b""))
        if path is None:
            return _Image(title, ImageError("there is no column path, bytes or image"))
        return _Image(title, ImageSource(Path(path)))

    def _scene(self, image: _Image) -> Scene | FcnprotoError:
        """What the model is to see; paths that lead elsewhere are read."""
        if not isinstance(image.scene, ImageSource):
            return image.scene
        try:
            if image.scene.content is None:
                place = Place.of(image.path)
                content = None if place.local else place.read()
                image.scene = ImageSource(place.local or Path(image.path), content)
            return self._scenes.scene(image.scene)
        except FcnprotoError as error:
            return error

    def _done(self, pair: tuple[_Image, Segmentation]) -> _Image:
        """An image with its row, and with its files written."""
        image, result = pair
        said = self._scenes.notes(image.scene) if isinstance(image.scene, ImageSource) else ()
        image.row["notes"] = [each.message for each in (*said, *result.notes)]
        if result.error is not None:
            image.row["error"] = "; ".join(each.message for each in result.error.problems)
            return image
        image.row["shares"] = {blob: dict(found) for blob, found in result.all_shares.items()}
        if self._job.output is None:
            image.maps = result.label_maps
            return image
        try:
            files = result.files(Place.of(image.path).stem)
            *labels, overlay = [str(self._job.output.write(*each)) for each in files]
        except FcnprotoError as error:
            image.row["fault"] = str(error)
            return image
        labels_by_blob = dict(zip(result.label_maps, labels, strict=True))
        image.row |= {"labels": labels_by_blob, "overlay": overlay}
        return image

    def _table(self, table: pa.Table, images: Sequence[_Image]) -> pa.Table:
        """The table's own columns, and those of the results."""
        own = dict(zip(table.column_names, table.columns, strict=True))
        names = ["shares", "notes", "error", "model", "seconds"]
        if self._job.output is not None:
            names += ["labels", "overlay", "fault"]
        found = {
            name: pa.array([image.row.get(name) for image in images], TYPES[name]) for name in names
        }
        if self._job.output is None:
            found |= dict(self._maps(images))
        return pa.table(own | found)

    def _maps(self, images: Sequence[_Image]) -> Iterator[tuple[str, Any]]:
        """The label maps as columns: `labels`, and `labels.<blob>` for those after the first."""
        from ray.data.extensions import ArrowVariableShapedTensorArray

        none = np.zeros((0, 0), np.uint8)
        for number, each in enumerate(self._segmenter.runner.maps):
            maps = [image.maps.get(each.blob, none) for image in images]
            kind = np.result_type(*maps)
            name = f"labels.{each.blob}" if number else "labels"
            found = [labels.astype(kind) for labels in maps]
            yield name, ArrowVariableShapedTensorArray.from_numpy(found)


TYPES = {each.name: each.type for each in SCHEMA} | {"fault": pa.string()}


def _picture(scalar: Any) -> Any:
    """A picture in a column, as an array."""
    return np.asarray(scalar.as_py())
