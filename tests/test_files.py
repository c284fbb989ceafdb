"""Files are written whole or not at all, through whatever their name leads to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fcnproto.errors import FcnprotoError
from fcnproto.files import beside, replacing


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


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """And neither a running one's files nor those that are only called alike."""
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    stale = tmp_path / f".fcnproto-{dead.pid}-abc_1"
    others = [tmp_path / f".fcnproto-{os.getpid()}-abc", tmp_path / ".fcnproto-notes"]
    for path in (stale, *others):
        path.write_text("half")
    with replacing(tmp_path / "new") as temporary:
        temporary.write_text("new")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "new"])


def test_a_killed_process_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from fcnproto.files import replacing\n"
        f"with replacing(Path({str(tmp_path / 'new')!r})) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    with replacing(tmp_path / "new") as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_of_two_that_write_a_new_file_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with (
        pytest.raises(FcnprotoError, match="--force"),
        replacing(path, force=False) as ours,
    ):
        with replacing(path, force=False) as theirs:
            theirs.write_text("theirs")
        ours.write_text("ours")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_nothing_is_written_through(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with replacing(link, force=False) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize("ending", [".png", ".a/../b.png", ".名前.png", "." + "n" * 5000 + ".png"])
@pytest.mark.parametrize("stem", ["a", "n" * 251, "名" * 83, "n" * 255])
def test_names_beside_a_file_can_be_written(tmp_path: Path, stem: str, ending: str) -> None:
    path = beside(tmp_path / stem, ending)
    path.write_text("new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.suffix == ".png"


def test_names_that_are_cut_stay_apart() -> None:
    names = {beside(Path("n" * 255), f".{'n' * number}.png").name for number in range(20)}
    assert len(names) == 20


def test_a_signal_as_soon_as_the_file_is_there(tmp_path: Path, monkeypatch) -> None:
    def stopped(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", stopped)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "new"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["nowhere/new", "file/new", "n" * 300])
def test_what_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(FcnprotoError, match="cannot be written") as raised,
        replacing(tmp_path / place),
    ):
        pass
    assert len(str(raised.value).splitlines()) == 1
