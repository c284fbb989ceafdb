"""Reading HDF5 in a process of its own, which the library may end or keep busy as it likes.

The process is a new Python, which does what one function of `hdf5_library` says and writes to its
output: JSON, a line for each thing, and after the line of an array its bytes. No pickle. It takes
no code from the current directory, and has so much time of the processor, by the file's size, that
it ends even where nobody is left to end it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any, Protocol

import numpy as np

from fcnproto.errors import FcnprotoError, Problem, Severity, WeightsError, reason
from fcnproto.types import Array
from fcnproto.weights import hdf5_library
from fcnproto.weights.arrays import broken

SECONDS = 10
"""Of processor time that reading a file may take, and one more for each RATE bytes."""
RATE = 10 * 2**20
PATIENCE = 10
"""So many times as long it may take by the clock: disks and networks are slow, other work is done.
The clock is also all that there is on systems without limits of processor time, as Windows."""

_HOME = str(Path(__file__).parents[2])
_MAIN = """
import importlib, json, sys
request = json.load(sys.stdin)
sys.path[:] = [request["home"], *request["places"]]
import fcnproto
del sys.path[0]
from fcnproto.weights.apart import answer
answer(request, sys.stdout.buffer)
"""


class Process(Protocol):
    """What reads: subprocess.Popen, as far as it is needed here."""

    stdout: IO[bytes] | None

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Its exit code, once it ended; less than 0 for a signal."""


def ask(path: Path, what: str, *arguments: Any) -> tuple[Any, list[Array]]:
    """What a function of `hdf5_library` gives for a file: what is not an array, and the arrays.

    Raises WeightsError as it does, and where the library comes to no end, or to a bad one.
    """
    if getattr(sys, "frozen", False):  # a program that is no Python would start itself
        items = getattr(hdf5_library, what)(path, *arguments)
        return next(items), list(items)
    try:
        seconds = SECONDS + path.stat().st_size // RATE
        request = {"what": what, "path": str(path), "arguments": arguments, "seconds": seconds}
        process = start(request)
    except OSError as error:
        message = f"cannot be read in a process of its own: {reason(error)}"
        raise broken(path, message) from error
    return _answered(path, process, seconds)


def start(request: dict[str, Any]) -> Process:
    """A new Python that answers a request, and finds modules where this one does."""
    places = [place for place in sys.path if _is_trusted(place)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _MAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # threads take time to start
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    assert process.stdin is not None
    with suppress(OSError), process.stdin:  # one that ended already says so by its end
        process.stdin.write(json.dumps({**request, "home": _HOME, "places": places}).encode())
    return process


def _is_trusted(place: object) -> bool:
    """Whether modules are looked for there: not in the current directory, where anything may lie.

    Unless fcnproto itself is there.
    """
    if not isinstance(place, str) or not Path(place).is_absolute():
        return False
    try:
        return place == _HOME or not Path(place).samefile(os.curdir)
    except OSError:  # it is not there
        return False


def _answered(path: Path, process: Process, seconds: int) -> tuple[Any, list[Array]]:
    """What a process answers; it does not outlive this."""
    late = Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = Timer(PATIENCE * seconds, stop)
    timer.daemon = True
    assert process.stdout is not None
    try:
        timer.start()
        return _received(process.stdout)
    except (EOFError, ValueError):
        words = _end(process.wait(), late.is_set(), seconds)
        raise broken(path, f"HDF5 cannot read it: {words}") from None
    except MemoryError as error:
        raise broken(path, f"HDF5 cannot read it: {reason(error)}") from error
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


def _end(code: int, late: bool, seconds: int) -> str:
    """How a process ended that did not answer, in words."""
    if late or code == -getattr(signal, "SIGXCPU", 0):
        return (
            "its library walks in a circle, as it seems"
            f" (no end after {seconds * (PATIENCE if late else 1)} s);"
            " the file is damaged: write it anew"
        )
    if code == -getattr(signal, "SIGKILL", 0):
        return "its process was killed, as where memory runs out"
    if code >= 0:
        return f"the process that reads it ended with exit code {code}"
    how = signal.strsignal(-code)
    return f"its library ended the process ({how}); the file is damaged: write it anew"


def _received(stream: IO[bytes]) -> tuple[Any, list[Array]]:
    """What `answer` wrote; EOFError if it is not all there."""
    said, arrays = None, []
    while (line := stream.readline()).endswith(b"\n"):
        match json.loads(line):
            case ["array", dtype, shape]:
                arrays.append(_array(stream, np.dtype(dtype), shape))
            case ["said", said]:
                pass
            case ["problems", problems]:
                raise WeightsError(*map(_problem, problems))
            case ["defect", trace]:
                raise RuntimeError(trace)
            case ["end"]:
                return said, arrays
    raise EOFError


def _array(stream: IO[bytes], dtype: np.dtype[Any], shape: list[int]) -> Array:
    values: Array = np.empty(shape, dtype)
    content = values.reshape(-1).view(np.uint8)
    if stream.readinto(content) < content.size:  # type: ignore[attr-defined]
        raise EOFError
    return values


def _problem(fields: dict[str, Any]) -> Problem:
    return Problem(**{**fields, "severity": Severity(fields["severity"])})


def answer(request: dict[str, Any], stream: IO[bytes]) -> None:
    """Do what is asked, in the process that was started for it."""
    _limit(request["seconds"])
    try:
        work = getattr(hdf5_library, request["what"])
        for item in work(Path(request["path"]), *request["arguments"]):
            if isinstance(item, np.ndarray):
                _write(stream, "array", item.dtype.str, item.shape)
                stream.write(np.ascontiguousarray(item).reshape(-1).view(np.uint8).data)
            else:
                _write(stream, "said", item)
        _write(stream, "end")
    except FcnprotoError as error:
        problems = [{**vars(each), "severity": each.severity.value} for each in error.problems]
        _write(stream, "problems", problems)
    except Exception:  # a defect of ours, which shall be seen where this was asked for
        _write(stream, "defect", traceback.format_exc())
    stream.flush()


def _write(stream: IO[bytes], *things: Any) -> None:
    stream.write(json.dumps(things).encode() + b"\n")


def _limit(seconds: int) -> None:
    """End this process after so much time of the processor; and if it crashes, leave no image."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    for limit, wanted in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(limit)
        if most == resource.RLIM_INFINITY or wanted < most:
            resource.setrlimit(limit, (wanted, most))
