"""Convolutions by Winograd's algorithm against plain ones, layer by layer, on onnxruntime.

Each layer stands alone, with the ReLU that follows it, random weights (He et al.) and inputs as a
ReLU leaves them, at the size that it has in its net for images of 500×500. Plain and fast take
turns. Printed are the fastest and the median ratio of their times, what fcnproto's rule estimates,
the ratio of multiply-adds, and the largest difference of each from float64, relative to the largest
number. With --points, the errors of other points than those chosen are compared instead.

    python benchmarks/winograd.py [--runs N] [--threads 2] [--points]
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import torch

from fcnproto.exporting.filled import Filled, FilledLayer, with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite.toom_cook import Transforms, toom_cook
from fcnproto.exporting.rewrite.winograd import WinogradConvolution, by_tiles
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.version import __version__

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    name: str
    channels: int
    outputs: int
    kernel: int
    size: int
    pad: int
    group: int = 1
    images: int = 1

    def __str__(self) -> str:
        group = f", group {self.group}" if self.group > 1 else ""
        return (
            f"{self.name}: {self.channels}→{self.outputs} of {self.kernel}×{self.kernel}{group},"
            f" {self.images} of {self.size}×{self.size}"
        )

    def net(self) -> Filled:
        text = (
            'layer { name: "data" type: "Input" top: "data" input_param { shape {'
            f" dim: {self.images} dim: {self.channels} dim: {self.size} dim: {self.size} }} }} }}"
            ' layer { name: "it" type: "Convolution" bottom: "data" top: "it" convolution_param {'
            f" num_output: {self.outputs} kernel_size: {self.kernel} pad: {self.pad}"
            f" group: {self.group} }} }}"
            ' layer { name: "relu" type: "ReLU" bottom: "it" top: "it" }'
        )
        rng = np.random.default_rng(0)
        shape = self.outputs, self.channels // self.group, self.kernel, self.kernel
        kernels = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        arrays = [kernels.astype(np.float32), rng.standard_normal(self.outputs).astype(np.float32)]
        return with_weights(inference(build(parse_net(text))), {"it": arrays})

    def image(self) -> Array:
        shape = self.images, self.channels, self.size, self.size
        return np.random.default_rng(1).standard_normal(shape).clip(0).astype(np.float32)


CASES = (
    Case("VGG conv1_2", 64, 64, 3, 506, 1),
    Case("VGG conv2_1", 64, 128, 3, 253, 1),
    Case("VGG conv2_2", 128, 128, 3, 258, 1),
    Case("VGG conv3_1", 128, 256, 3, 130, 1),
    Case("VGG conv3_2", 256, 256, 3, 134, 1),
    Case("VGG conv4_1", 256, 512, 3, 70, 1),
    Case("VGG conv4_2", 512, 512, 3, 74, 1),
    Case("VGG conv5_1", 512, 512, 3, 44, 1),
    Case("VGG conv5_1 at 224×224", 512, 512, 3, 26, 1),
    Case("VGG conv5_1, four images", 512, 512, 3, 26, 1, images=4),
    Case("VGG fc6", 512, 4096, 7, 22, 0),
    Case("AlexNet conv2", 96, 256, 5, 86, 2, group=2),
    Case("AlexNet conv3", 256, 384, 3, 43, 1),
    Case("AlexNet conv4", 384, 384, 3, 43, 1, group=2),
    Case("AlexNet conv5", 384, 256, 3, 43, 1, group=2),
    Case("AlexNet fc6", 256, 4096, 6, 21, 0),
    Case("GoogLeNet conv2/3x3", 64, 192, 3, 125, 1),
    Case("GoogLeNet 3b/3x3", 128, 192, 3, 63, 1),
    Case("GoogLeNet 5b/3x3", 192, 384, 3, 16, 1),
    Case("GoogLeNet 3b/5x5", 32, 96, 5, 63, 2),
    Case("5×5 of many channels", 256, 256, 5, 64, 2),
)

POINTS = {
    3: ("0 1 -1 1/2 -2", "0 1 -1 2 -2", "0 1 -1 1/2 -1/2", "0 1 -1 2 -1/2"),
    7: ("0 1 -1 1/2 -1/2 2 -2", "0 1 -1 1/2 -1/2 3 -3", "0 1 -1 2 -2 3 -3"),
}


def tiled(net: Filled, transforms: Transforms | None = None) -> tuple[Filled, WinogradConvolution]:
    """The net with its convolution by tiles, and that layer."""
    (index,) = (i for i, step in enumerate(net.steps) if step.arrays)
    step = by_tiles(net.steps[index])
    assert step is not None
    layer = step.node.layer
    assert isinstance(layer, WinogradConvolution)
    layer.transforms = transforms or layer.transforms
    steps: list[FilledLayer] = [*net.steps[:index], step, *net.steps[index + 1 :]]
    return net.rewritten(steps), layer


def session_of(net: Filled, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Idle workers that wait in a loop would slow the next contender's turn down.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        write(net).to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def error(case: Case, net: Filled, found: Array) -> float:
    """How far it is from float64, which is computed of a few outputs of each group."""
    kernels, biases = (torch.from_numpy(named.array).double() for named in net.steps[1].arrays)
    each = case.outputs // case.group
    some = [group * each + index for group in range(case.group) for index in range(8)]
    exact = torch.nn.functional.conv2d(
        torch.from_numpy(case.image()).double(),
        kernels[some],
        biases[some],
        padding=case.pad,
        groups=case.group,
    ).relu()
    return float(np.abs(found[:, some] - exact.numpy()).max() / exact.max())


def compare(case: Case, runs: int, threads: int) -> str:
    net = case.net()
    fast, layer = tiled(net)
    sessions = [session_of(each, threads) for each in (net, fast)]
    feeds = {"data": case.image()}
    errors = [error(case, net, session.run(None, feeds)[0]) for session in sessions]
    seconds: list[list[float]] = [[], []]
    for _ in range(runs):
        for session, times in zip(sessions, seconds, strict=True):
            start = perf_counter()
            session.run(None, feeds)
            times.append(perf_counter() - start)
    ratios = [measure(seconds[1]) / measure(seconds[0]) for measure in (min, median)]
    bottoms, tops = ([net.shapes.blobs[blob]] for blob in ("data", "it"))
    adds = layer.multiply_adds(bottoms, tops) / layer.original.multiply_adds(bottoms, tops)
    return (
        f"{case!s:<58} {1e3 * min(seconds[0]):7.1f} → {1e3 * min(seconds[1]):6.1f} ms"
        f"  time {ratios[0]:.2f}/{ratios[1]:.2f}, rule {layer.estimate(bottoms, tops):.2f},"
        f" multiply-adds {adds:.2f}, error {errors[0]:.1e} → {errors[1]:.1e}"
    )


def compare_points(case: Case, threads: int) -> None:
    net, feeds = case.net(), {"data": case.image()}
    plain = session_of(net, threads).run(None, feeds)[0]
    print(f"{case}: plain {error(case, net, plain):.1e}")
    for text in POINTS[case.kernel]:
        points = tuple(map(Fraction, text.split()))
        transforms = toom_cook(len(points) + 2 - case.kernel, case.kernel, points)
        fast, _ = tiled(net, transforms)
        found = session_of(fast, threads).run(None, feeds)[0]
        print(f"  {text + ' ∞':<24} {error(case, net, found):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", action="store_true")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(
        f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}, ", end=""
    )
    print(f"onnxruntime {onnxruntime.__version__}, {options.threads} threads")
    for case in CASES:
        if not options.points:
            print(compare(case, options.runs, options.threads), flush=True)
        elif case.name in ("VGG conv4_2", "VGG fc6"):
            compare_points(case, options.threads)


if __name__ == "__main__":
    main()
