"""Datasets: one reader for each in one file; importing this package registers them all.

A reader is called as the Python layer that the published nets name, and gives what it feeds.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from fcnproto.datasets.base import IGNORE, Reader
from fcnproto.errors import DataError, Problem, nearest

__all__ = ["IGNORE", "Reader", "find", "reader"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def reader(layer: str, settings: Mapping[str, Any], data: Path | None = None) -> Reader:
    """The reader that a Python layer's class name stands for, with the settings of its param_str.

    With `data`, the directories are sought there, and not where the settings say: the dataset's
    own folder, or the one in which all datasets lie. Raises DataError for a layer that is none of
    the published ones, and for everything that is wrong with the dataset.
    """
    kind = Reader.registry.get(layer)
    if kind is None:
        hint = nearest(layer, Reader.registry) or f"; known are {', '.join(Reader.registry)}"
        raise DataError(f"there is no reader '{layer}'{hint}")
    if data is None:
        return kind(settings)
    directories = kind.placed(data)
    if directories is None:
        raise DataError(Problem(f"there are no data for {layer} here: {_layout(kind)}", str(data)))
    return kind({**settings, **directories})


def find(data: Path, split: str | None = None) -> Reader:
    """The reader of the dataset in a folder, known by the folders in it.

    The split is the one that its paper measures on unless told; val for a plain folder. Raises
    DataError if no dataset, or more than one, is there, and for everything that is wrong with it.
    """
    if not data.is_dir():
        raise DataError(Problem("there is no such folder", str(data)))
    found = [(kind, placed) for kind in Reader.registry.values() if (placed := kind.placed(data))]
    # A folder that is a dataset's own goes before those that lie in it.
    found = [each for each in found if set(each[1].values()) == {str(data)}] or found
    if not found:
        layouts = "; or ".join(_layout(kind) for kind in Reader.registry.values())
        raise DataError(Problem(f"no dataset is here: {layouts}", str(data)))
    if len(found) > 1:
        folders = ", ".join(folder for _, placed in found for folder in placed.values())
        raise DataError(Problem(f"several datasets are here, name one of {folders}", str(data)))
    kind, directories = found[0]
    further = kind.found_settings(directories)
    return kind({**directories, **further, "split": split or kind.splits[-1]})


def _layout(kind: type[Reader]) -> str:
    folders = [f"{folder}/" for inside in kind.directories.values() for folder in inside]
    return f"{kind.__name__} reads {', '.join(folders)}"
