"""Write a net of the zoo, or its solver, as prototxt.

What a net is comes from models/ (zoo.py), how its layers are written from templates/, and every
kernel, pad and crop offset of an FCN's head from where the backbone's blobs lie (upsampling.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fcnproto import graph, shapes, zoo
from fcnproto.errors import NetError, ZooError
from fcnproto.proto.source import parse_net
from fcnproto.templating import fill
from fcnproto.upsampling import (
    IMAGE,
    Step,
    Trunk,
    first_misfit,
    misfit,
    misplaced,
    plan,
    smallest_pad,
)
from fcnproto.zoo import (
    BackboneSpec,
    ClassifierSpec,
    DatasetSpec,
    FcnSpec,
    NetSpec,
    RecipeSpec,
    TrainingSpec,
)

PHASES = ("deploy", "train", "val")
RECIPE = "heavy"
"""How ours are trained unless told."""
SIZE = (500, 500)
"""What an FCN's deploy net declares unless told; it runs at any other size as well."""

LARGEST = 2**31 - 1  # Caffe's int

Spec = TypeVar("Spec")


def render(
    net: str | NetSpec,
    *,
    phase: str = "deploy",
    recipe: str | None = None,
    dataset: str | DatasetSpec | None = None,
    data_dir: str | None = None,
    backbone: str | BackboneSpec | None = None,
    classes: int | None = None,
    pad: int | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    """The prototxt of a net of the zoo.

    `phase` is deploy (the score is the output), train or val; the loss of a net that learns is that
    of `recipe`: heavy (a sum over pixels) unless told batch (their mean). `data_dir` is the folder
    in which its data layers look for datasets. `classes` are those of the dataset's first label
    map. `pad` is the first layer's, `size` the (height, width) that a deploy net declares.

    Published nets, classifiers and nets for one dataset are what they are: they take an option only
    if it says so too.

    Raises ZooError for a name that the zoo has not, for options that the net cannot take, for a
    backbone that lacks a stride, and for a declared size that is too small for the net's layers or
    crops.
    """
    spec = zoo.net(net) if isinstance(net, str) else net
    options = Options(recipe, dataset, data_dir, backbone, classes, pad, size)
    options.check(spec, phase)
    if isinstance(spec, ClassifierSpec):
        return _render_classifier(spec, options)
    return _render_fcn(_Fcn.choose(spec, options), phase, options)


def render_solver(
    net: str | NetSpec,
    *,
    recipe: str | None = None,
    dataset: str | DatasetSpec | None = None,
    data_dir: str | None = None,
    backbone: str | BackboneSpec | None = None,
    classes: int | None = None,
    pad: int | None = None,
) -> str:
    """The solver that trains a net of the zoo, rendered with the same options.

    A published net's is the published one. Ours reads train.prototxt and val.prototxt from the
    working directory, and its head says how to render them.

    Raises ZooError as `render` does, and for classifiers, which nothing here trains.
    """
    spec = zoo.net(net) if isinstance(net, str) else net
    options = Options(recipe, dataset, data_dir, backbone, classes, pad)
    options.check(spec, "train")
    assert isinstance(spec, FcnSpec), "a classifier has no phase train"
    fcn = _Fcn.choose(spec, options)
    sources = {"train": fcn.dataset.train, "val": fcn.dataset.val}
    files = {
        phase: source.file if spec.published else f"{phase}.prototxt"
        for phase, source in sources.items()
    }
    training = fcn.training
    header = [
        f"{fcn.title}: solver",
        options.command(spec, "--solver"),
        "It trains what these write:",
        *(
            f"  {options.command(spec, '--phase', phase)} -o {file}"
            for phase, file in files.items()
        ),
    ]
    return fill(
        "solver.j2",
        header=header,
        train_net=files["train"],
        test_net=files["val"],
        test_iter=fcn.dataset.validation_images,
        recipe=fcn.recipe,
        base_lr=training.base_lr,
        max_iter=training.max_iter,
        snapshot=training.snapshot,
    )


@dataclass(frozen=True)
class Options:
    """What a caller asks of a net, each None unless asked."""

    recipe: str | None = None
    dataset: str | DatasetSpec | None = None
    data_dir: str | None = None
    backbone: str | BackboneSpec | None = None
    classes: int | None = None
    pad: int | None = None
    size: tuple[int, int] | None = None

    def given(self) -> dict[str, str | int]:
        """What was asked, by the option's name on the command line."""
        values = {
            "--recipe": self.recipe,
            "--dataset": _name(self.dataset),
            "--data-dir": self.data_dir,
            "--backbone": _name(self.backbone),
            "--classes": self.classes,
            "--pad": self.pad,
            "--size": None if self.size is None else f"{self.size[0]}x{self.size[1]}",
        }
        return {option: value for option, value in values.items() if value is not None}

    def command(self, spec: NetSpec, *words: str) -> str:
        """The words that ask for the same on the command line."""
        given = [str(word) for option in self.given().items() for word in option]
        return shlex.join(["fcnproto", "render", spec.name, *words, *given])

    def check(self, spec: NetSpec, phase: str) -> None:
        """Raise ZooError with all that the net cannot take."""
        problems = [*self._nonsense(phase), *self._refused(spec, phase)]
        if problems:
            raise ZooError(*problems)

    def _nonsense(self, phase: str) -> Iterator[str]:
        if phase not in PHASES:
            yield f"the phase must be one of {', '.join(PHASES)}, found '{phase}'"
        if self.classes is not None and not 1 <= self.classes <= LARGEST:
            yield f"--classes must be at least 1 and fit Caffe's int, found {self.classes}"
        if self.pad is not None and not 0 <= self.pad <= LARGEST:
            yield f"--pad must be at least 0 and fit Caffe's int, found {self.pad}"
        if self.size is not None and not all(1 <= length <= LARGEST for length in self.size):
            yield f"--size must be at least 1x1 and fit Caffe's int, found {_by(self.size)}"
        if self.data_dir is not None and not (self.data_dir and self.data_dir.isprintable()):
            yield f"--data-dir must be a name that can be printed, found {self.data_dir!r}"

    def _refused(self, spec: NetSpec, phase: str) -> Iterator[str]:
        given = self.given()
        if phase != "deploy":
            if isinstance(spec, ClassifierSpec):
                yield f"{spec.name} has no phase {phase}: the zoo has classifiers to deploy only"
            elif self.size is not None:
                yield f"--size is for deploy nets: in phase {phase} the data have their own sizes"
        fixed = _fixed(spec) if given else {}
        for option, value in given.items():
            own = fixed.get(option, value)
            if own is None:
                yield f"{spec.name} takes no {option}"
            elif own != value:
                yield f"{spec.name} has {option} {own}, which {option} {value} cannot change"


def _fixed(spec: NetSpec) -> dict[str, str | int | None]:
    """The options that a net cannot take, with what it is itself if that has a name."""
    if isinstance(spec, ClassifierSpec):
        fixed: dict[str, str | int | None] = dict.fromkeys(
            ("--recipe", "--dataset", "--data-dir", "--pad")
        )
        fixed["--backbone"] = spec.backbone
        if spec.published:
            fixed["--classes"] = spec.classes
        return fixed
    if spec.training is None:
        return {}
    return {
        "--recipe": spec.training.recipe,
        "--dataset": spec.dataset,
        "--backbone": spec.backbone,
        "--classes": len(zoo.dataset(spec.dataset).classes),
        "--pad": zoo.backbone(spec.backbone).fcn_pad,
    }


@dataclass(frozen=True)
class _Fcn:
    """An FCN with all choices made but the phase's."""

    spec: FcnSpec
    backbone: BackboneSpec
    dataset: DatasetSpec
    recipe: RecipeSpec
    classes: tuple[int, ...]
    """For each label map of the dataset."""
    data_root: str

    @classmethod
    def choose(cls, spec: FcnSpec, options: Options) -> _Fcn:
        backbone = _named(options.backbone or spec.backbone, zoo.backbone)
        dataset = _named(options.dataset or spec.dataset, zoo.dataset)
        recipe = options.recipe or (spec.training.recipe if spec.training else RECIPE)
        classes = [len(label.classes) for label in dataset.labels]
        classes[0] = options.classes or classes[0]
        problems = [
            f"backbone {backbone.name} has no blob at stride {stride}, which {spec.name} needs"
            for stride in spec.strides[1:]
            if stride not in backbone.skips
        ]
        problems += [
            f"{spec.name}: backbone {backbone.name} has no option '{option}'"
            for option in spec.options
            if option not in backbone.options
        ]
        problems += [
            f"{spec.name}: dataset {dataset.name} has no images '{image}'"
            for image in spec.images
            if image not in dataset.images
        ]
        if problems:
            raise ZooError(*problems)
        return cls(
            spec,
            backbone,
            dataset,
            zoo.recipe(recipe),
            tuple(classes),
            options.data_dir or spec.data_root,
        )

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.spec.is_fixed:
            return self.spec.title
        classes = " and ".join(map(str, self.classes))
        plural = "class" if classes == "1" else "classes"
        return (
            f"{self.spec.title} on {self.backbone.title} for {self.dataset.title},"
            f" {classes} {plural}"
        )

    @property
    def name(self) -> str:
        """What its prototxt is called, so that it can be told what the net is for."""
        return zoo.full_name(self.spec, self.backbone.name, self.dataset.name)

    @property
    def images(self) -> tuple[str, ...]:
        """The kinds of image that it takes."""
        return self.spec.images or self.dataset.images[:1]

    @property
    def blobs(self) -> Mapping[int, str]:
        """The blobs of the backbone that it scores, by stride."""
        first, *rest = self.spec.strides
        return {first: self.backbone.score, **{s: self.backbone.skips[s] for s in rest}}

    @property
    def training(self) -> TrainingSpec:
        """A published net's own; ours from the recipe, or from the published net most like it."""
        spec, recipe = self.spec, self.recipe
        if spec.training is not None:
            return spec.training
        if recipe.max_iter is not None:
            lr, steps = self.backbone.batch_lr, recipe.max_iter
        else:
            published = _trainings(spec)
            like = published.get(self.dataset.name, next(iter(published.values())))
            lr, steps = like.base_lr, like.max_iter
        return TrainingSpec(recipe.name, lr, steps, recipe.snapshot)

    @property
    def options(self) -> dict[str, bool]:
        """What the backbone's template is told."""
        return {**self.backbone.options, **self.spec.options}


def _trainings(spec: FcnSpec) -> dict[str, TrainingSpec]:
    """How the published nets that `spec` is trained like were trained, by dataset."""
    trainings = {}
    for name in spec.trained_like:
        like = zoo.net(name)
        if not isinstance(like, FcnSpec) or like.training is None:
            raise ZooError(f"{spec.name} is trained like {name}, which is not a published FCN")
        trainings[like.dataset] = like.training
    return trainings


def _render_fcn(fcn: _Fcn, phase: str, options: Options) -> str:
    published = fcn.spec.published
    trunk = _measured(fcn)
    steps = plan(trunk.positions(), padded=not published)
    pad, why = _first_pad(fcn, trunk, steps, options.pad)
    size = options.size or SIZE
    _check_crops(fcn, trunk, steps, pad, size if phase == "deploy" else None)
    words = [] if phase == "deploy" else ["--phase", phase]
    blobs = _blobs(fcn)
    return fill(
        "fcn.j2",
        header=[f"{fcn.title}: {phase}", options.command(fcn.spec, *words), *why],
        # The published training nets bear no name. One that infers needs it: export knows by it
        # which classes, colours and mean belong to the net.
        name=None if published and phase != "deploy" else fcn.name,
        source=None if phase == "deploy" else _source(fcn, phase),
        images=[
            {"blob": blob, "shape": (1, len(fcn.dataset.mean[image]), *size)}
            for blob, image in zip(blobs, fcn.images, strict=True)
        ],
        data=blobs[0] if fcn.spec.fusion == "late" else "data",
        backbone=fcn.backbone.template,
        trunks=_trunks(fcn, pad),
        form=_form(dropout=phase != "deploy"),
        options=fcn.options,
        heads=_heads(fcn),
        steps=list(_steps(fcn, steps, pad)),
        published=published,
        learns=phase != "deploy",
        ignore_label=fcn.dataset.ignore_label,
        normalize=fcn.recipe.normalize,
    )


def _measured(fcn: _Fcn) -> Trunk:
    """The backbone alone, with a first layer that does not pad."""
    image = {"blob": "data", "shape": (1, len(fcn.dataset.mean[fcn.images[0]]), *SIZE)}
    text = fill(
        "fcn.j2",
        header=[],
        name=None,
        source=None,
        images=[image],
        backbone=fcn.backbone.template,
        trunks=[_trunk(fcn, "data", 0)],
        form=_form(dropout=False),
        options=fcn.options,
        heads=[],
    )
    source = parse_net(text, f"templates/backbones/{fcn.backbone.template}.j2")
    return Trunk(graph.build(source), "data", fcn.blobs)


def _first_pad(
    fcn: _Fcn, trunk: Trunk, steps: Sequence[Step], asked: int | None
) -> tuple[int, list[str]]:
    """The first layer's pad, and what to say of it."""
    usual = fcn.backbone.fcn_pad
    if fcn.spec.published:
        return usual, []
    if asked is None:
        pad = smallest_pad(trunk, steps, usual)
        if pad == usual:
            return pad, [f"First pad {pad}: every input from 1x1 has a crop."]
        return pad, [
            f"First pad {pad}: {usual} is too small, {pad} the smallest with which every input from"
            " 1x1 has a crop."
        ]
    size = first_misfit(trunk, steps, asked)
    if size is None:
        return asked, [f"First pad {asked}, as asked: every input from 1x1 has a crop."]
    return asked, [
        f"First pad {asked}, as asked: not every input has a crop; {_by((size, size))} has none."
    ]


def _check_crops(
    fcn: _Fcn, trunk: Trunk, steps: Sequence[Step], pad: int, size: tuple[int, int] | None
) -> None:
    """Raise ZooError if an input of the declared size has no crop, or of any size if none is."""
    message = misplaced(steps, pad) if size is None else misfit(trunk, steps, pad, size)
    if message is not None:
        which = "any input" if size is None else f"an input of {_by(size)}"
        raise ZooError(f"{fcn.spec.name} with a first pad of {pad} cannot crop {which}: {message}")


def _blobs(fcn: _Fcn) -> tuple[str, ...]:
    """The blobs of the images: a single one is called data."""
    return fcn.images if len(fcn.images) > 1 else ("data",)


def _trunks(fcn: _Fcn, pad: int) -> list[dict[str, Any]]:
    """The backbone once, or once for each kind of image that is fused late."""
    if fcn.spec.fusion == "late":
        return [_trunk(fcn, image, pad, suffix=image) for image in fcn.images]
    return [_trunk(fcn, "data", pad)]


def _trunk(fcn: _Fcn, data: str, pad: int, suffix: str = "") -> dict[str, Any]:
    return {
        "data": data,
        "suffix": suffix,
        "first_suffix": fcn.spec.first_layer_suffix,
        "pad": pad,
        "score": fcn.backbone.score + suffix,
    }


def _form(*, dropout: bool) -> dict[str, Any]:
    """How an FCN has its backbone: convolutions down to what is scored."""
    return {"convolutional": True, "suffix": "", "dropout": dropout, "classes": None}


def _heads(fcn: _Fcn) -> list[dict[str, Any]]:
    return [
        {"suffix": label.suffix, "label": label.name, "loss": label.loss, "classes": classes}
        for label, classes in zip(fcn.dataset.labels, fcn.classes, strict=True)
    ]


def _steps(fcn: _Fcn, steps: Sequence[Step], pad: int) -> Iterator[dict[str, Any]]:
    """The head's steps with the published nets' names."""
    before = None
    for step in steps:
        skip = None if step.stride == IMAGE else _skip(fcn, step.stride)
        if len(steps) == 1:
            name = "upscore"
        elif skip is not None and before is not None:
            name = f"upscore_{before['name']}"
        else:
            name = f"upscore{step.window.stride}"
        yield {
            "name": name,
            "factor": step.window.stride,
            "kernel": step.window.kernel,
            "pad": step.window.pad,
            "comment": _comment(step, pad),
            "offset": step.offset_for(pad),
            "skip": skip,
        }
        before = skip


def _skip(fcn: _Fcn, stride: int) -> dict[str, Any]:
    blob = fcn.blobs[stride]
    return {"blob": blob, "name": blob.partition("/")[0], "scale": fcn.spec.scales.get(stride)}


def _comment(step: Step, pad: int) -> str:
    """Why the kernel is as large as it is."""
    even = step.even_offset + (pad if step.stride == IMAGE else 0)
    if even.denominator == 1:
        return f"2f - f % 2 for f = {step.window.stride}: the crop's offset is whole, {even}"
    return (
        f"2f - 1 for f = {step.window.stride}: with 2f - f % 2 the crop's offset would be"
        f" {float(even):g}"
    )


def _source(fcn: _Fcn, phase: str) -> dict[str, Any]:
    """The Python layer that reads the dataset."""
    source = {"train": fcn.dataset.train, "val": fcn.dataset.val}[phase]
    labels = [label.name for label in fcn.dataset.labels]
    whole = {"$mean": fcn.dataset.mean[fcn.images[0]], "$tops": [*fcn.images, *labels]}
    root = fcn.data_root.rstrip("/")
    settings = {
        key: whole.get(value, value.replace("$data", root)) if isinstance(value, str) else value
        for key, value in source.settings.items()
    }
    blobs = _blobs(fcn)
    return {
        "name": blobs[0],
        "tops": [*blobs, *labels],
        "module": _module(source.module, fcn.spec.published),
        "layer": source.layer,
        "param_str": repr(settings),
    }


def _module(name: str, published: bool) -> str:
    """Where Caffe finds a data layer: as published beside the net, or of ours, in this package."""
    return name if published or "." in name else f"fcnproto.caffe_layers.{name}"


def _render_classifier(spec: ClassifierSpec, options: Options) -> str:
    backbone = zoo.backbone(spec.backbone)
    classes = options.classes or spec.classes
    suffix = "-conv" if spec.convolutional else ""
    size = options.size or spec.size
    text = fill(
        "classifier.j2",
        header=[spec.title, options.command(spec)],
        name=spec.proto_name,
        images=[{"blob": "data", "shape": (spec.batch, 3, *size)}],
        backbone=backbone.template,
        trunk={"data": "data", "suffix": "", "first_suffix": "", "pad": backbone.pad},
        form={
            "convolutional": spec.convolutional,
            "suffix": suffix,
            "dropout": True,
            "classes": classes,
        },
        options={**backbone.options, **spec.options},
        classifier=backbone.classifier + suffix,
    )
    if options.size is not None:
        _check_size(spec, text, options.size)
    return text


def _check_size(spec: ClassifierSpec, text: str, size: tuple[int, int]) -> None:
    """Raise ZooError if an image of the declared size is too small for the net's layers."""
    try:
        shapes.infer(graph.build(parse_net(text, spec.name)))
    except NetError as error:
        first = error.problems[0]
        raise ZooError(
            f"{spec.name} cannot take an input of {_by(size)}: layer '{first.layer}':"
            f" {first.message}"
        ) from error


def _named(given: str | Spec, find: Callable[[str], Spec]) -> Spec:
    return find(given) if isinstance(given, str) else given


def _name(given: str | DatasetSpec | BackboneSpec | None) -> str | None:
    return given if given is None or isinstance(given, str) else given.name


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
