"""What people trip over when they train an FCN, said before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from fcnproto.datasets import IGNORE
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.layers.base import Kind
from fcnproto.net.graph import Graph, Node
from fcnproto.training.data import Data
from fcnproto.training.solver import Solver

LARGE, SMALL = 1.0, 1e-7
"""Learning rates per label above which training diverges, and below which nothing happens."""

_BY_SIZE = ("SGD", "Nesterov")  # the others do not care how large a gradient is


def cautions(solver: Solver, data: Data, *, pretrained: bool) -> Iterator[Problem]:
    """Warnings of zeros that no gradient passes, of rates that do not fit the loss, of RGB
    means, of masks in which nothing but class 0 is learned; an error for a rate that cannot learn.

    `pretrained` says whether weights were loaded.
    """
    if solver.param.snapshot_diff:
        message = "snapshot_diff: gradients are not written to snapshots; Caffe does not read them"
        yield Problem(message, solver.source.path, severity=Severity.WARNING)
    yield from _zeros(solver, pretrained)
    yield from _rates(solver, pretrained)
    yield from _means(data)
    yield from _masks(data)


def _zeros(solver: Solver, pretrained: bool) -> Iterator[Problem]:
    """Layers that start with nothing but zeros."""
    graph, weights = solver.net.graph, solver.net.weights
    zero = [
        node
        for node in graph.nodes
        if node.layer.name in weights and not weights[node.layer.name][0].any()
    ]
    for node in zero:
        if node.layer.kind is Kind.UPSAMPLING:
            yield graph.problem(
                node,
                "its weights are all 0, so that no score and no gradient passes it:"
                ' fcnproto convert-weights fills it, or weight_filler { type: "bilinear" }',
                Severity.WARNING,
            )
    learning = [node for node in zero if node.layer.kind is Kind.CONVOLUTION]
    if not pretrained and any(_lies_upon(graph, node, learning) for node in learning):
        names = ", ".join(node.title for node in learning[:6])
        names += ", …" if len(learning) > 6 else ""
        message = (
            f"no weights are loaded, and those of {names} are all 0: where zeros lie upon zeros"
            " nothing is ever learned; give --weights, or each a weight_filler"
        )
        yield Problem(message, graph.path, severity=Severity.WARNING)


def _lies_upon(graph: Graph, node: Node, others: Sequence[Node]) -> bool:
    """Whether what a node computes from comes through one of the others."""
    producers = graph.producers
    blobs, seen = list(node.bottoms), set(node.bottoms)
    while blobs:
        below = producers[blobs.pop()]
        if any(below is other for other in others):
            return True
        blobs += set(below.bottoms) - seen
        seen |= set(below.bottoms)
    return False


def _rates(solver: Solver, pretrained: bool) -> Iterator[Problem]:
    """Losses that are sums where the rate is one for means, and the reverse."""
    graph, rate = solver.net.graph, solver.learning_rate
    if solver.param.type not in _BY_SIZE or not rate > 0:
        return
    for node in graph.nodes:
        if len(node.bottoms) < 2:
            continue
        shape = solver.net.shape(node.bottoms[1])
        summed = node.layer.sums(shape) if shape else None
        if summed is None:
            continue
        line = f"base_lr {solver.param.base_lr:g}"
        if summed > 1 and rate * summed > LARGE:
            yield graph.problem(
                node,
                f"it adds up the loss of {summed} labels, for which {line} is too large: about"
                f" {1e-3 / summed:.0e} is usual; or set loss_param {{ normalization: VALID }}",
                Severity.WARNING,
            )
        elif summed > 1 and rate * summed < SMALL and not pretrained:
            yield graph.problem(
                node,
                f"it adds up the loss of {summed} labels, for which {line} is a rate to go on from"
                " weights: from nothing it learns nothing; give --weights, or render net and solver"
                " by --recipe scratch",
                Severity.ERROR,
            )
        elif summed == 1 and rate < SMALL:
            yield graph.problem(
                node,
                f"its loss is a mean over labels, for which {line} is too small: that is a rate"
                " for a sum; set loss_param { normalize: false }, or a base_lr of about 1e-3",
                Severity.WARNING,
            )


def _means(data: Data) -> Iterator[Problem]:
    """Means in the order RGB; images are read as BGR."""
    for source in data.sources:
        reader = source.reader
        if reader is None:
            continue
        for kind in set(reader.images.values()) & {"color"}:
            own, usual = reader.mean(kind), reader.spec.mean[kind]
            distance = abs(own - usual).sum()
            if abs(own[::-1] - usual).sum() < distance:
                listed = ", ".join(f"{value:g}" for value in own)
                message = f"the mean {listed} looks like RGB: images are fed as BGR, turn it round"
                yield Problem(message, severity=Severity.WARNING)


LOOKED_AT = 20
"""So many label maps are read to see what is in them."""


def _masks(data: Data) -> Iterator[Problem]:
    """Masks of 0 and 255, in which 255 is ignored: they teach class 0 and nothing else."""
    for source in data.sources:
        used: dict[str, set[int]] = {}
        places: dict[str, str] = {}
        try:
            for index in islice(range(len(source)), LOOKED_AT):
                for path, feed in source.labels(index):
                    for blob, labels in feed.items():
                        used.setdefault(blob, set()).update(np.unique(labels).tolist())
                        places.setdefault(blob, path)
        except FcnprotoError:
            continue  # what cannot be read is said when it is fed
        for blob, classes in used.items():
            if classes == {0, IGNORE}:
                message = (
                    f"the first label maps hold nothing but class 0 and {IGNORE}, which is ignored,"
                    f" so that nothing else is learned: masks of 0 and {IGNORE} become classes by"
                    " `fcnproto dataset convert`"
                )
                yield Problem(message, places[blob], severity=Severity.WARNING)
