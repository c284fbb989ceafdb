"""The verb that measures: score."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fcnproto.cli.arguments import DATASET, FILE, classes_option
from fcnproto.cli.common import (
    Verb,
    check_output,
    cluster_options,
    device_options,
    echo,
    opened,
    refine_option,
    tell,
    tell_refining,
    write_output,
)
from fcnproto.files import beside

if TYPE_CHECKING:
    from fcnproto.datasets.measures import Score

_FOLDER = click.Path(path_type=Path)


@contextmanager
def progress(unit: str, total: int | None = None) -> Iterator[Callable[..., object]]:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=total, unit=unit, disable=None, file=sys.stderr, leave=False) as bar:
        yield bar.update


@click.command(cls=Verb)
@click.option("--model", metavar="M", type=_FOLDER, help="An ONNX model to measure.")
@click.option("--pred", metavar="DIR", type=_FOLDER, help="Label maps to measure.")
@click.option("--data", metavar="DIR", type=_FOLDER, help="A dataset that has the truth.")
@click.option("--dataset", type=DATASET, metavar="D", help="A dataset that needs no files: shapes.")
@click.option("--truth", metavar="DIR", type=_FOLDER, help="Label maps that are the truth.")
@click.option("--split", metavar="S", help="Of the dataset; by default its paper's.")
@classes_option("by default as the model or the dataset says, or as many as occur")
@click.option(
    "--ignore", type=int, default=255, show_default=True, metavar="L", help="The ignored label."
)
@device_options
@refine_option
@click.option(
    "--trimap",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Count only pixels within N of a boundary between classes in the truth.",
)
@cluster_options
@click.option("--picture", type=FILE, metavar="FILE", help="Draw the confusion matrix, as PNG.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(
    model: Path | None,
    pred: Path | None,
    data: Path | None,
    dataset: str | None,
    truth: Path | None,
    split: str | None,
    classes: int | Path | None,
    ignore: int,
    device: str,
    fast: bool,
    no_cache: bool,
    refine: str | None,
    trimap: int | None,
    cluster: str | None,
    workers: int | None,
    gpus_per_worker: float,
    picture: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Print pixel accuracy, mean accuracy, mean IU and frequency weighted IU, and each class's.

    What is measured is a model (--model) or label maps (--pred); the truth is a dataset (--data or
    --dataset) or label maps (--truth), PNG or .npy, matched by name. All come from one confusion
    matrix over the whole set.
    """
    if (model is None) == (pred is None):
        raise click.UsageError("give --model M or --pred DIR")
    if sum(each is not None for each in (data, dataset, truth)) != 1 or (model and truth):
        raise click.UsageError("give --data DIR or --dataset D, or with --pred, --truth DIR")
    if split and truth:
        raise click.UsageError("--split goes with --data and --dataset")
    if refine and not model:
        raise click.UsageError("--refine goes with --model")
    if model and ignore != 255:
        raise click.UsageError("--ignore goes with --pred")
    if (workers or gpus_per_worker) and cluster is None:
        raise click.UsageError("--workers and --gpus-per-worker go with --cluster")
    check_output(picture, force, binary=True)
    from fcnproto.api.scoring import Comparands
    from fcnproto.datasets.score import cautions
    from fcnproto.runtime.segmenter import Segmenter

    asked = Comparands(data, pred, truth, dataset, split, classes, ignore, trimap)
    unit = "pair" if model is None else "image"
    with ExitStack() as bars:

        def begin(total: int) -> Callable[..., object]:
            return bars.enter_context(progress(unit, total))

        if cluster is not None:
            from fcnproto.cli import cluster as on_cluster

            results = on_cluster.scores(
                asked,
                model,
                address=cluster,
                workers=workers,
                gpus=gpus_per_worker,
                progress=begin,
                device=device,
                fast=fast,
                cache=not no_cache,
                refine=refine,
            )
        else:
            segmenter = None
            if model is not None:
                session = opened(model, device, fast, no_cache)
                segmenter = Segmenter(session, refine=refine, scores=False)
                tell_refining(segmenter)
            pairs = asked.pairs(segmenter)
            results = pairs.score(begin(len(pairs)))
    if pred is not None:
        tell(cautions(next(iter(results.values())), str(truth or data or dataset)))
    if as_json:
        found = {top: each.as_json() for top, each in results.items()}
        echo(json.dumps(next(iter(found.values())) if len(found) == 1 else found, indent=2))
    else:
        for top, each in results.items():
            echo(f"{top}:\n{each}" if len(results) > 1 else str(each))
    if picture is not None:
        _draw(results, picture, force)


def _draw(results: Mapping[str, Score], picture: str, force: bool) -> None:
    """A picture for each label map; those after the first have the top in their names."""
    from fcnproto.runtime.images import png_of

    for number, (top, score) in enumerate(results.items()):
        path = Path(picture)
        file = beside(path, f".{top}{path.suffix}") if number else path
        write_output(str(file), png_of(score.picture()), force)
