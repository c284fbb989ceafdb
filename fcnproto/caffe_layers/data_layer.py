"""A Python layer of Caffe that feeds a net from one of our readers."""

from __future__ import annotations

from typing import Any

import caffe  # type: ignore[import-not-found,import-untyped,unused-ignore]

from fcnproto import datasets
from fcnproto.errors import DataError
from fcnproto.layers.python import read_param_str


class DataLayer(caffe.Layer):  # type: ignore[misc,unused-ignore]
    """Feeds a batch at a time, each at its own size, from the reader called as the subclass.

    It feeds what our own training feeds: the reader chooses the images and changes them.

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
        self._draws = self._reader.draws()
        self._next()

    def reshape(self, _bottom: Any, top: Any) -> None:
        """Give the tops the size of what comes next."""
        for number, name in enumerate(self._reader.tops):  # pycaffe's blobs cannot be iterated over
            top[number].reshape(*self._arrays[name].shape)

    def forward(self, _bottom: Any, top: Any) -> None:
        """Feed it, and read what comes then."""
        for number, name in enumerate(self._reader.tops):
            top[number].data[...] = self._arrays[name]
        self._next()

    def backward(self, _top: Any, _propagate_down: Any, _bottom: Any) -> None:
        """Nothing: data have no gradient."""

    def _next(self) -> None:
        self._arrays = self._reader.feed(next(self._draws))
