"""Two nodes of Ray: results as of one machine, with workers and drivers killed on the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as pd
import pytest
from PIL import Image

import fcnproto
from fcnproto.cluster.manifest import NAME, SCHEMA
from fcnproto.datasets import generated
from fcnproto.words import counted

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

COUNT = 60
STORE = 200 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, images of which some are bad, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    net = "shapes-fcn8s"
    fcnproto.export(net, fcnproto.load_weights(fcnproto.fetch(net))).save(folder / "model.onnx")
    reader = generated("shapes")
    (folder / "images").mkdir()
    for number in range(COUNT):
        picture = Image.fromarray(reader.picture("data", number))
        size = ((500, 375), (420, 500))[number % 2]
        picture.resize(size).save(folder / "images" / f"{number:03}.jpg")
    (folder / "images" / "003.jpg").write_bytes(b"\xff\xd8 broken")
    (folder / "images" / "017.png").write_bytes(b"")  # of the name of another image
    (folder / "images" / "text.png").write_text("no image")
    assert verb(folder, "images", "-o", "single").returncode == 1
    return folder


@pytest.fixture(scope="module")
def address():
    """A cluster of two nodes with a core each, and a head that has none."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    yield cluster.address
    cluster.shutdown()


def started(folder, *arguments):
    command = [sys.executable, "-m", "fcnproto", "segment", *arguments, "--model", "model.onnx"]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def verb(folder, *arguments):
    process = started(folder, *arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def results(folder):
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".png", ".jpg")
    }


def manifest(folder):
    return pd.dataset(folder / NAME).to_table().to_pylist(maps_as_pydicts="strict")


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def workers():
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if each.info["cmdline"] and "MapWorker" in each.info["cmdline"][0]
    ]


def test_a_worker_and_the_driver_are_killed(folder, address):
    out = folder / "killed"
    run = started(folder, "images", "-o", "killed", "--cluster", address)
    wait_for(run, lambda: out.is_dir() and len(results(out)) >= 8)
    workers()[0].kill()
    wait_for(run, lambda: any((out / NAME).glob("*.parquet")))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    recorded = {row["image"]: row["labels"] for row in manifest(out)}
    assert 0 < len(recorded) < COUNT + 2
    files = [path for labels in recorded.values() for path in (labels or {}).values()]
    before = {path: Path(path).stat().st_ino for path in files}

    again = verb(folder, "images", "-o", "killed", "--cluster", address)
    assert again.returncode == 1 and "--resume goes on with it" in again.stderr

    resumed = verb(folder, "images", "-o", "killed", "--cluster", address, "--resume")
    assert resumed.returncode == 1, resumed.stderr
    assert f"resumed: {counted(len(recorded), 'image')} done before" in resumed.stderr
    assert results(out) == results(folder / "single")
    rows = manifest(out)
    assert sorted(Path(row["image"]).name for row in rows) == sorted(
        each.name for each in (folder / "images").iterdir()
    )
    assert {path: Path(path).stat().st_ino for path in files} == before, "done again"
    assert {Path(row["image"]).name for row in rows if row["error"]} == {
        "003.jpg",
        "017.png",
        "text.png",
    }
    assert not list(out.glob(".*"))
    for row in rows:
        if row["error"] is None:
            assert sum(row["shares"]["score"].values()) == pytest.approx(1)
            labels = np.asarray(Image.open(row["labels"]["score"]))
            assert len(np.unique(labels)) == len(row["shares"]["score"])
            assert row["seconds"] > 0 and len(row["model"]) == 64


class Kills:
    """Rows as a worker gives them, of a model that one image kills."""

    def __call__(self, table):
        paths = table.column("path").to_pylist()
        if any(path.endswith("017.jpg") for path in paths):
            os._exit(1)
        own = dict(zip(table.column_names, table.columns, strict=True))
        types = {each.name: each.type for each in SCHEMA} | {"fault": pa.string()}
        names = [name for name in types if name != "image" and name != "error"]
        return pa.table(own | {name: pa.nulls(table.num_rows, types[name]) for name in names})


def test_in_one_process(folder, address):
    """An image that kills workers is an error; datasets of others; counts that add up."""
    import ray
    from ray import cloudpickle

    from fcnproto.cluster import run, segment
    from fcnproto.cluster.listing import Listing
    from fcnproto.cluster.manifest import Manifest
    from fcnproto.cluster.places import Folder, Place

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(address, log_to_driver=False, logging_level="FATAL")
    try:
        place = Folder(Place.of(str(folder / "poison")))
        listing = Listing((str(folder / "images"),), "/", place.place)
        request = run.Request(listing, Manifest(place, "run"))
        request.prepare()

        def work(images, pool, size):
            return images.map_batches(
                Kills,
                batch_size=size,
                batch_format="pyarrow",
                compute=pool.actors(alone=size == 1),
                max_restarts=0,
            )

        rows = [row for rows in run.recorded(request, work) for row in rows]
        assert len({row["image"] for row in rows}) == len(rows) == COUNT + 2
        errors = {Path(row["image"]).name: row["error"] for row in rows if row["error"]}
        assert set(errors) == {"017.jpg", "017.png"}
        assert "workers die of it" in errors["017.jpg"]
        assert sorted(manifest(folder / "poison"), key=str) == sorted(rows, key=str)

        files = [str(folder / "images" / f"{number:03}.jpg") for number in (1, 2, 3, 4)]
        model = folder / "model.onnx"
        single = fcnproto.Segmenter(model)
        contents = ray.data.read_binary_files(files, include_paths=True)
        good = ray.data.read_images([files[0], *files[3:]], include_paths=True)
        for images in (contents.drop_columns("bytes"), contents, good):
            found = segment(images, model).take_all()
            assert len(found) == images.count()
            for row in found:
                if row["path"].endswith("003.jpg"):
                    assert "cannot be read" in row["error"] and row["labels"].size == 0
                else:
                    assert row["error"] is None
                    np.testing.assert_array_equal(row["labels"], single(row["path"]).labels)
    finally:
        ray.shutdown()


def test_scores_add_up(folder, address):
    def scored(*arguments):
        command = [sys.executable, "-m", "fcnproto", "score", "--json", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    measured = ("--model", "model.onnx", "--dataset", "shapes")
    one, many = scored(*measured), scored(*measured, "--cluster", address)
    assert many[:2] == one[:2] and one[0] == 0, many[2]
