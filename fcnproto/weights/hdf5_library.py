"""What is asked of the HDF5 library: weights, tables, a solver's state, a matrix of MATLAB's.

A damaged file can make it walk in a circle, or end the process, so that `apart` runs these in a
process of its own. Each is a generator: first of what is not an array, as JSON has it; then of the
arrays, one at a time. Raises WeightsError for what is not there or not as Caffe writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fcnproto.errors import WeightsError
from fcnproto.types import Floats
from fcnproto.weights.arrays import (
    MOST_ARRAYS,
    MOST_AXES,
    NO_LAYER,
    broken,
    check_dtype,
    check_unfolded,
)
from fcnproto.words import some

_MOST_SHOWN = 3
_KERAS = "model_weights", "layer_names", "top_level_model_weights"
ROOT = "data"
"""The group of Caffe's that all layers are in."""


def weights(path: Path) -> Iterator[Any]:
    """{layer: [numbers of its arrays]}, and those arrays, float32."""
    h5py = h5py_module()
    with _opened(h5py, path) as file:
        root = _member(h5py, path, file, ROOT)
        if not isinstance(root, h5py.Group):
            held = [repr(name) for name in islice(file, _MOST_SHOWN + 1)]
            keras = " (Keras's)" if any(name in file for name in _KERAS) else ""
            found = f"; it holds {some(held, _MOST_SHOWN)}{keras}" if held else "; it holds nothing"
            hint = ": save its arrays as .npz, for convert-weights" if held else ""
            raise broken(path, f"expected a group '/{ROOT}', as Caffe writes it{found}{hint}")
        layers = {name: _datasets(h5py, path, root, name) for name in root}
        if not layers:
            raise broken(path, NO_LAYER)
        _check_sizes(path, [each for layer in layers.values() for each in layer.values()])
        yield {name: list(layer) for name, layer in layers.items()}
        for layer in layers.values():
            yield from map(_read, layer.values())


def tables(path: Path, names: Sequence[str]) -> Iterator[Any]:
    """Nothing, and the data sets of these names, float32, as training data are stored."""
    h5py = h5py_module()
    with _opened(h5py, path) as file:
        found = {name: _member(h5py, path, file, name) for name in names}
        missing = [name for name, dataset in found.items() if dataset is None]
        if missing:
            message = f"it has no data set '{missing[0]}', only {_some(file) or 'nothing'}"
            raise broken(path, message)
        datasets = [_checked(h5py, path, each) for each in found.values()]
        _check_sizes(path, datasets)
        yield None
        yield from map(_read, datasets)


def state(path: Path) -> Iterator[Any]:
    """The iteration, the steps and the weights' name of a solver's state, and its history."""
    h5py = h5py_module()
    with _opened(h5py, path) as file:
        iteration, steps = (_number(h5py, path, file, name) for name in ("iter", "current_step"))
        name = _scalar(h5py, path, file, "learned_net") or b""
        history = _datasets(h5py, path, file, "history")
        if sorted(history) != list(range(len(history))):
            message = f"its arrays must be called 0, 1, …, found {_some(history)}"
            raise broken(path, message, "history")
        _check_sizes(path, list(history.values()))
        yield iteration, steps, bytes(name).decode()
        yield from (_read(history[index]) for index in range(len(history)))


def matrix(path: Path, names: Sequence[str], largest: int) -> Iterator[Any]:
    """What a file holds, and what is at the end of the path of `names` if it is no array.

    Then, if it is one, the array, of at most so many bytes.
    """
    h5py = h5py_module()
    with _opened(h5py, path) as file:
        held = list(islice((name for name in file if not name.startswith("#")), 100))
        found = file
        for name in names:
            found = _member(h5py, path, found, name) if isinstance(found, h5py.Group) else None
        if not isinstance(found, h5py.Dataset):
            yield held, None if found is None else "a structure"
            return
        _check_own(path, found)
        if found.dtype.kind not in "iufb" or found.shape is None:
            yield held, "no numbers"
        elif prod(found.shape) * found.dtype.itemsize > largest:
            raise broken(path, "it unfolds to more than any label map has")
        else:
            yield held, None
            yield np.asarray(found[()])


def h5py_module() -> ModuleType:
    """h5py, which is an extra; WeightsError if it is not installed."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise WeightsError("HDF5 files need h5py: pip install 'fcnproto[data]'") from error
    return h5py  # type: ignore[no-any-return]


@contextmanager
def _opened(h5py: ModuleType, path: Path) -> Iterator[Any]:
    """The file, to be read; whatever the library says of it is a WeightsError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise broken(path, f"HDF5 cannot read it: {words}") from error


def _number(h5py: ModuleType, path: Path, root: Any, name: str) -> int:
    value = _scalar(h5py, path, root, name)
    values = np.empty(0) if value is None else np.asarray(value).reshape(-1)
    if values.size != 1 or values.dtype.kind not in "iu":
        raise broken(path, f"expected one whole number '/{name}', as Caffe writes it")
    return int(values[0])


def _scalar(h5py: ModuleType, path: Path, root: Any, name: str) -> Any:
    """The one value in a dataset, or None if it is not there; nothing else is ever read."""
    dataset = _member(h5py, path, root, name)
    if dataset is None:
        return None
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or prod(dataset.shape) != 1:
        raise broken(path, f"expected one value '/{name}', as Caffe writes it")
    _check_own(path, dataset)
    _check_sizes(path, [dataset])
    return dataset[()]


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
    _check_own(path, dataset)
    check_dtype(path, dataset.name, dataset.dtype)
    if dataset.dtype.names or dataset.dtype.metadata:
        raise broken(path, f"'{dataset.name}' holds {dataset.dtype}, expected plain numbers")
    if len(dataset.shape) > MOST_AXES or not prod(dataset.shape):
        raise broken(path, f"'{dataset.name}' has a shape that Caffe does not: {dataset.shape}")
    return dataset


def _check_own(path: Path, dataset: Any) -> None:
    if dataset.is_virtual or dataset.external:
        raise broken(path, f"the values of '{dataset.name}' lie in another file: not followed")


def _check_sizes(path: Path, datasets: list[Any]) -> None:
    claimed = sum(prod(each.shape) * max(each.dtype.itemsize, 4) for each in datasets)
    chunks = max((prod(each.chunks or ()) * each.dtype.itemsize for each in datasets), default=0)
    check_unfolded(path, max(claimed, chunks))


def _read(dataset: Any) -> Floats:
    values = np.empty(dataset.shape, np.float32)
    dataset.read_direct(values)
    return values
