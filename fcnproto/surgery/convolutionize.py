"""Any classifier as a fully convolutional net, which gives scores for every place of an image.

A fully connected layer is a convolution whose kernel covers all of its input (Long, Shelhamer and
Darrell 2015, section 3.1); how much that is, the shapes of the net say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message

from fcnproto.errors import NetError, Problem, raise_if_any
from fcnproto.layers.base import axis_index
from fcnproto.layers.reshape import Reshape
from fcnproto.net.graph import Graph, Node, build
from fcnproto.net.shapes import Shapes, infer
from fcnproto.proto.caffe_pb2 import ConvolutionParameter, LayerParameter, NetParameter
from fcnproto.proto.source import NetSource
from fcnproto.surgery.fit import LayerFit, WeightSource, fit
from fcnproto.surgery.rules import Action
from fcnproto.surgery.targets import flattened
from fcnproto.types import Shape, show
from fcnproto.weights import Weights


@dataclass(frozen=True)
class FullyConvolutional:
    """A net without fully connected layers, its weights, and what there is to say of them."""

    net: NetParameter
    weights: Weights
    report: tuple[LayerFit, ...]
    notes: tuple[Problem, ...]


SUFFIX = "-conv"
"""What is added to the names of layers that change, since Caffe refuses to load the weights of a
fully connected layer into a convolution of the same name (golden: fc_into_conv)."""


def convolutionize(graph: Graph, sources: Sequence[WeightSource]) -> FullyConvolutional:
    """The fully convolutional form of a classifier and of its weights.

    Fully connected layers become convolutions, global pooling becomes pooling over what is the
    whole plane at the classifier's own image size, and layers that only flatten go. At that size
    the net computes what it did, with two axes of 1 more. On larger images it gives, where no
    padding enters, at each place what the classifier gives on the crop there.

    Raises NetError, with every layer that has no such form, and WeightsError as surgery.fit does.
    """
    shapes = infer(graph)
    raise_if_any(NetError, _obstacles(graph, shapes))
    fitted = fit(sources, graph, shapes)
    net = _rewritten(graph, shapes)
    source = NetSource(net.name, net, (None,) * len(net.layer), ())
    convolutional = build(source, graph.state)
    after = infer(convolutional)
    kept = [node for node in graph.nodes if not _only_flattens(node, shapes)]
    raise_if_any(NetError, _differences(graph, kept, shapes, convolutional, after))
    _check_larger(source, convolutional, after)
    names = {
        old.layer.name: new.layer.name
        for old, new in zip(kept, convolutional.nodes, strict=True)
        if old.layer.name != new.layer.name
    }
    upright = {
        names.get(name, name): arrays for name, arrays in _upright(graph, fitted.weights).items()
    }
    origins = {new: old for old, new in names.items()}
    refitted = fit([WeightSource(graph.name, upright, origins=origins)], convolutional, after)
    report = {entry.layer: entry for entry in fitted.report}
    for entry in refitted.report:
        before = origins.get(entry.layer, entry.layer)
        if entry.action is Action.RESHAPED and report[before].action is not Action.FILLER:
            report[before] = entry
    return FullyConvolutional(net, refitted.weights, tuple(report.values()), fitted.notes)


def is_convolutional(graph: Graph) -> bool:
    """Whether a net has nothing that ties it to one image size."""
    return not any(
        node.layer.fully_connected or node.layer.pools_everything for node in graph.nodes
    )


def _check_larger(source: NetSource, graph: Graph, shapes: Shapes) -> None:
    """Raise NetError if the net does not take images of twice the size."""
    planes = [shape for blob in graph.inputs if len(shape := _shape(shapes, blob)) == 4]
    size = (2 * max(plane[2] for plane in planes), 2 * max(plane[3] for plane in planes))
    infer(build(source, graph.state, size))


def _rewritten(graph: Graph, shapes: Shapes) -> NetParameter:
    rewritten = NetParameter(name=f"{graph.name or 'net'}{SUFFIX}")
    blobs: dict[str, str] = {}  # what blobs are called now
    for node in graph.nodes:
        layer = LayerParameter()
        layer.CopyFrom(node.layer.proto)
        layer.ClearField("blobs")
        layer.bottom[:] = [blobs.get(blob, blob) for blob in layer.bottom]
        if _only_flattens(node, shapes):
            blobs[layer.top[0]] = layer.bottom[0]
            continue
        if node.layer.fully_connected:
            layer.name += SUFFIX
            if layer.top[0] == node.layer.name:
                blobs[layer.top[0]] = layer.name
        layer.top[:] = [blobs.get(blob, blob) for blob in layer.top]
        _rewrite(layer, node, graph, shapes)
        rewritten.layer.append(layer)
    return rewritten


def _rewrite(layer: LayerParameter, node: Node, graph: Graph, shapes: Shapes) -> None:
    if node.layer.fully_connected:
        _, *plane = flattened(graph, shapes, node.bottoms[0])[1:]
        layer.convolution_param.CopyFrom(_convolution(layer, plane or [1, 1]))
        layer.ClearField("inner_product_param")
        layer.type = "Convolution"
        return
    _count_axes_from_front(layer, node, shapes)
    if node.layer.pools_everything:
        plane = list(_shape(shapes, node.bottoms[0])[2:])
        layer.pooling_param.ClearField("global_pooling")
        if plane[0] == plane[1]:
            layer.pooling_param.kernel_size = plane[0]
        else:
            layer.pooling_param.kernel_h, layer.pooling_param.kernel_w = plane


def _count_axes_from_front(layer: LayerParameter, node: Node, shapes: Shapes) -> None:
    """Write an axis that is counted from the back so that two axes of 1 behind it do not move it.

    Reshape means something else by a negative one; where that matters, its shape differs.
    """
    for _, param in layer.ListFields():
        counted = isinstance(param, Message) and "axis" in param.DESCRIPTOR.fields_by_name
        if counted and param.axis < 0 and not isinstance(node.layer, Reshape):
            param.axis += len(_shape(shapes, node.bottoms[0]))


def _convolution(layer: LayerParameter, plane: list[int]) -> ConvolutionParameter:
    """The settings of a fully connected layer, as a convolution over a plane."""
    old = layer.inner_product_param
    new = ConvolutionParameter(num_output=old.num_output)
    if not old.bias_term:
        new.bias_term = False
    for filler in ("weight_filler", "bias_filler"):
        if old.HasField(filler):
            getattr(new, filler).CopyFrom(getattr(old, filler))
    if plane[0] == plane[1]:
        new.kernel_size.append(plane[0])
    else:
        new.kernel_h, new.kernel_w = plane
    return new


def _shape(shapes: Shapes, blob: str) -> Shape:
    return shapes.blobs[blob] or ()


def _only_flattens(node: Node, shapes: Shapes) -> bool:
    """Whether a layer does no more than what a fully connected one does with its input itself."""
    if not node.layer.shares_memory or not len(node.bottoms) == len(node.tops) == 1:
        return False
    before, after = _shape(shapes, node.bottoms[0]), _shape(shapes, node.tops[0])
    return len(before) == 4 and len(after) == 2 and before[0] == after[0]


def _obstacles(graph: Graph, shapes: Shapes) -> Iterator[Problem]:
    """Fully connected layers that read something else than what comes from a plane."""
    planar = {blob for blob, shape in shapes.blobs.items() if shape is not None and len(shape) == 4}
    for node in graph.nodes:
        is_planar = bool(node.bottoms) and planar.issuperset(node.bottoms)
        if node.layer.fully_connected:
            shape = _shape(shapes, node.bottoms[0])
            if not is_planar:
                yield graph.problem(
                    node, f"it reads {show(shape)}, which has no rows and columns to slide over"
                )
            elif axis_index(node.layer.param.axis, shape) != 1:
                yield graph.problem(
                    node, f"it flattens from axis {node.layer.param.axis}, expected 1"
                )
        if is_planar:
            planar.update(node.tops)
    if is_convolutional(graph):
        yield Problem("it has no fully connected layer and no global pooling", graph.path)


def _differences(
    graph: Graph, kept: Sequence[Node], before: Shapes, convolutional: Graph, after: Shapes
) -> Iterator[Problem]:
    """Blobs that are neither what they were, nor that with a plane of 1×1, nor not flattened."""
    for old, new in zip(kept, convolutional.nodes, strict=True):
        for old_top, new_top in zip(old.tops, new.tops, strict=True):
            was, is_now = _shape(before, old_top), _shape(after, new_top)
            if is_now not in (was, (*was, 1, 1), flattened(graph, before, old_top)):
                yield graph.problem(
                    old,
                    f"its top '{old_top}' is {show(was)} and would become {show(is_now)}:"
                    " it does not work on a plane",
                )


def _upright(graph: Graph, weights: Weights) -> Weights:
    """Weights whose matrices are all O×I."""
    turned = {
        node.layer.name
        for node in graph.nodes
        if node.layer.fully_connected and node.layer.param.transpose
    }
    return {
        name: [np.ascontiguousarray(arrays[0].T), *arrays[1:]] if name in turned else arrays
        for name, arrays in weights.items()
    }
