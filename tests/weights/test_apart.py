"""HDF5 is read in a process of its own: what its library does there is a line, and no more."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import hdf5_circle
import numpy as np
import pytest
from click.testing import CliRunner
from paths import TESTS

import fcnproto as fp
from fcnproto import weights
from fcnproto.cli import main
from fcnproto.datasets.mat import read_mat
from fcnproto.errors import FcnprotoError
from fcnproto.weights import apart, solverstate

CIRCLE = (
    "HDF5 cannot read it: its library walks in a circle, as it seems (no end after 1 s);"
    " the file is damaged: write it anew"
)
INPUT = 'input: "data" input_shape { dim: [1, 3, 4, 4] }'
DATA = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "list.txt" batch_size: 1 } }"""
SCORE = """layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 2 kernel_size: 1 } }"""
LOSS = """layer { name: "loss" type: "SoftmaxWithLoss"
  bottom: "score" bottom: "label" top: "loss" }"""


@pytest.fixture
def started(monkeypatch):
    """The processes that were started, none of which is left when the test ends."""
    processes, start = [], apart.start

    def noted(request):
        processes.append(start(request))
        return processes[-1]

    monkeypatch.setattr(apart, "start", noted)
    monkeypatch.setattr(apart, "SECONDS", 1)
    yield processes
    assert processes
    assert all(process.returncode is not None for process in processes)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "w.h5"
    weights.write(path, {"conv": [np.ones((2, 3), np.float32), np.zeros(2, np.float32)]})
    return path


@pytest.mark.parametrize(
    ("place", "read"),
    [
        ("data/conv/0", fp.load_weights),
        ("history/0", solverstate.read),
        ("GTcls/Segmentation", lambda path: read_mat(path, "GTcls", "Segmentation")),
    ],
    ids=["weights", "state", "MATLAB 7.3"],
)
def test_a_circle_is_one_line(tmp_path, started, place, read):
    path = hdf5_circle.write(tmp_path / "x.h5", place)
    if place.startswith("history"):
        with h5py.File(path, "a") as file:
            file["iter"] = file["current_step"] = np.ones(1, np.int32)
    with pytest.raises(FcnprotoError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: error: {CIRCLE}"


def test_a_circle_in_weights_and_tables_is_one_line_of_the_verbs(tmp_path, started, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hdf5_circle.write(Path("w.h5"), "data/score/0")
    Path("net.prototxt").write_text(INPUT + SCORE)
    done = CliRunner().invoke(main, ["convert-weights", "w.h5", "-o", "w.npz"])
    assert (done.exit_code, done.output) == (1, f"w.h5: error: {CIRCLE}\n")
    assert not Path("w.npz").exists()
    pytest.importorskip("torch")
    hdf5_circle.write(Path("0.h5"), "data")
    Path("list.txt").write_text("0.h5\n")
    Path("net.prototxt").write_text(DATA + SCORE + LOSS)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1'
    )
    done = CliRunner().invoke(main, ["train", "solver.prototxt"])
    assert done.exit_code == 1
    assert f"0.h5: error: {CIRCLE}" in done.output


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("os.abort()", f"({signal.strsignal(6)}); the file is damaged: write it anew"),
        ("os.kill(os.getpid(), 11)", f"its library ended the process ({signal.strsignal(11)})"),
        ("os.kill(os.getpid(), 9)", "its process was killed, as where memory runs out"),
        ("sys.exit(3)", "the process that reads it ended with exit code 3"),
        ('sys.stdin.read(); print(\'["array", "<f4", [9]]\'); print()', "exit code 0"),
        ("sys.stdin.read(); print('Error of a library')", "exit code 0"),
    ],
)
def test_a_process_that_dies_is_one_line(saved, started, monkeypatch, program, words):
    monkeypatch.setattr(apart, "_MAIN", f"import os, sys; {program}")
    with pytest.raises(FcnprotoError) as caught:
        fp.load_weights(saved)
    assert str(caught.value).startswith(f"{saved}: error: HDF5 cannot read it: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_by_the_clock_where_processors_have_no_limit(saved, started, monkeypatch):
    monkeypatch.setattr(apart, "_MAIN", "import time; time.sleep(60)")
    monkeypatch.setattr(apart, "PATIENCE", 1)
    with pytest.raises(FcnprotoError, match=r"no end after 1 s"):
        fp.load_weights(saved)


def test_a_process_that_cannot_be_started_is_one_line(saved, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FcnprotoError, match=r"a process of its own: No such file or directory"):
        fp.load_weights(saved)


def test_a_frozen_program_reads_it_itself(saved, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(apart, "start", None)
    assert weights.read(saved)["conv"][0].shape == (2, 3)


def test_a_defect_of_ours_is_seen(saved, started):
    with pytest.raises(RuntimeError, match="AttributeError"):
        apart.ask(saved, "no such function")


def test_large_files_have_more_time(saved, started, monkeypatch):
    requests, start = [], apart.start
    monkeypatch.setattr(apart, "start", lambda request: requests.append(request) or start(request))
    monkeypatch.setattr(apart, "RATE", saved.stat().st_size // 4)
    fp.load_weights(saved)
    assert [request["seconds"] for request in requests] == [5]


def test_nothing_in_the_current_directory_is_run(saved, tmp_path):
    for name in ("numpy", "h5py", "json", "fcnproto", "importlib", "resource", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('sprung', 'w')")
    program = (
        "import os, sys\n"
        "from fcnproto import weights\nimport fcnproto.weights.hdf5\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "sys.path[:0] = ['', os.getcwd(), '.']\n"
        "print(len(weights.read('w.h5')['conv']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=TESTS.parent, check=True)  # fmt: skip
    assert done.stdout == "2\n"
    assert not (tmp_path / "sprung").exists()


def test_modules_are_found_where_this_process_finds_them(saved, tmp_path, started, monkeypatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "h5py.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path / "own")
    with pytest.raises(FcnprotoError) as caught:
        fp.load_weights(saved)
    assert str(caught.value) == "error: HDF5 files need h5py: pip install 'fcnproto[data]'"


def test_an_interrupt_ends_it(tmp_path, started, monkeypatch):
    path = hdf5_circle.write(tmp_path / "x.h5", "data/conv/0")
    monkeypatch.setattr(apart, "SECONDS", 60)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            fp.load_weights(path)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux does")
def test_it_ends_where_nobody_is_left_to_end_it(tmp_path):
    path = hdf5_circle.write(tmp_path / "x.h5", "data/conv/0")
    program = (
        "from fcnproto import weights; from fcnproto.weights import apart; apart.SECONDS = 1;"
        f"weights.read({str(path)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        found = _until(lambda: children.read_text().split())
        assert _until(lambda: _busy(found[0]) > 0.5)  # seconds, more than it takes to start
        parent.kill()
    assert _until(lambda: not _busy(found[0]))


def _until(what, seconds=20):
    """What it gives as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _busy(process):
    """Seconds of processor time that a process has taken; 0 when it has ended."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    ended = words[0] in "ZX"  # where nobody takes note of its end
    return 0 if ended else (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
