"""Workers that a cluster has room for, and clusters that are not there."""

import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.cluster.pool import Machine, Pool, joined
from fcnproto.errors import FcnprotoError

TWO = [Machine(8, 2), Machine(2, 0)]


@pytest.mark.parametrize(
    ("machines", "workers", "gpus", "expected"),
    [
        ([Machine(4, 0)], None, 0, Pool(1, 4)),
        ([Machine(4, 0)], 3, 0, Pool(3, 1)),
        (TWO, None, 0, Pool(2, 4)),  # both on the larger one: more cores than with one on each
        (TWO, 5, 0, Pool(5, 2)),
        (TWO, 10, 0, Pool(10, 1)),
        (TWO, None, 1, Pool(2, 4, 1)),
        (TWO, None, 0.5, Pool(4, 2, 0.5)),
        (TWO, 1, 2, Pool(1, 8, 2)),
    ],
)
def test_workers_have_as_many_cores_as_let_all_run(machines, workers, gpus, expected):
    assert Pool.of(machines, workers, gpus) == expected


@pytest.mark.parametrize(("workers", "gpus"), [(11, 0), (3, 1), (None, 3)])
def test_too_many_workers(workers, gpus):
    with pytest.raises(FcnprotoError, match="10 cores and 2 GPUs: there is no room for"):
        Pool.of(TWO, workers, gpus)


def test_a_cluster_without_machines():
    with pytest.raises(FcnprotoError, match="0 cores"):
        Pool.of([])


def test_a_run_that_finds_no_cluster_leaves_nothing_unfinished(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "m.onnx").write_bytes(b"no model")
    arguments = [tmp_path / "a.png", "--model", tmp_path / "m.onnx", "-o", tmp_path / "out"]
    done = CliRunner().invoke(main, ["segment", *map(str, arguments), "--cluster", "127.0.0.1:1"])
    assert done.exit_code == 1 and "no cluster to join" in done.stderr
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["manifest.parquet"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:1", "a:b"])
def test_no_cluster_at_an_address(address):
    with pytest.raises(FcnprotoError, match="there is no cluster to join"), joined(address):
        pass


def test_the_address_of_the_environment_is_knocked_at_too(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(FcnprotoError, match=r"127\.0\.0\.1:1: error: there is no"), joined("auto"):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_has_ended_is_not_waited_for(monkeypatch):
    import ray

    with tempfile.TemporaryDirectory() as folder:  # short, for Ray's sockets lie in it
        monkeypatch.setenv("RAY_TMPDIR", folder)
        current = Path(folder) / "ray" / "ray_current_cluster"
        current.parent.mkdir()
        current.write_text("127.0.0.1:1\n")
        with joined("auto"):
            assert sum(node["Alive"] for node in ray.nodes()) == 1
