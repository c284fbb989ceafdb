"""The paper, seen: a classifier slid over an image, a net's steps as maps, models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.api.model import Model, export
from fcnproto.api.net import NetLike, as_net, load_net
from fcnproto.api.weights import WeightsLike, source_of
from fcnproto.errors import FcnprotoError
from fcnproto.files import replacing
from fcnproto.insight import compare as comparing
from fcnproto.insight import explain_maps as maps
from fcnproto.insight import heatmap as heating
from fcnproto.insight import windows as windowing
from fcnproto.insight.compare import SideBySide
from fcnproto.insight.heatmap import Heatmap, Slider
from fcnproto.insight.verify import On
from fcnproto.insight.windows import WindowCheck
from fcnproto.model.given import Mean, said
from fcnproto.runtime.images import ImageSource, png_of
from fcnproto.runtime.segmenter import ImageLike, Segmenter, image_of, title_of
from fcnproto.types import Array, Shown, path_of, size_of, words_of
from fcnproto.zoo import specs
from fcnproto.zoo.legend import ClassesLike


def sliding(
    net: NetLike,
    weights: WeightsLike,
    *,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    on: On = On("auto"),
) -> Slider:
    """A classifier in its convolutional form, ready for many images; as for `heatmap`."""
    loaded = as_net(net)
    given = said(dataset, mean, classes)
    return Slider(loaded.source, source_of(weights), name=loaded.zoo_name, given=given, on=on)


def heatmap(
    image: ImageLike,
    net: NetLike,
    weights: WeightsLike,
    *,
    size: tuple[int, int] | None = None,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    device: str = "auto",
) -> Heatmap:
    """What a classifier, made convolutional, makes of every place of an image, in one pass.

    `size` (height, width) is what the image is made first. `mean` (B, G, R) is by default
    ImageNet's, or that of `dataset`, which has names of classes too.
    `heatmap(...).picture(["disc", 3])` draws the maps of some classes.

    Raises NetError for a net that cannot be made convolutional, WeightsError for weights that do
    not fit, ImageError for an image that is smaller than the classifier's own.
    """
    slider = sliding(net, weights, dataset=dataset, mean=mean, classes=classes, on=On(device))
    return slide(slider, image, size)


def slide(slider: Slider, image: ImageLike, size: tuple[int, int] | None = None) -> Heatmap:
    """The map of one image."""
    return slider(heating.resized(image_of(image), size_of(size)), title_of(image))


def heatmap_windows(
    image: ImageLike,
    net: NetLike,
    weights: WeightsLike,
    *,
    size: tuple[int, int] | None = None,
    mean: Mean | None = None,
    device: str = "auto",
) -> WindowCheck:
    """The same window by window, as the classifier itself would: how far numbers and times differ.

    Raises as `heatmap`, and NetError for more than 1024 windows.
    """
    slider = sliding(net, weights, mean=mean, on=On(device))
    return windowing.check_windows(slider, slide(slider, image, size))


# Steps --------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False, eq=False)
class MapsExplanation(Shown):
    """What each blob of a net holds of an image."""

    steps: tuple[maps.Step, ...]
    image: Array
    """H×W×3 uint8 RGB."""
    title: str

    def picture(self) -> Image.Image:
        """A row of maps over the image for each blob; NetError if none lies on the image."""
        return maps.picture(self.steps, self.image)

    def page(self) -> str:
        """A page of HTML that needs nothing else."""
        return maps.page(self.steps, self.image, self.title)

    def content(self, suffix: str) -> bytes:
        """What a file with this ending holds: .html or .png; FcnprotoError for any other."""
        if suffix == ".html":
            return self.page().encode()
        if suffix == ".png":
            return png_of(self.picture())
        raise FcnprotoError(f"maps are drawn as .html or .png, not as '{suffix}'")

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page (.html) or the picture (.png), whole or not at all."""
        file = Path(path)
        content = self.content(file.suffix.lower())
        with replacing(file) as temporary:
            temporary.write_bytes(content)
        return file

    def as_json(self) -> list[dict[str, Any]]:
        """Each blob's place on the image and the extent of its maps."""
        return [step.as_json() for step in self.steps]

    def __str__(self) -> str:
        return "\n".join(f"{step.blob}: {step.text}" for step in self.steps)

    def _repr_png_(self) -> bytes:
        return png_of(self.picture())


def explain_maps(
    net: NetLike,
    weights: WeightsLike,
    image: ImageLike,
    blobs: Sequence[str] = (),
    *,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    device: str = "auto",
) -> MapsExplanation:
    """Each step of a net as maps over an image; of some `blobs` only, where they are named.

    Raises NetError for a blob that there is none of, and for a net that does not take the image.
    """
    loaded, rgb = as_net(net), image_of(image)
    found = maps.steps(
        loaded.source,
        source_of(weights),
        rgb,
        words_of(blobs),
        name=loaded.zoo_name,
        given=said(dataset, mean, classes),
        on=On(device),
    )
    return MapsExplanation(tuple(found), rgb, f"{loaded.name}: {title_of(image)}")


# Models -------------------------------------------------------------------------------------------

SegmentsImages = Segmenter | Model | str | PathLike[str]
"""A model, or what names one: a path, or a net of the zoo whose weights are shipped or fetched."""
TruthLike = np.ndarray[Any, Any] | str | PathLike[str] | Sequence[np.ndarray[Any, Any]]
"""Labels: H×W for one image, one for each, a label map's file, or a folder of files by name."""


def compare(
    models: Sequence[SegmentsImages],
    images: ImageLike | Sequence[ImageLike],
    *,
    truth: TruthLike | None = None,
    device: str = "auto",
) -> SideBySide:
    """Label maps of several models side by side, and the score of each where labels are given.

    Raises FcnprotoError where a model or all images cannot be used; images that cannot be are left
    out, and are `problems` of the result.
    """
    models = [models] if isinstance(models, str | PathLike | Segmenter | Model) else list(models)
    if len(models) < 2:
        raise FcnprotoError("at least two models are compared")
    many = (
        [images]
        if isinstance(images, (str, PathLike, ImageSource, Image.Image, np.ndarray))
        else list(images)
    )
    if not many:
        raise FcnprotoError("there are no images to compare models on")
    truths = _truths(truth, many)
    segmenters = dict(
        zip(_titles(models), (segmenter(model, On(device)) for model in models), strict=True)
    )
    return comparing.compare(segmenters, many, truths)


def is_model(name: str) -> bool:
    """Whether a word names a model: an ONNX file, or a net of the zoo."""
    return name.lower().endswith(".onnx") or (name in specs.nets() and not Path(name).exists())


def segmenter(model: SegmentsImages, on: On = On("auto")) -> Segmenter:
    """A model that is ready; one of the zoo is exported with its weights first."""
    if isinstance(model, Segmenter):
        return model
    if isinstance(model, str) and is_model(model) and not model.lower().endswith(".onnx"):
        model = export(load_net(model), model)
    if isinstance(model, Model):
        return Segmenter(on.session(model.to_bytes()), scores=False)
    path = path_of(model, "a model: the path of an ONNX file, a net of the zoo, or a value")
    return Segmenter(on.session(path), scores=False)


def _titles(models: Sequence[SegmentsImages]) -> list[str]:
    """What models are called: files by their stems, where these differ."""
    names = [
        str(each.metadata.net or "model")
        if isinstance(each, Model)
        else str(each.path or each.metadata.net or "model")
        if isinstance(each, Segmenter)
        else str(each)
        for each in models
    ]
    stems = [Path(name).stem if name.lower().endswith(".onnx") else name for name in names]
    chosen = stems if len(set(stems)) == len(stems) else names
    return [f"{name} ({n})" if chosen.count(name) > 1 else name for n, name in enumerate(chosen, 1)]


def _truths(truth: TruthLike | None, images: Sequence[ImageLike]) -> list[Array | Path | None]:
    """Labels for each image; FcnprotoError where some have none."""
    if truth is None:
        return [None] * len(images)
    if not isinstance(truth, str | PathLike):
        if not isinstance(truth, Iterable):
            raise FcnprotoError(f"expected truth: label maps, or files of them; found {truth!r}")
        listed = [truth] if isinstance(truth, np.ndarray) else list(truth)
        if len(listed) != len(images):
            raise FcnprotoError(f"there are {len(listed)} truths for {len(images)} images")
        return list(listed)
    path = Path(truth)
    if path.is_file() and len(images) == 1:
        return [path]
    return list(comparing.found_by_name(path, [title_of(image) for image in images]))
