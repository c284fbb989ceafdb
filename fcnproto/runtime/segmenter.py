"""Images of any kind, one or many, to segmentations: read ahead, and run in batches of one size."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from reprlib import repr
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from PIL import Image

from fcnproto.crf.dense_crf import DenseCRF
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.model.given import LARGEST_SCALE, Mean, said
from fcnproto.model.metadata import COLOR, DEPTH, Metadata, completed, missing
from fcnproto.parallel import ahead, cores
from fcnproto.runtime import images
from fcnproto.runtime.images import ImageError, ImageSource
from fcnproto.runtime.outputs import blobs_of
from fcnproto.runtime.runner import BATCH_PIXELS, Picture, Prepared, Runner, Views
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.session import Session
from fcnproto.types import Array, Colour, whole
from fcnproto.zoo.legend import ClassesLike

if TYPE_CHECKING:
    from fcnproto.model.file import Model

ImageLike = str | PathLike[str] | ImageSource | Image.Image | np.ndarray[Any, Any]
"""An image: a path, one of Pillow's, or an array H×W×3 uint8 RGB; depth as an array H×W."""

_ONE = (str, PathLike, ImageSource, Image.Image, np.ndarray, Mapping)
_NONE = (bytes, bytearray, memoryview, io.IOBase)  # can be iterated over, but not for images

Scene = ImageLike | Mapping[str, ImageLike]
"""An image, or for a model of several inputs an image of each kind: color, hha, depth."""

_MOST_WAITING = 32
_PIXELS_WAITING = 2**25  # 100 MB; so many wait at most for others of their size


class Segmenter:
    """A model that segments images: `Segmenter("net.onnx")("photo.jpg").labels`.

    What it makes of a path and of the same image in memory is the same.
    """

    def __init__(
        self,
        model: str | PathLike[str] | bytes | Model | Session,
        *,
        device: str = "auto",
        fast: bool = False,
        tile: int | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        refine: str | DenseCRF | None = None,
        dataset: str | None = None,
        mean: Mean | None = None,
        classes: ClassesLike | None = None,
        palette: Sequence[Colour] | str | PathLike[str] | None = None,
        scores: bool = True,
    ) -> None:
        """Load a model: an ONNX file, its bytes, or what `export` gives.

        `device` is auto, cpu, cuda or cuda:1; `fast` lets CUDA round factors to 10 bits. With
        `tile`, images are cut into tiles of so many pixels: the same result with less memory.
        Scores are averaged over `scales` and, with `flip`, with those of the mirror image.
        `refine` is none, crf, crf:PRESET, crf:FILE.toml or a DenseCRF; by default scores go through
        what the model itself brings, such as CRF-RNN's mean field.
        `dataset`, `mean` (for each channel, B, G, R), `classes` (names, or a file of them) and
        `palette` (colours, or a file) say what the model does not say of itself. Without `scores`,
        results have labels only, which takes less memory.

        Raises FcnprotoError if the model cannot be loaded or run so: if there is no such device,
        if it gives no score or label for each pixel, or if its mean is not known.
        """
        tile = None if tile is None else whole(tile, "tile", 1)
        session = _session(model, device, fast)
        blobs = blobs_of(session)
        about_it = said(dataset, mean, classes, palette)
        about = completed(Metadata.from_props(session.metadata, session.path), about_it, blobs)
        self._runner = Runner(session, about, Views(tile, _scales(scales), flip, refine))
        self._scores = scores
        self.warnings: tuple[Problem, ...] = tuple(missing(about, blobs))
        """What is not known of the model: names of classes, a palette."""

    @property
    def runner(self) -> Runner:
        """What runs images of one size."""
        return self._runner

    @property
    def metadata(self) -> Metadata:
        """What is known of the model: classes, palette, mean, kinds of images."""
        return self._runner.metadata

    @property
    def device(self) -> str:
        """Where it runs: cpu, or cuda:0."""
        return str(self._runner.session.device)

    @property
    def reason(self) -> str:
        """Why it runs there, where `auto` passed over a faster device."""
        return self._runner.session.reason

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of image that it takes of each scene: color, hha, depth."""
        return tuple(self.metadata.kind(blob) for blob in self._runner.inputs)

    @property
    def path(self) -> str | None:
        """The model's file; None where it was not one."""
        return self._runner.session.path

    # A path is an iterable of strings too, and the first signature is meant for it.
    @overload
    def __call__(self, images: Scene) -> Segmentation: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Iterable[Scene]) -> Iterator[Segmentation]: ...

    def __call__(self, images: Scene | Iterable[Scene]) -> Segmentation | Iterator[Segmentation]:
        """Segment one image, or each of a list or an iterator.

        One image gives its Segmentation, or raises ImageError if it cannot be read, and
        FcnprotoError if it cannot be run. Many give an iterator of as many, in their order, which
        reads ahead while the model runs, runs those of one size together, and holds few of them;
        one that fails is a Segmentation with an `error`, and the others go on.
        """
        if isinstance(images, _ONE + _NONE) or not isinstance(images, Iterable):
            (result,) = self.stream([cast("Scene", images)])
            if result.error is not None:
                raise result.error
            return result
        return self.stream(images)

    def __repr__(self) -> str:
        what = self.path or self.metadata.net or "model"
        return f"<Segmenter {what} on {self.device}: {' and '.join(self.kinds)}>"

    # Many ---------------------------------------------------------------------------------------

    def stream(self, scenes: Iterable[Scene | FcnprotoError]) -> Iterator[Segmentation]:
        """As a call with many; an error in place of a scene becomes its result."""
        if self._runner.views.tile is not None:  # images that are large: one at a time
            for scene in scenes:
                yield from self._batched([self._load(scene)])
            return
        yield from self._batched(ahead(self._load, scenes, workers=cores(), most=2 * cores()))

    def _batched(self, loaded: Iterable[_Loaded]) -> Iterator[Segmentation]:
        """Run those of one size together, and give results in the order of what they are of."""
        line: deque[_Loaded] = deque()
        groups: dict[tuple[int, ...], list[_Loaded]] = {}
        for each in loaded:
            line.append(each)
            if each.result is None:
                group = groups.setdefault(each.size, [])
                group.append(each)
                if len(group) >= self._batch(each.size):
                    self._run(groups.pop(each.size))
            while line and line[0].result is None and _are_many(line):
                self._run(groups.pop(line[0].size))
            while line and line[0].result is not None:
                yield line.popleft().done
        for group in groups.values():
            self._run(group)
        while line:
            yield line.popleft().done

    def _batch(self, size: tuple[int, ...]) -> int:
        """How many images of a size are run at once."""
        largest = max(1, BATCH_PIXELS // (size[0] * size[1]))
        return largest if self._runner.batch is None else self._runner.batch

    def _run(self, group: Sequence[_Loaded]) -> None:
        """Run a batch; if it cannot be run, each alone, so that only those fail that must."""
        try:
            found = self._runner.run(
                [each.picture for each in group],
                [each.prepared for each in group],
                keep_scores=self._scores,
            )
        except Exception as error:  # whatever one image raises, the others go on
            if len(group) > 1:
                for each in group:
                    self._run([each])
                return
            (each,) = group
            if not isinstance(error, FcnprotoError):
                message = f"cannot be segmented: {error or type(error).__name__}"
                each.result = Segmentation(
                    each.title, error=FcnprotoError(Problem(message, each.title))
                )
                return
            problems = [replace(problem, path=each.title) for problem in error.problems]
            each.result = Segmentation(each.title, error=type(error)(*problems))
            return
        for index, each in enumerate(group):
            each.result = Segmentation(
                each.title,
                each.picture,
                {blob: array[index] for blob, array in found.labels.items()},
                {blob: array[index] for blob, array in found.scores.items()},
                self.metadata.classes,
                self._runner.palette,
                tuple(each.notes),
            )
            each.prepared = None

    # One ----------------------------------------------------------------------------------------

    def _load(self, scene: Scene | FcnprotoError) -> _Loaded:
        """An image with those that belong to it, by the model's inputs; or what is wrong."""
        if isinstance(scene, FcnprotoError):
            return _Loaded("", result=Segmentation("", error=scene))
        given = scene if isinstance(scene, Mapping) else {self._only_kind(): scene}
        loaded = _Loaded(title_of(next(iter(given.values()), "")))
        try:
            loaded.picture = self._picture(given, loaded)
            loaded.prepared = self._runner.prepare(loaded.picture)
        except FcnprotoError as error:
            loaded.result = Segmentation(loaded.title, error=error)
        return loaded

    def _only_kind(self) -> str:
        return self.kinds[0] if len(self.kinds) == 1 else COLOR

    def _picture(self, given: Mapping[str, ImageLike], loaded: _Loaded) -> Picture:
        kinds = dict(zip(self._runner.inputs, self.kinds, strict=True))
        if set(given) != set(kinds.values()):
            wanted, found = " and ".join(kinds.values()), " and ".join(given) or "none"
            message = f"the model takes {wanted} of each scene, found {found}"
            raise ImageError(Problem(message, loaded.title))
        picture = {blob: self._read(kind, given[kind], loaded) for blob, kind in kinds.items()}
        if len({array.shape[:2] for array in picture.values()}) > 1:
            found = ", ".join(
                f"'{blob}' {array.shape[0]}×{array.shape[1]}" for blob, array in picture.items()
            )
            raise ImageError(Problem(f"its images are of different size: {found}", loaded.title))
        least = self._runner.at_least(picture)
        if least is not picture:
            height, width = next(iter(least.values())).shape[:2]
            message = (
                "it is smaller than the images that the model is fixed at: it is enlarged, and its"
                f" label map has {height}×{width} pixels, of which none are dropped"
            )
            loaded.notes.append(Problem(message, loaded.title, severity=Severity.WARNING))
        return least

    def _read(self, kind: str, image: ImageLike, loaded: _Loaded) -> Array:
        is_depth, large = kind == DEPTH, self._runner.views.tile is not None
        array = (depth_of if is_depth else image_of)(image, large=large)
        if (
            is_depth
            and isinstance(image, str | PathLike | ImageSource)
            and images.is_eight_bit(_source(image))
        ):
            message = (
                "its depth has 8 bits, up to 255 of an unknown unit: millimetres are expected, as"
                " 16-bit PNG"
            )
            loaded.notes.append(Problem(message, title_of(image), severity=Severity.WARNING))
        unknown = int((array <= 0).sum()) if is_depth else 0
        if unknown:
            message = f"{unknown} of its pixels have no depth: they are taken as the mean"
            loaded.notes.append(Problem(message, title_of(image), severity=Severity.WARNING))
        return array


@dataclass
class _Loaded:
    """A scene on its way: read, then run."""

    title: str
    picture: Picture = field(default_factory=dict)
    prepared: Prepared | None = None
    notes: list[Problem] = field(default_factory=list)
    result: Segmentation | None = None

    @property
    def size(self) -> tuple[int, ...]:
        height, width = next(iter(self.picture.values())).shape[:2]
        return height, width

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1] if self.picture else 0

    @property
    def done(self) -> Segmentation:
        assert self.result is not None
        return self.result


def _are_many(line: deque[_Loaded]) -> bool:
    """Whether no more should wait for others of their size."""
    return len(line) > _MOST_WAITING or sum(each.pixels for each in line) > _PIXELS_WAITING


def image_of(image: ImageLike, *, large: bool = False) -> Array:
    """An image as H×W×3 uint8 RGB; ImageError if it is none, or larger than `images.read` takes."""
    if isinstance(image, Image.Image | np.ndarray):
        return images.as_rgb(image, title_of(image))
    return images.read(_source(image), large=large)


def depth_of(image: ImageLike, *, large: bool = False) -> Array:
    """A depth map as H×W float32; ImageError as for an image."""
    if isinstance(image, Image.Image | np.ndarray):
        return images.as_depth(image, title_of(image))
    return images.read_depth(_source(image), large=large)


def _source(image: str | PathLike[str] | ImageSource) -> ImageSource:
    if isinstance(image, ImageSource):
        return image
    if not isinstance(image, str | PathLike):
        expected = "a path, one of Pillow's, or an array H×W×3 uint8, RGB"
        found = type(image).__name__
        raise ImageError(Problem(f"expected an image: {expected}; found {found}", "image"))
    return ImageSource(Path(image))


def title_of(image: ImageLike) -> str:
    """An image's path, or what it is called where it came from memory."""
    if isinstance(image, Image.Image):
        return str(getattr(image, "filename", "")) or "image"
    if isinstance(image, str | PathLike):
        return str(Path(image))
    return str(image.path) if isinstance(image, ImageSource) else "image"


def _scales(scales: Sequence[float]) -> tuple[float, ...]:
    """Scales that an image may be run at; none is as one, its own."""
    try:
        found = tuple(map(float, scales))
    except (TypeError, ValueError):
        found = (0.0,)
    if not all(0 < scale <= LARGEST_SCALE for scale in found):
        raise FcnprotoError(
            f"scales are numbers above 0, up to {LARGEST_SCALE}; found {repr(scales)}"
        )
    return found or (1.0,)


def _session(
    model: str | PathLike[str] | bytes | Model | Session, device: str, fast: bool
) -> Session:
    if isinstance(model, Session):
        return model
    if isinstance(model, str | PathLike):
        return Session(Path(model), device, fast=fast)
    if not isinstance(model, bytes) and not hasattr(model, "tensors"):
        expected = "the path of an ONNX file, its bytes, or what export gives"
        raise FcnprotoError(f"expected a model: {expected}; found {type(model).__name__}")
    content = model if isinstance(model, bytes) else model.to_bytes()
    return Session(content, device, fast=fast)
