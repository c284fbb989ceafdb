"""Work on all cores: threads, since decoding and counting pixels let go of Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
