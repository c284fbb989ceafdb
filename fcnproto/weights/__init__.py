"""Weights: {layer name: [arrays in Caffe's order]}, read from and written to files.

Which format a file has is found from its content; which one is written, from the name it shall get.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.errors import Problem, Severity, WeightsError, reason
from fcnproto.files import replacing
from fcnproto.kinds import HEAD, mistaken
from fcnproto.types import Floats
from fcnproto.weights.arrays import Arrays, Weights, broken, by_layer, keyed

if TYPE_CHECKING:
    from fcnproto.proto.caffe_pb2 import NetParameter

__all__ = [
    "Array",
    "Arrays",
    "Loaded",
    "Weights",
    "by_caffes_layers",
    "check_name",
    "keyed",
    "load",
    "not_finite",
    "read",
    "read_blob",
    "write",
]


def _of(format: str, function: str) -> Callable[..., Any]:
    """A function of a format's module, which is imported when it is called."""

    def call(*args: Any) -> Any:
        return getattr(import_module(f"{__name__}.{format}"), function)(*args)

    return call


@dataclass(frozen=True)
class Loaded:
    """What a file holds: weights by layer, or arrays whose keys are of another style than ours."""

    path: Path
    weights: Weights = field(default_factory=dict)
    foreign: Arrays = field(default_factory=dict)
    caffes_own: bool = False
    """Whether the format is one of Caffe's own, in which arrays lie as Caffe has them."""
    notes: tuple[Problem, ...] = ()


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a weight file of any format and with keys of any style; "-" is standard input.

    Raises WeightsError if it is none, is not whole, or would unfold beyond measure.
    """
    path = Path(path)
    if str(path) == _STANDARD:
        return _load_stdin()
    head, size = _head(path)
    kind = mistaken(head) if not _is_zip(path, head, size) else _not_numpy(path)
    if kind is not None and not _is_hdf5(path, head, size):
        raise broken(path, f"this is {kind}, not weights")
    reader = next(reader for matches, reader in _FORMATS if matches(path, head, size))
    return reader(path)


def _head(path: Path) -> tuple[bytes, int]:
    """How a file begins, and its size; WeightsError if it cannot be read, or is empty."""
    try:
        with path.open("rb") as file:
            head, size = file.read(HEAD), path.stat().st_size
    except OSError as error:
        raise broken(path, f"cannot be read: {reason(error)}") from error
    if not size:
        raise broken(path, "it is empty: Caffe loads it without a word, and loads nothing")
    return head, size


def read(path: str | os.PathLike[str]) -> Weights:
    """The weights in a file whose keys name Caffe's layers: `<layer>/<i>`, or any .caffemodel.

    Raises WeightsError as `load` does, and for keys of another style.
    """
    return by_caffes_layers(load(path))


def by_caffes_layers(loaded: Loaded) -> Weights:
    """What a file holds, by Caffe's layers; WeightsError for keys of another style."""
    if loaded.foreign:
        key = next(iter(loaded.foreign))
        raise broken(
            loaded.path,
            f"its keys ('{key}', …) are not Caffe's '<layer>/<i>';"
            " fcnproto convert-weights makes them so",
        )
    return loaded.weights


def read_blob(path: str | os.PathLike[str]) -> Floats:
    """The array in a .binaryproto, which is a single blob of Caffe's, such as the mean of images.

    Raises WeightsError if it is none, or not whole.
    """
    path = Path(path)
    _head(path)
    blob: Floats = _of("caffemodel", "read_blob")(path)
    return blob


def write(path: str | os.PathLike[str], weights: Weights, net: NetParameter | None = None) -> None:
    """Write weights in the format that the name's ending says, whole or not at all.

    The name "-" is standard output, which gets an .npz. With `net`, Caffe's own formats hold its
    layers as Caffe writes them: types, connections and settings, and arrays that layers share.
    Raises WeightsError if the format cannot hold them, and for an array without values.
    """
    path = Path(path)
    writer = check_name(path)
    if missing := [name for name, arrays in weights.items() if not all(a.size for a in arrays)]:
        what = "an array of it has no values, since another layer shares it: fit it to its net"
        raise WeightsError(*(Problem(what, str(path), layer=name) for name in missing))
    if str(path) == _STANDARD:
        with NamedTemporaryFile() as file:
            writer(Path(file.name), weights, net)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    with replacing(path) as temporary:
        writer(temporary, weights, net)


_STANDARD = "-"


def _load_stdin() -> Loaded:
    """What comes through a pipe, which cannot be sought in, goes to a file first."""
    with NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        try:
            return replace(load(file.name), path=Path(_STANDARD))
        except WeightsError as error:
            problems = (replace(each, path="standard input") for each in error.problems)
            raise WeightsError(*problems) from error


Writer = Callable[[Path, Weights, "NetParameter | None"], None]


def check_name(path: str | os.PathLike[str]) -> Writer:
    """What writes a file of this name; WeightsError if its ending is none that can be written."""
    name = ".npz" if str(path) == _STANDARD else Path(path).name.lower()
    for suffix, writer in _WRITERS.items():
        if name.endswith(suffix):
            return writer
    raise WeightsError(
        Problem(f"weights are written to a name that ends in {', '.join(_WRITERS)}", str(path))
    )


def not_finite(weights: Weights) -> tuple[Problem, ...]:
    """A warning for each layer with values that are NaN or infinite."""
    return tuple(
        Problem("some of its weights are NaN or infinite", layer=name, severity=Severity.WARNING)
        for name, arrays in weights.items()
        if not all(np.isfinite(array).all() for array in arrays)
    )


def _by_keys(read_arrays: Callable[[Path], Arrays]) -> Callable[[Path], Loaded]:
    """A reader of a format that has keys of any style."""

    def reader(path: Path) -> Loaded:
        arrays = read_arrays(path)
        if not arrays:
            raise broken(path, "it holds no arrays")
        weights = by_layer(path, arrays)
        return Loaded(path, foreign=arrays) if weights is None else Loaded(path, weights)

    return reader


def _read_caffemodel(path: Path) -> Loaded:
    weights, notes = _of("caffemodel", "read")(path)
    return Loaded(path, weights, caffes_own=True, notes=notes)


def _read_hdf5(path: Path) -> Loaded:
    return Loaded(path, _of("hdf5", "read")(path), caffes_own=True)


_UNPICKLE = (
    "d = pickle.load(open(file, 'rb'), encoding='latin1'); then numpy.savez('weights.npz',"
    " **{f'{k}/{i}': a for k in d for i, a in (d[k].items() if isinstance(d[k], dict) else"
    " enumerate(d[k]))})"
)


def _refuse_pickle(path: Path) -> Loaded:
    raise broken(
        path,
        "it is a pickle, which is never loaded since it could run code;"
        f" where you trust it: {_UNPICKLE}",
    )


def _is_hdf5(path: Path, _head: bytes, size: int) -> bool:
    """HDF5's signature stands at 0, or after a user block of 512, 1024, … bytes."""
    offsets = (0, *takewhile(lambda offset: offset < size, (512 << n for n in range(32))))
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            if file.read(8) == b"\x89HDF\r\n\x1a\n":
                return True
    return False


def _not_numpy(path: Path) -> str | None:
    """What a zip is that holds neither arrays of numpy nor a file of torch; None if it does."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return None  # whose reader says what is wrong with it
    known = any(name.endswith((".npy", "data.pkl")) for name in names)
    if known or not names:
        return None
    return f"a zip archive that holds {names[0]} (unpack it first)"


def _is_zip(_path: Path, head: bytes, _size: int) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))  # the latter without any member


def _is_torch(path: Path, head: bytes, size: int) -> bool:
    """Torch's zip holds a pickle called data.pkl; its older files begin with a magic pickle."""
    if not _is_zip(path, head, size):
        return head.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith("/data.pkl") for name in file.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def _is_safetensors(_path: Path, head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _is_npy(_path: Path, head: bytes, _size: int) -> bool:
    return head.startswith(b"\x93NUMPY")


def _is_pickle(_path: Path, head: bytes, _size: int) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


_FORMATS: tuple[tuple[Callable[[Path, bytes, int], bool], Callable[[Path], Loaded]], ...] = (
    (_is_hdf5, _read_hdf5),
    (_is_torch, _by_keys(_of("tensors", "read_pytorch"))),
    (_is_zip, _by_keys(_of("npz", "read"))),
    (_is_npy, _by_keys(_of("npz", "read_npy"))),
    (_is_safetensors, _by_keys(_of("tensors", "read_safetensors"))),
    (_is_pickle, _refuse_pickle),
    (lambda _path, _head, _size: True, _read_caffemodel),  # which has no signature
)

_WRITERS: dict[str, Writer] = {
    ".npz": lambda path, weights, _net: _of("npz", "write")(path, weights),
    ".caffemodel": _of("caffemodel_writer", "write"),
    ".h5": _of("hdf5", "write"),
    ".hdf5": _of("hdf5", "write"),
    ".safetensors": lambda path, weights, _: _of("tensors", "write_safetensors")(path, weights),
}
