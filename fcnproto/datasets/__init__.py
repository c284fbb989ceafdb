"""Datasets: one reader for each in one file, which is named here.

A reader is called as the Python layer that the published nets name, and gives what it feeds.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fcnproto.datasets.base import IGNORE, FileReader, Reader, in_files, layout, located
from fcnproto.errors import DataError, Problem, nearest
from fcnproto.zoo import specs

__all__ = ["IGNORE", "FileReader", "Reader", "find", "generated", "reader"]

_READERS = ("folder", "nyud", "pascalcontext", "shapes", "siftflow", "voc")

for _module in _READERS:  # each registers the layers in it
    import_module(f"{__name__}.{_module}")


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
    if data is None or not issubclass(kind, FileReader):
        return kind(settings)
    directories = kind.placed(data)
    if directories is None:
        raise DataError(Problem(f"there are no data for {layer} here: {layout(kind)}", str(data)))
    return kind({**settings, **directories})


def find(data: Path, split: str | None = None) -> FileReader:
    """The reader of the dataset in a folder, known by the folders in it.

    By default the split is the one that its paper measures on; val for a plain folder. Raises
    DataError if no dataset, or more than one, is there, and for everything that is wrong with it.
    """
    found = located(data)
    if found is None:
        layouts = "; ".join(map(layout, in_files()))
        raise DataError(Problem(f"no dataset is here: {layouts}", str(data)))
    kind, directories = found
    further = kind.found_settings(directories)
    return kind({**directories, **further, "split": split or kind.splits[-1]})


def generated(dataset: str, split: str | None = None) -> Reader:
    """The reader of a dataset of the zoo that needs no files; the split as for `find`.

    Raises ZooError if the zoo has no such dataset, DataError if it lies in files.
    """
    source = specs.dataset(dataset).val
    kind = Reader.registry[source.layer]
    if issubclass(kind, FileReader):
        raise DataError(f"dataset '{dataset}' lies in files: --data DIR says where")
    return kind({"split": split or kind.splits[-1]})
