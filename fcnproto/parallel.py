"""Work on all cores: threads, since decoding and counting pixels let go of Python's lock."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Lock
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Quiet:
    """No warning is said while any thread is within: catch_warnings alone is for one thread."""

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._filters = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._filters.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._filters.close()


quiet = _Quiet()
"""Without what readers of others warn of: what is odd in a stranger's file."""


def spread(
    work: Callable[[Iterator[Item]], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> list[Result]:
    """What `work` makes of its share of the items, for each worker; there are as many as cores.

    A worker keeps nothing but what it makes, however many items there are. `progress` is called
    after each item, from any thread. The first error ends all of them.
    """
    stopped = Event()
    count = max(1, min(workers or cores(), len(items)))

    def share(start: int) -> Iterator[Item]:
        for item in items[start::count]:
            if stopped.is_set():
                return
            yield item
            progress()

    def run(start: int) -> Result:
        try:
            return work(share(start))
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(count) as executor:
        futures = [executor.submit(run, start) for start in range(count)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            raise


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int = 2, most: int = 2
) -> Iterator[Result]:
    """What `work` makes of each item, in order; up to `most` are made while the caller is busy.

    Items are taken in the caller's thread. An error of `work` is raised in its item's place.
    """
    with ThreadPoolExecutor(workers) as executor:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(executor.submit(work, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
