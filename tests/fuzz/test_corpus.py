"""What ever failed never fails again, and neither do a few new inputs of every target."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.bounds import judge
from tests.fuzz.mutators import parts
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


def test_what_fails_is_seen(tmp_path: Path) -> None:
    """The judge tells each way to fail from what is allowed."""
    small = {
        "raises": lambda data: {}[data],
        "hangs": lambda data: _spin(),
        "takes memory": lambda data: str(len(bytearray(2**30 + 2**28))),
        "speaks to the terminal": lambda data: "\x1b[31m",
        "leaves": lambda data: Path(".fcnproto-1-a").write_bytes(data) and None,
    }
    kinds = ["KeyError", "slow", "memory", "control", "left"]
    for (name, run), kind in zip(small.items(), kinds, strict=True):
        failure = judge(Target(name, run, list, _same), b"x", tmp_path / "room", 0.05)
        assert failure is not None and failure.kind.startswith(kind)
    assert judge(Target("none", lambda data: "fine", list, _same), b"x", tmp_path / "room") is None


def _spin() -> None:
    while True:
        pass


def _same(data: bytes, others: list[bytes], rng: Random) -> bytes:
    return data


def test_parts_are_what_was_joined() -> None:
    assert parts.split(parts.joined(b"a", b"", b"c"), 3) == [b"a", b"", b"c"]
    assert parts.split(b"a", 3) == [b"a", b"", b""]
