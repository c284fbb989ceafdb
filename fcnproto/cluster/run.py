"""Many images to a folder of label maps with a manifest: nothing is lost, and nothing done twice.

A pass lists the images, leaves out those that are recorded, and has workers do the rest. What a
worker has in hand when it dies is missing afterwards, and is done in the next pass; what killed
workers even alone is recorded as an error.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from fcnproto.cluster.listing import Listing, Named, Names, stream
from fcnproto.cluster.manifest import SCHEMA, Manifest
from fcnproto.cluster.pool import BLOCK_BYTES, Pool, first_line, machines, quiet
from fcnproto.cluster.segmenting import BATCH, segmented
from fcnproto.cluster.work import Job
from fcnproto.errors import FcnprotoError

Rows = Sequence[dict[str, Any]]

Segmented = Callable[["ray.data.Dataset", Pool, int], "ray.data.Dataset"]
"""How rows of a listing become rows of results, with a pool of workers, so many at once."""

_SIZES = (BATCH, 1, 1)
"""Images sent to a worker at once; after a pass that brought nothing more, the next number."""
_SHUFFLED = 1000


@dataclass(frozen=True)
class Request:
    """What is asked of a cluster."""

    listing: Listing
    manifest: Manifest
    workers: int | None = None
    gpus: float = 0
    resume: bool = False

    def prepare(self) -> None:
        """Make the folder and the manifest. Raises FcnprotoError if it is of another run."""
        folder = self.manifest.folder
        folder.prepare()
        try:
            self.manifest.prepare(self.resume)
        except BaseException:
            folder.clean()
            raise

    def pool(self) -> Pool:
        """Workers for the machines that there are now."""
        return Pool.of(machines(), self.workers, self.gpus)


def segment_files(request: Request, job: Job) -> Iterator[Rows]:
    """Segment images into a folder; gives rows of the manifest as they are recorded.

    Raises FcnprotoError if results cannot be written, or if workers cannot be had.
    """

    def work(images: ray.data.Dataset, pool: Pool, size: int) -> ray.data.Dataset:
        return segmented(images, job, pool, size, max_restarts=0)

    return recorded(request, work)


def recorded(request: Request, work: Segmented) -> Iterator[Rows]:
    """The rows that workers make of a listing, each once, as they are recorded."""
    manifest = request.manifest
    recorder = _Recorder(manifest)
    sizes = list(_SIZES)
    try:
        with quiet() as context:
            while True:
                before = recorder.images.count
                context.target_max_block_size = BLOCK_BYTES if sizes[0] > 1 else 1
                yield from recorder.take(_pass(request, work, sizes))
                if recorder.is_complete:
                    return
                manifest.write()
                if recorder.images.count > before:
                    continue
                if recorder.trouble is not None and len(sizes) == 1:
                    raise FcnprotoError(f"the workers fail: {first_line(recorder.trouble)}")
                if len(sizes) == 1:
                    yield from recorder.give_up(missing(request))
                    return
                del sizes[0]
    finally:
        manifest.write()
        manifest.folder.clean()


def _pass(request: Request, work: Segmented, sizes: list[int]) -> Iterator[pa.Table]:
    """Tables of results for all images that are not recorded yet."""
    size = sizes[0]
    source = Images(request, size, len(sizes))
    images = ray.data.read_datasource(source, override_num_blocks=1, num_cpus=0)
    done = work(images, request.pool(), size)
    yield from done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)


class Images(ray.data.Datasource):
    """The images of a listing that are not recorded, as one stream."""

    def __init__(self, request: Request, rows: int, left: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._request, self._rows, self._left = request, rows, left

    def estimate_inmemory_data_size(self) -> None:
        """Nobody knows."""

    def get_read_tasks(self, *_args: Any, **_settings: Any) -> list[ReadTask]:
        """The one task."""
        request, rows, left = self._request, self._rows, self._left
        about = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)

        def read() -> Iterator[pa.Table]:
            images = missing(request)
            return stream(images if rows > 1 else _shuffled(images, left), rows)

        return [ReadTask(read, about)]


def _shuffled(images: Iterator[Named], seed: int) -> Iterator[Named]:
    """Images in another order in each pass: what one kills is not always the same one's neighbour.

    Ray may list once more what was lost, so that the order must be the same in one pass.
    """
    order = random.Random(seed)
    while part := list(islice(images, _SHUFFLED)):
        order.shuffle(part)
        yield from part


def missing(request: Request) -> Iterator[Named]:
    """The images of a listing that are not recorded."""
    done = Names()
    for image, _ in request.manifest.images():
        done.add(image)
    return (each for each in request.listing.images() if each.image not in done)


class _Recorder:
    """Takes rows of results, and records each image once."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.images = Names()
        for image, _ in manifest.images():
            self.images.add(image)
        self.is_complete = False
        self.trouble: Exception | None = None

    def take(self, tables: Iterator[pa.Table]) -> Iterator[Rows]:
        """Record tables until there are no more, or until the cluster fails."""
        self.is_complete, self.trouble = False, None
        start, listed = self.images.count, None
        while True:
            try:
                table = next(tables, None)
            except FcnprotoError:
                raise
            except Exception as error:  # RayError, and what Ray Data raises itself
                self.trouble = error
                return
            if table is None:
                break
            if not table.num_rows:
                continue
            for count in table.column("listed").drop_null().to_pylist():
                listed = count
            table = table.filter(pc.is_null(table.column("listed")))
            for fault in table.column("fault").drop_null().to_pylist():
                raise FcnprotoError(fault)
            yield self._record(table)
        self.is_complete = listed is not None and self.images.count - start == listed

    def _record(self, table: pa.Table) -> Rows:
        paths = table.column("path").to_pylist()
        new = pa.array([self.images.add(path) for path in paths], pa.bool_())
        table = table.append_column("image", table.column("path"))
        rows = table.select(SCHEMA.names).filter(new).cast(SCHEMA)
        self._manifest.add(rows)
        return _rows(rows)

    def give_up(self, named: Iterator[Named]) -> Iterator[Rows]:
        """Record as errors what could not be done."""
        for each in named:
            row = {"image": each.image, "error": each.error or _KILLS, "notes": []}
            table = pa.Table.from_pylist([row], SCHEMA)
            self.images.add(each.image)
            self._manifest.add(table)
            yield _rows(table)


def _rows(table: pa.Table) -> Rows:
    found: Rows = table.to_pylist(maps_as_pydicts="strict")
    return found


_KILLS = "workers die of it, even where it is the only image that they have"
