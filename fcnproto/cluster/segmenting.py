"""Datasets of images to datasets of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import ray
import ray.data

from fcnproto.api.scoring import Comparands
from fcnproto.cluster.places import Folder, Place
from fcnproto.cluster.pool import Pool, machines
from fcnproto.cluster.work import Files, How, Job, Told, Worker
from fcnproto.crf.dense_crf import DenseCRF
from fcnproto.errors import FcnprotoError
from fcnproto.model.given import Mean
from fcnproto.types import Colour
from fcnproto.zoo.legend import ClassesLike

if TYPE_CHECKING:
    from fcnproto.model.file import Model

BATCH = 32
"""So many images are sent to a worker at once; it runs those of one size together."""


def segment(
    images: ray.data.Dataset,
    model: str | PathLike[str] | bytes | Model,
    *,
    output: str | PathLike[str] | None = None,
    workers: int | None = None,
    gpus_per_worker: float = 0,
    device: str = "auto",
    fast: bool = False,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    refine: str | DenseCRF | None = None,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    palette: Sequence[Colour] | str | PathLike[str] | None = None,
) -> ray.data.Dataset:
    """Segment the images of a Ray Dataset.

    A row's image is its `image` (H×W×3 uint8 RGB, as `ray.data.read_images` gives it), its `bytes`
    (as `ray.data.read_binary_files` does) or what its `path` leads to. Rows keep their columns, and
    have besides `labels` (H×W; `labels.<blob>` for further label maps), `shares` (by score blob and
    class), `notes`, `error` (null, or why there is no label map, which then is 0×0), `model` (its
    SHA-256) and `seconds`. With `output`, a folder on any file system that pyarrow or fsspec opens,
    label maps and overlays are written there as `segment` writes them; `labels` and `overlay` are
    their addresses, and rows need a `path`, which names them.

    There are by default as many workers as machines, or with `gpus_per_worker` as have so many
    each; a core of each machine is left to the rest of the pipeline. All else is as for
    `Segmenter`. Raises FcnprotoError if the model cannot be read, or if there is no room for the
    workers.
    """
    how = How.of(
        device=device,
        fast=fast,
        tile=tile,
        scales=tuple(scales),
        flip=flip,
        refine=refine,
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
    )
    files = Files.of(model)
    folder = None if output is None else Folder(Place.of(str(output), "."))
    if folder is not None:
        folder.prepare()
    job = Job(ray.put(files), files.digest, how, folder)
    # The rest of the pipeline needs a core too, or it would wait for us for ever, and we for it;
    # where machines have but one, Ray is asked for none.
    room = [replace(each, cores=each.cores - 1) for each in machines() if each.cores > 1]
    pool = Pool.of(room or machines(), workers, gpus_per_worker)
    return segmented(images, job, pool, **({} if room else {"num_cpus": 0}))


def segmented(
    images: ray.data.Dataset, job: Job, pool: Pool, rows: int = BATCH, **settings: Any
) -> ray.data.Dataset:
    """Rows of images with what becomes of them; `settings` are Ray's for the workers."""
    return images.map_batches(
        Worker,
        batch_size=rows,
        batch_format="pyarrow",
        compute=pool.actors(alone=rows == 1),
        fn_constructor_args=(job, pool.cores),
        **(pool.resources | settings),
    )


def told(job: Job, pool: Pool, asked: Comparands | None = None) -> Told:
    """What a worker says of the model. Raises FcnprotoError if it cannot be loaded or run so.

    That is so too if it cannot be measured on what is asked.
    """
    work = ray.remote(_told).options(**pool.resources, max_retries=3)
    try:
        found: Told = ray.get(work.remote(job, pool.cores, asked))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FcnprotoError):
            raise error.cause from error
        raise
    return found


def _told(job: Job, threads: int, asked: Comparands | None) -> Told:
    segmenter = job.load(threads)
    runner = segmenter.runner
    return Told(
        str(runner.session.device),
        runner.session.precision,
        segmenter.kinds,
        tuple(runner.refining.said(segmenter.metadata)),
        segmenter.warnings,
        0 if asked is None else len(asked.pairs(segmenter)),
    )
