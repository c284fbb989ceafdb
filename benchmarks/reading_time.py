"""Processor seconds that export takes for deep nets, without their weights: mostly the shape walk.

The nets are DenseNet-201 (Huang et al. 2017) and DeepLab v2 on ResNet-101 (Chen et al. 2018), which
reads an image at three scales with shared weights. Their weights are zeros that nothing fills, and
the model is not written to a file.

    python benchmarks/reading_time.py [--runs N]
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from statistics import median
from time import process_time

import numpy as np

from fcnproto.exporting.export import export
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.surgery.fit import WeightSource

INPUT = """layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }} }} }}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    for name, text in {"DenseNet-201": densenet(), "DeepLab v2 ResNet-101": deeplab()}.items():
        source = parse_net(text)
        graph = build(source)
        weights = {
            graph.nodes[index].layer.name: [np.zeros(each.shape, np.float32) for each in arrays]
            for index, arrays in infer(graph).weights.items()
            if arrays
        }
        seconds = []
        for _ in range(options.runs):
            start = process_time()
            export(parse_net(text), WeightSource("zeros", weights))
            seconds.append(process_time() - start)
        print(f"{name}: {len(source.net.layer)} layers, {median(seconds):.2f} s of processor time")


# The nets ---------------------------------------------------------------------------------------


def layer(kind: str, name: str, bottom: str, settings: str = "", top: str = "") -> str:
    """A layer of one bottom and one top."""
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}"'
        f" {settings} }}"
    )


def convolution(name: str, bottom: str, settings: str, shared: str = "") -> Iterator[str]:
    """A convolution without bias, its BatchNorm and its Scale; `shared` names their weights."""

    def named(count: int, kind: str) -> str:
        return "".join(
            f'param {{ name: "{shared}{kind}{i}" }} ' for i in range(count if shared else 0)
        )

    yield layer(
        "Convolution",
        name,
        bottom,
        f"{named(1, '')}convolution_param {{ bias_term: false {settings} }}",
    )
    yield layer("BatchNorm", f"{name}/bn", name, named(3, "bn"), top=name)
    yield layer(
        "Scale",
        f"{name}/scale",
        name,
        f"{named(2, 's')}scale_param {{ bias_term: true }}",
        top=name,
    )


def densenet() -> str:
    """DenseNet-201: blocks of 6, 12, 48 and 32 layers that each add 32 channels."""
    lines = [INPUT.format(size=224)]
    lines += convolution("conv1", "data", "num_output: 64 kernel_size: 7 pad: 3 stride: 2")
    lines.append(layer("ReLU", "relu1", "conv1", top="conv1"))
    lines.append(
        layer("Pooling", "pool1", "conv1", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }")
    )
    blob, channels = "pool1", 64
    for block, count in enumerate((6, 12, 48, 32), 2):
        for number in range(count):
            name = f"conv{block}_{number}"
            lines += _before(f"{name}/x1", blob)
            lines.append(_plain(f"{name}/x1", f"{name}/x1/in", "num_output: 128 kernel_size: 1"))
            lines += _before(f"{name}/x2", f"{name}/x1")
            lines.append(
                _plain(f"{name}/x2", f"{name}/x2/in", "num_output: 32 kernel_size: 3 pad: 1")
            )
            lines.append(
                f'layer {{ name: "{name}" type: "Concat" bottom: "{blob}" bottom: "{name}/x2"'
                f' top: "{name}" }}'
            )
            blob, channels = name, channels + 32
        lines += _before(f"conv{block}_end", blob)
        if block < 5:
            channels //= 2
            lines.append(
                _plain(
                    f"conv{block}_end",
                    f"conv{block}_end/in",
                    f"num_output: {channels} kernel_size: 1",
                )
            )
            blob = f"pool{block}"
            lines.append(
                layer(
                    "Pooling",
                    blob,
                    f"conv{block}_end",
                    "pooling_param { pool: AVE kernel_size: 2 stride: 2 }",
                )
            )
    lines.append(
        layer(
            "Pooling", "pool5", "conv5_end/in", "pooling_param { pool: AVE global_pooling: true }"
        )
    )
    lines.append(
        layer(
            "Convolution", "fc6", "pool5", "convolution_param { num_output: 1000 kernel_size: 1 }"
        )
    )
    return "\n".join(lines)


def _before(name: str, bottom: str) -> Iterator[str]:
    """BatchNorm, Scale and ReLU, which come before a convolution in DenseNet."""
    top = f"{name}/in"
    yield layer("BatchNorm", f"{name}/bn", bottom, top=top)
    yield layer("Scale", f"{name}/scale", top, "scale_param { bias_term: true }", top=top)
    yield layer("ReLU", f"{name}/relu", top, top=top)


def _plain(name: str, bottom: str, settings: str) -> str:
    return layer(
        "Convolution", name, bottom, f"convolution_param {{ bias_term: false {settings} }}"
    )


def deeplab() -> str:
    """DeepLab v2 on ResNet-101: at 1, 0.75 and 0.5 of the size, with one set of weights."""
    lines = [INPUT.format(size=513)]
    scores = []
    for scale in (1, 0.75, 0.5):
        tail = "" if scale == 1 else f"_{scale:g}"
        image = "data"
        if tail:
            image, size = f"data{tail}", int(512 * scale) + 1
            lines.append(
                layer("Interp", image, "data", f"interp_param {{ height: {size} width: {size} }}")
            )
        lines += _resnet(image, tail)
        branches = [f"fc1{tail}_c{number}" for number in range(4)]
        for number, branch in enumerate(branches):
            dilation = 6 * (number + 1)
            lines.append(
                layer(
                    "Convolution",
                    branch,
                    f"res5c{tail}",
                    f'param {{ name: "fc1_c{number}_w" }} param {{ name: "fc1_c{number}_b" }}'
                    f" convolution_param {{ num_output: 21 kernel_size: 3 pad: {dilation}"
                    f" dilation: {dilation} }}",
                )
            )
        lines.append(_eltwise(f"fc1{tail}", branches, "SUM"))
        scores.append(f"fc1{tail}")
        if tail:
            scores[-1] = f"fc1{tail}_interp"
            lines.append(
                layer("Interp", scores[-1], f"fc1{tail}", "interp_param { height: 65 width: 65 }")
            )
    lines.append(_eltwise("fc1_fusion", scores, "MAX"))
    lines.append(layer("Interp", "fc1_interp", "fc1_fusion", "interp_param { zoom_factor: 8 }"))
    return "\n".join(lines)


def _resnet(image: str, tail: str) -> Iterator[str]:
    yield from convolution(
        f"conv1{tail}", image, "num_output: 64 kernel_size: 7 pad: 3 stride: 2", "conv1"
    )
    yield layer("ReLU", f"relu1{tail}", f"conv1{tail}", top=f"conv1{tail}")
    yield layer(
        "Pooling",
        f"pool1{tail}",
        f"conv1{tail}",
        "pooling_param { kernel_size: 3 stride: 2 pad: 1 }",
    )
    blob = f"pool1{tail}"
    for stage, (count, stride, dilation) in enumerate(
        ((3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4)), 2
    ):
        for number in range(count):
            unit = "c" if stage in (2, 5) and number == 2 else f"b{number}" if number else "a"
            name, width = f"res{stage}{unit}", 2 ** (stage + 4)
            step = stride if not number else 1
            short = blob
            if not number:
                short = f"{name}_branch1{tail}"
                yield from convolution(
                    short,
                    blob,
                    f"num_output: {4 * width} kernel_size: 1 stride: {step}",
                    f"{name}_1",
                )
            steps = (
                f"num_output: {width} kernel_size: 1 stride: {step}",
                f"num_output: {width} kernel_size: 3 pad: {dilation} dilation: {dilation}",
                f"num_output: {4 * width} kernel_size: 1",
            )
            top = blob
            for letter, settings in zip("abc", steps, strict=True):
                inner = f"{name}_branch2{letter}{tail}"
                yield from convolution(inner, top, settings, f"{name}_2{letter}")
                if letter != "c":
                    yield layer("ReLU", f"{inner}_relu", inner, top=inner)
                top = inner
            blob = f"{name}{tail}"
            yield _eltwise(blob, [short, top], "SUM")
            yield layer("ReLU", f"{blob}_relu", blob, top=blob)


def _eltwise(name: str, bottoms: list[str], operation: str) -> str:
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return (
        f'layer {{ name: "{name}" type: "Eltwise" {reads} top: "{name}"'
        f" eltwise_param {{ operation: {operation} }} }}"
    )


if __name__ == "__main__":
    main()
