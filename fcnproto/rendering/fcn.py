"""Write a net of the zoo, or its solver, as prototxt.

What a net is comes from models/ (zoo.py), how its layers are written from templates/, and every
kernel, pad and crop offset of an FCN's head from where the backbone's blobs lie (upsampling.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fcnproto.errors import ZooError
from fcnproto.net import graph
from fcnproto.proto.source import parse_net
from fcnproto.rendering.choice import Fcn
from fcnproto.rendering.classifier import render_classifier
from fcnproto.rendering.head import (
    IMAGE,
    Trunk,
    Upsampling,
    first_misfit,
    misfit,
    misplaced,
    plan,
    smallest_pad,
)
from fcnproto.rendering.options import Options, by
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import BackboneSpec, ClassifierSpec, DatasetSpec, FcnSpec, RecipeSpec
from fcnproto.zoo.specs import NetSpec
from fcnproto.zoo.templates import from_template

SIZE = (500, 500)
"""What an FCN's deploy net declares by default; it runs at any other size as well."""


def render(
    net: str | NetSpec,
    *,
    phase: str = "deploy",
    recipe: str | RecipeSpec | None = None,
    dataset: str | DatasetSpec | None = None,
    data_dir: str | None = None,
    backbone: str | BackboneSpec | None = None,
    classes: int | None = None,
    pad: int | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    """The prototxt of a net of the zoo.

    `phase` is deploy (the score is the output), train or val; the loss of a net that learns is that
    of `recipe`: heavy (a sum over pixels) or batch, scratch and finetune (their mean). By default
    it is heavy; on data of one's own scratch for small nets, else finetune. `data_dir` is the
    folder in which its data layers look for datasets. `classes` are those of the dataset's first
    label map. `pad` is the first layer's, `size` the (height, width) that a deploy net declares.

    Published nets, classifiers and nets for one dataset are what they are: they take an option only
    if it says so too.

    Raises ZooError for a name that the zoo has not, for options that the net cannot take, for a
    backbone that lacks a stride, and for a declared size that is too small for the net's layers or
    crops.
    """
    spec = specs.net(net) if isinstance(net, str) else net
    options = Options(recipe, dataset, data_dir, backbone, classes, pad, size)
    options.check(spec, phase)
    if isinstance(spec, ClassifierSpec):
        return render_classifier(spec, options)
    return _render_fcn(Fcn.choose(spec, options), phase, options)


def render_solver(
    net: str | NetSpec,
    *,
    recipe: str | RecipeSpec | None = None,
    dataset: str | DatasetSpec | None = None,
    data_dir: str | None = None,
    backbone: str | BackboneSpec | None = None,
    classes: int | None = None,
    pad: int | None = None,
    folder: str | None = None,
) -> str:
    """The solver that trains a net of the zoo, rendered with the same options.

    A published net's is the published one. Ours reads train.prototxt and val.prototxt and writes
    snapshot/, all in `folder`, by default the working directory; its head says how to render them.

    Raises ZooError as `render` does, and for classifiers, which nothing here trains.
    """
    spec = specs.net(net) if isinstance(net, str) else net
    options = Options(recipe, dataset, data_dir, backbone, classes, pad)
    options.check(spec, "train")
    assert isinstance(spec, FcnSpec), "a classifier has no phase train"
    fcn = Fcn.choose(spec, options)
    sources = {"train": fcn.dataset.train, "val": fcn.dataset.val}
    files = {
        phase: source.file if spec.published else f"{phase}.prototxt"
        for phase, source in sources.items()
    }
    if folder is not None:
        files = {phase: f"{folder}/{file}" for phase, file in files.items()}
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
    return from_template(
        "solver.j2",
        header=header,
        train_net=files["train"],
        test_net=files["val"],
        test_iter=fcn.dataset.validation_images,
        recipe=fcn.recipe,
        base_lr=training.base_lr,
        max_iter=training.max_iter,
        snapshot=training.snapshot,
        prefix="snapshot/train" if folder is None else f"{folder}/snapshot/train",
    )


def _render_fcn(fcn: Fcn, phase: str, options: Options) -> str:
    published = fcn.spec.published
    trunk = _measured(fcn)
    steps = plan(trunk.positions(), padded=not published)
    pad, why = _first_pad(fcn, trunk, steps, options.pad)
    size = options.size or SIZE
    _check_crops(fcn, trunk, steps, pad, size if phase == "deploy" else None)
    words = [] if phase == "deploy" else ["--phase", phase]
    blobs = _blobs(fcn)
    return from_template(
        "fcn.j2",
        header=[f"{fcn.title}: {phase}", options.command(fcn.spec, *words), *why],
        # The published training nets have no name. One that infers needs it: export knows by it
        # which classes, colours and mean belong to the net.
        name=None if published and phase != "deploy" else fcn.name,
        source=None if phase == "deploy" else _source(fcn, phase),
        settings=_place(fcn, options),
        images=[
            {"blob": blob, "shape": (1, len(fcn.dataset.mean[image]), *size)}
            for blob, image in zip(blobs, fcn.images, strict=True)
        ],
        data=blobs[0] if fcn.spec.fusion == "late" else "data",
        backbone=fcn.backbone.template,
        trunks=_trunks(fcn, pad),
        form=_form(dropout=phase != "deploy"),
        options=fcn.options,
        heads=_heads(fcn, phase),
        steps=list(_steps(fcn, steps, pad)),
        mean_field=_mean_field(fcn, phase),
        published=published,
        learns=phase != "deploy",
        ignore_label=fcn.dataset.ignore_label,
        normalize=fcn.recipe.normalize,
    )


def _measured(fcn: Fcn) -> Trunk:
    """The backbone alone, with a first layer that does not pad."""
    image = {"blob": "data", "shape": (1, len(fcn.dataset.mean[fcn.images[0]]), *SIZE)}
    text = from_template(
        "fcn.j2",
        header=[],
        name=None,
        source=None,
        settings=None,
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
    fcn: Fcn, trunk: Trunk, steps: Sequence[Upsampling], asked: int | None
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
        f"First pad {asked}, as asked: not every input has a crop; {by((size, size))} has none."
    ]


def _check_crops(
    fcn: Fcn, trunk: Trunk, steps: Sequence[Upsampling], pad: int, size: tuple[int, int] | None
) -> None:
    """Raise ZooError if an input of the declared size has no crop, or of any size if none is."""
    message = misplaced(steps, pad) if size is None else misfit(trunk, steps, pad, size)
    if message is not None:
        which = "any input" if size is None else f"an input of {by(size)}"
        raise ZooError(f"{fcn.spec.name} with a first pad of {pad} cannot crop {which}: {message}")


def _blobs(fcn: Fcn) -> tuple[str, ...]:
    """The blobs of the images: a single one is called data."""
    return fcn.images if len(fcn.images) > 1 else ("data",)


def _trunks(fcn: Fcn, pad: int) -> list[dict[str, Any]]:
    """The backbone once, or once for each kind of image that is fused late."""
    if fcn.spec.fusion == "late":
        return [_trunk(fcn, image, pad, suffix=image) for image in fcn.images]
    return [_trunk(fcn, "data", pad)]


def _trunk(fcn: Fcn, data: str, pad: int, suffix: str = "") -> dict[str, Any]:
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


def _heads(fcn: Fcn, phase: str) -> list[dict[str, Any]]:
    return [
        {
            "suffix": label.suffix,
            "label": label.name,
            "loss": label.loss,
            "classes": classes,
            "matrix": label.matrix if phase == "train" else None,
        }
        for label, classes in zip(fcn.dataset.labels, fcn.classes, strict=True)
    ]


def _mean_field(fcn: Fcn, phase: str) -> dict[str, Any] | None:
    """The mean field's settings; with fewer iterations while it is learned."""
    spec = fcn.spec.mean_field
    if spec is None:
        return None
    iterations = spec.train_iterations if phase == "train" else spec.iterations
    return {
        "iterations": iterations,
        "lr_mults": spec.lr_mults,
        "thetas": {
            "theta_alpha": spec.theta_alpha,
            "theta_beta": spec.theta_beta,
            "theta_gamma": spec.theta_gamma,
        },
        "diagonals": {"spatial": spec.spatial, "bilateral": spec.bilateral},
    }


def _steps(fcn: Fcn, steps: Sequence[Upsampling], pad: int) -> Iterator[dict[str, Any]]:
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


def _skip(fcn: Fcn, stride: int) -> dict[str, Any]:
    blob = fcn.blobs[stride]
    return {"blob": blob, "name": blob.partition("/")[0], "scale": fcn.spec.scales.get(stride)}


def _comment(step: Upsampling, pad: int) -> str:
    """Why the kernel is as large as it is."""
    even = step.even_offset + (pad if step.stride == IMAGE else 0)
    if even.denominator == 1:
        return f"2f - f % 2 for f = {step.window.stride}: the crop's offset is whole, {even}"
    return (
        f"2f - 1 for f = {step.window.stride}: with 2f - f % 2 the crop's offset would be"
        f" {float(even):g}"
    )


def _source(fcn: Fcn, phase: str) -> dict[str, Any]:
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


def _place(fcn: Fcn, options: Options) -> str | None:
    """The param_str of a net that infers: where the data of one's own lie that name its classes."""
    return repr({"data_dir": fcn.data_root}) if fcn.dataset.own and options.data_dir else None


def _module(name: str, published: bool) -> str:
    """Where Caffe finds a data layer: as published beside the net, or of ours, in this package."""
    return name if published or "." in name else f"fcnproto.caffe_layers.{name}"
