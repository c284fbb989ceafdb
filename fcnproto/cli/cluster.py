"""What `segment` and `score` do with --cluster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import ray

from fcnproto.api.scoring import Comparands
from fcnproto.cli.common import echo, tell
from fcnproto.cli.outcomes import Row, companions_of, show
from fcnproto.cluster import scoring
from fcnproto.cluster.listing import Listing
from fcnproto.cluster.manifest import Manifest
from fcnproto.cluster.places import Folder, Place
from fcnproto.cluster.pool import Pool, joined, machines
from fcnproto.cluster.run import Request, Rows, segment_files
from fcnproto.cluster.segmenting import told
from fcnproto.cluster.work import Files, How, Job, Told
from fcnproto.datasets.measures import Score
from fcnproto.errors import DataError, FcnprotoError, Problem, Severity
from fcnproto.runtime.segment_files import named_kind
from fcnproto.words import counted

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera


def segment(
    arguments: tuple[str, ...],
    model: Path,
    *,
    address: str,
    workers: int | None,
    gpus: float,
    output: str,
    hha: Path | None,
    depth: Path | None,
    camera: Camera | None,
    unit: str | None,
    resume: bool,
    as_json: bool,
    **how: Any,
) -> int:
    """Segment images on a cluster as on one machine; gives the exit code."""
    base, out = str(Path.cwd()), sys.stdout
    if "-" in arguments:
        raise click.UsageError("a cluster reads no standard input: name a file that lists images")
    folder = Folder(Place.of(output, base))
    if folder.place.is_own:
        message = "lies in the memory of each worker, and is gone with it: name another place"
        raise FcnprotoError(Problem(message, output))
    listing = Listing(arguments, base, folder.place)
    listing.check()
    files, given = Files.of(model), How.of(**how)
    request = Request(listing, Manifest(folder, f"{files.digest} {given}"), workers, gpus, resume)
    request.prepare()
    earlier = Counter(failed for _, failed in request.manifest.images())
    with ExitStack() as run:
        run.callback(folder.clean)  # also where there is no cluster
        run.enter_context(joined(address))
        pool = request.pool()
        echo(f"cluster: {counted(len(machines()), 'machine')}, {pool}", err=True)
        if earlier:
            done = counted(earlier.total(), "image")
            echo(f"resumed: {done} done before, {earlier[True]} with an error", err=True)
        job = Job(ray.put(files), files.digest, given, folder)
        said = told(job, pool)
        _tell(said, given)
        companions, readers = companions_of(said.kinds, hha, depth, camera, unit)
        named_kind(said.kinds, companions, str(model))
        folders = {kind: path.absolute() for kind, path in companions.items()}
        job = replace(job, companions=folders, readers=readers)
        whole = show(_outcomes(segment_files(request, job)), None, as_json, out)
    return int(not whole or earlier[True] > 0)


def _outcomes(recorded: Iterable[Rows]) -> Iterator[Row | Problem]:
    """What there is to say of rows of the manifest."""
    for row in chain.from_iterable(recorded):
        for note in row["notes"]:
            yield Problem(note, row["image"], severity=Severity.WARNING)
        if row["error"] is not None:
            yield Problem(row["error"], row["image"])
        else:
            yield {name: row[name] for name in ("image", "labels", "overlay", "shares")}


def scores(
    asked: Comparands,
    model: Path | None,
    *,
    address: str,
    workers: int | None,
    gpus: float,
    progress: Callable[[int], Callable[[int], object]],
    **how: Any,
) -> Mapping[str, Score]:
    """Measure on a cluster, as on one machine."""
    asked.check(model is not None)
    asked = asked.absolute()
    files, given = None if model is None else Files.of(model), How.of(**how)
    with joined(address):
        pool = Pool.of(machines(), workers, gpus)
        echo(f"cluster: {counted(len(machines()), 'machine')}, {pool}", err=True)
        if files is None:
            pairs = asked.pairs(None)
            problems = pairs.problems()
            if problems:
                raise DataError(*problems)
            return scoring.scores(asked, None, pool, len(pairs), progress(len(pairs)))
        job = Job(ray.put(files), files.digest, given)
        said = told(job, pool, asked)
        _tell(said, given)
        return scoring.scores(asked, job, pool, said.pairs, progress(said.pairs))


def _tell(said: Told, how: How) -> None:
    if how.device == "auto" or how.fast:
        echo(f"device: {said.device}" + (f", {said.precision}" if how.fast else ""), err=True)
    for line in said.refining:
        echo(line, err=True)
    tell(said.warnings)
