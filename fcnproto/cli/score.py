"""The verb that measures: score."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fcnproto.cli.common import (
    Verb,
    check_output,
    refine_option,
    tell,
    tell_refining,
    write_output,
)
from fcnproto.errors import Problem, Severity

if TYPE_CHECKING:
    from fcnproto.datasets import Reader
    from fcnproto.datasets.score import Maps, Score

_FOLDER = click.Path(path_type=Path)


@contextmanager
def progress(unit: str, total: int | None = None) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(total=total, unit=unit, disable=None, file=sys.stderr, leave=False) as bar:
        yield bar.update


@click.command(cls=Verb)
@click.option("--model", metavar="M", type=_FOLDER, help="An ONNX model to measure.")
@click.option("--pred", metavar="DIR", type=_FOLDER, help="Label maps to measure.")
@click.option("--data", metavar="DIR", type=_FOLDER, help="A dataset that has the truth.")
@click.option("--dataset", metavar="D", help="A dataset that needs no files: shapes.")
@click.option("--truth", metavar="DIR", type=_FOLDER, help="Label maps that are the truth.")
@click.option("--split", metavar="S", help="Of the dataset; by default its paper's.")
@click.option("--classes", type=click.IntRange(1), metavar="N", help="By default as many as occur.")
@click.option(
    "--ignore", type=int, default=255, show_default=True, metavar="L", help="The ignored label."
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]")
@refine_option
@click.option(
    "--trimap",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Count only pixels within N of a boundary between classes in the truth.",
)
@click.option("--picture", metavar="FILE", help="Draw the confusion matrix, as PNG.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def score(
    model: Path | None,
    pred: Path | None,
    data: Path | None,
    dataset: str | None,
    truth: Path | None,
    split: str | None,
    classes: int | None,
    ignore: int,
    device: str,
    refine: str | None,
    trimap: int | None,
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
    if model and (classes or ignore != 255):
        raise click.UsageError("--classes and --ignore go with --pred")
    check_output(picture, force)
    reader = _reader(data, dataset, split)
    if model is not None and reader is not None:
        results = _of_model(model, reader, device, refine, trimap)
    elif pred is not None:
        results = _of_maps(pred, truth, reader, classes, ignore, trimap)
    if as_json:
        found = {top: score_as_json(*result) for top, result in results.items()}
        only = len(found) == 1
        click.echo(json.dumps(next(iter(found.values())) if only else found, indent=2))
    else:
        for top, result in results.items():
            title = [f"{top}:"] if len(results) > 1 else []
            click.echo("\n".join(title + score_as_table(*result)))
    if picture is not None:
        _draw(results, picture, force)


Result = tuple["Score", tuple[str, ...]]
"""A score, and the names of its classes."""


def _reader(data: Path | None, dataset: str | None, split: str | None) -> Reader | None:
    from fcnproto import datasets

    if dataset is not None:
        return datasets.generated(dataset, split)
    return None if data is None else datasets.find(data, split)


def _of_model(
    model: Path, reader: Reader, device: str, refine: str | None, trimap: int | None
) -> dict[str, Result]:
    from fcnproto.datasets.score import score_model
    from fcnproto.model.metadata import Metadata
    from fcnproto.runtime.segmenter import Plan, Segmenter
    from fcnproto.runtime.session import Session

    session = Session(model, device)
    if device == "auto":
        reason = f" ({session.reason})" if session.reason else ""
        click.echo(f"device: {session.device}{reason}", err=True)
    about = Metadata.from_props(session.metadata, str(model))
    segmenter = Segmenter(session, about, Plan(refine=refine))
    tell_refining(segmenter)
    with progress("image", len(reader)) as advance:
        scores = score_model(segmenter, reader, trimap=trimap, progress=advance)
    return {top: (each, class_names(each, reader.classes(top))) for top, each in scores.items()}


def _of_maps(
    pred: Path,
    truth: Path | None,
    reader: Reader | None,
    classes: int | None,
    ignore: int,
    trimap: int | None,
) -> dict[str, Result]:
    from fcnproto.datasets.score import Classes, Folder, Truth, score_maps

    names: tuple[str, ...] = ()
    if reader is not None:
        top = reader.label_tops[0]
        names = reader.classes(top)
        true: Maps = Truth(reader, top)
    elif truth is not None:
        true = Folder(truth)
    numbers = Classes(classes or len(names) or None, ignore)
    with progress("pair", len(true.names)) as advance:
        found = score_maps(true, Folder(pred), numbers, trimap=trimap, progress=advance)
    _warn(found, true.title)
    return {"label": (found, class_names(found, names))}


def _warn(score: Score, place: str) -> None:
    """Say so where a truth of one class makes every measure meaningless."""
    present = int((score.pixels > 0).sum())
    if present <= 1:
        message = f"the truth has {present} class{'es' * (not present)} that is not ignored"
        hint = "masks of 0 and 255 become classes by `fcnproto dataset convert`"
        tell([Problem(f"{message}: {hint}", place, severity=Severity.WARNING)])


def class_names(score: Score, names: Sequence[str]) -> tuple[str, ...]:
    """A name for each class: its number where it has none."""
    count = len(score.confusion)
    return (*names, *map(str, range(len(names), count)))[:count]


_MEASURES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iu": "mean IU",
    "frequency_weighted_iu": "frequency weighted IU",
}


def score_as_table(score: Score, names: Sequence[str]) -> list[str]:
    """The four measures, and a line for each class."""
    width = max(map(len, (*names, *_MEASURES.values())))
    lines = [
        f"{title:<{width}}  {_percent(getattr(score, key))}" for key, title in _MEASURES.items()
    ]
    lines += ["", f"{'class':<{width}}  accuracy      IU  pixels"]
    rows = zip(names, score.accuracies, score.ius, score.pixels, strict=True)
    return lines + [
        f"{name:<{width}}   {_percent(accuracy)} {_percent(iu)}  {pixels}"
        for name, accuracy, iu, pixels in rows
    ]


def _percent(value: float) -> str:
    return f"{'–':>7}" if math.isnan(value) else f"{value * 100:6.2f}%"


def score_as_json(score: Score, names: Sequence[str]) -> dict[str, Any]:
    """The same for JSON; measures of nothing are None."""
    measures = {key: _number(getattr(score, key)) for key in _MEASURES}
    rows = zip(names, score.accuracies, score.ius, score.pixels, strict=True)
    per_class = [
        {
            "class": index,
            "name": name,
            "accuracy": _number(accuracy),
            "iu": _number(iu),
            "pixels": int(pixels),
        }
        for index, (name, accuracy, iu, pixels) in enumerate(rows)
    ]
    return {**measures, "per_class": per_class}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _draw(results: dict[str, Result], picture: str, force: bool) -> None:
    """A picture for each label map; those after the first have the top in their names."""
    from fcnproto.datasets.confusion_picture import draw

    for number, (top, (score, names)) in enumerate(results.items()):
        path = Path(picture)
        file = path.with_name(f"{path.stem}.{top}{path.suffix}") if number else path
        title = f"mean IU {_percent(score.mean_iu).strip()}"
        content = io.BytesIO()
        draw(score.confusion, names, title).save(content, "PNG")
        write_output(str(file), content.getvalue(), force)
