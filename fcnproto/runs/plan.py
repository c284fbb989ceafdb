"""How long a training is, and when it is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

MEASURED = 20
"""At most so many times."""
SHARE = 0.2
"""At most this share of the time goes into measuring."""
RESERVED = 0.1
"""This share of the time is left for what follows, and for steps slower than the first."""
SNAPSHOTS = 4


@dataclass(frozen=True)
class Plan:
    """The iterations, after how many of them val is measured, and after how many a snapshot."""

    iterations: int
    interval: int

    @property
    def snapshot(self) -> int:
        """Every so many iterations."""
        return self.interval * math.ceil(self.iterations // self.interval / SNAPSHOTS)


def of_iterations(iterations: int) -> Plan:
    """So many iterations, with as many measurements as divide them evenly."""
    times = next(each for each in range(MEASURED, 0, -1) if iterations % each == 0)
    return Plan(iterations, iterations // times)


def of_seconds(seconds: float, step: float, measurement: float) -> Plan:
    """What fits into a time, with the seconds that a step and a measurement of val take."""
    available = seconds * (1 - RESERVED)
    times = max(1, min(MEASURED, int(available * SHARE / measurement)))
    interval = int((available - times * measurement) / times / step)
    return Plan(max(1, interval) * times, max(1, interval))
