"""Reading HDF5 in a copy of this process, since a new Python takes longer than all else there is.

It runs the very function that a new Python would, `apart.answer`, for one request after the other,
until one ends it: by a crash, or by the same kind of limit, of processor time, though a lower one.
An input that takes longer is refused, as one that takes 10 s is by fcnproto. What it reaches is
not seen, so that libFuzzer is not led by it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import h5py  # noqa: F401  for the copies, each of which would import it

from fcnproto.weights import apart

_CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_LAST = (b'["end"', b'["problems"', b'["defect"')
"""How the last line of an answer begins."""


class _Copy:
    """A copy of this process that answers requests; it ends when this one does."""

    def __init__(self) -> None:
        there, requests = os.pipe()
        answers, back = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
            self.id = os.fork()
        if not self.id:
            os.close(requests)
            os.close(answers)
            _serve(there, back)
        os.close(there)
        os.close(back)
        self.requests, self.answers = os.fdopen(requests, "wb"), os.fdopen(answers, "rb")

        atexit.register(self.end)

    def end(self) -> int:
        """Wait for its end."""
        atexit.unregister(self.end)
        with suppress(BrokenPipeError):
            self.requests.close()
        self.answers.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.id, 0)[1])


def _serve(there: int, back: int) -> NoReturn:
    """In the copy: nothing of what this process would do at its end is done."""
    try:
        for crash in _CRASHES:  # which others may have taken, to say what happened
            signal.signal(crash, signal.SIG_DFL)
        with os.fdopen(there, "rb") as requests, os.fdopen(back, "wb") as stream:
            for line in requests:
                request = json.loads(line)
                os.chdir(request["place"])
                seconds = int(time.process_time()) + 1 + request["seconds"]
                apart.answer({**request, "seconds": seconds}, stream)
    finally:
        os._exit(0)


class _Asked:
    """One request to a copy, as a process that was started for it."""

    def __init__(self, copy: _Copy, request: dict[str, Any], memory: int) -> None:
        self._copy, self._memory = copy, memory
        self._done = False
        self._code: int | None = None
        self.stdout: Any = self
        Path(f"/proc/{copy.id}/clear_refs").write_text("5")  # its peak is measured from here
        copy.requests.write(json.dumps({**request, "place": str(Path.cwd())}).encode() + b"\n")
        copy.requests.flush()

    def readline(self) -> bytes:
        """The next line of the answer."""
        line = self._copy.answers.readline()
        self._done = line.startswith(_LAST)
        return line

    def readinto(self, content: memoryview) -> int:
        """The bytes of an array."""
        return self._copy.answers.readinto(content)

    def close(self) -> None:
        """Nothing: the next answer comes from there too."""

    def kill(self) -> None:
        """End it, if it has not answered."""
        if not self._done and self._code is None:
            os.kill(self._copy.id, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code; AssertionError if it took more memory than it may."""
        if self._done:
            status = Path(f"/proc/{self._copy.id}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+)", status)
            assert found and 1024 * int(found[1]) < self._memory, "HDF5 takes much memory"
            return 0
        if self._code is None:
            self._code = self._copy.end()
            _COPIES.remove(self._copy)
        return self._code


_COPIES: list[_Copy] = []
"""The one that there is, if there is one."""


@contextmanager
def reading(seconds: int, memory: int) -> Iterator[None]:
    """Within the block HDF5 is read so, in so much time, and in a process of so many bytes."""

    def start(request: dict[str, Any]) -> _Asked:
        if not _COPIES:
            _COPIES.append(_Copy())
        return _Asked(_COPIES[0], {**request, "seconds": seconds}, memory)

    before, apart.start = apart.start, start
    try:
        yield
    finally:
        apart.start = before
