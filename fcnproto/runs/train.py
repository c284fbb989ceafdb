"""Data of one's own to a model: checked, split, rendered, trained, measured, exported."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from fcnproto import weights as weight_files
from fcnproto.datasets import IGNORE, confusion_picture
from fcnproto.datasets.check import check_folder
from fcnproto.datasets.folder import FolderSegDataLayer, FolderSpec, Layout
from fcnproto.datasets.folder import spec as spec_of
from fcnproto.datasets.measures import Score
from fcnproto.datasets.score import score_model
from fcnproto.datasets.split import Split, split_folder
from fcnproto.errors import DataError, FcnprotoError, Problem, raise_if_any
from fcnproto.exporting.export import export
from fcnproto.files import replacing
from fcnproto.layers.base import Kind
from fcnproto.model.metadata import Given
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net, read_solver
from fcnproto.rendering.fcn import render, render_solver
from fcnproto.runs import card, plan
from fcnproto.runs.plan import Plan
from fcnproto.runs.sheet import sheet
from fcnproto.runtime.overlay import overlay
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.surgery.fit import Action, WeightSource, fit
from fcnproto.training import curve
from fcnproto.training.cautions import cautions
from fcnproto.training.curve import Row
from fcnproto.training.devices import chosen_device
from fcnproto.training.loop import Training, Watcher, prepare
from fcnproto.training.processes import ALONE
from fcnproto.training.solver import Solver, chosen_seed
from fcnproto.types import Array
from fcnproto.weights import Weights, solverstate
from fcnproto.weights.fetch import locate
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec, RecipeSpec

MINUTES = 10.0
"""How long it trains by default."""
SHOWN = 4
"""So many images of val are shown."""
EVERY = 5.0
"""Seconds between two lines that say how far it is."""

_TIMED = 3
"""So many steps are timed before it is planned how many there will be."""

Say = Callable[[str], object]


@dataclass(frozen=True)
class Run:
    """What a training left behind."""

    path: Path
    """The folder of everything."""
    model: Path | None
    """The best model, as ONNX; None if the training was stopped before its end."""
    history: tuple[Row, ...]
    """Each iteration and each measurement."""
    best: Score | None
    """The measures of the model on val."""


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
    resume: bool = False,
    device: str = "auto",
    progress: Say = lambda _text: None,
) -> Run:
    """Train a net on a folder of images and label maps, and export the best of it.

    The folder is checked first: nothing is written if there is an error in it. Everything goes to
    `output`, or `output`-2 and so on if that is there. Where the folder has no val.txt, a fifth of
    its images is measured on. With `weights` (a file, or a name that `fetch` knows) the net is
    fine-tuned, else it learns from nothing. `minutes` is about how long it trains, 10 by default;
    `iterations` says it exactly. `batch` images make a step. `resume` goes on in `output`, with
    what that has. `progress` is told what happens, a line each. Ctrl-C saves a snapshot and ends.

    Raises DataError for data that do not fit, ZooError for nets, WeightsError for weights.
    """
    folder = Path(data)
    own = chosen_device(device)
    if resume:
        if (
            weights is not None
            or minutes is not None
            or iterations is not None
            or batch is not None
        ):
            raise FcnprotoError("a run is resumed as it was begun: weights, length and batch stay")
        job = _Job.of(Path(output), folder)
    else:
        _refuse(minutes, iterations, batch)
        split = _checked(folder, progress)
        begin = _Begin(folder, net, backbone, weights, iterations, batch)
        job, fitted = begin.begin(Path(output), split, progress)
        if iterations is None:
            seconds = 60 * (MINUTES if minutes is None else minutes)
            job = job.planned(_timed(job.training(own, fitted), seconds))
            progress(f"{job.recipe.max_iter} iterations fit into {seconds / 60:g} minutes")
        job.save()
    training = job.training(own, fitted)
    if resume:
        training.solver.restore(job.newest())
        progress(f"going on at iteration {training.solver.iteration} of {job.recipe.max_iter}")
    else:
        training.solver.snapshot(job.path / "snapshot" / "start", numbered=False)
    started = resume or weights is not None
    found = list(cautions(training.solver, training.data, pretrained=started))
    raise_if_any(FcnprotoError, found)
    for problem in found:
        progress(str(problem))
    training.check_labels()
    voice = _Voice(progress, training.solver.param.max_iter)
    training.watcher = Watcher(voice.row, voice.text)
    done = training.run()
    rows = tuple(job.log())
    if not done:
        command = shlex.join(["fcnproto", "train", str(folder), "--resume", str(job.path)])
        progress(f"stopped at iteration {training.solver.iteration}; `{command}` goes on")
        return Run(job.path, None, rows, None)
    score = job.finish(training, rows)
    return Run(job.path, job.path / "model.onnx", rows, score)


def _refuse(minutes: float | None, iterations: int | None, batch: int | None) -> None:
    if minutes is not None and iterations is not None:
        raise FcnprotoError("how long it trains is said by minutes or by iterations, not by both")
    if minutes is not None and not 0 < minutes < math.inf:
        raise FcnprotoError(f"minutes must be more than 0, found {minutes:g}")
    for name, value in (("iterations", iterations), ("batch", batch)):
        if value is not None and not 1 <= value < 2**31:
            raise FcnprotoError(f"{name} must be at least 1, found {value}")


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
    try:
        split = split_folder(folder)
    except DataError:
        _tell(check_folder(folder), say)  # which knows all that is wrong
        raise
    with TemporaryDirectory() as lists:
        split.write(Path(lists))
        problems = check_folder(folder, lists=Path(lists))
    _tell([replace(each, path=_short(each.path, lists)) for each in problems], say)
    say(f"there is no val.txt: {len(split.val)} of the images are measured on")
    return split


def _tell(problems: Sequence[Problem], say: Say) -> None:
    raise_if_any(DataError, problems)
    for problem in problems:
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

    def __init__(self, say: Say, end: int) -> None:
        self._say, self._end = say, end
        self._start: tuple[float, int] | None = None
        self._last = time.monotonic()

    def text(self, text: str) -> None:
        """Something happened."""
        self._say(text)

    def row(self, row: Row) -> None:
        """An iteration was done."""
        now, done = time.monotonic(), row.iteration + 1
        if self._start is None:
            self._start = now, row.iteration
        if now - self._last < EVERY and done < self._end:
            return
        self._last = now
        begun, first = self._start
        left = (now - begun) / max(1, row.iteration - first) * (self._end - done)
        shown = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        self._say(f"iteration {done} of {self._end}: loss {row.smoothed_loss:.4g}, {shown} left")


# A run's folder -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Begin:
    """What a run is asked for."""

    data: Path
    net: str
    backbone: str
    weights: str | PathLike[str] | None
    iterations: int | None
    batch: int | None

    def begin(self, output: Path, split: Split | None, say: Say) -> tuple[_Job, Weights | None]:
        """Make the run's folder, once it is known that net and weights are good."""
        own = spec_of(self.data)
        name = "scratch" if self.weights is None else "finetune"
        why = "it learns from nothing" if self.weights is None else f"it starts from {self.weights}"
        say(f"{self.net} on {self.backbone}, {len(own.names)} classes; recipe {name}: {why}")
        recipe = specs.recipe(name)
        recipe = replace(recipe, iter_size=self.batch or recipe.iter_size)
        deploy = render(self.net, dataset="folder", backbone=self.backbone, classes=len(own.names))
        fitted = None if self.weights is None else _fitted(str(self.weights), deploy, say)
        path = _made(output).resolve()
        if split is not None:
            split.write(path)
        command = ["fcnproto", "train", str(self.data), "-o", str(output), "--net", self.net]
        command += ["--backbone", self.backbone]
        for option in ("weights", "iterations", "batch"):
            value = getattr(self, option)
            command += [] if value is None else [f"--{option}", str(value)]
        start = "nothing" if self.weights is None else str(self.weights)
        job = _Job(
            path, self.data, own, self.net, self.backbone, recipe, start, shlex.join(command)
        )
        say(f"everything goes to {path}")
        return job.planned(plan.of_iterations(self.iterations or recipe.max_iter or 1)), fitted


@dataclass(frozen=True)
class _Job:
    """A run's folder, and what is trained in it."""

    path: Path
    data: Path
    own: FolderSpec
    net: str
    backbone: str
    recipe: RecipeSpec
    start: str
    command: str

    @classmethod
    def of(cls, path: Path, data: Path) -> _Job:
        """A run that was begun on this folder."""
        file = path / _FILE
        try:
            said = json.loads(file.read_text("utf-8"))
            recipe = RecipeSpec(**said["recipe"])
            texts = [str(said[key]) for key in ("data", "net", "backbone", "start", "command")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = "there is no run here that can be resumed"
            raise FcnprotoError(Problem(message, str(file))) from error
        if Path(texts[0]) != data.resolve():
            message = f"this run was begun on {texts[0]}, which is not {data.resolve()}"
            raise DataError(Problem(message, str(file)))
        own = spec_of(data)
        return cls(path.resolve(), data, own, texts[1], texts[2], recipe, texts[3], texts[4])

    def save(self) -> None:
        """Write what `of` reads."""
        said = {
            "data": str(self.data.resolve()),
            "net": self.net,
            "backbone": self.backbone,
            "start": self.start,
            "command": self.command,
            "recipe": asdict(self.recipe),
        }
        _write(self.path / _FILE, json.dumps(said, indent=2) + "\n")

    def planned(self, own: Plan) -> _Job:
        """With a length; writes its nets and its solver."""
        recipe = replace(
            self.recipe,
            max_iter=own.iterations,
            test_interval=own.interval,
            snapshot=own.snapshot,
        )
        job = replace(self, recipe=recipe)
        options: dict[str, object] = {
            "dataset": job.dataset,
            "data_dir": str(self.data.resolve()),
            "backbone": self.backbone,
            "classes": len(self.own.names),
            "recipe": recipe,
        }
        for phase in ("deploy", "train", "val"):
            text = render(self.net, phase=phase, **options)  # type: ignore[arg-type]
            _write(self.path / f"{phase}.prototxt", text)
        solver = render_solver(self.net, folder=str(self.path), **options)  # type: ignore[arg-type]
        _write(self.path / "solver.prototxt", solver)
        (self.path / "snapshot").mkdir(exist_ok=True)
        return job

    @property
    def dataset(self) -> DatasetSpec:
        """The zoo's folder with the names, the colours and the splits of this one."""
        usual = specs.dataset("folder")
        folder = self._lists
        train, val = (
            replace(source, settings=_with_lists(source.settings, folder))
            for source in (usual.train, usual.val)
        )
        (label,) = usual.labels
        return replace(
            usual,
            train=train,
            val=val,
            labels=(replace(label, classes=self.own.names),),
            palette=(*self.own.palette, *usual.palette[len(self.own.palette) :]),
            validation_images=len(self.reader("val")),
        )

    def reader(self, split: str) -> FolderSegDataLayer:
        """The images of a split."""
        settings = {"data_dir": str(self.data.resolve()), "split": split}
        return FolderSegDataLayer(_with_lists(settings, self._lists))

    @property
    def _lists(self) -> str | None:
        """Where the splits are, if the data's own folder has none."""
        return None if "val" in self.own.splits else str(self.path)

    def training(self, device: str, weights: Weights | None) -> Training:
        """The solver and its data, from the files in the run's folder."""
        source = read_solver(self.path / "solver.prototxt")
        seed = chosen_seed(source.solver, ALONE, device)
        trained, tested = prepare(source, None, seed)
        shapes = {name: array.shape for name, array in trained.first().items()}
        solver = Solver(source, shapes=shapes, device=device, seed=seed)
        if weights is not None:
            solver.load_weights(weights)
        return Training(solver, trained, tested)

    def newest(self) -> Path:
        """The state with the most iterations."""
        states = list((self.path / "snapshot").glob("*.solverstate"))
        if not states:
            message = "there is no snapshot here to go on from"
            raise FcnprotoError(Problem(message, str(self.path / "snapshot")))
        return max(states, key=lambda path: solverstate.read(path).iteration)

    def log(self) -> list[Row]:
        """The rows of the log, of which log.csv and curves.png are made."""
        file = self.path / "snapshot" / "train_log.csv"
        rows = curve.read(file)
        _write(self.path / "log.csv", file.read_text("utf-8"))
        _draw(self.path / "curves.png", curve.draw(rows, self.path.name))
        return rows

    def finish(self, training: Training, rows: tuple[Row, ...]) -> Score:
        """Export the best, measure it, and draw and write what there is to see of it."""
        snapshots = self.path / "snapshot"
        before = self._exported(snapshots / "start.caffemodel", snapshots / "start.onnx")
        after = self._exported(snapshots / "train_best.caffemodel", self.path / "model.onnx")
        reader = self.reader("val")
        (found,) = score_model(after.runner, reader).values()
        score = replace(found, classes=self.own.names)
        confusion = confusion_picture.draw(score.confusion, self.own.names, self.path.name)
        _draw(self.path / "confusion.png", confusion)
        _draw(self.path / "samples.png", self._samples(reader, before, after))
        images = len(self.reader("train")), len(reader)
        name = f"{self.net} on {self.backbone}"
        about = card.Card(self.data, images, name, self.recipe, self.start, self.command)
        _write(self.path / "card.md", card.text(about, score, rows))
        return score

    def _exported(self, weights: Path, model: Path) -> Segmenter:
        text = (self.path / "deploy.prototxt").read_text("utf-8")
        source = WeightSource(str(weights), weight_files.read(weights))
        given = Given(dataset=self.dataset, classes=self.own.names, palette=self.own.palette)
        export(parse_net(text, str(self.path / "deploy.prototxt")), source, given=given).model.save(
            model
        )
        return Segmenter(model, device="cpu", scores=False)

    def _samples(
        self, reader: FolderSegDataLayer, before: Segmenter, after: Segmenter
    ) -> Image.Image:
        colours = (*self.own.palette, *[(0, 0, 0)] * (IGNORE + 1 - len(self.own.palette)))
        rows = []
        for index in range(min(SHOWN, len(reader))):
            picture = reader.picture("data", index)
            maps: list[Array] = [reader.label(reader.label_tops[0], index)]
            maps += [each(picture).labels for each in (before, after)]
            shown = [picture, *(overlay(picture, labels, colours) for labels in maps)]
            rows.append([Image.fromarray(each) for each in shown])
        return sheet(_TITLES, rows, self.own.names, self.own.palette)


def _fitted(weights: str, deploy: str, say: Say) -> Weights:
    """What a net starts from: score layers and kernels for other classes are left out."""
    graph = build(parse_net(deploy, "deploy.prototxt"))
    shapes = infer(graph)
    own = {
        node.layer.name: (node.layer.kind, [each.shape for each in shapes.weights[index]])
        for index, node in enumerate(graph.nodes)
        if index in shapes.weights
    }
    given = weight_files.read(locate(weights))
    kept = {}
    for name, arrays in given.items():
        kind, expected = own.get(name, (None, []))
        scores = name.startswith("score") or kind is Kind.UPSAMPLING
        if not scores or [each.shape for each in arrays] == expected:
            kept[name] = arrays
    fitted = fit([WeightSource(weights, kept)], graph, shapes)
    new = [entry.layer for entry in fitted.report if entry.action is Action.FILLER]
    if new:
        say(f"{weights}: has nothing that fits {', '.join(new)}: left as their fillers made them")
    return fitted.weights


_FILE = "run.json"
_TITLES = ("image", "truth", "before training", "after training")


def _with_lists(settings: Mapping[str, str | int], lists: str | None) -> dict[str, str | int]:
    return dict(settings) if lists is None else {**settings, "lists": lists}


def _made(output: Path) -> Path:
    """The first of output, output-2, output-3 … that is not there, made."""
    number = 1
    while True:
        path = output if number == 1 else output.with_name(f"{output.name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            message = f"cannot be made: {error.strerror or error}"
            raise FcnprotoError(Problem(message, str(path))) from error
        else:
            return path


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def _draw(path: Path, picture: Image.Image) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")
