"""Classifiers, and their convolutional form, as prototxt."""

from __future__ import annotations

from fcnproto.errors import NetError, ZooError
from fcnproto.net import graph, shapes
from fcnproto.proto.source import parse_net
from fcnproto.rendering.options import Options, by
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import ClassifierSpec
from fcnproto.zoo.templates import from_template


def render_classifier(spec: ClassifierSpec, options: Options) -> str:
    """The prototxt of a classifier, or of its convolutional form, for inference."""
    backbone = specs.backbone(spec.backbone)
    classes = options.classes or spec.classes
    suffix = "-conv" if spec.convolutional else ""
    size = options.size or spec.size
    text = from_template(
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
            f"{spec.name} cannot take an input of {by(size)}: layer '{first.layer}':"
            f" {first.message}"
        ) from error
