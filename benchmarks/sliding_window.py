"""One pass of a convolutionized classifier against the classifier on every crop that it covers.

VGG16 on an image of 384×384: its fully convolutional form gives 6×6 places at once, for which the
classifier itself needs 36 crops of 224×224, one every 32 pixels. Weights are random (He et al.),
drawn so that activations neither fade nor grow. VGG16 pads every convolution with zeros, which a
crop has at its own border and the larger image has not: how far the scores differ is printed too.

    python benchmarks/sliding_window.py [--net vgg16] [--runs N] [--size 384]
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnx
import onnxruntime

from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.layers import fillers
from fcnproto.net.graph import Graph, build
from fcnproto.net.shapes import infer
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery.convolutionize import convolutionize
from fcnproto.surgery.fit import WeightSource
from fcnproto.version import __version__
from fcnproto.weights import Weights


def random_weights(graph: Graph) -> Weights:
    """Kernels drawn as He et al. do, and no biases."""
    rng = np.random.default_rng(0)
    msra, zero = FillerParameter(type="msra"), fillers.constant(0)
    return {
        graph.nodes[index].layer.name: [
            fillers.fill(zero if number else msra, weight.shape, rng)
            for number, weight in enumerate(arrays)
        ]
        for index, arrays in infer(graph).weights.items()
        if arrays
    }


def session(graph: Graph, weights: Weights, folder: Path) -> onnxruntime.InferenceSession:
    path = folder / f"{graph.name}.onnx"
    onnx.save(
        write(with_weights(inference(graph, weights), weights)).to_proto(),
        path,
        save_as_external_data=True,
        location=f"{path.name}.data",
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def timed(run: onnxruntime.InferenceSession, images: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds for all images one after the other, and their scores before the softmax's side."""
    name = run.get_inputs()[0].name
    start = perf_counter()
    scores = [run.run(None, {name: image})[0] for image in images]
    return perf_counter() - start, np.concatenate(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="vgg16")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=384)
    options = parser.parse_args()
    source = parse_net(render(options.net))
    # Scores, not probabilities: a softmax would hide how far they differ.
    del source.net.layer[-1]
    graph = build(NetSource(source.path, source.net, source.lines[:-1], source.problems))
    weights = random_weights(graph)
    whole = convolutionize(graph, [WeightSource("random", weights)])
    net = build(NetSource("conv", whole.net, (None,) * len(whole.net.layer), ()))
    crop = graph_input(graph)[-1]
    image = np.random.default_rng(1).uniform(-120, 130, (1, 3, options.size, options.size))
    image = image.astype(np.float32)
    with TemporaryDirectory() as folder:
        conv = session(net, whole.weights, Path(folder))
        classifier = session(graph, weights, Path(folder))
        del weights, whole
        _, scores = timed(conv, [image])
        rows, columns = scores.shape[2:]
        stride = (options.size - crop) // max(rows - 1, 1)
        places = [
            (row * stride, column * stride) for row in range(rows) for column in range(columns)
        ]
        crops = [np.ascontiguousarray(image[:, :, y : y + crop, x : x + crop]) for y, x in places]
        once, each = [], []
        for _ in range(options.runs):
            once.append(timed(conv, [image])[0])
            seconds, alone = timed(classifier, crops)
            each.append(seconds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"fcnproto {__version__}, onnxruntime {onnxruntime.__version__}, {options.net}")
    print(
        f"one pass over {options.size}×{options.size}: {median(once):.2f} s, scores {scores.shape}"
    )
    print(f"{len(crops)} crops of {crop}×{crop} every {stride} pixels: {median(each):.2f} s")
    print(f"ratio: {median(each) / median(once):.1f} (medians of {options.runs})")
    grid = alone.reshape(rows, columns, -1).transpose(2, 0, 1)
    spread = grid.std()
    difference = np.abs(scores[0] - grid).mean(axis=0) / spread
    middle = difference[1:-1, 1:-1] if rows > 2 else difference
    print(
        "difference of scores, mean over classes, in deviations of a score:"
        f" {difference.mean():.3f}, {middle.mean():.3f} off the border"
    )


def graph_input(graph: Graph) -> tuple[int, ...]:
    """The shape of the net's image."""
    shape = infer(graph).blobs[graph.inputs[0]]
    if shape is None:
        raise SystemExit("the net's image has no shape")
    return shape


if __name__ == "__main__":
    main()
