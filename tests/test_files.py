"""Files are written whole or not at all, through whatever their name leads to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fcnproto.errors import FcnprotoError
from fcnproto.files import replacing


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    with replacing(pipe) as temporary:
        temporary.write_text("new")
    reader.join(5)
    assert found == ["new"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_stays_a_device() -> None:
    with replacing(Path(os.devnull)) as temporary:
        temporary.write_text("new")
    assert Path(os.devnull).is_char_device()


def test_names_of_255_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_nothing_stays_of_what_failed(tmp_path: Path) -> None:
    with pytest.raises(FcnprotoError, match="No space"), replacing(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
