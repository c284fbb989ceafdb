"""A cluster of Ray: joined or started, and the workers that it has room for."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data

from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.words import counted

AUTO = "auto"
_LOCAL = "local"
"""Ray's word for a new cluster."""
_CURRENT = Path("ray", "ray_current_cluster")
"""Where Ray keeps the address of a machine's cluster, in its folder of temporary files."""

BLOCK_BYTES = 2**12
"""Blocks of rows are so small that little is done twice, and so large that they cost little."""


@dataclass(frozen=True)
class Machine:
    """What a machine of the cluster has."""

    cores: int
    gpus: float


@dataclass(frozen=True)
class Pool:
    """So many workers, each with so many cores and GPUs."""

    workers: int
    cores: int
    gpus: float = 0

    @classmethod
    def of(cls, machines: list[Machine], workers: int | None = None, gpus: float = 0) -> Pool:
        """As many workers as are asked for, each with as many cores as let all of them run.

        By default there is one for each machine, or with `gpus` as many as have so many each.
        Raises FcnprotoError if the cluster has no room for them.
        """
        room = [machine for machine in machines if machine.gpus >= gpus]
        most = [int(machine.gpus // gpus) if gpus else machine.cores for machine in room]
        count = workers or (sum(most) if gpus else len(room))
        for cores in range(max((machine.cores for machine in room), default=0), 0, -1):
            fitting = [min(n, each.cores // cores) for n, each in zip(most, room, strict=True)]
            if count and sum(fitting) >= count:
                return cls(count, cores, gpus)
        has = f"{sum(m.cores for m in machines)} cores and {sum(m.gpus for m in machines):g} GPUs"
        wanted = f"{count or 'any'} workers" + (f" with {gpus:g} GPUs each" if gpus else "")
        raise FcnprotoError(f"the cluster has {has}: there is no room for {wanted}")

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        each = " each" if self.workers > 1 else ""
        return f"{counted(self.workers, 'worker')} with {counted(self.cores, 'core')}{gpus}{each}"

    def actors(self, alone: bool = False) -> ray.data.ActorPoolStrategy:
        """The workers as Ray Data has them, with the next rows at hand unless each is `alone`."""
        waiting = 1 if alone else None
        return ray.data.ActorPoolStrategy(size=self.workers, max_tasks_in_flight_per_actor=waiting)

    @property
    def resources(self) -> dict[str, Any]:
        """What Ray is asked for, for each of them."""
        return {"num_cpus": self.cores, "num_gpus": self.gpus}


def machines() -> list[Machine]:
    """Those that are alive and have cores to work with."""
    return [
        Machine(int(node["Resources"].get("CPU", 0)), node["Resources"].get("GPU", 0))
        for node in ray.nodes()  # type: ignore[no-untyped-call,unused-ignore]
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Join a cluster for a while; `auto` is the one that this machine belongs to, or a new one.

    One that ended without a word, as when its machine was switched off, is not waited for.

    Whoever has joined one before stays in it. Raises FcnprotoError if it cannot be reached; what
    Ray says goes to its logs.
    """
    if ray.is_initialized():
        yield
        return
    named = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    if named not in (AUTO, _LOCAL):
        _knock(named)
    # A cluster that is started here tells nobody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            _LOCAL if named == AUTO and _has_ended() else None if address == AUTO else address,
            log_to_driver=False,
            logging_level=logging.FATAL,
            include_dashboard=False if address == AUTO else None,
        )
    except Exception as error:  # ConnectionError, ValueError, RuntimeError, gRPC's own
        message = f"there is no cluster to join: {reason(error)}"
        raise FcnprotoError(Problem(message, address)) from error
    try:
        # Ray tells of workers that died on standard output, which is for results.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def _has_ended() -> bool:
    """Whether Ray's file of the machine's cluster names one that does not answer."""
    folders = (os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp")
    for folder in filter(None, folders):
        try:
            _knock((Path(folder) / _CURRENT).read_text("utf-8").strip())
        except FcnprotoError:
            return True
        except (OSError, ValueError):
            continue
        return False
    return False


def _knock(address: str) -> None:
    """Raise FcnprotoError if nobody is there; Ray would try for minutes to find that out."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        expected = "expected HOST:PORT, as in 10.0.0.1:6379"
        message = f"there is no cluster to join: {reason(error) if host else expected}"
        raise FcnprotoError(Problem(message, address)) from error


_PATIENCE = 10  # seconds


@contextmanager
def quiet() -> Iterator[Any]:
    """Settings of Ray Data for a run of ours, which shows its own progress; those of before return.

    A worker that dies takes the blocks that it has with it: they are done again in another pass.
    """
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = {name: getattr(context, name) for name in _SETTINGS}, logger.level
    for name, value in _SETTINGS.items():
        setattr(context, name, value)
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield context
    finally:
        for name, value in before[0].items():
            setattr(context, name, value)
        logger.setLevel(before[1])


_SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "max_errored_blocks": -1,
    "target_max_block_size": BLOCK_BYTES,
}


def first_line(error: BaseException) -> str:
    """What an error of Ray's says, in one line: what was raised in a worker, if anything was."""
    cause = getattr(error, "cause", None) or error
    return reason(cause)
