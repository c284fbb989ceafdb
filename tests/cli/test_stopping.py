"""A verb that is told to stop cleans up and says by its code why it ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fcnproto.cli.common import Verb
from fcnproto.files import replacing


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    @click.command(cls=Verb)
    def verb() -> None:
        with replacing(tmp_path / "out"):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert CliRunner().invoke(verb).exit_code == 143
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("said", ["Unable to allocate 3 TiB", ""])
def test_memory_that_is_not_there_is_a_line(said: str) -> None:
    @click.command(cls=Verb)
    def verb() -> None:
        raise MemoryError(said)

    result = CliRunner().invoke(verb)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: there is not enough memory")
    assert said in line
