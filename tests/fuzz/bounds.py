"""When an input fails: an error that is none of ours, too long, too much memory, something left."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
from PIL import Image

from fcnproto.errors import FcnprotoError
from tests.fuzz import forked
from tests.fuzz.mutators.values import FORGED
from tests.fuzz.targets import Target

SECONDS = 2.0
"""Of processor time, for an input of up to LENGTH bytes; longer ones have more in proportion."""
LENGTH = 100_000
MEMORY = 2**30
"""Bytes more than before, at the most."""
_HANGS = 5
"""Times SECONDS, after which an input is stopped."""
_CONTROL = re.compile(rf"(?m:^{FORGED})|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


class Hangs(BaseException):
    """An input is stopped, wherever it is."""


@dataclass(frozen=True)
class Failure:
    """What is wrong, in words that are the same for inputs of one kind."""

    kind: str
    detail: str

    @property
    def slug(self) -> str:
        """A name for a file of this kind."""
        return re.sub(r"\W+", "-", self.kind, flags=re.ASCII).strip("-")[:80].lower()


def judge(target: Target, data: bytes, room: Path, patience: float = 1) -> Failure | None:
    """Run a target on an input in an empty folder; what takes long is given a second chance.

    With more patience it may take so many times as long.
    """
    failure = _judged(target, data, room, patience)
    if failure is not None and failure.kind.startswith("slow"):
        failure = _judged(target, data, room, patience)
    return failure


def _judged(target: Target, data: bytes, room: Path, patience: float) -> Failure | None:
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    limit = patience * SECONDS * max(1.0, len(data) / LENGTH)
    before, earlier = _resident(), _peak()
    start = time.process_time()
    here = Path.cwd()
    failure = None
    try:
        os.chdir(room)
        with (
            _stopped_after(_HANGS * limit),
            warnings.catch_warnings(),
            _small_images(),
            forked.reading(int(SECONDS), before + MEMORY),
        ):
            warnings.simplefilter("error")
            said = target.run(data)
        failure = _unclean(said)
    except (FcnprotoError, click.ClickException) as error:
        failure = _unclean(str(error))
    except Hangs as error:
        failure = Failure(f"slow {_place(error)}", _trace(error))
    except Exception as error:  # which is what is sought
        failure = Failure(f"{type(error).__name__} {_place(error)}", _trace(error))
    finally:
        os.chdir(here)
    seconds, peak = time.process_time() - start, _peak()
    peak = peak - before if peak > earlier else 0  # an earlier input's is not this one's
    if failure is None and seconds > limit:
        failure = Failure(f"slow {target.name}", f"{seconds:.1f} s of processor time")
    if peak > MEMORY // 2:
        Path("/proc/self/clear_refs").write_text("5")  # the next peak is measured from here
    if failure is None and peak > MEMORY:
        failure = Failure(f"memory {target.name}", f"{peak / 2**20:.0f} MiB")
    if failure is None and (left := [path.name for path in room.rglob(".fcnproto-*")]):
        failure = Failure(f"left {target.name}", ", ".join(left))
    return failure


def _unclean(said: str | None) -> Failure | None:
    """What is printed has no control characters and no line of a name's own."""
    found = _CONTROL.search(said or "")
    if found is None:
        return None
    around = (said or "")[max(0, found.start() - 200) : found.end() + 100]
    return Failure("control characters", repr(around))


def _resident() -> int:
    """The memory that this process holds, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    """The most memory that this process held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@contextmanager
def _small_images() -> Iterator[None]:
    """With images of a million pixels for those of 89 million, which take long to unfold."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 2**20
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _place(error: BaseException) -> str:
    """The innermost function of the package that was running."""
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if "/fcnproto/" in each.filename
    ]
    if not frames:
        return "outside"
    return f"{Path(frames[-1].filename).stem} {frames[-1].name}"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]
