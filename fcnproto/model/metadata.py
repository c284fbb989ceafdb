"""What a model says of itself, so that an image can be segmented with nothing but the model.

It stands in ONNX's metadata_props, as text under these keys: net, dataset, fcnproto_version,
channel_order, and as JSON: images (the kind of image that each input takes), mean (of each input,
in the channels' order), scale (by what each input is multiplied after that), classes (of each score
blob), palette (RGB of each class), tiling, mean_fields (what follows a score blob).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fcnproto.errors import CrfError, FcnprotoError, Problem, Severity
from fcnproto.model.given import Given, Mean
from fcnproto.model.tiles import Kept, Stages, Tiling
from fcnproto.types import Colour
from fcnproto.version import __version__
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec, FcnSpec
from fcnproto.zoo.strict import (
    Parser,
    check,
    colour,
    integer,
    list_of,
    mapping_of,
    number,
    pair_of,
    some_of,
    text,
)

if TYPE_CHECKING:
    from fcnproto.crf.mean_field import OnScores


CHANNEL_ORDER = "BGR"
"""Of colour images. Others keep the order of their files: the published nets took HHA as read."""
COLOR = "color"
HHA = "hha"
DEPTH = "depth"


_AS_JSON = (
    *("images", "mean", "scale", "classes", "palette"),
    *("thresholds", "label_maps", "no_scores"),
)
"""Those that are written as they are held."""


@dataclass(frozen=True)
class Metadata:
    """What a model says of itself; empty or None where it does not."""

    net: str = ""
    dataset: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    """The kind of image that each input takes: color, hha, depth."""
    mean: Mapping[str, Mean] = field(default_factory=dict)
    """What is subtracted from each input's channels, in the input's order."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """By what each input is then multiplied, where that is not 1."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The class names of each score blob."""
    palette: tuple[Colour, ...] = ()
    tiling: Tiling | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Above which a score blob of one channel means class 1, below it class 0."""
    label_maps: Mapping[str, int] = field(default_factory=dict)
    """The outputs N×C×H×W whose first channel is a label map, with how many classes it numbers."""
    no_scores: tuple[str, ...] = ()
    """The outputs whose channels are neither, such as the greatest values of an ArgMax."""
    mean_fields: Mapping[str, OnScores] = field(default_factory=dict)
    """The mean field that follows each score blob, which the model itself does not compute."""

    def is_color(self, blob: str) -> bool:
        """Whether an input takes colour images, whose channels nets want in reverse order: BGR."""
        return self.kind(blob) == COLOR

    def kind(self, blob: str) -> str:
        """The kind of image that an input takes: color, hha or depth."""
        return self.images.get(blob, blob if blob in (HHA, DEPTH) else COLOR)

    @property
    def starts(self) -> frozenset[str]:
        """Outputs that are no scores of their own: what mean fields start from."""
        return frozenset(on.start for blob, on in self.mean_fields.items() if on.start != blob)

    def to_props(self) -> dict[str, str]:
        """As ONNX's metadata_props."""
        props = {
            "net": self.net,
            "dataset": self.dataset,
            "channel_order": CHANNEL_ORDER,
            "fcnproto_version": __version__,
        }
        for key in _AS_JSON:
            value = getattr(self, key)
            props[key] = json.dumps(value, ensure_ascii=False) if value else ""
        props["tiling"] = json.dumps(_plain(self.tiling)) if self.tiling else ""
        fields = {blob: _plain_field(on) for blob, on in self.mean_fields.items()}
        props["mean_fields"] = json.dumps(fields) if fields else ""
        return {key: value for key, value in props.items() if value}

    @classmethod
    def from_props(cls, props: Mapping[str, str], path: str | None = None) -> Metadata:
        """From a model's metadata_props; FcnprotoError for what is there and makes no sense."""
        read = _Reader(props, path)
        if props.get("channel_order", CHANNEL_ORDER) != CHANNEL_ORDER:
            read.complain("channel_order", f"expected {CHANNEL_ORDER}")
        metadata = cls(
            net=props.get("net", ""),
            dataset=props.get("dataset", ""),
            images=read("images", mapping_of(text)) or {},
            mean=read("mean", mapping_of(some_of(number))) or {},
            scale=read("scale", mapping_of(number)) or {},
            classes=read("classes", mapping_of(list_of(text))) or {},
            palette=read("palette", list_of(colour)) or (),
            tiling=read("tiling", _tiling),
            thresholds=read("thresholds", mapping_of(number)) or {},
            label_maps=read("label_maps", mapping_of(_classes)) or {},
            no_scores=read("no_scores", list_of(text)) or (),
            mean_fields=read("mean_fields", mapping_of(_on_scores)) or {},
        )
        if read.problems:
            raise FcnprotoError(*read.problems)
        return metadata


@dataclass(frozen=True)
class Blobs:
    """A model's inputs with their channels, and its score blobs with their classes, if known."""

    inputs: Mapping[str, int]
    scores: Mapping[str, int | None]


def of_net(name: str, blobs: Blobs) -> Metadata:
    """What the zoo knows of a net of this name; nothing if it is none of the zoo's."""
    dataset = specs.identify(name) if name else None
    if dataset is None:
        return Metadata(net=name)
    spec = specs.net(name) if name in specs.net_names() else None
    kinds = spec.images if isinstance(spec, FcnSpec) else ()
    return _from_dataset(Metadata(net=name), dataset, blobs, kinds)


def completed(metadata: Metadata, given: Given, blobs: Blobs) -> Metadata:
    """Metadata with what a user gives, which takes precedence over what it said itself.

    Raises FcnprotoError for what does not fit the model.
    """
    problems: list[Problem] = []
    if given.dataset is not None:
        metadata = _from_dataset(metadata, given.dataset, blobs, tuple(metadata.images.values()))
    if given.mean:
        fitting = [blob for blob, channels in blobs.inputs.items() if channels == len(given.mean)]
        if len(fitting) == 1:
            metadata = replace(metadata, mean={**metadata.mean, fitting[0]: given.mean})
        else:
            found = ", ".join(f"'{blob}' has {count}" for blob, count in blobs.inputs.items())
            problems.append(
                Problem(
                    f"--mean has {len(given.mean)} channels, which must be those of one input;"
                    f" {found or 'none is an image'}"
                )
            )
    problems += [
        Problem(
            f"its metadata 'mean' has {len(mean)} channels for input '{blob}', which has"
            f" {blobs.inputs[blob]}"
        )
        for blob, mean in metadata.mean.items()
        if blob in blobs.inputs and len(mean) != blobs.inputs[blob]
    ]
    if given.classes:
        fitting = [
            blob for blob, count in blobs.scores.items() if count in (None, len(given.classes))
        ]
        if fitting:
            named = dict.fromkeys(fitting, given.classes)
            metadata = replace(metadata, classes={**metadata.classes, **named})
        else:
            found = ", ".join(f"'{blob}' has {count}" for blob, count in blobs.scores.items())
            problems.append(Problem(f"--classes names {len(given.classes)} classes; {found}"))
    if given.palette:
        metadata = replace(metadata, palette=given.palette)
    if problems:
        raise FcnprotoError(*problems)
    return metadata


def missing(metadata: Metadata, blobs: Blobs) -> Iterator[Problem]:
    """A warning for each thing that is not known of a model, with the flags that supply it."""

    def warn(message: str) -> Problem:
        return Problem(message, severity=Severity.WARNING)

    for blob in blobs.inputs:
        if blob not in metadata.mean:
            yield warn(f"the mean of input '{blob}' is not known: --dataset D or --mean B,G,R")
    for blob, count in blobs.scores.items():
        if blob not in metadata.classes and blob not in metadata.starts:
            number = "" if count is None else f"{count} "
            yield warn(
                f"the {number}classes of '{blob}' have no names: --dataset D or --classes FILE"
            )
    if blobs.scores and not metadata.palette:
        yield warn("there is no palette: --dataset D or --palette FILE")


def _from_dataset(
    metadata: Metadata, dataset: DatasetSpec, blobs: Blobs, kinds: Sequence[str]
) -> Metadata:
    """What a dataset says of a model, where it fits the model's channels and classes."""
    images = dict(zip(blobs.inputs, _kinds(dataset, list(blobs.inputs), kinds), strict=True))
    mean = {
        blob: dataset.mean[kind]
        for blob, kind in images.items()
        if len(dataset.mean[kind]) == blobs.inputs[blob]
    }
    scores = list(blobs.scores)
    by_suffix = {
        blob: label
        for blob in scores
        for label in dataset.labels
        if label.suffix and blob.endswith(label.suffix)
    }
    labels = by_suffix or dict(zip(scores, dataset.labels, strict=False))
    classes = {
        blob: label.classes
        for blob, label in labels.items()
        if blobs.scores[blob] in (None, len(label.classes))
    }
    most = max((count or 256 for count in blobs.scores.values()), default=256)
    return replace(
        metadata,
        dataset=dataset.name,
        images=images,
        mean=mean,
        classes=classes,
        palette=dataset.palette[:most],
    )


def _kinds(dataset: DatasetSpec, blobs: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The kind of image that each input takes: as the net says, as it is called, or the first."""
    if len(kinds) == len(blobs) and all(kind in dataset.mean for kind in kinds):
        return list(kinds)
    return [blob if blob in dataset.mean else dataset.images[0] for blob in blobs]


# JSON -----------------------------------------------------------------------------------------


@dataclass
class _Reader:
    props: Mapping[str, str]
    path: str | None
    problems: list[Problem] = field(default_factory=list)

    def __call__(self, key: str, parse: Parser[Any]) -> Any:
        """The value under a key; None if it is not there, or makes no sense."""
        if not self.props.get(key):
            return None
        try:
            return parse(json.loads(self.props[key]))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            self.complain(key, "expected what fcnproto export-onnx writes there")
            return None

    def complain(self, key: str, expected: str) -> None:
        found = self.props[key][:60]
        self.problems.append(Problem(f"its metadata '{key}' is '{found}': {expected}", self.path))


def _plain(tiling: Tiling) -> dict[str, Any]:
    """A tiling as JSON has it; a net of one stage says nothing of stages."""
    return {key: value for key, value in asdict(tiling).items() if value is not None}


def _classes(value: Any) -> int:
    count = integer(value)
    check(0 < count <= 2**16)
    return count


def _tiling(value: Any) -> Tiling:
    staged = value.get("stages")
    tiling = Tiling(
        stride=pair_of(1)(value["stride"]),
        before=pair_of()(value["before"]),
        after=pair_of()(value["after"]),
        stages=None if staged is None else _stages(staged),
    )
    if tiling.stages is not None:
        for kept in tiling.stages.kept:
            strides = zip(tiling.stride, kept.stride, strict=True)
            check(not any(whole % part for whole, part in strides))
    return tiling


def _plain_field(on: OnScores) -> dict[str, Any]:
    """A mean field as JSON has it."""
    matrices = {name: getattr(on.weights, name).tolist() for name in _MATRICES}
    return {**asdict(on.field), **matrices, "top": on.top, "start": on.start, "image": on.image}


_MATRICES = ("spatial", "bilateral", "compatibility")


def _on_scores(value: Any) -> OnScores:
    import numpy as np  # heavy, as what needs it

    from fcnproto.crf.mean_field import MeanField, OnScores, Weights

    alpha, beta, gamma = (number(value[f"theta_{name}"]) for name in ("alpha", "beta", "gamma"))
    iterations = number(value["iterations"])
    check(iterations == int(iterations))
    matrices = [
        np.array(list_of(list_of(number))(value[name]), np.float32, ndmin=2) for name in _MATRICES
    ]
    check(all(np.isfinite(matrix).all() for matrix in matrices))
    names = [text(value[name]) for name in ("top", "start", "image")]
    try:
        return OnScores(MeanField(alpha, beta, gamma, int(iterations)), Weights(*matrices), *names)
    except CrfError as error:
        raise ValueError from error


def _stages(value: Any) -> Stages:
    kept = list_of(_kept)(value["kept"])
    check(bool(kept))
    return Stages(kept, before=pair_of()(value["before"]), after=pair_of()(value["after"]))


def _kept(value: Any) -> Kept:
    anywhere = pair_of(-math.inf)
    return Kept(
        blob=text(value["blob"]),
        stride=pair_of(1)(value["stride"]),
        before=anywhere(value["before"]),
        after=anywhere(value["after"]),
        more=anywhere(value["more"]),
    )
