"""The help of every verb ends with two examples, which run as they stand."""

from __future__ import annotations

import shlex
import shutil
import socket
from itertools import count
from pathlib import Path

import click
import numpy as np
import pytest
import stand_ins
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.cli.examples import EXAMPLES

ENDS = {
    "fcnproto diff old.prototxt new.prototxt": 1,  # they differ
    "fcnproto doctor net.prototxt net.npz photo.jpg": 1,  # weights that are random
}
ENDS |= dict.fromkeys(EXAMPLES["serve"], 130)  # Ctrl-C
SLOW = {*EXAMPLES["demo"], *EXAMPLES["train"]}


def verbs(command: click.Command, *words: str) -> list[str]:
    """The words of every verb, and of those below it."""
    if not isinstance(command, click.Group):
        return [" ".join(words)]
    context = click.Context(command)
    below = [
        name
        for each in command.list_commands(context)
        if (verb := command.get_command(context, each)) is not None
        for name in verbs(verb, *words, each)
    ]
    return [" ".join(words), *below] if words else below


def test_every_verb_has_two_examples_and_no_other_has():
    assert sorted(verbs(main)) == sorted(EXAMPLES)
    for words, examples in EXAMPLES.items():
        assert len(set(examples)) == 2
        for example in examples:
            assert example.startswith(f"fcnproto {words} ") or example == f"fcnproto {words}"
            assert len(example) < 98, example


@pytest.mark.parametrize("words", EXAMPLES)
def test_the_help_ends_with_them(words):
    result = CliRunner().invoke(main, [*words.split(), "--help"], prog_name="fcnproto")
    assert result.exit_code == 0
    expected = "".join(f"  {example}\n" for example in EXAMPLES[words])
    assert result.stdout.endswith(f"\nExamples:\n{expected}")
    assert result.stdout.count("Examples") == 1


@pytest.fixture(scope="module")
def near(files):
    """The zoo thin, and what is published on this machine."""
    with stand_ins.served(files) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCNPROTO_DOCS_SERVER", address)
        patch.setenv("no_proxy", "127.0.0.1")
        with stand_ins.thin_zoo():
            yield


def everything() -> list[pytest.param]:
    found = dict.fromkeys(each for pair in EXAMPLES.values() for each in pair)
    return [pytest.param(each, marks=[pytest.mark.slow] if each in SLOW else []) for each in found]


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("example", everything())
def test_an_example_runs(example, files, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    shutil.copytree(files, folder, copy_function=_linked)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program, *words = shlex.split(example)
    assert program == "fcnproto"
    file = None
    if ">" in words:
        *words, _, file = words
        Path(file).unlink(missing_ok=True)
    outputs = [Path(words[at + 1]) for at, word in enumerate(words) if word == "-o"]
    if words[:2] == ["dataset", "split"]:
        for name in ("train.txt", "val.txt"):
            (folder / "data" / name).unlink()
    for output in outputs:
        if output.name != "data":
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    if "m" in words:  # the depth is in millimetres
        depth = folder / "depth" / "0.png"
        with Image.open(depth) as picture:
            metres = np.asarray(picture) // 1000
        Image.fromarray(metres.astype(np.uint16)).save(depth)
    if words[0] == "train":
        # A step seems to take so long that ten minutes are over soon.
        ticks = count(0, 100)
        monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    if words[0] == "serve":
        monkeypatch.setattr("uvicorn.Server.run", _interrupted)
        monkeypatch.setattr("fcnproto.serving.server._listening", _any_port)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == ENDS.get(example, 0), result.output
    assert file is None or result.stdout
    for output in outputs:
        assert output.exists() or list(folder.glob(f"{output}.*")), result.output


def _linked(source: str, target: str) -> None:
    """Large files are the same ones: what is written replaces a file, and never changes it."""
    if Path(source).stat().st_size > 2**16:
        Path(target).hardlink_to(source)
    else:
        shutil.copy(source, target)


def _interrupted(*_args, **_kwargs):
    raise KeyboardInterrupt


def _any_port(*_):
    return socket.create_server(("127.0.0.1", 0))
