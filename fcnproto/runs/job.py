"""A run's folder: the nets and the solver in it, and what is made of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path

from PIL import Image

from fcnproto import weights as weight_files
from fcnproto.datasets import IGNORE, confusion_picture
from fcnproto.datasets.balance import RARE, balance
from fcnproto.datasets.folder import FolderSegDataLayer, FolderSpec
from fcnproto.datasets.folder import spec as spec_of
from fcnproto.datasets.measures import Score
from fcnproto.datasets.score import score_model
from fcnproto.datasets.split import Split
from fcnproto.errors import DataError, FcnprotoError, Problem, reason
from fcnproto.exporting.export import export
from fcnproto.files import replacing
from fcnproto.layers.base import Kind
from fcnproto.model.given import Given
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net, read_solver
from fcnproto.rendering.fcn import render, render_solver
from fcnproto.runs import card, plan
from fcnproto.runs.feeding import feeding, map_counts
from fcnproto.runs.plan import Plan
from fcnproto.runtime.overlay import overlay
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.runtime.sheet import sheet
from fcnproto.surgery.fit import Action, WeightSource, fit
from fcnproto.training import curve
from fcnproto.training.curve import LogRow
from fcnproto.training.loop import Training, prepare
from fcnproto.training.processes import ALONE, Processes
from fcnproto.training.solver import Solver, chosen_seed
from fcnproto.types import Array
from fcnproto.weights import Weights, solverstate
from fcnproto.weights.fetch import locate
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec, RecipeSpec

SHOWN = 4
"""So many images of val are shown."""

Say = Callable[[str], object]
"""What is told of a run, a line each time."""


@dataclass(frozen=True)
class Begin:
    """What a run is asked for."""

    data: Path
    net: str
    backbone: str
    weights: str | PathLike[str] | None
    minutes: float | None
    iterations: int | None
    batch: int | None
    augment: str | None
    class_weights: bool
    patience: int | None

    def begin(self, path: Path | None, output: Path, split: Split | None, say: Say) -> Begun:
        """Make the run's folder, once it is known that net and weights are good.

        It is `path` if that is there already, else `output` or the next that is free.
        """
        own = spec_of(self.data)
        name = "scratch" if self.weights is None else "finetune"
        why = "it learns from nothing" if self.weights is None else f"it starts from {self.weights}"
        recipe = specs.recipe(name)
        batch = self.batch or recipe.iter_size
        augment = specs.augment(self.augment or recipe.augment)
        deploy = render(self.net, dataset="folder", backbone=self.backbone, classes=len(own.names))
        say(f"{self.net} on {self.backbone}, {len(own.names)} classes; recipe {name}: {why}")
        fitted = None if self.weights is None else _fitted(str(self.weights), deploy, say)
        path = made(output) if path is None else path
        if split is not None:
            split.write(path, force=True)
        command = ["fcnproto", "train", str(self.data), "-o", str(output), "--net", self.net]
        command += ["--backbone", self.backbone]
        for option in ("weights", "minutes", "iterations", "batch", "augment", "patience"):
            value = getattr(self, option)
            command += [] if value is None else [f"--{option}", str(value)]
        command += ["--class-weights"] if self.class_weights else []
        start = "nothing" if self.weights is None else str(self.weights)
        job = Job(path, self.data, own, self.net, self.backbone, recipe, start, shlex.join(command))
        say(f"everything goes to {path}")
        fed = feeding(job.reader("train"), augment, batch)
        recipe = replace(recipe, iter_size=fed.passes, augment=augment.name)
        matrix = self._weigh(job, say)
        job = replace(
            job, recipe=recipe, settings=fed.settings, matrix=matrix, patience=self.patience
        )
        return job.planned(plan.of_iterations(self.iterations or recipe.max_iter or 1)), fitted

    def _weigh(self, job: Job, say: Say) -> str | None:
        """Where the weights of classes are written, if they are wanted; rare classes are said."""
        reader = job.reader("train")
        found = balance(map_counts(reader), job.own.names)
        if found.rare and not self.class_weights:
            say(
                f"rare, under {RARE:.1%} of the pixels: {', '.join(found.rare)};"
                " --class-weights lets them count as much as others"
            )
        if not self.class_weights:
            return None
        weights = zip(found.names, found.weights.tolist(), strict=True)
        say("class weights: " + ", ".join(f"{name} {weight:.3g}" for name, weight in weights))
        path = job.path / "weights.binaryproto"
        with replacing(path) as temporary:
            temporary.write_bytes(found.blob())
        return str(path)


Begun = tuple["Job", Weights | None]
"""A run, and the weights that it starts from."""


@dataclass(frozen=True)
class Job:
    """A run's folder, and what is trained in it."""

    path: Path
    data: Path
    own: FolderSpec
    net: str
    backbone: str
    recipe: RecipeSpec
    start: str
    command: str
    settings: Mapping[str, object] = field(default_factory=dict)
    """What param_str says of how images are fed while the net learns."""
    matrix: str | None = None
    """The file of the classes' weights, if they have some."""
    patience: int | None = None
    """After so many measurements that are no better it ends."""

    @classmethod
    def of(cls, path: Path, data: Path) -> Job:
        """A run that was begun on this folder."""
        file = path / _FILE
        try:
            said = json.loads(file.read_text("utf-8"))
            recipe = RecipeSpec(**said["recipe"])
            settings, more = dict(said["settings"]), (said["matrix"], said["patience"])
            texts = [str(said[key]) for key in ("data", "net", "backbone", "start", "command")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = "there is no run here that can be resumed"
            raise FcnprotoError(Problem(message, str(file))) from error
        if Path(texts[0]) != data.resolve():
            message = f"this run was begun on {texts[0]}, which is not {data.resolve()}"
            raise DataError(Problem(message, str(file)))
        own = spec_of(data)
        begun = said.get("classes", list(own.names))
        if begun != list(own.names):
            message = (
                f"this run was begun with the classes {', '.join(map(str, begun))}; {data} has"
                f" {', '.join(own.names)} now: begin another run"
            )
            raise DataError(Problem(message, str(file)))
        _, net, backbone, start, command = texts
        return cls(
            path.resolve(), data, own, net, backbone, recipe, start, command, settings, *more
        )

    @staticmethod
    def is_here(path: Path) -> bool:
        """Whether a run was begun in a folder."""
        return (path / _FILE).is_file()

    def save(self) -> None:
        """Write what `of` reads."""
        said = {
            "data": str(self.data.resolve()),
            "classes": list(self.own.names),
            "net": self.net,
            "backbone": self.backbone,
            "start": self.start,
            "command": self.command,
            "recipe": asdict(self.recipe),
            "settings": dict(self.settings),
            "matrix": self.matrix,
            "patience": self.patience,
        }
        _write(self.path / _FILE, json.dumps(said, indent=2) + "\n")

    def planned(self, own: Plan) -> Job:
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
        usual = self.own.dataset
        folder = self._lists
        train, val = (
            replace(source, settings={**_with_lists(source.settings, folder), **more})
            for source, more in ((usual.train, self.settings), (usual.val, {}))
        )
        (label,) = usual.labels
        return replace(
            usual,
            train=train,
            val=val,
            labels=(replace(label, classes=self.own.names, matrix=self.matrix),),
            palette=(*self.own.palette, *usual.palette[len(self.own.palette) :]),
            validation_images=len(self.reader("val")),
        )

    def reader(self, split: str) -> FolderSegDataLayer:
        """The images of a split."""
        settings = {"data_dir": str(self.data.resolve()), "split": split}
        return FolderSegDataLayer(_with_lists(settings, self._lists))

    @property
    def batch(self) -> int:
        """How many images make a step."""
        return self.recipe.iter_size * int(str(self.settings.get("batch", 1)))

    @property
    def _lists(self) -> str | None:
        """Where the splits are, if the data's own folder has none."""
        return None if "val" in self.own.splits else str(self.path)

    def training(self, device: str, processes: Processes = ALONE) -> Training:
        """The solver and its data, from the files in the run's folder."""
        source = read_solver(self.path / "solver.prototxt")
        seed = chosen_seed(source.solver, processes, device)
        trained, tested = prepare(source, None, seed)
        shapes = {name: array.shape for name, array in trained.first().items()}
        solver = Solver(source, shapes=shapes, device=device, processes=processes, seed=seed)
        return Training(solver, trained, tested, patience=self.patience)

    def newest(self) -> Path:
        """The state with the most iterations."""
        states = list((self.path / "snapshot").glob("*.solverstate"))
        if not states:
            message = "there is no snapshot here to go on from"
            raise FcnprotoError(Problem(message, str(self.path / "snapshot")))
        return max(states, key=lambda path: solverstate.read(path).iteration)

    def log(self) -> list[LogRow]:
        """The rows of the log, of which log.csv and curves.png are made."""
        file = self.path / "snapshot" / "train_log.csv"
        rows = curve.read(file)
        _write(self.path / "log.csv", file.read_text("utf-8"))
        _draw(self.path / "curves.png", curve.draw(rows, self.path.name))
        return rows

    def finish(self, training: Training, rows: tuple[LogRow, ...]) -> Score:
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
        about = card.Card(
            self.data, images, name, self.recipe, self.batch, self.start, self.command
        )
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
        say(f"{weights}: has nothing that fits {', '.join(new)}; it stays as its filler makes it")
    return fitted.weights


_FILE = "run.json"
_TITLES = ("image", "truth", "before training", "after training")


def _with_lists(settings: Mapping[str, object], lists: str | None) -> dict[str, object]:
    return dict(settings) if lists is None else {**settings, "lists": lists}


def made(output: Path) -> Path:
    """The first of output, output-2, output-3 … that is not there, made."""
    number = 1
    while True:
        path = output if number == 1 else output.with_name(f"{output.name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            message = f"cannot be made: {reason(error)}"
            raise FcnprotoError(Problem(message, str(path))) from error
        else:
            return path.resolve()


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def _draw(path: Path, picture: Image.Image) -> None:
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")
