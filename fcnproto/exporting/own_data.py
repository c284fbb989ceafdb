"""What the folder of data that a net was trained on says of its classes: names and colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fcnproto.datasets.folder import FolderSegDataLayer, FolderSpec, Layout, spec
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.layers.python import read_param_str
from fcnproto.model.given import Given
from fcnproto.model.metadata import Blobs
from fcnproto.proto.source import NetSource


def own_data(source: NetSource, blobs: Blobs) -> tuple[Given, tuple[Problem, ...]]:
    """The classes and colours of a net's data_dir, where it is a folder that is here.

    `data_dir` stands in the param_str of our data layer, or, in a net that infers, of the input.
    With warnings where the folder cannot be read, or has other classes than the net.
    """
    counts = {count for count in blobs.scores.values() if count is not None}
    count = next(iter(counts)) if len(counts) == 1 else None
    for folder in _folders(source):
        try:
            found = spec(folder, count)
        except FcnprotoError as error:
            return Given(), (_warning(f"its classes are not read: {error.problems[0]}", source),)
        if counts and len(found.names) not in counts:
            message = f"{folder} names {len(found.names)} classes, and the net has {min(counts)}"
            return Given(), (_warning(f"{message}: their names are left out", source),)
        return _given(found), ()
    return Given(), ()


def _given(found: FolderSpec) -> Given:
    return Given(dataset=found.dataset, classes=found.names, palette=found.palette)


def _folders(source: NetSource) -> Iterator[Path]:
    for layer in source.net.layer:
        param = layer.python_param
        if not param.param_str or not (layer.type == "Input" or param.layer == _READER):
            continue
        try:
            settings = read_param_str(param.param_str)
        except FcnprotoError:
            continue  # whoever builds the layer says what is wrong with it
        folder = settings.get("data_dir")
        if isinstance(folder, str) and "\0" not in folder and Layout.of(Path(folder)) is not None:
            yield Path(folder)


_READER = FolderSegDataLayer.__name__


def _warning(message: str, source: NetSource) -> Problem:
    return Problem(message, source.path, severity=Severity.WARNING)
