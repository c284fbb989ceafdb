"""A model in a repository of NVIDIA's Triton Inference Server, which onnxruntime runs there.

A repository has a folder for each model: `config.pbtxt`, files of class names, and a folder for
each version. Fields and enums of the configuration are those of Triton's model_config.proto.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fcnproto.errors import FcnprotoError, Problem, Severity, printable
from fcnproto.files import making, replacing
from fcnproto.model.file import Model
from fcnproto.model.given import Mean, said
from fcnproto.model.metadata import Blobs, Metadata, completed, missing
from fcnproto.runtime.devices import Device
from fcnproto.runtime.outputs import blobs_of, fixed, is_image, label_maps
from fcnproto.runtime.session import Session, Value
from fcnproto.runtime.source import ModelSource
from fcnproto.types import Array, Colour, Shown
from fcnproto.zoo.legend import ClassesLike
from fcnproto.zoo.templates import from_template

MODEL, CONFIG = "model.onnx", "config.pbtxt"
MAX_BATCH = 8

_TYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    **{
        f"{sign}int{bits}": f"TYPE_{sign}INT{bits}".upper()
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}

_ABOUT = (
    "net",
    "dataset",
    "channel_order",
    "images",
    "mean",
    "classes",
    "palette",
    "thresholds",
    "label_maps",
    "no_scores",
)
"""What a client has to know of a model, as the model's own metadata say it."""


@dataclass(frozen=True)
class Tensor:
    """An input or output; in `dims`, which leave out the batch where there is one, -1 is open."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    label_filename: str | None = None


@dataclass(frozen=True, repr=False)
class Config(Shown):
    """How Triton serves a model; as text it is a `config.pbtxt`."""

    name: str
    max_batch: int
    """The most images in a batch; 0 where a request is run as it is."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instances: int = 1
    device: Device = field(default=Device("auto"))
    about: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """The class names in each label file."""

    def __str__(self) -> str:
        return from_template("triton.j2", config=self)


@dataclass(frozen=True)
class Version:
    """What was put into a repository: its folder, how it is served, what there is to say of it."""

    path: Path
    config: Config
    notes: tuple[Problem, ...] = ()


def triton(
    model: Model | str | PathLike[str],
    repository: str | PathLike[str],
    *,
    name: str | None = None,
    max_batch: int = MAX_BATCH,
    instances: int = 1,
    device: str = "auto",
    force: bool = False,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    palette: Sequence[Colour] | str | PathLike[str] | None = None,
) -> Version:
    """Put a model, a file or what `export` gives, into a repository of Triton.

    It becomes the next version of the model `name`, by default the file's stem or the net's name.
    Requests are put together to batches of up to `max_batch` images where the model's number of
    images is open. `instances` of it run on `device`: auto (GPUs if the server has some), cpu, or
    cuda:i. What clients have to know (mean, class names, palette) goes into the configuration;
    `dataset`, `mean`, `classes` and `palette` say what the model does not say of itself.

    Raises FcnprotoError if it is no model that onnxruntime loads, if Triton has no such type of
    elements, or, without `force`, if the model is there with another configuration.
    """
    if not isinstance(model, Model | str | PathLike):
        expected = "the path of an ONNX file, or what export gives"
        raise FcnprotoError(f"expected a model: {expected}; found {type(model).__name__}")
    title = _checked(name if name is not None else _title(model))
    folder = Path(repository) / title
    with ExitStack() as files:
        path = folder / str(_next(folder))
        version = files.enter_context(making(path))
        if isinstance(model, Model):
            model.save(version / MODEL)
            session = Session(version / MODEL, "cpu")
        else:
            session = Session(Path(model), "cpu")
            _copy(Path(model), version)
        blobs = _blobs(session)
        given = said(dataset, mean, classes, palette)
        about = completed(Metadata.from_props(session.metadata, session.path), given, blobs)
        config = _config(session, about, title, max_batch, instances, _placed(device))
        # The last to be entered takes its place first: a version that can be seen is configured.
        for file, text in _texts(config).items():
            if not _is_there(folder / file, text, force):
                files.enter_context(replacing(folder / file)).write_text(text, "utf-8")
    return Version(path, config, tuple(_notes(session, about, config, max_batch)))


# The model --------------------------------------------------------------------------------------


def _title(model: Model | str | PathLike[str]) -> str:
    if not isinstance(model, Model):
        return Path(model).stem
    props = {each.key: each.value for each in model.proto.metadata_props}
    return props.get("net") or "net"


def _checked(name: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise FcnprotoError(
            f"'{name}' cannot be a model's name in a repository: letters, digits, _, - and . can be"
        )
    return name


def _next(folder: Path) -> int:
    """The version after those that are there. Triton takes folders with other names for none."""
    there = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in there if re.fullmatch(r"[1-9][0-9]*", name)), default=0) + 1


def _copy(model: Path, folder: Path) -> None:
    """The model's file, and those that its arrays lie in."""
    for name, file in ModelSource.of(model).beside().items():
        if Path(name) == Path(MODEL):
            raise FcnprotoError(
                Problem(f"its arrays lie in '{name}', the model's name here", str(model))
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    shutil.copyfile(model, folder / MODEL)


def _blobs(session: Session) -> Blobs:
    """As of a segmenting model, but scores of whole images (N×C) have classes too."""
    blobs = blobs_of(session)
    whole = {
        value.name: fixed(value.sizes[1])
        for value in session.outputs
        if len(value.sizes) == 2 and value.dtype.kind == "f"
    }
    return Blobs(blobs.inputs, {**blobs.scores, **whole})


# The configuration ------------------------------------------------------------------------------


def _placed(text: str) -> Device:
    device = Device.parse(text)
    if device.is_plugin:
        raise FcnprotoError(f"instances in Triton are on auto, cpu or cuda:i; not on {device}")
    return device


def _config(
    session: Session, about: Metadata, name: str, max_batch: int, instances: int, device: Device
) -> Config:
    values = (*session.inputs, *session.outputs)
    problems = [
        Problem(
            f"'{value.name}' has elements of a type, or no axes, that Triton could not serve",
            session.path,
        )
        for value in values
        if value.dtype.name not in _TYPES or not value.sizes
    ]
    if problems:
        raise FcnprotoError(*problems)
    most = max_batch if _is_open(values) and _is_batch(session) else 0
    sources = {each.labels: each.blob for each in label_maps(session) if each.labels}
    named = {
        value.name: names
        for value in session.outputs
        if (names := about.classes.get(sources.get(value.name, value.name)))
    }
    distinct = list(dict.fromkeys(named.values()))
    files = {
        names: "labels.txt" if len(distinct) == 1 else f"labels-{number}.txt"
        for number, names in enumerate(distinct, 1)
    }

    def tensor(value: Value) -> Tensor:
        dims = tuple(fixed(size) or -1 for size in value.sizes)[bool(most) :]
        file = files[named[value.name]] if value.name in named else None
        return Tensor(value.name, _TYPES[value.dtype.name], dims, file)

    # What takes images as they are has its mean and the order of its channels built in.
    images = {value.name for value in session.inputs if is_image(value)}
    means = {blob: mean for blob, mean in about.mean.items() if blob not in images}
    props = replace(about, mean=means).to_props()
    if images == {value.name for value in session.inputs}:
        del props["channel_order"]
    return Config(
        name,
        most,
        tuple(map(tensor, session.inputs)),
        tuple(map(tensor, session.outputs)),
        instances,
        device,
        {key: props[key] for key in _ABOUT if key in props},
        {file: names for names, file in files.items()},
    )


def _is_open(values: Sequence[Value]) -> bool:
    """Whether the first axis of all is one and the same open number, and each has others."""
    firsts = {value.sizes[0] for value in values if value.sizes}
    return (
        all(len(value.sizes) > 1 for value in values)
        and not any(map(fixed, firsts))
        and len(firsts - {None}) <= 1
    )


def _is_batch(session: Session) -> bool:
    """Whether two images together give what each gives: in recurrent nets the first axis is time.

    The model is tried on numbers at random, with its open sizes small, or larger if it must be.
    """
    for size in (32, 256):
        feeds = {
            value.name: _random(
                value.dtype, [2, *(fixed(axis) or size for axis in value.sizes[1:])]
            )
            for value in session.inputs
        }
        try:
            both = session.run(feeds)
            each = [
                session.run({name: array[one : one + 1] for name, array in feeds.items()})
                for one in range(2)
            ]
        except FcnprotoError:
            continue
        return all(
            _are_close(array, np.concatenate([one[name] for one in each]))
            for name, array in both.items()
        )
    return False


def _random(dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 100, shape)
    return numbers.astype(dtype)


def _are_close(array: Array, other: Array) -> bool:
    """Whether no more than rounding differs; a label may, where two classes are as likely."""
    if array.shape != other.shape:
        return False
    if array.dtype.kind in "ui":
        return bool(np.mean(array != other) < _SHARE)
    return np.allclose(array, other, rtol=0, atol=1e-3 * np.abs(other).max(), equal_nan=True)


_SHARE = 0.05


def _texts(config: Config) -> dict[str, str]:
    """The files of a model's folder, by name."""
    labels = {
        file: "".join(f"{printable(name)}\n" for name in names)
        for file, names in config.labels.items()
    }
    return {**labels, CONFIG: str(config)}


def _is_there(path: Path, text: str, force: bool) -> bool:
    """Whether the file says that already; FcnprotoError if it says something else."""
    if not path.exists():
        return False
    if path.is_file() and path.read_bytes() == text.encode():
        return True
    if not force:
        raise FcnprotoError(
            Problem(
                "it says something else, and all versions of a model share it: --force overwrites"
                " it, --name makes another model",
                str(path),
            )
        )
    return False


def _notes(session: Session, about: Metadata, config: Config, max_batch: int) -> Iterator[Problem]:
    yield from missing(about, blobs_of(session))
    if max_batch and not config.max_batch:
        yield Problem(
            "its first axis is no open number of images, so no batches are made of requests",
            severity=Severity.NOTE,
        )
    for blob, on in about.mean_fields.items():
        yield Problem(
            f"mean field '{on.top}' of '{blob}' is left out: Triton runs the model alone",
            severity=Severity.WARNING,
        )
