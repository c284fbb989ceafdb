"""A bounded line of images before a model: those of one size are run together, by one thread."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

from fcnproto.errors import FcnprotoError
from fcnproto.runtime.runner import BATCH_PIXELS, Picture, Prepared, Runner
from fcnproto.types import Array


class Full(Exception):  # noqa: N818  a state of the line
    """As many images wait as may; `seconds` is when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True)
class Answer:
    """What the model says of one image."""

    labels: dict[str, Array]
    """By score blob H×W."""
    scores: dict[str, Array]
    """By score blob the score of each class at the pixel that was asked for."""
    seconds: float
    """That the batch took."""


@dataclass(frozen=True)
class _Job:
    picture: Picture
    prepared: Prepared | None
    pixel: tuple[int, int] | None
    answer: Future[Answer] = field(default_factory=Future)

    @property
    def size(self) -> tuple[int, int]:
        height, width = next(iter(self.picture.values())).shape[:2]
        return height, width


class Batcher:
    """A model with a line before it.

    `observe` is told of each batch: how many images, and seconds.
    """

    def __init__(
        self,
        runner: Runner,
        waiting: int,
        observe: Callable[[int, float], object] = lambda _count, _seconds: None,
    ) -> None:
        self._runner, self._most, self._observe = runner, waiting, observe
        self._line: deque[_Job] = deque()
        self._changed = Condition()
        self._taken = 0
        self._stopped = False
        self._each = 1.0  # seconds that an image takes, of late
        self._thread = Thread(target=self._work, name="model", daemon=True)

    @property
    def waiting(self) -> int:
        """How many places are taken."""
        return self._taken

    def enter(self) -> None:
        """Take a place in the line; Full if there is none. Whoever took one must `leave`."""
        with self._changed:
            if self._taken >= self._most:
                raise Full(max(1, min(60, math.ceil(self._taken * self._each))))
            self._taken += 1

    def leave(self) -> None:
        """Give a place back."""
        with self._changed:
            self._taken -= 1

    def ask(
        self, picture: Picture, prepared: Prepared | None, pixel: tuple[int, int] | None
    ) -> Future[Answer]:
        """The answer to come for a picture; `pixel` is the row and column whose scores are kept."""
        job = _Job(picture, prepared, pixel)
        with self._changed:
            self._line.append(job)
            self._changed.notify()
        return job.answer

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch that is being run; what waits is refused."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()
        while self._line:
            self._line.popleft().answer.set_exception(FcnprotoError("the server is closing"))

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            jobs = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if jobs:
                self._run(jobs)

    def _next(self) -> list[_Job] | None:
        """The first of the line and those of its size, as many as may be run together."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._stopped)
            if self._stopped:
                return None
            size = self._line[0].size
            most = self._runner.batch or max(1, BATCH_PIXELS // math.prod(size))
            batch = [job for job in self._line if job.size == size][:most]
            chosen = set(map(id, batch))
            self._line = deque(job for job in self._line if id(job) not in chosen)
            return batch

    def _run(self, jobs: Sequence[_Job]) -> None:
        """Run a batch; if it cannot be run, each alone, so that one bad image harms no other."""
        start = time.perf_counter()
        try:
            answers = self._answers(jobs, start)
        except Exception as error:  # whatever it is, the thread must live and the client be told
            if len(jobs) > 1:
                for job in jobs:
                    self._run([job])
                return
            jobs[0].answer.set_exception(error)
            return
        seconds = time.perf_counter() - start
        self._each = 0.8 * self._each + 0.2 * seconds / len(jobs)
        self._observe(len(jobs), seconds)
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)

    def _answers(self, jobs: Sequence[_Job], start: float) -> list[Answer]:
        found = self._runner.run(
            [job.picture for job in jobs],
            [job.prepared for job in jobs],
            keep_scores=any(job.pixel is not None for job in jobs),
        )
        seconds = time.perf_counter() - start
        return [
            Answer(
                {blob: maps[index] for blob, maps in found.labels.items()},
                {blob: _at(maps[index], job.pixel) for blob, maps in found.scores.items()}
                if job.pixel is not None
                else {},
                seconds,
            )
            for index, job in enumerate(jobs)
        ]


def _at(scores: Array, pixel: tuple[int, int] | None) -> Array:
    assert pixel is not None
    # A copy, for a view would hold the scores of the whole batch.
    return scores[:, pixel[0], pixel[1]].copy()
