"""Seconds for one pass of FCN-8s at 500×500: our ONNX on onnxruntime, PyTorch, OpenCV's importer.

The net is voc-fcn8s with random weights (He et al.). The contenders take turns, so that whatever
else the machine does hits them alike; medians and fastest runs are printed, and how far the scores
lie from PyTorch's. OpenCV's Caffe importer, which OpenCV 5 no longer has, takes part where OpenCV 4
is installed.

    python benchmarks/fcn8s.py [--runs N] [--size 500] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime
import torch
from torch.nn import functional

from fcnproto import __version__
from fcnproto.export import write
from fcnproto.filled import fill
from fcnproto.graph import Graph, build
from fcnproto.inference import inference
from fcnproto.layers import fillers
from fcnproto.proto import text as prototxt
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.render import render
from fcnproto.shapes import infer
from fcnproto.weights import Array, Weights
from fcnproto.weights import write as write_weights

NET = "voc-fcn8s"

Contender = Callable[[Array], Array]


def random_weights(graph: Graph) -> Weights:
    """Kernels drawn as He et al. do, no biases, bilinear kernels where the net upsamples."""
    rng = np.random.default_rng(0)
    msra, zero = FillerParameter(type="msra"), fillers.constant(0)
    weights: Weights = {}
    for index, arrays in infer(graph).weights.items():
        name = graph.nodes[index].layer.name
        if name.startswith("upscore"):
            kernel = np.zeros(arrays[0].shape, np.float32)
            channels = np.arange(len(kernel))
            kernel[channels, channels] = fillers.bilinear_kernel(kernel.shape[-1])
            weights[name] = [kernel]
        elif arrays:
            weights[name] = [
                fillers.fill(zero if number else msra, weight.shape, rng)
                for number, weight in enumerate(arrays)
            ]
    return weights


def with_onnxruntime(graph: Graph, weights: Weights, folder: Path, threads: int) -> Contender:
    (path,) = write(fill(inference(graph), weights)).save(folder / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle workers that wait in a loop would slow the next contender's turn down.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"data": image})[0]


def with_torch(weights: Weights, threads: int) -> Contender:
    """FCN-8s as one would write it in PyTorch (Long, Shelhamer and Darrell 2015, figure 3)."""
    torch.set_num_threads(threads)
    w = {name: list(map(torch.from_numpy, arrays)) for name, arrays in weights.items()}
    blocks = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    grouped = {
        name: torch.from_numpy(arrays[0][np.arange(21), np.arange(21), None].copy())
        for name, arrays in weights.items()
        if name.startswith("upscore")
    }

    def upsample(name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        return functional.conv_transpose2d(x, grouped[name], stride=stride, groups=21)

    def cropped(x: torch.Tensor, offset: int, like: torch.Tensor) -> torch.Tensor:
        height, width = like.shape[2:]
        return x[:, :, offset : offset + height, offset : offset + width]

    def run(image: Array) -> Array:
        with torch.inference_mode():
            data = x = torch.from_numpy(image)
            pools = {}
            for block, convolutions in blocks.items():
                for number in range(1, convolutions + 1):
                    pad = 100 if block == number == 1 else 1
                    x = functional.conv2d(x, *w[f"conv{block}_{number}"], padding=pad).relu_()
                x = pools[block] = functional.max_pool2d(x, 2, 2, ceil_mode=True)
            x = functional.conv2d(x, *w["fc6"]).relu_()
            x = functional.conv2d(x, *w["fc7"]).relu_()
            score = upsample("upscore2", functional.conv2d(x, *w["score_fr"]), 2)
            skip = functional.conv2d(pools[4], *w["score_pool4"])
            score = upsample("upscore_pool4", score + cropped(skip, 5, score), 2)
            skip = functional.conv2d(pools[3], *w["score_pool3"])
            score = upsample("upscore8", score + cropped(skip, 9, score), 8)
            return cropped(score, 31, data).numpy()

    return run


def with_opencv(
    source: NetSource, weights: Weights, folder: Path, threads: int
) -> Contender | None:
    try:
        import cv2
    except ImportError:
        return None
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return None
    prototxt_path, weights_path = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt_path.write_text(prototxt.format(source.net))
    write_weights(weights_path, weights, source.net)
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromCaffe(str(prototxt_path), str(weights_path))

    def run(image: Array) -> Array:
        net.setInput(image)
        return net.forward()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    source = parse_net(render(NET))
    graph = build(source)
    weights = random_weights(graph)
    shape = 1, 3, options.size, options.size
    image = np.random.default_rng(1).uniform(-128, 128, shape).astype(np.float32)
    with TemporaryDirectory() as name:
        folder = Path(name)
        candidates = {
            f"onnxruntime {onnxruntime.__version__}, our ONNX": with_onnxruntime(
                graph, weights, folder, options.threads
            ),
            f"PyTorch {torch.__version__}, eager": with_torch(weights, options.threads),
            "OpenCV's Caffe importer": with_opencv(source, weights, folder, options.threads),
        }
        contenders = {title: run for title, run in candidates.items() if run is not None}
        results = {title: run(image) for title, run in contenders.items()}
        seconds: dict[str, list[float]] = {title: [] for title in contenders}
        for _ in range(options.runs):
            for title, run in contenders.items():
                start = perf_counter()
                run(image)
                seconds[title].append(perf_counter() - start)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}")
    print(f"{NET} at {options.size}×{options.size}, {options.threads} threads, {options.runs} runs")
    reference = next(score for title, score in results.items() if title.startswith("PyTorch"))
    width = max(map(len, contenders))
    for title, times in seconds.items():
        away = np.abs(results[title] - reference).max() / np.abs(reference).max()
        print(
            f"{title:<{width}}  median {median(times):.2f} s, fastest {min(times):.2f} s,"
            f" {away:.1e} of the largest score away from PyTorch"
        )


if __name__ == "__main__":
    main()
