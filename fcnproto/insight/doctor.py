"""What is wrong with weights in a net, and with what they make of an image: found by looking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcnproto.errors import Severity, printable
from fcnproto.layers.fillers import bilinear_kernel
from fcnproto.model import metadata
from fcnproto.model.metadata import Blobs
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import Place, Shapes, infer
from fcnproto.surgery.targets import Target, targets
from fcnproto.types import Array, show
from fcnproto.words import some

Weights = Mapping[str, Sequence[Array]]

Fitting = Mapping[int, Sequence[Array]]
"""The arrays of each layer that has those the net asks for, by its place: names may be shared."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    severity: Severity
    what: str
    advice: str
    layer: str | None = None


def examine(graph: Graph, weights: Weights, name: str = "") -> list[Finding]:
    """What is wrong with weights in a net, without running it; `name` is what the zoo calls it.

    Raises NetError if Caffe would refuse the net.
    """
    shapes = infer(graph)
    wanted = [target for target in targets(graph, shapes) if _owns(shapes, target)]
    fitting = {t.index: weights[t.name] for t in wanted if _fits(t, weights.get(t.name, ()))}
    findings = list(_coverage(wanted, weights))
    for target in wanted:
        if target.index in fitting:
            findings += _layer(graph, target, fitting[target.index])
    findings += _mean(graph, shapes, graph.name or name)
    if not any(finding.layer in _upsampling(wanted) for finding in findings):
        findings += _losers(graph, shapes, wanted, fitting)
    return findings


def _owns(shapes: Shapes, target: Target) -> bool:
    return any(
        shapes.owners[Place(target.index, number)].node == target.index
        for number in range(len(target.weights))
    )


def _fits(target: Target, arrays: Sequence[Array]) -> bool:
    return [array.shape for array in arrays] == [weight.shape for weight in target.weights]


def _upsampling(wanted: Sequence[Target]) -> set[str]:
    return {target.name for target in wanted if target.upsamples}


# Layers ---------------------------------------------------------------------------------------


def _coverage(wanted: Sequence[Target], weights: Weights) -> Iterator[Finding]:
    """Layers that have no weights, or those of another shape, and weights that no layer has."""
    for target in wanted:
        arrays = weights.get(target.name)
        if arrays is None:
            yield Finding(
                Severity.ERROR,
                "it is not in the weights: Caffe leaves it at its filler, which is all zeros unless"
                " the net says another",
                "carry it over with fcnproto convert-weights, which also fills upsampling layers,"
                " or train it",
                target.name,
            )
        elif not _fits(target, arrays):
            found = ", ".join(show(array.shape) for array in arrays)
            expected = ", ".join(show(weight.shape) for weight in target.weights)
            yield Finding(
                Severity.ERROR,
                f"its weights are {found}, and the net asks for {expected}",
                "these are another net's: fcnproto convert-weights says what can be carried over",
                target.name,
            )
    known = {target.name for target in wanted}
    extra = [name for name, arrays in weights.items() if name not in known and arrays]
    if extra:
        yield Finding(
            Severity.NOTE,
            f"weights of layers that the net does not have: {some(extra)}",
            "Caffe ignores them without a word; look whether a layer is called otherwise",
        )


def _layer(graph: Graph, target: Target, arrays: Sequence[Array]) -> Iterator[Finding]:
    kernels = arrays[0]
    if not all(np.isfinite(array).all() for array in arrays):
        yield Finding(
            Severity.ERROR,
            "some of its weights are infinite or not a number",
            "training has diverged: take an earlier snapshot, and a lower learning rate",
            target.name,
        )
    elif (statistics := target.layer.statistics(arrays)) is not None:
        yield from _statistics(target, arrays, *statistics)
    elif not kernels.any() and target.layer.zeros_are_sound:
        return
    elif not kernels.any():
        yield Finding(Severity.ERROR, *_all_zero(target), target.name)
    elif target.upsamples:
        yield from _bilinear(target, kernels)
    elif target.fixed:
        return  # a filter that somebody chose, such as a mean over windows
    elif kernels.size > 1 and kernels.min() == kernels.max():
        alike = ": all of its outputs are alike" * (kernels.ndim > 1)  # else channels stay apart
        yield Finding(
            Severity.WARNING,
            f"all of its {kernels.size:,} weights are {kernels.flat[0]:g}",
            f"it was filled with a constant and never trained{alike}",
            target.name,
        )
    else:
        yield from _dead(target, kernels)
        if target.sees_image:
            yield from _channel_order(target, kernels)


def _statistics(
    target: Target, arrays: Sequence[Array], mean: Array, variance: Array
) -> Iterator[Finding]:
    """Statistics that were never gathered; forks' fused layers do not look at the factor."""
    gathered = "run iterations of training, which gathers them, or take a later snapshot"
    dead, negative = int((variance == 0).sum()), int((variance < 0).sum())
    if len(arrays) == 3 and not arrays[2].any():
        yield Finding(
            Severity.ERROR,
            "its factor is 0, so that it has no statistics: mean and variance count as 0",
            gathered,
            target.name,
        )
    elif not variance.any():
        also = "mean and variance are" if not mean.any() else "variance is"
        yield Finding(Severity.ERROR, f"its {also} 0 in every channel", gathered, target.name)
    elif negative:
        yield Finding(
            Severity.ERROR,
            f"its variance is below 0 in {negative} of {variance.size} channels",
            "no statistics are: the file is broken, or its arrays are in another order",
            target.name,
        )
    elif dead:
        yield Finding(
            Severity.WARNING,
            f"its variance is 0 in {dead} of {variance.size} channels, which it blows up",
            "what it reads there never changes: look for kernels that are zero and dead ReLUs"
            " before it",
            target.name,
        )


def _all_zero(target: Target) -> tuple[str, str]:
    if target.upsamples:
        return (
            "its upsampling kernels are all zero: so are all scores behind it",
            "they were never filled: fcnproto convert-weights puts bilinear ones there",
        )
    if target.scores:
        return (
            "its kernels are all zero: each class scores its bias, everywhere",
            "that is how FCNs start: train it, or take weights that are trained for these classes",
        )
    return (
        "its kernels are all zero: its output is its bias, everywhere",
        "it was never set: look whether the weights call it otherwise (convert-weights --rename)",
    )


def _dead(target: Target, kernels: Array) -> Iterator[Finding]:
    """Output channels whose kernels are zero; an upsampling or grouped layer has its own axes."""
    if target.transposed or kernels.ndim < 2:
        return
    dead = int((~kernels.reshape(len(kernels), -1).any(axis=1)).sum())
    if dead:
        yield Finding(
            Severity.WARNING,
            f"{dead} of its {len(kernels)} kernels are all zero",
            "those were never set or never trained; if it scores classes, these say nothing",
            target.name,
        )


_CLOSE = 1e-3
"""How far a kernel may be from the bilinear one: half-precision files round that much."""


def _bilinear(target: Target, kernels: Array) -> Iterator[Finding]:
    """Whether upsampling kernels are bilinear: one for each channel, none between channels."""
    size = kernels.shape[-1]
    kernel = bilinear_kernel(size)
    pairs = np.abs(kernels - kernel).max(axis=(2, 3)) <= _CLOSE
    between = np.zeros(pairs.shape, bool)
    if kernels.shape[1] > 1:
        between = ~np.eye(len(kernels), dtype=bool)
    severity = Severity.WARNING if target.fixed else Severity.NOTE
    learned = "" if target.fixed else "; it is learned, so that may be meant"
    if between.any() and pairs.all():
        yield Finding(
            Severity.ERROR,
            "every pair of channels has a bilinear kernel: each score is the sum of all classes'",
            "a bilinear filler does that unless the layer has a group for each channel: let"
            " fcnproto convert-weights fill it",
            target.name,
        )
    elif target.fixed and _is_nearest(kernels, between):
        return  # each pixel becomes a block, on purpose
    elif not pairs[~between].all():
        worst = float(np.abs(kernels - kernel).max(axis=(2, 3))[~between].max())
        yield Finding(
            severity,
            f"its upsampling kernels are not bilinear: they differ by up to {worst:.3g}{learned}",
            "if it should interpolate, let fcnproto convert-weights fill it",
            target.name,
        )
    elif np.abs(kernels[between]).max(initial=0) > _CLOSE:
        yield Finding(
            severity,
            f"its upsampling kernels mix channels, which bilinear ones do not{learned}",
            "if it should interpolate, let fcnproto convert-weights fill it",
            target.name,
        )


def _is_nearest(kernels: Array, between: Array) -> bool:
    """Whether each channel has a kernel of ones, and none goes between channels."""
    return bool((kernels[~between] == 1).all() and not kernels[between].any())


# The first tap of filters 0, 1, 2, 61, 62 and 63 of VGG16's conv1_1, for blue, green and red.
# Every FCN of the papers begins with these filters, and training hardly moves them.
_VGG16_TAPS = np.array(
    [
        [0.42947, 0.11727, 0.03401, -0.13224, -0.05335, 0.00758],
        [0.55038, 0.02088, 0.09883, -0.08482, -0.05114, 0.03749],
        [0.48002, -0.17270, 0.03756, -0.12714, -0.05030, 0.03490],
    ]
)
_VGG16_FILTERS = [0, 1, 2, 61, 62, 63]
_MOVED = 0.02
"""By how much training may have moved a tap, on average."""


def _channel_order(target: Target, kernels: Array) -> Iterator[Finding]:
    """Whether a first convolution is VGG16's with red and blue exchanged."""
    if kernels.shape not in ((64, 3, 3, 3), (64, 4, 3, 3)):
        return
    taps = kernels[_VGG16_FILTERS, :3, 0, 0].T
    as_bgr, as_rgb = (
        float(np.abs(taps - known).mean()) for known in (_VGG16_TAPS, _VGG16_TAPS[::-1])
    )
    if as_rgb < _MOVED and as_rgb < as_bgr:
        yield Finding(Severity.ERROR, *_RGB, target.name)


_RGB = (
    "it looks like VGG16's first layer for RGB, and a net like this is fed BGR",
    "exchange the channels: fcnproto convert-weights --input-order rgb",
)


# Mean -----------------------------------------------------------------------------------------


def _mean(graph: Graph, shapes: Shapes, name: str) -> Iterator[Finding]:
    """Inputs of which nothing says what mean is subtracted."""
    known = metadata.of_net(name, _blobs(graph, shapes)).mean
    for node in graph.nodes:
        if not node.layer.feeds:
            continue
        colour = [
            graph.blobs[top]
            for top in node.tops
            if len(shape := shapes.blobs.get(top) or ()) == 4 and shape[1] == 3
        ]
        subtracts = node.layer.subtracts_mean()
        if not colour or subtracts or (subtracts is None and known.keys() >= set(colour)):
            continue
        listed = ", ".join(f"'{blob}'" for blob in colour)
        if subtracts is None:
            yield Finding(
                Severity.NOTE,
                f"nothing says what mean is subtracted from {listed}",
                "say it when the model is made: export-onnx --dataset D, or --mean B,G,R",
                node.title,
            )
        else:
            yield Finding(
                Severity.WARNING,
                f"no mean is subtracted from {listed}",
                "give transform_param mean_value (B, G, R) or mean_file, unless the weights were"
                " trained without",
                node.title,
            )


def _blobs(graph: Graph, shapes: Shapes) -> Blobs:
    def channels(blob: str) -> int:
        shape = shapes.blobs.get(blob) or ()
        return shape[1] if len(shape) > 1 else 0

    return Blobs(
        {blob: channels(blob) for blob in graph.inputs},
        {blob: channels(blob) for blob in graph.outputs},
    )


# Classes that cannot win ----------------------------------------------------------------------


def _losers(
    graph: Graph, shapes: Shapes, wanted: Sequence[Target], fitting: Fitting
) -> Iterator[Finding]:
    """Classes that score below another whatever the image is.

    A class's score is the sum of what several layers give it. Where their inputs cannot be
    negative, a class whose weights are nowhere greater than another's scores nowhere more.
    """
    for output in graph.outputs:
        above = {id(node) for node, _ in graph.upstream(output)}
        heads = [
            target
            for target in wanted
            if target.scores and not target.upsamples and id(target.node) in above
        ]
        if not heads or not all(_is_matrix(target, fitting) for target in heads):
            continue
        tops = [shapes.blobs.get(target.node.tops[0]) or () for target in heads]
        if any(t.layer.output_axis(top) is None for t, top in zip(heads, tops, strict=True)):
            continue  # it scales scores, or shifts them, and adds up none
        classes = {len(fitting[target.index][0]) for target in heads}
        if len(classes) != 1:
            continue
        losers = _dominated(graph, heads, fitting, classes.pop())
        if losers:
            pairs = some([f"{loser} (below {winner})" for loser, winner in losers], 8)
            yield Finding(
                Severity.WARNING,
                f"classes that can never win, counted from 0: {pairs}",
                "they were not trained: look for them in the labels, and for how score layers were"
                " carried over",
                ", ".join(target.name for target in heads),
            )


def _is_matrix(target: Target, fitting: Fitting) -> bool:
    """Whether a class's score is a row of weights times what the layer sees, and a bias."""
    if target.index not in fitting or target.transposed:
        return False
    kernels, *biases = fitting[target.index]
    return kernels.ndim > 1 and [bias.shape for bias in biases] in ([], [kernels.shape[:1]])


def _dominated(
    graph: Graph, heads: Sequence[Target], fitting: Fitting, classes: int
) -> list[tuple[int, int]]:
    """The classes that always score below another, each with such a one."""
    # Whether the class of the row never scores more than that of the column, and surely less.
    below = np.ones((classes, classes), bool)
    less = np.zeros((classes, classes), bool)
    for target in heads:
        kernels, *biases = fitting[target.index]
        rows = kernels.reshape(classes, -1)
        bias = biases[0] if biases else np.zeros(classes, rows.dtype)
        non_negative = _is_non_negative(graph, target.node.bottoms[0])
        for index in range(classes):
            lower = rows[index] <= rows if non_negative else rows[index] == rows
            below[index] &= lower.all(axis=1) & (bias[index] <= bias)
        less |= bias[:, np.newaxis] < bias
    found = []
    for index in range(classes):
        # Of equal scores the first wins.
        winners = [
            other
            for other in range(classes)
            if other != index and below[index, other] and (less[index, other] or other < index)
        ]
        if winners:
            found.append((index, winners[0]))
    return found


def _is_non_negative(graph: Graph, blob: str) -> bool:
    """Whether a blob surely holds nothing below 0."""
    node = graph.producers.get(blob)
    while node is not None and not node.layer.gives_non_negative(False):
        if not node.layer.gives_non_negative(True) or not node.bottoms:
            return False
        node = graph.producers.get(node.bottoms[0])
    return node is not None


# Scores ---------------------------------------------------------------------------------------


SURER = 0.25
"""So much less doubt with channels exchanged is no accident of one image."""


# Writing --------------------------------------------------------------------------------------


def text(findings: Sequence[Finding]) -> str:
    """Findings as lines: what, and below it what to do."""
    if not findings:
        return "nothing found\n"
    lines = []
    for finding in findings:
        layer = f"layer '{finding.layer}': " if finding.layer else ""
        lines += [f"{finding.severity.value}: {layer}{finding.what}", f"    {finding.advice}"]
    return "\n".join(map(printable, lines)) + "\n"


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    return {
        "severity": finding.severity.value,
        "layer": finding.layer,
        "what": finding.what,
        "advice": finding.advice,
    }
