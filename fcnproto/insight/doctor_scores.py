"""What the scores of a net say of its health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import ModelProto, helper, numpy_helper
from PIL import Image

from fcnproto.errors import NetError, Problem, Severity
from fcnproto.exporting.filled import with_weights as filled
from fcnproto.exporting.inference import Inference, inference
from fcnproto.exporting.write import write
from fcnproto.insight.doctor import SURER, Finding, Weights
from fcnproto.layers.fillers import start
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import Shapes
from fcnproto.runtime.session import Session
from fcnproto.surgery.layouts import image_mean
from fcnproto.types import Array, show

_SURE = 0.99  # a net that is so sure cannot be told surer


def examine_scores(blob: str, scores: Array, swapped: Array | None = None) -> Iterator[Finding]:
    """What is wrong with the scores (classes × rows × columns) that a net gives an image.

    `swapped` are those for the image with red and blue exchanged.
    """
    if not np.isfinite(scores).all():
        yield Finding(
            Severity.ERROR,
            f"some of the scores '{blob}' are infinite or not a number",
            "the weights have diverged, or the image was not brought to 0-255 less the mean",
        )
        return
    spread = float(np.ptp(scores, axis=(1, 2)).max(initial=0))
    if spread <= 1e-6 * max(1.0, float(np.abs(scores).max(initial=0))):
        yield Finding(
            Severity.ERROR,
            f"the scores '{blob}' are the same at every pixel",
            "some layer gives nothing but its bias: see what is said of kernels that are zero",
        )
        return
    labels = scores.argmax(axis=0)
    label = int(labels.min())
    if label == labels.max():
        name = "background (class 0)" if label == 0 else f"class {label}"
        ordered = np.sort(scores, axis=0)
        margin = float((ordered[-1] - ordered[-2]).min()) if len(scores) > 1 else 0.0
        yield Finding(
            Severity.WARNING,
            f"every pixel of '{blob}' is {name}, by {margin:.3g} at least",
            "if there is more on the image: look at the channel order (BGR), the range (0-255), and"
            " the mean; whether the score layers are trained; and whether training saw labels"
            " other than this",
        )
    if swapped is not None:
        ours = _sureness(scores)
        if ours < _SURE and (theirs := _sureness(swapped)) > ours + SURER * (1 - ours):
            yield Finding(
                Severity.WARNING,
                f"with red and blue exchanged the net is surer of '{blob}': its best class has a"
                f" share of {theirs:.3f}, and of {ours:.3f} as it is",
                "the first convolution looks like one for RGB, and BGR is fed: fcnproto"
                " convert-weights --input-order rgb",
            )


def examine_image(graph: Graph, weights: Weights, picture: Array, name: str = "") -> list[Finding]:
    """What is wrong with the scores that a net gives an image (H×W×3 uint8 RGB), on the CPU.

    `name` is what the zoo calls the net. Weights that are missing stand at their fillers, as in
    Caffe. Raises NetError if the net cannot be run.
    """
    net = inference(graph, weights)
    if [(len(sizes), *sizes[1:2]) for sizes in net.inputs.values()] != [(4, 3)]:
        listed = ", ".join(f"'{blob}' {show(sizes)}" for blob, sizes in net.inputs.items())
        message = f"a net with one input N×3×H×W is needed, found {listed}"
        raise NetError(Problem(message, graph.path))
    ((blob, sizes),) = net.inputs.items()
    model = write(filled(net, _complete(net, weights))).to_proto()
    rectified = _with_maxima(model, net.graph, net.shapes)
    session = Session(model.SerializeToString(), "cpu")
    mean = np.asarray(image_mean([graph.name, name]), np.float32)
    order = {"bgr": slice(None, None, -1), "rgb": slice(None)}
    scores = {
        key: session.run({blob: _prepared(picture[:, :, channels], sizes, mean)})
        for key, channels in order.items()
    }
    maxima = {output: scores["bgr"].pop(output) for output in rectified}
    findings = list(_dead({rectified[output]: most for output, most in maxima.items()}))
    for output, score in scores["bgr"].items():
        if score.ndim == 4 and score.shape[1] > 1:
            findings += examine_scores(output, score[0], scores["rgb"][output][0])
    return findings


def _with_maxima(model: ModelProto, graph: Graph, shapes: Shapes) -> dict[str, str]:
    """Give a model the greatest number of each channel that a layer rectifies, as outputs.

    The result has for each of these outputs the layer. Whole blobs would be too large to keep.
    """
    layers = {
        node.title
        for node in graph.nodes
        if node.layer.rectifies and len(shapes.blobs.get(node.tops[0]) or ()) == 4
    }
    found: dict[str, str] = {}
    for node in [node for node in model.graph.node if node.name in layers]:
        output = f"{node.output[0]}/greatest"
        model.graph.node.append(
            helper.make_node("ReduceMax", [node.output[0], "greatest/axes"], [output], keepdims=0)
        )
        model.graph.output.add(name=output)
        found[output] = node.name
    if found:
        axes = numpy_helper.from_array(np.array([2, 3], np.int64), "greatest/axes")
        model.graph.initializer.append(axes)
    return found


_MOST_DEAD = 0.9
"""Of a healthy layer's channels, many see nothing on one image, but not so many."""


def _dead(maxima: Mapping[str, Array]) -> Iterator[Finding]:
    """ReLUs that give 0 at every pixel, by the greatest number of each channel (N×C)."""
    for layer, most in maxima.items():
        share = float((most <= 0).mean())
        if share == 1:
            yield Finding(
                Severity.ERROR,
                "it gives 0 in every channel and at every pixel: a dead ReLU, which no score and no"
                " gradient passes",
                "training has driven its biases down: take an earlier snapshot, and a lower"
                " learning rate; or look whether the image was brought to 0-255 less the mean",
                layer,
            )
            return  # what is behind it follows from that
        if share > _MOST_DEAD:
            dead, channels = int((most <= 0).sum()), most.size
            yield Finding(
                Severity.WARNING,
                f"{dead} of its {channels} channels are 0 at every pixel: dead ReLUs",
                "try another image; if it is so there too, take an earlier snapshot and a lower"
                " learning rate",
                layer,
            )


def _complete(net: Inference, weights: Weights) -> dict[str, list[Array]]:
    """The arrays of each layer: the weights' where they fit, else what its fillers make."""
    random = np.random.default_rng(0)
    complete: dict[str, list[Array]] = {}
    for index, wanted in net.shapes.weights.items():
        if not wanted:
            continue
        name = net.graph.nodes[index].layer.name
        arrays = list(weights.get(name, ()))
        if [array.shape for array in arrays] != [weight.shape for weight in wanted]:
            arrays = [start(weight, random) for weight in wanted]
        complete[name] = arrays
    return complete


def _prepared(picture: Array, sizes: Sequence[int | str], mean: Array) -> Array:
    """An image of any channel order as an input takes it: at the size that is fixed, if one is."""
    height, width = (size for size in sizes[2:])
    if isinstance(height, int) and isinstance(width, int) and picture.shape[:2] != (height, width):
        resized = Image.fromarray(np.ascontiguousarray(picture)).resize((width, height))
        picture = np.asarray(resized)
    blob = (picture.astype(np.float32) - mean).transpose(2, 0, 1)[np.newaxis]
    count = sizes[0] if isinstance(sizes[0], int) else 1
    return np.ascontiguousarray(np.repeat(blob, count, axis=0))


def _sureness(scores: Array) -> float:
    """The probability that a softmax gives the best class, on average over the pixels."""
    best = 1 / np.exp(scores - scores.max(axis=0)).sum(axis=0)
    return float(best.mean(dtype=np.float64))
