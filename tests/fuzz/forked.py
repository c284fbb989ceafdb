"""Reading HDF5 in a copy of this process, since a new Python takes longer than all else there is.

It runs the very function that a new Python would, `apart.answer`, with the same kind of limit, of
processor time, though a lower one: an input that takes longer is refused, as one that takes 10 s
is by fcnproto. What it reaches is not seen, so that libFuzzer is not led by it.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import h5py  # noqa: F401  for the copies, each of which would import it

from fcnproto.weights import apart

_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


class _Copy:
    """A copy of this process that answers a request."""

    def __init__(self, request: dict[str, Any], memory: int) -> None:
        read, write = os.pipe()
        self._code: int | None = None
        self._memory = memory
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
            self._id = os.fork()
        if not self._id:
            _answer(request, write)
        os.close(write)
        self.stdout = os.fdopen(read, "rb")

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._code is None:
            os.kill(self._id, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code; AssertionError if it took more memory than it may."""
        if self._code is None:
            _, status, usage = os.wait4(self._id, 0)
            self._code = os.waitstatus_to_exitcode(status)
            assert 1024 * usage.ru_maxrss < self._memory, f"{usage.ru_maxrss} KiB of memory"
        return self._code


def _answer(request: dict[str, Any], write: int) -> NoReturn:
    """In the copy: nothing of what this process would do at its end is done."""
    try:
        for crash in _CRASHES:  # which others may have taken, to say what happened
            signal.signal(crash, signal.SIG_DFL)
        with os.fdopen(write, "wb") as stream:
            apart.answer(request, stream)
    finally:
        os._exit(0)


@contextmanager
def reading(seconds: int, memory: int) -> Iterator[None]:
    """Within the block HDF5 is read so, in so much time, and in a process of so many bytes."""
    before = apart.start
    apart.start = lambda request: _Copy({**request, "seconds": seconds}, memory)
    try:
        yield
    finally:
        apart.start = before
