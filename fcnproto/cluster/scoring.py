"""Label maps counted on a cluster: counts are whole numbers, and add up exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from fcnproto.api.scoring import Comparands
from fcnproto.cluster.pool import Pool, first_line, quiet
from fcnproto.cluster.work import Job
from fcnproto.datasets.measures import Classes, Score
from fcnproto.errors import DataError, FcnprotoError, Problem
from fcnproto.types import Array

_SHARES = 16  # of each worker, so that all end at about the same time
_MOST = 256  # pairs in one

_SCHEMA = pa.schema(
    [
        ("start", pa.int64()),
        ("top", pa.string()),
        ("count", pa.int64()),
        ("ignore", pa.int64()),
        ("classes", pa.list_(pa.string())),
        ("pairs", pa.large_binary()),
        ("messages", pa.list_(pa.string())),
        ("paths", pa.list_(pa.string())),
    ]
)


class Counter:
    """A callable class for `map_batches`: numbers of pairs to what is counted of them."""

    def __init__(self, asked: Comparands, job: Job | None, threads: int) -> None:
        """Raises FcnprotoError if the data or the model cannot be had."""
        self._pairs = asked.pairs(None if job is None else job.load(threads))

    def __call__(self, table: pa.Table) -> pa.Table:
        """For a range of pairs and each label map a row; what is wrong is in the first."""
        ((start, stop),) = zip(*(table.column(name).to_pylist() for name in _RANGE), strict=True)
        counted = self._pairs.count(range(start, stop))
        rows: list[dict[str, Any]] = [
            {
                "start": start,
                "top": top,
                "count": self._pairs.numbers[top].count,
                "ignore": self._pairs.numbers[top].ignore,
                "classes": self._pairs.classes[top],
                "pairs": pairs.tobytes(),
            }
            for top, pairs in counted.pairs.items()
        ]
        rows[0] |= {
            "messages": [problem.message for problem in counted.problems],
            "paths": [problem.path for problem in counted.problems],
        }
        return pa.Table.from_pylist(rows, _SCHEMA)


_RANGE = ("start", "stop")


@dataclass
class _Sum:
    """The counts of a label map."""

    numbers: Classes
    names: tuple[str, ...]
    pairs: Array

    @classmethod
    def of(cls, row: dict[str, Any]) -> _Sum:
        numbers = Classes(row["count"], row["ignore"])
        return cls(numbers, tuple(row["classes"]), numbers.empty())

    def add(self, pairs: bytes) -> None:
        self.pairs += np.frombuffer(pairs, np.int64).reshape(self.pairs.shape)


def scores(
    asked: Comparands, job: Job | None, pool: Pool, total: int, progress: Callable[[int], object]
) -> dict[str, Score]:
    """The scores of a model, or of label maps, for each label map by the top's name.

    `total` is the number of pairs; `progress` is told how many more are counted. What a worker has
    in hand when it dies is counted by another. Raises DataError with all that is wrong, as on one
    machine, and FcnprotoError if the workers fail.
    """
    size = max(1, min(_MOST, total // (pool.workers * _SHARES)))
    ranges = {start: min(start + size, total) for start in range(0, total, size)}
    sums: dict[str, _Sum] = {}
    problems: list[Problem] = []
    with quiet():
        while ranges:
            left = len(ranges)
            try:
                for rows in _counted(asked, job, pool, ranges):
                    if not all(row["start"] in ranges for row in rows):
                        continue
                    for row in rows:
                        sums.setdefault(row["top"], _Sum.of(row)).add(row["pairs"])
                        found = zip(row["messages"] or (), row["paths"] or (), strict=True)
                        problems += [Problem(message, path) for message, path in found]
                    start = rows[0]["start"]
                    progress(ranges.pop(start) - start)
            except Exception as error:  # RayError, and what Ray Data raises itself
                if len(ranges) == left:
                    raise FcnprotoError(f"the workers fail: {first_line(error)}") from error
            if len(ranges) == left:
                raise FcnprotoError("the workers die of what they are given")
    if problems:
        raise DataError(*sorted(problems, key=lambda problem: problem.path or ""))
    return {
        top: replace(each.numbers.score(each.pairs), classes=each.names)
        for top, each in sums.items()
    }


def _counted(
    asked: Comparands, job: Job | None, pool: Pool, ranges: dict[int, int]
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each range, as they are counted."""
    items = [{"start": start, "stop": stop} for start, stop in ranges.items()]
    done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Counter,
        batch_size=1,
        batch_format="pyarrow",
        compute=pool.actors(),
        fn_constructor_args=(asked, job, pool.cores),
        max_restarts=0,
        **pool.resources,
    )
    rows: list[dict[str, Any]] = []
    for table in done.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert isinstance(table, pa.Table)
        for row in table.to_pylist():
            if rows and rows[0]["start"] != row["start"]:
                yield rows
                rows = []
            rows.append(row)
    if rows:
        yield rows
