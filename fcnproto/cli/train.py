"""The verb that trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm  # type: ignore[import-untyped]

from fcnproto import weights as weight_files
from fcnproto.cli.common import Verb, echo, tell
from fcnproto.proto.source import read_solver

if TYPE_CHECKING:
    from fcnproto.training.curve import Row
    from fcnproto.training.loop import Training, Watcher

STOPPED = 130
"""The exit code of what Ctrl-C ended."""


@click.command(cls=Verb)
@click.argument("solver", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), metavar="W", help="What to start from.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="S", help="A .solverstate to go on from."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the dataset lies; else where the net's data layers say.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.pass_context
def train(
    ctx: click.Context,
    solver: Path,
    weights: Path | None,
    resume: Path | None,
    data: Path | None,
    device: str,
) -> None:
    """Train the net of a Caffe solver as Caffe would.

    Snapshots are Caffe's own (.caffemodel and .solverstate); a log (_log.csv) and a picture of the
    loss (_loss.png) lie beside them. Ctrl-C writes a snapshot and stops.
    """
    if weights is not None and resume is not None:
        raise click.UsageError("--resume has weights of its own: give it or --weights, not both")
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
            done = training.run()
        else:
            pretrained = bool(weights or resume or source.solver.weights)
            tell(cautions(learner, trained, pretrained=pretrained))
            _check_labels(training)
            echo(f"training on {own}, seed {seed}", err=True)
            with _watched(learner.iteration, source.solver.max_iter) as training.watcher:
                done = training.run()
    if not done:
        ctx.exit(STOPPED)


def _report(left: list[str], path: Path) -> None:
    """Say which layers a file of weights did not fill."""
    if left:
        names = ", ".join(left)
        echo(f"{path}: has nothing for {names}: left as their fillers made them", err=True)


def _check_labels(training: Training) -> None:
    sources = [each for data in (training.data, *training.tests) for each in data.sources]
    total = sum(len(source.reader) for source in sources)
    with tqdm(total=total, desc="labels", unit="map", disable=None, leave=False) as bar:
        training.check_labels(lambda: bar.update())


@contextmanager
def _watched(start: int, end: int) -> Iterator[Watcher]:
    """Progress on a terminal, and what happens as lines on stderr."""
    from fcnproto.training.loop import Watcher

    with tqdm(total=end, initial=start, unit="it", disable=None, file=sys.stderr) as bar:

        def row(row: Row) -> None:
            bar.set_postfix_str(_brief(row), refresh=False)
            bar.update()

        yield Watcher(row, lambda text: bar.write(text, file=sys.stderr))


def _brief(row: Row) -> str:
    """What is said of an iteration."""
    parts = [f"loss {row.smoothed_loss:.5g}"]
    if row.loss_per_label is not None:
        parts.append(f"per pixel {row.loss_per_label:.4f}")
    parts += [f"lr {row.learning_rate:g}", f"{row.images_per_second:.1f} images/s"]
    return ", ".join(parts)
