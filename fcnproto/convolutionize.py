"""Any classifier as a fully convolutional net, which gives scores for every place of an image.

A fully connected layer is a convolution whose kernel covers all of its input (Long, Shelhamer and
Darrell 2015, section 3.1); how much that is, the shapes of the net say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fcnproto.errors import NetError, Problem
from fcnproto.graph import Graph, Node, build
from fcnproto.layers.base import Shape, axis_index, show
from fcnproto.layers.flatten import Flatten
from fcnproto.layers.inner_product import InnerProduct
from fcnproto.layers.pooling import Pooling
from fcnproto.layers.reshape import Reshape
from fcnproto.proto.caffe_pb2 import LayerParameter, NetParameter
from fcnproto.proto.source import NetSource
from fcnproto.shapes import Shapes, infer
from fcnproto.surgery import Entry, Fitted, Source, as_net, fit, flattened
from fcnproto.weights import Weights


@dataclass(frozen=True)
class FullyConvolutional:
    """A net without fully connected layers, its weights, and what became of each layer's."""

    net: NetParameter
    weights: Weights
    report: tuple[Entry, ...]
    notes: tuple[Problem, ...]


def convolutionize(graph: Graph, sources: list[Source]) -> FullyConvolutional:
    """The fully convolutional form of a classifier and of its weights.

    Fully connected layers become convolutions, global pooling becomes pooling over what is the
    whole plane at the classifier's own image size, and layers that only flatten go. At that size
    the net computes what it did, with two axes of 1 more; on larger images without padding it
    gives at each place what the classifier gives on the crop there.

    Raises NetError, with every layer that has no such form, and WeightsError as surgery.fit does.
    """
    shapes = infer(graph)
    fitted = fit(sources, graph, shapes)
    net = _rewritten(graph, shapes)
    convolutional = build(NetSource(net.name, net, (None,) * len(net.layer), ()), graph.state)
    after = infer(convolutional)
    _compare(graph, shapes, after)
    upright = Source("", _upright(graph, fitted))
    refitted = fit([upright], convolutional, after)
    report = tuple(
        now if now.action is not then.action and then.action.value == "copied" else then
        for now, then in zip(refitted.report, fitted.report, strict=False)
    )
    dropped = fitted.report[len(refitted.report) :]
    return FullyConvolutional(net, refitted.weights, (*report, *dropped), fitted.notes)
