"""What ever failed never fails again, and neither do a few new inputs of every target."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.bounds import judge
from tests.fuzz.mutators import parts
from tests.fuzz.mutators.values import FORGED
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
FAILED = sorted(path for path in CORPUS.rglob("*") if path.is_file())
_NEW = 5
PATIENCE = 4
"""Tests share their machine with others, and the clock of a processor is theirs too."""


@pytest.mark.parametrize("path", FAILED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_failed_is_borne(path: Path, tmp_path: Path) -> None:
    failure = judge(TARGETS[path.parent.name], path.read_bytes(), tmp_path / "room", PATIENCE)
    assert failure is None, f"{failure.kind}\n{failure.detail}"


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_new_inputs_are_borne(target: Target, tmp_path: Path) -> None:
    rng = Random(target.name)
    seeds = list(target.seeds())
    for _ in range(_NEW):
        data = target.mutate(rng.choice(seeds), seeds, rng)
        failure = judge(target, data, tmp_path / "room", PATIENCE)
        assert failure is None, f"{failure.kind}\n{failure.detail}\n{data[:2000]!r}"


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (lambda data: {}[data], "KeyError"),
        (lambda data: _spin(), "slow"),
        (lambda data: "\x1b[31m", "control"),
        (lambda data: f"layer 'a\n{FORGED}'", "control"),
        (lambda data: Path(".fcnproto-1-a").write_bytes(data) and None, "left"),
        (lambda data: "fine", None),
    ],
    ids=["raises", "hangs", "speaks to the terminal", "breaks a line", "leaves", "is fine"],
)
def test_what_fails_is_seen(
    run: Callable[[bytes], str | None], kind: str | None, tmp_path: Path
) -> None:
    failure = judge(Target("any", run, list, _same), b"x", tmp_path / "room", 0.05)
    assert (failure and failure.kind.split()[0]) == kind


def test_much_memory_is_seen(tmp_path: Path) -> None:
    """In a process of its own, since the peak is that of a process."""
    program = (
        "from pathlib import Path; from tests.fuzz import bounds, targets\n"
        "bounds.MEMORY = 2**27\n"
        "run = lambda data: str(len(bytearray(2**28)))\n"
        "target = targets.Target('any', run, list, None)\n"
        f"print(bounds.judge(target, b'x', Path({str(tmp_path / 'room')!r})).kind)"
    )
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "memory any\n"


def _spin() -> None:
    while True:
        pass


def _same(data: bytes, others: list[bytes], rng: Random) -> bytes:
    return data


def test_parts_are_what_was_joined() -> None:
    assert parts.split(parts.joined(b"a", b"", b"c"), 3) == [b"a", b"", b"c"]
    assert parts.split(b"a", 3) == [b"a", b"", b""]
