"""The verb that trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm  # type: ignore[import-untyped]

from fcnproto import weights as weight_files
from fcnproto.cli.arguments import BACKBONE, ZOO_NET
from fcnproto.cli.common import Verb, echo, tell
from fcnproto.errors import FcnprotoError, Problem, raise_if_any
from fcnproto.proto.source import read_solver

if TYPE_CHECKING:
    from fcnproto.training.curve import LogRow
    from fcnproto.training.loop import Training, Watcher


@click.command(cls=Verb)
@click.argument("source", metavar="DIR|SOLVER", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Of DIR: where everything goes; by default run. What is there stays: run-2 is next.",
)
@click.option(
    "--net", type=ZOO_NET, metavar="N", help="Of DIR: by default fcn8s; see fcnproto list."
)
@click.option(
    "--backbone",
    type=BACKBONE,
    metavar="B",
    help="Of DIR: by default vgg-small; see fcnproto list.",
)
@click.option(
    "--minutes", type=float, metavar="M", help="Of DIR: about how long it may train; by default 10."
)
@click.option("--iterations", type=int, metavar="N", help="Of DIR: instead of --minutes.")
@click.option(
    "--batch", type=int, metavar="N", help="Of DIR: how many images make a step; by default 2."
)
@click.option(
    "--augment",
    metavar="A",
    help="Of DIR: what changes images at random, none, flip or full (mirrored, scaled, cut, in"
    " other colours); by default full.",
)
@click.option("--class-weights", is_flag=True, help="Of DIR: rare classes count as others do.")
@click.option(
    "--patience",
    type=int,
    metavar="N",
    help="Of DIR: it ends after N measurements in a row that were no better.",
)
@click.option(
    "--stages",
    is_flag=True,
    help="Of DIR, with --weights: fine-tune a 32s net first, then 16s, then 8s.",
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="W", help="What to start from.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="S",
    help="Of SOLVER: a .solverstate to go on from; of DIR: its RUN.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Of SOLVER: where the dataset lies; else where the net's data layers say.",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="D", help="auto, cpu or cuda[:i]."
)
@click.pass_context
def train(
    ctx: click.Context,
    source: Path,
    output: Path | None,
    net: str | None,
    backbone: str | None,
    minutes: float | None,
    iterations: int | None,
    batch: int | None,
    augment: str | None,
    class_weights: bool,
    patience: int | None,
    stages: bool,
    weights: Path | None,
    resume: Path | None,
    data: Path | None,
    device: str,
) -> None:
    """Train a net on a folder of images and label maps, or as a Caffe solver says.

    DIR has images/ and labels/ (or masks/). Its data are checked and split, a net and its solver
    are rendered and trained, and the best is kept: RUN has model.onnx, card.md with its measures,
    pictures, a log, and the prototxts with which Caffe does the same.

    A SOLVER is followed as Caffe would. Snapshots are Caffe's own (.caffemodel and .solverstate); a
    log (_log.csv) and a picture of the loss (_loss.png) lie beside them.

    Ctrl-C, or SIGTERM, writes a snapshot and stops.
    """
    if weights is not None and resume is not None:
        raise click.UsageError("--resume has weights of its own: give it or --weights, not both")
    if iterations is not None and minutes is not None:
        raise click.UsageError("how long it trains is said by --minutes or --iterations, not both")
    given = {
        "net": net,
        "backbone": backbone,
        "minutes": minutes,
        "iterations": iterations,
        "batch": batch,
        "augment": augment,
        "class_weights": class_weights or None,
        "patience": patience,
        "stages": stages or None,
        "output": output,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if source.is_dir():
        if data is not None:
            raise click.UsageError(f"--data is for a solver: {source} is a folder of data itself")
        if resume is not None and chosen:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
            raise click.UsageError(f"--resume goes on with what RUN has: {names} cannot change it")
        if resume is not None:
            chosen |= {"output": resume, "resume": True}
        ctx.exit(_train_folder(source, weights, device, chosen))
    if not source.exists():
        raise FcnprotoError(Problem("there is no such folder or solver", str(source)))
    if chosen:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise click.UsageError(f"{source} is no folder, and a solver takes no {names}")
    ctx.exit(_train_solver(source, weights, resume, data, device))


def _code(stopped: int | None) -> int:
    """The exit code of a training that a signal stopped, or none."""
    return 0 if stopped is None else 128 + stopped


def _train_folder(data: Path, weights: Path | None, device: str, chosen: dict[str, Any]) -> int:
    """Data of one's own to a model; gives the exit code."""
    from fcnproto.runs.train import train

    def say(text: str) -> None:
        echo(text, err=True)

    run = train(data, weights=weights, device=device, progress=say, **chosen)
    if run.best is not None:
        echo(str(run.best))
        echo(f"{run.model}: mean IU {run.best.mean_iu:.4f}; see {run.path / 'card.md'}")
    return _code(run.stopped)


def _train_solver(
    solver: Path, weights: Path | None, resume: Path | None, data: Path | None, device: str
) -> int:
    """What a solver says; gives the exit code."""
    from fcnproto.training.devices import chosen_device
    from fcnproto.training.processes import joined

    source = read_solver(solver)
    with joined(chosen_device(device)) as (processes, own):
        from fcnproto.training.cautions import cautions
        from fcnproto.training.loop import Training, prepare
        from fcnproto.training.solver import Solver, chosen_seed
        from fcnproto.weights.fetch import locate

        seed = chosen_seed(source.solver, processes, own)
        trained, tested = prepare(source, data, seed)
        first = trained.first()
        shapes = {name: array.shape for name, array in first.items()}
        learner = Solver(source, shapes=shapes, device=own, processes=processes, seed=seed)
        if resume is not None:
            learner.restore(resume)
        if weights is not None:
            _report(learner.load_weights(weight_files.read(locate(str(weights)))), weights)
        training = Training(learner, trained, tested)
        if not training.leads:
            training.run()
        else:
            pretrained = bool(weights or resume or source.solver.weights)
            found = list(cautions(learner, trained, pretrained=pretrained))
            raise_if_any(FcnprotoError, found)
            tell(found)
            _check_labels(training)
            echo(f"device: {own}; seed: {seed}", err=True)
            with _watched(learner.iteration, source.solver.max_iter) as training.watcher:
                training.run()
    return _code(training.stopped)


def _report(left: list[str], path: Path) -> None:
    """Say which layers a file of weights did not fill."""
    if left:
        names = ", ".join(left)
        echo(f"{path}: has nothing for {names}; it stays as its filler makes it", err=True)


def _check_labels(training: Training) -> None:
    sources = [each for data in (training.data, *training.tests) for each in data.sources]
    total = sum(len(source) for source in sources)
    with tqdm(total=total, desc="labels", unit="map", disable=None, leave=False) as bar:
        training.check_labels(lambda: bar.update())


@contextmanager
def _watched(start: int, end: int) -> Iterator[Watcher]:
    """Progress on a terminal, and what happens as lines on stderr."""
    from fcnproto.training.loop import Watcher

    with tqdm(total=end, initial=start, unit="it", disable=None, file=sys.stderr) as bar:

        def row(row: LogRow) -> None:
            bar.set_postfix_str(_brief(row), refresh=False)
            bar.update()

        yield Watcher(row, lambda text: bar.write(text, file=sys.stderr))


def _brief(row: LogRow) -> str:
    """What is said of an iteration."""
    parts = [f"loss {row.smoothed_loss:.5g}"]
    if row.loss_per_label is not None:
        parts.append(f"per pixel {row.loss_per_label:.4f}")
    parts += [f"lr {row.learning_rate:g}", f"{row.images_per_second:.1f} images/s"]
    return ", ".join(parts)
