"""Keeps a training within its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from fcnproto.runs.job import Job, Say
from fcnproto.runs.plan import RESERVED, Plan


class Pace:
    """Asked after each measurement, plans fewer iterations where steps take longer than planned.

    The run's files then say so too, and its rate falls to 0 at the new end. `job` is the run as it
    is planned now. A run is never made longer: its rate has fallen already.
    """

    def __init__(
        self, job: Job, seconds: float, say: Say, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.job = job
        self._say, self._now = say, now
        self._last = now()
        self._end = self._last + seconds * (1 - RESERVED)
        self._done = 0

    def __call__(self, iteration: int) -> int:
        """max_iter, given the iterations that are done."""
        now, interval = self._now(), self.job.recipe.test_interval
        planned = self.job.recipe.max_iter
        assert planned is not None and interval is not None, "a run's recipe is planned"
        each = (now - self._last) / max(1, iteration - self._done)
        self._last, self._done = now, iteration
        fits = max(0, int((self._end - now) / max(each, 1e-9) / interval))
        if iteration + fits * interval < planned:
            planned = iteration + fits * interval
            self.job = self.job.planned(Plan(planned, interval))
            self.job.save()
            self._say(f"steps take longer than planned: {planned} iterations fit into the time")
        return planned
