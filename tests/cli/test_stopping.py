"""A verb that is told to stop cleans up and says by its code why it ended."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fcnproto.cli import main
from fcnproto.cli.common import Verb
from fcnproto.files import replacing

SHAPES = "shapes-fcn8s"


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, which runs other tests, is not ended some seconds after a verb in it was."""
    monkeypatch.setattr("fcnproto.cli.common.GRACE", 86400.0)


@pytest.mark.usefixtures("lives")
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


@pytest.mark.usefixtures("lives")
def test_another_sigterm_does_not_stop_what_cleans_up(tmp_path: Path) -> None:
    @click.command(cls=Verb)
    def verb() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            (tmp_path / "cleaned").touch()

    assert CliRunner().invoke(verb).exit_code == 143
    assert (tmp_path / "cleaned").exists()


def test_a_thread_that_waits_for_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it, so that its reader never comes back."""
    os.mkfifo(tmp_path / "pipe")
    script = (
        "import sys, click\n"
        "from pathlib import Path\n"
        "from fcnproto.cli import common\n"
        "from fcnproto.parallel import spread\n"
        "common.GRACE = 0.2\n"
        "def read(paths):\n"
        "    print('reads', flush=True)\n"
        "    return [Path(path).read_bytes() for path in paths]\n"
        "pipe = sys.argv.pop()\n"
        "@click.command(cls=common.Verb)\n"
        "def verb():\n"
        "    spread(read, [pipe])\n"
        "verb()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "pipe")], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"reads\n"
            process.terminate()
            assert process.wait(20) == 143
        finally:
            process.kill()


def test_ctrl_c_before_a_verb_begins_ends_as_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcnproto.cli.import_module", interrupted)
    result = CliRunner().invoke(main, ["list"])
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_server_is_ended_by_signals(tmp_path: Path, number: int, code: int) -> None:
    exported = CliRunner().invoke(
        main, ["export-onnx", SHAPES, "--weights", SHAPES, "-o", str(tmp_path / "net.onnx")]
    )
    assert exported.exit_code == 0, exported.output
    command = [sys.executable, "-m", "fcnproto", "serve", "--model", "net.onnx", "--port", "0"]
    # A job in the background ignores Ctrl-C, and so would what it starts.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heeds
    ) as server:
        assert server.stderr is not None
        lines = [server.stderr.readline() for _ in range(2)]
        assert lines[0].startswith("device: ") and lines[1].startswith("http://")
        server.send_signal(number)
        rest = server.stderr.read()
    assert (server.returncode, rest) == (code, "")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("answer", [True, False])
def test_binary_output_never_goes_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    class Screen(io.TextIOWrapper):
        def isatty(self) -> bool:
            return answer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout", screen := Screen(io.BytesIO()))
    command = ["export-onnx", SHAPES, "--weights", SHAPES, "-o", "-"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    written = screen.buffer.getvalue()  # type: ignore[attr-defined]
    assert (ended.value.code, written == b"") == ((1, True) if answer else (0, False))
