"""What became of each image, in Parquet: a folder of parts, each written whole."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pyarrow as pa
from pyarrow import parquet

from fcnproto.cluster.places import Folder, Place
from fcnproto.errors import FcnprotoError, Problem

NAME = "manifest.parquet"

_SHARES = pa.map_(pa.string(), pa.map_(pa.string(), pa.float64()))

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string()),  # its path or address
        pa.field("labels", pa.map_(pa.string(), pa.string())),  # by score blob, the label map
        pa.field("overlay", pa.string()),
        pa.field("shares", _SHARES),  # by score blob, of each class that was found
        pa.field("notes", pa.list_(pa.string())),  # warnings
        pa.field("error", pa.string()),  # why there is no label map
        pa.field("model", pa.string()),  # SHA-256
        pa.field("seconds", pa.float64()),  # of those sent to a worker together, an equal share
    ]
)

_RUN = b"fcnproto"  # the key under which a part says how its images were segmented
_MOST_ROWS = 2**13
_LEAST_SECONDS, _SHARE = 1.0, 0.01  # of its time is at most lost where a run is killed


@dataclass
class Manifest:
    """The parts in a folder of results; rows are added, and written now and then.

    `run` says with what and how images are segmented: what was recorded of another run is refused.
    """

    folder: Folder
    run: str
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows: int = 0
    _start: float = field(default_factory=time.monotonic)
    _last: float = 0.0

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.folder.place.child(NAME)

    def prepare(self, resume: bool) -> None:
        """Raise FcnprotoError if there is one that this run must not add to; make one if none."""
        parts = list(self._parts())
        if parts and not resume:
            message = "holds an earlier run: --resume goes on with it, another -o DIR begins anew"
            raise FcnprotoError(Problem(message, str(self.place)))
        for part in parts[:1]:
            with part.system.open_input_file(part.full) as file:
                found = (parquet.read_schema(file).metadata or {}).get(_RUN, b"").decode()
            if found != self.run:
                message = "holds a run of another model, or one with other options: name another -o"
                raise FcnprotoError(Problem(message, str(self.place)))
        self.place.system.create_dir(self.place.full, recursive=True)

    def images(self) -> Iterator[tuple[str, bool]]:
        """Every image that is recorded, and whether it has no label map; few are in memory."""
        for part in self._parts():
            with part.system.open_input_file(part.full) as file:
                for batch in parquet.ParquetFile(file).iter_batches(columns=["image", "error"]):
                    errors = batch.column("error").is_valid().to_pylist()
                    yield from zip(batch.column("image").to_pylist(), errors, strict=True)

    def _parts(self) -> Iterator[Place]:
        if self.place.kind() == "folder":
            for part, _ in self.place.children():
                if part.suffix == ".parquet":
                    yield part

    def add(self, rows: pa.Table) -> None:
        """Record rows, and write them if there are enough, or if it is some time ago."""
        self._waiting.append(rows)
        self._rows += rows.num_rows
        now = time.monotonic()
        waits = max(_LEAST_SECONDS, _SHARE * (now - self._start))
        if self._rows >= _MOST_ROWS or now - self._last > waits:
            self.write()

    def write(self) -> None:
        """Write the rows that wait, as a part of their own."""
        self._last = time.monotonic()
        if not self._rows:
            return
        table = pa.concat_tables(self._waiting).replace_schema_metadata({_RUN: self.run.encode()})
        content = io.BytesIO()
        parquet.write_table(table, content)
        self.folder.write(f"{NAME}/{uuid4().hex}.parquet", content.getvalue())
        self._waiting, self._rows = [], 0
