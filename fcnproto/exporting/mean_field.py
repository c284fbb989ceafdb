"""Nets that end in a mean field: a model ends at the scores before it, and says what follows.

A lattice filter is no ONNX at a size that is worth having; what runs a model computes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fcnproto.crf.mean_field import OnScores
from fcnproto.errors import NetError, Problem, raise_if_any
from fcnproto.exporting.cutting import cut
from fcnproto.exporting.filled import Filled, FilledLayer
from fcnproto.net.graph import Graph


def without_mean_fields(filled: Filled) -> tuple[Filled, dict[str, OnScores]]:
    """The net up to the scores that mean fields read, and those fields by the scores' blobs.

    Raises NetError if anything reads what a mean field gives, if its scores are not computed, or if
    its image is not an input of the net.
    """
    steps = [step for step in filled.steps if step.node.layer.is_mean_field]
    if not steps:
        return filled, {}
    graph = filled.graph
    raise_if_any(NetError, [problem for step in steps for problem in _problems(graph, step)])
    fields = {step.node.bottoms[0]: _on_scores(graph, step) for step in steps}
    gone = {top for step in steps for top in step.node.tops}
    outputs = [
        *(blob for blob in graph.outputs if blob not in gone),
        *(name for blob, field in fields.items() for name in (blob, field.start)),
    ]
    kept = tuple(step.node for step in filled.steps if step not in steps)
    rest = cut(replace(graph, nodes=kept, outputs=tuple(dict.fromkeys(outputs))))
    net = filled.inference
    read = {bottom for node in rest.nodes for bottom in node.bottoms}
    sized = {
        blob: net.outputs[step.node.tops[0]] for step in steps for blob in step.node.bottoms[:2]
    }
    inputs = {blob: sizes for blob, sizes in net.inputs.items() if blob in read}
    net = replace(
        net,
        graph=rest,
        inputs=inputs,
        trials=tuple({blob: trial[blob] for blob in inputs} for trial in net.trials),
        outputs={blob: net.outputs.get(blob) or sized[blob] for blob in rest.outputs},
    ).with_nodes(rest.nodes)
    left = set(map(id, rest.nodes))
    return Filled(net, tuple(step for step in filled.steps if id(step.node) in left)), fields


def _on_scores(graph: Graph, step: FilledLayer) -> OnScores:
    layer, (unary, start, image) = step.node.layer, step.node.bottoms[:3]
    same = _source(graph, unary) == _source(graph, start)
    return OnScores(
        layer.mean_field(),
        layer.matrices([each.array for each in step.arrays]),
        step.node.tops[0],
        unary if same else start,
        _source(graph, image),
    )


def _problems(graph: Graph, step: FilledLayer) -> Iterator[Problem]:
    node = step.node
    if not all(np.isfinite(each.array).all() for each in step.arrays):
        yield graph.problem(
            node, "its weights are not all finite numbers, and a model says them in its metadata"
        )
    for top in node.tops:
        for reader in graph.readers.get(top, ()):
            yield graph.problem(
                reader,
                f"it reads '{top}', which mean field '{node.title}' gives, but a model ends at the"
                " scores before a mean field: leave this layer out",
            )
    if graph.producers[_source(graph, node.bottoms[0])].layer.feeds:
        yield graph.problem(
            node, f"no layer computes its scores '{node.bottoms[0]}', so there is nothing to write"
        )
    image = _source(graph, node.bottoms[2])
    if not graph.producers[image].layer.feeds:
        yield graph.problem(node, f"its image '{node.bottoms[2]}' is not an input of the net")


def _source(graph: Graph, blob: str) -> str:
    """The blob that another is merely a copy of, through layers such as Split."""
    node = graph.producers[blob]
    while node.layer.keeps_shape and node.layer.shares_memory:
        blob = node.bottoms[0]
        node = graph.producers[blob]
    return blob
