"""Caffe's HDF5 weights: a dataset /data/<layer>/<i> for each array (net.cpp, Net::ToHDF5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcnproto.errors import Problem, WeightsError
from fcnproto.types import Floats
from fcnproto.weights import apart
from fcnproto.weights.arrays import Weights, broken
from fcnproto.weights.hdf5_library import ROOT, h5py_module

if TYPE_CHECKING:
    from fcnproto.proto.caffe_pb2 import NetParameter


def read(path: Path) -> Weights:
    """The weights in an HDF5 file as Caffe writes it, in the order of the layers' names.

    An array that a layer shares with an earlier one is not in such a file: here it is empty where
    another of the layer's follows it, and else not there. Numbers of any type become float32 by
    HDF5's own conversion, as in Caffe. Raises WeightsError for a file without layers, and for
    anything but plain datasets, links to other files included, which are not followed.
    """
    layers, arrays = apart.ask(path, "weights")
    each = iter(arrays)
    by_number = {name: {number: next(each) for number in layer} for name, layer in layers.items()}
    return {
        name: [
            layer.get(index, np.empty(0, np.float32)) for index in range(max(layer, default=-1) + 1)
        ]
        for name, layer in by_number.items()
    }


def tables(path: Path, names: Sequence[str]) -> dict[str, Floats]:
    """The data sets of these names in an HDF5 file, float32, as training data are stored.

    Raises WeightsError where one is missing, and as `read` does.
    """
    if not path.is_file():
        raise broken(path, "there is no such file")
    _, arrays = apart.ask(path, "tables", names)
    return dict(zip(names, arrays, strict=True))


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
        root = file.create_group(ROOT)
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
