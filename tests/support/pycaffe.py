"""A stand-in for pycaffe: what real Caffe hands to a Python layer, and how it calls one."""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import numpy as np


class Blob:
    """What Caffe hands to a Python layer."""

    def reshape(self, *shape: int) -> None:
        self.data = np.zeros(shape, np.float32)


class Blobs:
    """A vector of blobs as pycaffe's: it has a length and numbers, and cannot be iterated over."""

    __iter__ = None

    def __init__(self, count: int) -> None:
        self._blobs = [Blob() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._blobs)

    def __getitem__(self, index: int) -> Blob:
        if not isinstance(index, int):
            raise TypeError("Invalid index type")
        if not -len(self) <= index < len(self):
            raise IndexError("Index out of range")
        return self._blobs[index]


@contextmanager
def imported() -> Iterator[None]:
    """`import caffe` works, and our layers are imported anew."""
    module = types.ModuleType("caffe")
    module.Layer = type("Layer", (), {})
    before = sys.modules.get("caffe")
    sys.modules["caffe"] = module
    try:
        yield
    finally:
        del sys.modules["caffe"]
        if before is not None:
            sys.modules["caffe"] = before
        for name in [name for name in sys.modules if name.startswith("fcnproto.caffe_layers")]:
            del sys.modules[name]


def feeds(param, tops: int) -> Iterator[list[np.ndarray]]:
    """What a PythonParameter's layer feeds, pass by pass: reshape before every forward."""
    layer = getattr(import_module(param.module), param.layer)()
    layer.param_str = param.param_str
    top = Blobs(tops)
    layer.setup(Blobs(0), top)
    while True:
        layer.reshape(Blobs(0), top)
        layer.forward(Blobs(0), top)
        yield [top[number].data.copy() for number in range(tops)]
