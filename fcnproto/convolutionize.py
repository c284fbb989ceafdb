"""Any classifier as a fully convolutional net, which gives scores for every place of an image.

A fully connected layer is a convolution whose kernel covers all of its input (Long, Shelhamer and
Darrell 2015, section 3.1); how much that is, the shapes of the net say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fcnproto.errors import NetError, Problem, raise_if_any
from fcnproto.graph import Graph, Node, build
from fcnproto.layers.base import Shape, axis_index, show
from fcnproto.layers.flatten import Flatten
from fcnproto.layers.inner_product import InnerProduct
from fcnproto.layers.pooling import Pooling
from fcnproto.layers.reshape import Reshape
from fcnproto.proto.caffe_pb2 import ConvolutionParameter, LayerParameter, NetParameter
from fcnproto.proto.source import NetSource
from fcnproto.shapes import Shapes, infer
from fcnproto.surgery import Action, Entry, Source, as_net, fit, flattened
from fcnproto.weights import Weights


@dataclass(frozen=True)
class FullyConvolutional:
    """A net without fully connected layers, its weights, and what there is to say of them."""

    net: NetParameter
    weights: Weights
    report: tuple[Entry, ...]
    notes: tuple[Problem, ...]


def convolutionize(graph: Graph, sources: Sequence[Source]) -> FullyConvolutional:
    """The fully convolutional form of a classifier and of its weights.

    Fully connected layers become convolutions, global pooling becomes pooling over what is the
    whole plane at the classifier's own image size, and layers that only flatten go. At that size
    the net computes what it did, with two axes of 1 more. On larger images it gives, where no
    padding enters, at each place what the classifier gives on the crop there.

    Raises NetError, with every layer that has no such form, and WeightsError as surgery.fit does.
    """
    shapes = infer(graph)
    fitted = fit(sources, graph, shapes)
    net = _rewritten(graph, shapes)
    source = NetSource(net.name, net, (None,) * len(net.layer), ())
    convolutional = build(source, graph.state)
    after = infer(convolutional)
    raise_if_any(NetError, _differences(graph, shapes, after))
    refitted = fit([Source(graph.name, _upright(graph, fitted.weights))], convolutional, after)
    report = {entry.layer: entry for entry in fitted.report}
    report.update(
        {entry.layer: entry for entry in refitted.report if entry.action is Action.RESHAPED}
    )
    return FullyConvolutional(net, refitted.weights, tuple(report.values()), fitted.notes)


def _rewritten(graph: Graph, shapes: Shapes) -> NetParameter:
    raise_if_any(NetError, _obstacles(graph, shapes))
    net = as_net(graph)
    net.name = f"{graph.name}-conv" if graph.name else "conv"
    layers = []
    gone: dict[str, str] = {}
    for node, layer in zip(graph.nodes, net.layer, strict=True):
        layer.bottom[:] = [gone.get(blob, blob) for blob in layer.bottom]
        if _only_flattens(node, shapes):
            gone[layer.top[0]] = layer.bottom[0]
            continue
        layer.top[:] = [gone.get(blob, blob) for blob in layer.top]
        _rewrite(layer, node, graph, shapes)
        layers.append(layer)
    rewritten = NetParameter(name=net.name)
    rewritten.layer.extend(layers)
    return rewritten


def _rewrite(layer: LayerParameter, node: Node, graph: Graph, shapes: Shapes) -> None:
    if isinstance(node.layer, InnerProduct):
        _, *plane = flattened(graph, shapes, node.bottoms[0])[1:]
        layer.convolution_param.CopyFrom(_convolution(layer, plane or [1, 1]))
        layer.ClearField("inner_product_param")
        layer.type = "Convolution"
    elif isinstance(node.layer, Pooling) and layer.pooling_param.global_pooling:
        plane = list(_shape(shapes, node.bottoms[0])[2:])
        layer.pooling_param.ClearField("global_pooling")
        if plane[0] == plane[1]:
            layer.pooling_param.kernel_size = plane[0]
        else:
            layer.pooling_param.kernel_h, layer.pooling_param.kernel_w = plane


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
    if not isinstance(node.layer, Flatten | Reshape):
        return False
    before, after = _shape(shapes, node.bottoms[0]), _shape(shapes, node.tops[0])
    return len(before) == 4 and len(after) == 2 and before[0] == after[0]


def _obstacles(graph: Graph, shapes: Shapes) -> Iterator[Problem]:
    """Fully connected layers that read something else than what comes from a plane."""
    planar = {blob for blob, shape in shapes.blobs.items() if shape is not None and len(shape) == 4}
    found = False
    for node in graph.nodes:
        is_planar = bool(node.bottoms) and planar.issuperset(node.bottoms)
        if isinstance(node.layer, InnerProduct):
            shape = _shape(shapes, node.bottoms[0])
            found = True
            if not is_planar:
                yield graph.problem(
                    node, f"it reads {show(shape)}, which has no rows and columns to slide over"
                )
            elif axis_index(node.layer.param.axis, shape) != 1:
                yield graph.problem(
                    node, f"it flattens from axis {node.layer.param.axis}, expected 1"
                )
        found = found or (isinstance(node.layer, Pooling) and node.layer.param.global_pooling)
        if is_planar:
            planar.update(node.tops)
    if not found:
        yield Problem("it has no fully connected layer and no global pooling", graph.path)


def _differences(graph: Graph, before: Shapes, after: Shapes) -> Iterator[Problem]:
    """Blobs that are neither what they were nor that with a plane of 1×1."""
    for node in graph.nodes:
        for blob in node.tops:
            old, new = before.blobs[blob], after.blobs.get(blob)
            if old is not None and new is not None and new not in (old, (*old, 1, 1)):
                yield graph.problem(
                    node,
                    f"its top '{blob}' is {show(old)} and would become {show(new)}:"
                    " it does not work on a plane",
                )


def _upright(graph: Graph, weights: Weights) -> Weights:
    """Weights whose matrices are all O×I."""
    turned = {
        node.layer.name
        for node in graph.nodes
        if isinstance(node.layer, InnerProduct) and node.layer.param.transpose
    }
    return {
        name: [np.ascontiguousarray(arrays[0].T), *arrays[1:]] if name in turned else arrays
        for name, arrays in weights.items()
    }
