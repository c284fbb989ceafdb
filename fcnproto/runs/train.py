"""Data of one's own to a model: checked, split, rendered, trained, measured, exported."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from numbers import Real
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fcnproto.datasets.check import check, check_folder
from fcnproto.datasets.folder import Layout
from fcnproto.datasets.measures import Score
from fcnproto.datasets.split import Split, split_checked
from fcnproto.errors import DataError, FcnprotoError, Problem, ZooError, condensed, raise_if_any
from fcnproto.runs import plan
from fcnproto.runs import stages as staged
from fcnproto.runs.board import board
from fcnproto.runs.job import Begin, Job, Say, made
from fcnproto.runs.pace import Pace
from fcnproto.runs.plan import Plan
from fcnproto.runs.stages import Stages
from fcnproto.training.cautions import cautions
from fcnproto.training.curve import LogRow
from fcnproto.training.devices import chosen_device
from fcnproto.training.loop import Training, Watcher
from fcnproto.training.processes import Processes, joined
from fcnproto.training.solver import Solver
from fcnproto.types import path_of, whole

MINUTES = 10.0
"""How long it trains by default."""
EVERY = 5.0
"""Seconds between two lines that say how far it is."""

_TIMED = 3
"""So many steps are timed before it is planned how many there will be."""


@dataclass(frozen=True)
class Run:
    """What a training left behind."""

    path: Path
    """The folder of everything."""
    model: Path | None
    """The best model, as ONNX; None if the training was stopped before its end."""
    history: tuple[LogRow, ...] = field(repr=False)
    """Each iteration and each measurement."""
    best: Score | None
    """The measures of the model on val."""
    stopped: int | None = None
    """The signal that stopped it before its end."""


def train(
    data: str | PathLike[str],
    *,
    net: str = "fcn8s",
    backbone: str = "vgg-small",
    weights: str | PathLike[str] | None = None,
    output: str | PathLike[str] = "run",
    minutes: float | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    augment: str | None = None,
    class_weights: bool = False,
    patience: int | None = None,
    stages: bool = False,
    resume: bool = False,
    device: str = "auto",
    progress: Say = lambda _text: None,
) -> Run:
    """Train a net on a folder of images and label maps, and export the best of it.

    The folder is checked first: nothing is written if there is an error in it. Everything goes to
    `output`, or `output`-2 and so on if that is there. Where the folder has no val.txt, a fifth of
    its images is measured on. With `weights` (a file, or a name that `fetch` knows) the net is
    fine-tuned, else it learns from nothing. `minutes` is about how long it trains, 10 by default;
    `iterations` says it exactly. `batch` images make a step. `augment` is what happens
    to images at random while it learns, the label maps with them: none, flip (left and right are
    exchanged) or full (also scale, place and colours; the default of the recipe). `class_weights`
    lets rare classes count as much as frequent ones. After `patience` measurements in a row that
    were no better it ends. With `stages` a 32s net is fine-tuned first, then a 16s net from it, and
    so on to `net`, each in a part of the time. `resume` goes on in `output`, with what that has.
    `progress` is told what happens, a line each. Ctrl-C saves a snapshot and ends. Under torchrun
    all processes learn together, and the first alone speaks, writes and gives the measures.

    Raises DataError for data that do not fit, ZooError for nets, WeightsError for weights.
    """
    folder, output = path_of(data, "a folder of data"), path_of(output, "a folder for the run")
    wishes = (weights, minutes, iterations, batch, augment, patience)
    if resume and (class_weights or stages or any(wish is not None for wish in wishes)):
        raise FcnprotoError("a run is resumed as it was begun: all but the device stays")
    _refuse(minutes)
    iterations, batch, patience = (
        None if value is None else whole(value, name, 1)
        for name, value in (("iterations", iterations), ("batch", batch), ("patience", patience))
    )
    if minutes is not None and iterations is not None:
        raise FcnprotoError("how long it trains is said by minutes or by iterations, not by both")
    if not isinstance(net, str):
        raise ZooError(f"expected the name of a net of the zoo, found {net!r}")
    if weights is not None:
        path_of(weights, "weights as a file or the name of a net")
    one = _One(folder, device, progress)
    if resume:
        begun = Stages.of(output, folder)
        return one.run(None, output) if begun is None else _staged(begun, one)
    if minutes is None and iterations is None:
        minutes = MINUTES
    begin = Begin(
        folder, net, backbone, None if weights is None else str(weights), minutes, iterations,
        batch, augment, class_weights, patience,
    )  # fmt: skip
    if not stages:
        return one.run(begin, output)
    staged.check(net, weights)
    _checked(folder, lambda _text: None)
    begun = Stages(made(output), begin)
    begun.save()
    return _staged(begun, one)


def _staged(stages: Stages, one: _One) -> Run:
    """One stage after the other, those that are done left as they are."""
    one = replace(one, root=stages.path)
    weights = stages.last.weights
    for begin in stages.before():
        path = stages.folder(begin.net)
        if not (path / "model.onnx").is_file():
            asked = None if Job.is_here(path) else replace(begin, weights=weights)
            run = one.run(asked, path)
            if run.stopped is not None:
                return replace(run, path=stages.path)
            path = run.path
        weights = str(path / "snapshot" / "train_best.caffemodel")
    return one.run(replace(stages.share(), weights=weights), stages.path, stages.path)


@dataclass(frozen=True)
class _One:
    """How a single net is trained on a folder."""

    data: Path
    device: str
    say: Say
    root: Path | None = None
    """What goes on by --resume, if that is not the run itself."""

    def run(self, begin: Begin | None, output: Path, path: Path | None = None) -> Run:
        """Begin a run in a folder that is there or in `output`; go on in it if nothing begins."""
        say = self.say
        with joined(chosen_device(self.device)) as (processes, own):
            if not processes.leads:
                job = Job.of(Path(processes.told(None)), self.data)
                return Run(job.path, None, (), None, _others(job, own, processes, begin is None))
            fitted = None
            if begin is None:
                job = Job.of(output, self.data)
            else:
                job, fitted = begin.begin(path, output, _checked(self.data, say), say)
                say(f"device: {own}")
                if begin.minutes is not None:
                    job = job.planned(_timed(job.training(own), 60 * begin.minutes))
                    say(f"{job.recipe.max_iter} iterations fit into {begin.minutes:g} minutes")
                job.save()
            processes.told(str(job.path))
            training = job.training(own, processes)
            solver = training.solver
            if fitted is not None:
                solver.load_weights(fitted)
            if begin is None:
                solver.restore(job.newest())
                say(f"device: {own}")
                say(f"going on at iteration {solver.iteration} of {job.recipe.max_iter}")
            else:
                solver.snapshot(job.path / "snapshot" / "start", numbered=False)
            solver.share()
            _heed(training, begin is None or begin.weights is not None, say)
            pace = None
            if begin is not None and begin.minutes is not None:
                pace = Pace(job, 60 * begin.minutes, say)
            training.replan = pace
            voice = _Voice(say, solver)
            watcher = Watcher(voice.row, voice.text)
            with board(job.path / "tensorboard", solver.iteration, watcher) as own_watcher:
                training.watcher = own_watcher
                done = training.run()
        job = pace.job if pace is not None else job
        rows = tuple(job.log())
        if not done:
            root = str(self.root or job.path)
            command = shlex.join(["fcnproto", "train", str(self.data), "--resume", root])
            say(f"stopped at iteration {solver.iteration}; `{command}` goes on")
            return Run(job.path, None, rows, None, training.stopped)
        score = job.finish(training, rows)
        return Run(job.path, job.path / "model.onnx", rows, score)


def _others(job: Job, device: str, processes: Processes, resume: bool) -> int | None:
    """The part of a process that is not the first: it computes, and neither writes nor speaks.

    Gives the signal that stopped it.
    """
    training = job.training(device, processes)
    if resume:
        training.solver.restore(job.newest())
    training.solver.share()
    training.run()
    return training.stopped


def _heed(training: Training, pretrained: bool, say: Say) -> None:
    """Say what people trip over; raise what keeps it from being trained."""
    found = list(cautions(training.solver, training.data, pretrained=pretrained))
    raise_if_any(FcnprotoError, found)
    for problem in found:
        say(str(problem))
    training.check_labels()


def _refuse(minutes: float | None) -> None:
    if minutes is not None and (not isinstance(minutes, Real) or not 0 < minutes < math.inf):
        raise FcnprotoError(f"minutes must be more than 0, found {minutes!r}")


def _checked(folder: Path, say: Say) -> Split | None:
    """How a folder's images are shared out; None where the folder says it.

    Says what is wrong with it; DataError with all that keeps it from being trained on.
    """
    layout = Layout.of(folder)
    if layout is None or "val" in layout.lists:
        _tell(check_folder(folder), say)
        if layout is not None and "train" not in layout.lists:
            message = "names images to measure on, but there is no train.txt to train on"
            raise DataError(Problem(message, str(layout.lists["val"])))
        return None
    report = check(folder)
    try:
        split = split_checked(layout, report)
    except DataError:
        _tell(report.problems, say)  # which are all that is wrong
        raise
    with TemporaryDirectory() as lists:
        split.write(Path(lists))
        problems = check_folder(folder, lists=Path(lists), seen=report)
    _tell([replace(each, path=_short(each.path, lists)) for each in problems], say)
    count = len(split.val)
    say(f"there is no val.txt: {count} of the images {'is' if count == 1 else 'are'} measured on")
    return split


def _tell(problems: Sequence[Problem], say: Say) -> None:
    raise_if_any(DataError, problems)
    for problem in condensed(problems):
        say(str(problem))


def _short(path: str | None, folder: str) -> str | None:
    return path.removeprefix(folder + "/") if path is not None else None


def _timed(training: Training, seconds: float) -> Plan:
    """What fits into a time, by the steps and the measurement that are tried."""
    solver = training.solver
    size = solver.param.iter_size
    times = []
    with closing(training.data.feeds(range(size), skip=0, of=size)) as feeds:  # type: ignore[type-var]
        for _ in range(1 + _TIMED):
            start = time.perf_counter()
            solver.step(next(feeds))
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    training.validate(0)
    return plan.of_seconds(seconds, float(np.mean(times[1:])), time.perf_counter() - start)


class _Voice:
    """Says how far a training is, every few seconds."""

    def __init__(self, say: Say, solver: Solver) -> None:
        self._say, self._solver = say, solver
        self._start: tuple[float, int] | None = None
        self._last = time.monotonic()

    def text(self, text: str) -> None:
        """Something happened."""
        self._say(text)

    def row(self, row: LogRow) -> None:
        """An iteration was done."""
        now, done, end = time.monotonic(), row.iteration + 1, self._solver.param.max_iter
        if self._start is None:
            self._start = now, row.iteration
        if now - self._last < EVERY and done < end:
            return
        self._last = now
        begun, first = self._start
        left = (now - begun) / max(1, row.iteration - first) * (end - done)
        shown = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        self._say(f"iteration {done} of {end}: loss {row.smoothed_loss:.4g}, {shown} left")
