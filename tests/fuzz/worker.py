"""One process that fuzzes one target: libFuzzer, led by what lines of the package are reached.

It never ends by itself before its time: what fails is written down, and it goes on. If the process
dies, `tests.fuzz` starts another. Or blind: seeds are changed, several times each, and nothing is
traced, which tries three times as many inputs.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

LONGEST = 100_000
_SAVED_EVERY = 5  # seconds
_CHANGES = (1, 1, 1, 2, 2, 3, 4, 6)
"""How often an input is changed that is made blindly."""
_FIRST = 50
"""So many seeds are tried as they are, others each time; changed they all are."""


class _Worker:
    def __init__(self, name: str, work: Path) -> None:
        from tests.fuzz.bounds import judge
        from tests.fuzz.targets import TARGETS

        self.judge, self.target, self.work = judge, TARGETS[name], work
        self.room, self.saved = work / "room", 0.0
        self.count, self.since = 0, 0
        self.pool = list(self.target.seeds())
        for each in self.pool[:20]:  # what is imported late takes nobody's time
            self.judge(self.target, each, self.room)

    def try_one(self, data: bytes) -> None:
        """Judge an input, and write down what is wrong with it: the shortest of each kind."""
        (self.work / "current").write_bytes(data)
        failure = self.judge(self.target, data, self.room)
        self.count += 1
        self.since += 1
        if failure is not None:
            self.since = 0
            path = self.work / "found" / failure.slug
            if not path.exists() or path.stat().st_size > len(data):
                path.write_bytes(data)
                path.with_name(path.name + ".txt").write_text(
                    f"{failure.kind}\n{failure.detail}\n", "utf-8", "backslashreplace"
                )
        if time.monotonic() > self.saved + _SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Say how far it is."""
        self.saved = time.monotonic()
        count = {"inputs": self.count, "since": self.since, "cpu": time.process_time()}
        (self.work / "count.json").write_text(json.dumps(count))

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """The next input, made of one that reached something."""
        rng = Random(seed)
        if not data or data == b"\n":
            data = rng.choice(self.pool)
        return self.target.mutate(data, self.pool, rng)[: min(most, LONGEST)]

    def try_many(self, seconds: float, inputs: int) -> None:
        """Blind, for so long, or so many inputs; -1 is any number."""
        rng, end = Random(), time.monotonic() + seconds
        while time.monotonic() < end and self.count != inputs:
            data = b""
            for _ in range(rng.choice(_CHANGES)):
                data = self.mutate(data, LONGEST, rng.getrandbits(64))
            self.try_one(data)
        self.save()


def fuzz(arguments: Sequence[str]) -> None:
    """`worker NAME FOLDER SECONDS INPUTS [blind]`, which is how tests.fuzz calls it."""
    name, work, seconds, inputs = arguments[0], Path(arguments[1]), arguments[2], arguments[3]
    if arguments[4:]:
        _Worker(name, work).try_many(float(seconds), int(inputs))
        return
    atheris: Any = _atheris()
    with atheris.instrument_imports(include=["fcnproto"], enable_loader_override=False):
        worker = _Worker(name, work)  # which imports what the target needs
    corpus = work / "reached"
    corpus.mkdir(exist_ok=True)
    first = Random().sample(worker.pool, min(_FIRST, len(worker.pool)))
    for number, each in enumerate(first):
        (corpus / f"seed{number}").write_bytes(each[:LONGEST])
    options = [
        "fuzz", f"-max_len={LONGEST}", f"-max_total_time={seconds}", f"-runs={inputs}",
        "-timeout=120", "-rss_limit_mb=0", "-malloc_limit_mb=0", "-detect_leaks=0",
        "-len_control=0", "-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={work}/dead-",
        str(corpus),
    ]  # fmt: skip
    atheris.Setup(options, worker.try_one, custom_mutator=worker.mutate)
    atheris.Fuzz()


def _atheris() -> ModuleType:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install atheris")


if __name__ == "__main__":
    fuzz(sys.argv[1:])
