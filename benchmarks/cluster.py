"""A cluster on this machine: what is lost or done twice, what an image costs, how it scales.

    python benchmarks/cluster.py faults [IMAGES]      one machine, two nodes; kills
    python benchmarks/cluster.py cost [IMAGES]        beside the model's own time
    python benchmarks/cluster.py entries [ENTRIES]    a list with a model that does nothing
    python benchmarks/cluster.py workers [IMAGES]     two workers against one, in turns

Nodes are Ray's own for tests: processes of this machine, each with one core.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pd
import ray
import ray.data
from PIL import Image
from ray.cluster_utils import Cluster

import fcnproto
from fcnproto.cluster.listing import Listing
from fcnproto.cluster.manifest import NAME, SCHEMA, Manifest
from fcnproto.cluster.places import Folder, Place
from fcnproto.cluster.pool import Pool
from fcnproto.cluster.run import Request, recorded
from fcnproto.cluster.work import TYPES
from fcnproto.datasets import generated
from fcnproto.runtime.segmenter import Segmenter

NET = "shapes-fcn8s"
STORE = 200 * 2**20
BAD = 100  # every so many images one is broken


def write_images(folder: Path, count: int, bad: bool = True) -> Path:
    reader = generated("shapes")
    folder.mkdir()
    for number in range(count):
        file = folder / f"{number:05}.jpg"
        if bad and number % BAD == BAD // 2:
            file.write_bytes(b"\xff\xd8\xff\xe0 broken")
        else:
            picture = reader.picture("data", number % len(reader))
            Image.fromarray(picture).save(file, quality=90)
    return folder


def write_model(folder: Path) -> Path:
    file = folder / "model.onnx"
    fcnproto.export(NET, fcnproto.load_weights(fcnproto.fetch(NET))).save(file)
    return file


@contextmanager
def nodes(count: int, cores: int = 1) -> Iterator[Cluster]:
    """A cluster whose head has no cores, so that any other node can go."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE,
            "include_dashboard": False,
        },
    )
    for _ in range(count):
        cluster.add_node(num_cpus=cores, object_store_memory=STORE)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


class Verb:
    """`fcnproto segment` in a process of its own."""

    def __init__(self, images: Path, model: Path, output: Path, *arguments: str) -> None:
        self.output, self.start = output, time.monotonic()
        command = [sys.executable, "-m", "fcnproto", "segment", str(images), "--model", str(model)]
        self.process = subprocess.Popen(
            [*command, "-o", str(output), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self) -> float:
        _, said = self.process.communicate()
        seconds = time.monotonic() - self.start
        last = [line for line in said.splitlines() if "error:" not in line]
        print(f"    exit {self.process.returncode} after {seconds:.1f} s: {'; '.join(last)}")
        return seconds

    def wait_for(self, count: int) -> dict[str, int]:
        """Until there are so many label maps; gives the inode of each."""
        while self.process.poll() is None and len(inodes(self.output)) < count:
            time.sleep(0.05)
        return inodes(self.output)


def inodes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {e.name: e.inode() for e in entries if e.name.endswith(".png")}


def digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.suffix in (".png", ".jpg")
    }


def report(output: Path, count: int, before: dict[str, int], single: dict[str, str]) -> None:
    table = pd.dataset(output / NAME).to_table()
    images = table.column("image").to_pylist()
    errors = len(images) - table.column("error").null_count
    now = inodes(output)
    twice = sum(now[name] != inode for name, inode in before.items())
    same = digests(output) == single
    print(
        f"    files {'equal to' if same else 'DIFFERENT from'} one machine's;"
        f" manifest: {len(images)} rows, {len(set(images))} images, {errors} errors (of {count})"
        + (f"; {twice} of {len(before)} done before were done twice" if before else "")
    )


def faults(count: int = 3000) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        images, model = write_images(folder / "images", count), write_model(folder)
        print("one machine")
        Verb(images, model, folder / "single").done()
        single = digests(folder / "single")
        with nodes(2) as cluster:
            address = ("--cluster", cluster.address)
            print("two nodes")
            Verb(images, model, folder / "two", *address).done()
            report(folder / "two", count, {}, single)
            print("the driver killed half way, then resumed")
            run = Verb(images, model, folder / "driver", *address)
            run.wait_for(count // 2)
            run.process.send_signal(signal.SIGKILL)
            run.done()
            before = inodes(folder / "driver")
            Verb(images, model, folder / "driver", *address, "--resume").done()
            report(folder / "driver", count, before, single)
            print("a node killed half way")
            run = Verb(images, model, folder / "node", *address)
            run.wait_for(count // 2)
            cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
            before = inodes(folder / "node")
            run.done()
            report(folder / "node", count, before, single)


def cost(count: int = 1000) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        images, model = write_images(folder / "images", count, bad=False), write_model(folder)
        segmenter = Segmenter(model, device="cpu", scores=False)
        files = sorted(images.iterdir())
        own: list[float] = []
        run = segmenter.runner.run

        def timed(*arguments: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            found = run(*arguments, **settings)
            own.append(time.perf_counter() - start)
            return found

        segmenter.runner.run = timed  # type: ignore[method-assign]
        start = time.perf_counter()
        (folder / "single").mkdir()
        for result in segmenter(files):
            result.save(folder / "single")
        whole = time.perf_counter() - start
        with nodes(1, cores=2) as cluster:
            Verb(images, model, folder / "many", "--cluster", cluster.address).done()
        seconds = pd.dataset(folder / "many" / NAME).to_table().column("seconds").to_pylist()
        each = [1e3 * total / count for total in (sum(own), whole, sum(seconds))]
        print(
            f"    {count} images: the model alone {each[0]:.2f} ms an image; with reading and"
            f" writing one machine {each[1]:.2f} ms, a worker {each[2]:.2f} ms"
        )
        print(f"    a worker's beside one machine's: {each[2] - each[1]:+.2f} ms an image")


class Nothing:
    """Rows as a worker gives them, of a model that does nothing."""

    def __call__(self, table: pa.Table) -> pa.Table:
        own = dict(zip(table.column_names, table.columns, strict=True))
        names = [each.name for each in SCHEMA if each.name != "image"] + ["fault"]
        return pa.table(own | {name: pa.nulls(table.num_rows, TYPES[name]) for name in names})


def do_nothing(images: ray.data.Dataset, pool: Pool, size: int) -> ray.data.Dataset:
    return images.map_batches(
        Nothing,
        batch_size=size,
        batch_format="pyarrow",
        compute=pool.actors(alone=size == 1),
        max_restarts=0,
        **pool.resources,
    )


def entries(most: int = 1_000_000) -> None:
    """In processes of their own, for a process's peak never falls."""
    for count in (most // 4, most // 2, most):
        subprocess.run([sys.executable, __file__, "nothing", str(count)], check=True)


def nothing(count: int) -> None:
    with TemporaryDirectory() as name, nodes(1) as cluster:
        folder = Path(name)
        with (folder / "list.txt").open("w") as file:
            file.writelines(f"images/{number:08}.jpg\n" for number in range(count))
        output = Folder(Place.of("out", name))
        listing = Listing((str(folder / "list.txt"),), name, output.place)
        request = Request(listing, Manifest(output, "nothing"))
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        request.prepare()
        started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        rows = sum(map(len, recorded(request, do_nothing)))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = pd.dataset(folder / "out" / NAME).count_rows()
        print(
            f"    {count} entries: {rows} rows, {found} in the manifest, {seconds:.1f} s,"
            f" driver's peak {peak / 1024:.0f} MB ({started / 1024:.0f} MB before the run)",
            flush=True,
        )


def workers(count: int = 1000) -> None:
    with TemporaryDirectory() as name, nodes(1, cores=2) as cluster:
        folder = Path(name)
        images, model = write_images(folder / "images", count, bad=False), write_model(folder)
        rates: dict[tuple[str, str], list[float]] = {}
        for turn in range(2):
            for number, cores in (("1", "1"), ("1", "2"), ("2", "1")):
                output = folder / f"{turn}-{number}-{cores}"
                # A worker of one core is one of two of which the other has nothing to do.
                share = ("--workers", number if cores == "1" else "1")
                Verb(images, model, output, "--cluster", cluster.address, *share).done()
                table = pd.dataset(output / NAME).to_table(columns=["seconds"])
                rates.setdefault((number, cores), []).append(sum(table["seconds"].to_pylist()))
        print(rates)


COMMANDS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (faults, cost, entries, nothing, workers)
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    print(f"{os.cpu_count()} cores, ray {ray.__version__}", flush=True)
    COMMANDS[sys.argv[1]](*map(int, sys.argv[2:]))
