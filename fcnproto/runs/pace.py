"""Keeps a training within its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from fcnproto.runs.job import Job, Say
from fcnproto.runs.plan import RESERVED, Plan


class Pace:
    """Asked after each measurement, plans fewer iterations where steps take longer than planned.

    As many as were planned at first come back where a busy computer has time again. The run's
    files say so too, and its rate falls to 0 at the new end. `job` is the run as it is planned now.
    """

    def __init__(
        self, job: Job, seconds: float, say: Say, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.job = job
        self._say, self._now = say, now
        self._last = now()
        self._end = self._last + seconds * (1 - RESERVED)
        self._done = 0
        self._most = job.recipe.max_iter or 0

    def __call__(self, iteration: int) -> int:
        """max_iter, given the iterations that are done."""
        now, interval = self._now(), self.job.recipe.test_interval
        assert interval is not None, "a run's recipe is planned"
        each = (now - self._last) / max(1, iteration - self._done)
        self._last, self._done = now, iteration
        fits = max(0, int((self._end - now) / max(each, 1e-9) / interval))
        planned = min(self._most, iteration + fits * interval)
        if planned != self.job.recipe.max_iter:
            self.job = self.job.planned(Plan(planned, interval))
            self.job.save()
            self._say(f"steps take another time than planned: {planned} iterations fit into it")
        return planned
