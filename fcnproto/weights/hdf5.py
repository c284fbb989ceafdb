"""Caffe's HDF5 weights: a dataset /data/<layer>/<i> for each array (net.cpp, Net::ToHDF5)."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fcnproto.errors import Problem, WeightsError
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.types import Floats
from fcnproto.weights.arrays import (
    MOST_ARRAYS,
    MOST_AXES,
    NO_LAYER,
    Weights,
    broken,
    check_dtype,
    check_unfolded,
)
from fcnproto.words import some

_ROOT = "data"


def read(path: Path) -> Weights:
    """The weights in an HDF5 file as Caffe writes it, in the order of the layers' names.

    An array that a layer shares with an earlier one is not in such a file: here it is empty where
    another of the layer's follows it, and else not there. Numbers of any type become float32 by
    HDF5's own conversion, as in Caffe. Raises WeightsError for a file without layers, and for
    anything but plain datasets, links to other files included, which are not followed.
    """
    h5py = h5py_module()
    try:
        with h5py.File(path, "r") as file:
            root = _member(h5py, path, file, _ROOT)
            if not isinstance(root, h5py.Group):
                raise broken(path, f"expected a group '/{_ROOT}', as Caffe writes it")
            datasets = {name: _datasets(h5py, path, root, name) for name in root}
            if not datasets:
                raise broken(path, NO_LAYER)
            _check_sizes(path, [each for layer in datasets.values() for each in layer.values()])
            return {name: _arrays(layer) for name, layer in datasets.items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise broken(path, f"HDF5 cannot read it: {_one_line(error)}") from error


def tables(path: Path, names: Iterable[str]) -> dict[str, Floats]:
    """The data sets of these names in an HDF5 file, float32, as training data are stored.

    Raises WeightsError where one is missing, and as `read` does.
    """
    h5py = h5py_module()
    if not path.is_file():
        raise broken(path, "there is no such file")
    try:
        with h5py.File(path, "r") as file:
            found = {name: _member(h5py, path, file, name) for name in names}
            missing = [name for name, dataset in found.items() if dataset is None]
            if missing:
                message = f"it has no data set '{missing[0]}', only {_some(file) or 'nothing'}"
                raise broken(path, message)
            datasets = {name: _checked(h5py, path, each) for name, each in found.items()}
            _check_sizes(path, list(datasets.values()))
            return {name: _read(dataset) for name, dataset in datasets.items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise broken(path, f"HDF5 cannot read it: {_one_line(error)}") from error


def h5py_module() -> ModuleType:
    """h5py, which is an extra; WeightsError if it is not installed."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise WeightsError("HDF5 files need h5py: pip install 'fcnproto[data]'") from error
    return h5py  # type: ignore[no-any-return]


def numbered(h5py: ModuleType, path: Path, root: Any, name: str) -> list[Floats]:
    """The arrays 0, 1, … in a group; only plain datasets of numbers are read."""
    datasets = _datasets(h5py, path, root, name)
    if sorted(datasets) != list(range(len(datasets))):
        raise broken(path, f"its arrays must be called 0, 1, …, found {_some(datasets)}", name)
    _check_sizes(path, list(datasets.values()))
    return _arrays(datasets)


def scalar(h5py: ModuleType, path: Path, root: Any, name: str) -> Any:
    """The one value in a dataset, or None if it is not there; nothing else is ever read."""
    dataset = _member(h5py, path, root, name)
    if dataset is None:
        return None
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or prod(dataset.shape) != 1:
        raise broken(path, f"expected one value '/{name}', as Caffe writes it")
    if dataset.is_virtual or dataset.external:
        raise broken(path, f"the values of '{dataset.name}' lie in another file: not followed")
    _check_sizes(path, [dataset])
    return dataset[()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _member(h5py: ModuleType, path: Path, group: Any, name: str) -> Any:
    """A member of a group, or None; links elsewhere are refused, not followed."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        target = f"{getattr(link, 'filename', '')} {link.path}".strip()
        raise broken(
            path, f"'{group.name.rstrip('/')}/{name}' is a link to {target}; links are not followed"
        )
    return group.get(name)


def _datasets(h5py: ModuleType, path: Path, root: Any, layer: str) -> dict[int, Any]:
    """A layer's datasets by number."""
    group = _member(h5py, path, root, layer)
    if not isinstance(group, h5py.Group):
        raise broken(path, "expected a group of arrays 0, 1, …, found none", layer)
    names = {str(index) for index in range(MOST_ARRAYS)}
    if not names.issuperset(group):
        raise broken(path, f"its arrays must be called 0, 1, …, found {_some(group)}", layer)
    return {int(name): _checked(h5py, path, _member(h5py, path, group, name)) for name in group}


def _some(names: Iterable[object]) -> str:
    return some(sorted(map(str, names)), 8)


def _checked(h5py: ModuleType, path: Path, dataset: Any) -> Any:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise broken(path, "it holds something that is not an array")
    if dataset.is_virtual or dataset.external:
        raise broken(path, f"the values of '{dataset.name}' lie in another file: not followed")
    check_dtype(path, dataset.name, dataset.dtype)
    if dataset.dtype.names or dataset.dtype.metadata:
        raise broken(path, f"'{dataset.name}' holds {dataset.dtype}, expected plain numbers")
    if len(dataset.shape) > MOST_AXES or not prod(dataset.shape):
        raise broken(path, f"'{dataset.name}' has a shape that Caffe does not: {dataset.shape}")
    return dataset


def _check_sizes(path: Path, datasets: list[Any]) -> None:
    claimed = sum(prod(each.shape) * max(each.dtype.itemsize, 4) for each in datasets)
    chunks = max((prod(each.chunks or ()) * each.dtype.itemsize for each in datasets), default=0)
    check_unfolded(path, max(claimed, chunks))


def _arrays(datasets: dict[int, Any]) -> list[Floats]:
    return [
        _read(datasets[index]) if index in datasets else np.empty(0, np.float32)
        for index in range(max(datasets, default=-1) + 1)
    ]


def _read(dataset: Any) -> Floats:
    values = np.empty(dataset.shape, np.float32)
    dataset.read_direct(values)
    return values


def write(path: Path, weights: Weights, net: NetParameter | None = None) -> None:
    """Write Caffe's HDF5 weights; with `net`, arrays shared by param names stand once.

    Raises WeightsError for a name with a slash, which Caffe can neither write nor read here.
    """
    h5py = h5py_module()
    slashed = [name for name, arrays in weights.items() if "/" in name and arrays]
    if slashed:
        raise WeightsError(
            *(
                Problem(
                    "HDF5 weights of Caffe cannot hold a name with a slash;"
                    " write .caffemodel, .npz or .safetensors",
                    str(path),
                    layer=name,
                )
                for name in slashed
            )
        )
    shared = set() if net is None else _shared(net)
    with h5py.File(path, "w") as file:
        root = file.create_group(_ROOT)
        for name, arrays in weights.items():
            group = root.create_group(name)
            for index, array in enumerate(arrays):
                if (name, index) not in shared:
                    group.create_dataset(str(index), data=array)


def _shared(net: NetParameter) -> set[tuple[str, int]]:
    """Each layer and number of an array that an earlier layer owns."""
    owned: set[str] = set()
    shared: set[tuple[str, int]] = set()
    for layer in net.layer:
        for index, param in enumerate(layer.param):
            if param.name in owned:
                shared.add((layer.name, index))
            elif param.name:
                owned.add(param.name)
    return shared
