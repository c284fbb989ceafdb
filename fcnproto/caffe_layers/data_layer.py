"""A Python layer of Caffe that feeds a net from one of our readers."""

from __future__ import annotations

from typing import Any

import caffe  # type: ignore[import-not-found,import-untyped,unused-ignore]

from fcnproto import datasets
from fcnproto.errors import DataError
from fcnproto.layers.python import read_param_str


class DataLayer(caffe.Layer):  # type: ignore[misc,unused-ignore]
    """Feeds one image at a time, each at its own size, from the reader called as the subclass.

    Caffe calls setup once, and reshape before every forward.
    """

    def setup(self, bottom: Any, top: Any) -> None:
        """Open the dataset that param_str says."""
        name = type(self).__name__
        self._reader = datasets.reader(name, read_param_str(self.param_str))
        if len(bottom):
            raise DataError(f"{name} takes no bottoms, found {len(bottom)}")
        tops = self._reader.tops
        if len(top) != len(tops):
            found = ", ".join(tops)
            raise DataError(f"{name} has {len(tops)} tops ({found}), found {len(top)}")
        self._order = self._reader.order()
        self._next()

    def reshape(self, _bottom: Any, top: Any) -> None:
        """Give the tops the size of the image that comes next."""
        for number, name in enumerate(self._reader.tops):  # pycaffe's blobs cannot be iterated over
            top[number].reshape(1, *self._arrays[name].shape)

    def forward(self, _bottom: Any, top: Any) -> None:
        """Feed the image, and read the next."""
        for number, name in enumerate(self._reader.tops):
            top[number].data[...] = self._arrays[name]
        self._next()

    def backward(self, _top: Any, _propagate_down: Any, _bottom: Any) -> None:
        """Nothing: data have no gradient."""

    def _next(self) -> None:
        self._arrays = self._reader.read(next(self._order))
