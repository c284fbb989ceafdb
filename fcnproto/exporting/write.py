"""A net and its weights as one ONNX model that holds for every batch and image size.

Nothing here knows what a layer computes; layers write themselves through a Builder. What this
module decides is what a model takes and gives, and what values are called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import numpy as np
from onnx import TensorProto
from onnx import __version__ as onnx_version
from onnx.defs import onnx_opset_version

from fcnproto.errors import LayerError, NetError, Problem, raise_if_any
from fcnproto.exporting.filled import Filled
from fcnproto.exporting.inference import Dimensions, Inference
from fcnproto.model.builder import Builder, model_of, rename, unused
from fcnproto.model.file import Model
from fcnproto.version import __version__

Value = tuple[str, int, Dimensions]
"""An input or output as ONNX has it: its name, its elements' type, its dimensions."""

DEFAULT_OPSET = 21
"""The newest that onnxruntime 1.20, the oldest that is supported, reads."""


class Result(Enum):
    """What a model gives for each score blob."""

    SCORE = "score"
    LABELS = "labels"
    """N×H×W: the class of the highest score, the first of equal ones."""
    BOTH = "both"


@dataclass(frozen=True)
class Interface:
    """How a model takes images and gives its results; by default as Caffe does."""

    result: Result = Result.SCORE
    images: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The inputs that are taken as uint8 N×H×W×C, with the mean to subtract."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """By what inputs are multiplied after that, where it is not 1."""
    reversed: Collection[str] = ()
    """Those of them that are RGB, where the net takes BGR."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Above which a score blob of one channel means class 1."""
    label_maps: Mapping[str, int] = field(default_factory=dict)
    """The blobs that are label maps in their first channel, with the number of classes."""
    no_scores: Collection[str] = ()
    """The outputs that have no labels, and are given as they are."""
    every_blob: bool = False
    """Whether all blobs are outputs, not only the net's."""


@np.errstate(all="ignore")  # weights that are not finite are said elsewhere, not by numpy
def write(
    filled: Filled,
    *,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] = MappingProxyType({}),
    interface: Interface = Interface(),
) -> Model:
    """The net as an ONNX model, inputs and outputs under their blobs' names, float32.

    Raises NetError, with every such layer, if some cannot be written at this opset.
    """
    net, graph = filled.inference, filled.graph
    if opset > onnx_opset_version():
        raise NetError(f"onnx {onnx_version} knows opsets up to {onnx_opset_version()} only")
    prepared = {blob: unused(f"{blob}/bgr", net.dims) for blob in interface.images}
    builder = Builder(
        opset, {**net.dims, **{name: net.dims[blob] for blob, name in prepared.items()}}
    )
    values = {blob: prepared.get(blob, blob) for blob in net.inputs}
    inputs = _images(net, builder, interface, values)
    problems: list[Problem] = []
    for step in filled.steps:
        node = step.node
        if node.layer.feeds:
            continue
        try:
            bottoms = [values[bottom] for bottom in node.bottoms]
            tops = builder.write(node.layer, node.title, node.tops, bottoms, step.arrays)
        except LayerError as error:
            problems += [graph.problem(node, problem.message) for problem in error.problems]
            tops = list(node.tops)
        values.update(zip(node.tops, tops, strict=True))
    raise_if_any(NetError, problems)
    wanted = _wanted(net, interface)
    _settle_names(wanted, net, builder, values)
    outputs = [value for blob in wanted for value in _results(net, builder, blob, interface)]
    return model_of(
        builder, graph.name or "net", inputs, outputs, metadata, ("fcnproto", __version__)
    )


def _images(
    net: Inference,
    builder: Builder,
    interface: Interface,
    values: Mapping[str, str],
) -> list[Value]:
    """The model's inputs; images are brought into the form that the net takes, in `values`.

    The mean is subtracted as in Caffe before anything is padded: it can be no part of a bias. A
    scale comes after it (data_transformer.cpp).
    """
    inputs: list[Value] = []
    means = interface.images
    for blob, sizes in net.inputs.items():
        if blob not in means:
            inputs.append((blob, TensorProto.FLOAT, sizes))
            continue
        num, _, height, width = sizes
        inputs.append((blob, TensorProto.UINT8, (num, height, width, len(means[blob]))))
        builder.stand_beside(blob)
        planes = builder.node("Transpose", blob, perm=[0, 3, 1, 2])
        if blob in interface.reversed:
            planes = builder.node("Gather", planes, builder.ints([2, 1, 0]), axis=1)
        mean = np.reshape(np.asarray(means[blob], np.float32), (1, -1, 1, 1))
        result = builder.node("Sub", builder.floats(planes), builder.own("mean", mean))
        if blob in interface.scales:
            scale = np.asarray(interface.scales[blob], np.float32)
            result = builder.node("Mul", result, builder.own("scale", scale))
        rename(builder.nodes[-1:], {result: values[blob]})
    return inputs


def _wanted(net: Inference, interface: Interface) -> list[str]:
    """The blobs that are outputs."""
    if not interface.every_blob:
        return list(net.outputs)
    blobs = net.graph.blobs
    return [
        top for node in net.graph.nodes for top in node.tops if blobs[top] == top not in net.inputs
    ]


def _results(net: Inference, builder: Builder, blob: str, interface: Interface) -> list[Value]:
    """The outputs for a blob: itself, its label map, or both."""
    dims = net.dims[blob]
    sizes = net.outputs.get(blob) or tuple(
        f"{blob}_{axis}" if size is None else size for axis, size in enumerate(dims)
    )
    score = (blob, TensorProto.FLOAT, sizes)
    if interface.result is Result.SCORE:
        return [score]
    if blob in interface.no_scores:
        return [score] if interface.result is Result.BOTH else []
    classes = interface.label_maps.get(blob, dims[1] if len(dims) > 1 else None)
    if classes is None or classes > 2**16:
        raise NetError(
            Problem(f"output '{blob}' has no axis of classes, so it has no labels", net.graph.path)
        )
    kind = TensorProto.UINT8 if classes <= 2**8 else TensorProto.UINT16
    name = "labels" if len(net.outputs) == 1 else f"{blob}_labels"
    builder.stand_beside(name)
    best = _labels(builder, blob, interface)
    labels = builder.node("Cast", best, to=kind)
    rename(builder.nodes[-1:], {labels: name})
    values = (name, kind, (sizes[0], *sizes[2:]))
    return [score, values] if interface.result is Result.BOTH else [values]


def _labels(builder: Builder, blob: str, interface: Interface) -> str:
    """The class of each pixel: the blob's own number, what a threshold says, or the greatest."""
    if blob in interface.label_maps:
        return builder.node("Gather", blob, builder.literal(0, np.int64), axis=1)
    if blob in interface.thresholds:
        number = builder.node("Gather", blob, builder.literal(0, np.int64), axis=1)
        return builder.node("Greater", number, builder.literal(interface.thresholds[blob]))
    return builder.node("ArgMax", blob, axis=1, keepdims=0)


def _settle_names(
    outputs: Iterable[str], net: Inference, builder: Builder, values: Mapping[str, str]
) -> None:
    """Give every blob its own name where layers that do nothing left it an earlier one.

    The output of a chain conv → relu → dropout, all in place, is written by relu, but it is the
    dropout's top that has the blob's name.
    """
    blobs, outputs = net.graph.blobs, list(outputs)
    made = {output for node in builder.nodes for output in node.output}
    names: dict[str, str] = {}
    for blob, value in values.items():
        if blob in net.inputs or value not in made:
            continue
        if blobs[blob] == blob != value and blobs.get(value) != value:
            names.setdefault(value, blob)
    for blob in outputs:
        value = values[blob]
        title = names.get(value, value)
        if title == blob:
            continue
        if value not in made or title in outputs:
            builder.copy(title, blob)
        else:
            names[value] = blob
    rename(builder.nodes, names)
