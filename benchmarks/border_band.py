"""How far ours and the published FCNs differ, and where: the band that padded upsampling changes.

The published nets upsample without a pad and crop what hangs over; ours pad, so that a map of n
pixels becomes one of exactly f·n. Where a later upsampling step reads past such a map's edge, the
two differ. Both get the same random weights; the differences are measured on their scores.

    python benchmarks/border_band.py [HxW ...]

How deep it is at the bottom and right depends on the size modulo 32; all 32 are 64x64 to 95x95.
"""

from __future__ import annotations

import platform
import sys

import numpy as np
import onnxruntime

import fcnproto
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery.fit import WeightSource, fit

PAIRS = [("fcn32s", "voc-fcn32s"), ("fcn16s", "voc-fcn16s"), ("fcn8s", "voc-fcn8s")]
SIZES = ["97x131", "160x200", "224x224"]
SAME = 1e-5  # of the largest score; additions in another order differ by less


def random_weights(graph, rng):
    """He's normal weights for all that is learned, biases included; upsampling is left out."""
    weights = {}
    for index, arrays in infer(graph).weights.items():
        layer = graph.nodes[index].layer
        if not arrays or layer.type == "Deconvolution":
            continue
        fan_in = np.prod(arrays[0].shape[1:])
        weights[layer.name] = [
            rng.standard_normal(array.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
            for array in arrays
        ]
    return weights


def scorer(name, weights):
    """A function from images to the scores of a net of the zoo with these weights."""
    graph = build(parse_net(render(name)))
    fitted = fit([WeightSource("random", weights)], graph, infer(graph))
    model = write(with_weights(inference(graph), fitted.weights)).to_proto()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda image: session.run(None, {"data": image})[0]


def band(differs):
    """How many pixels deep the differing border is at the top, bottom, left and right.

    Looked at along the middle column and the middle row, where no corner disturbs.
    """
    height, width = differs.shape
    lines = differs[:, width // 2], differs[height // 2]
    return [
        int(np.flatnonzero(half).max(initial=-1)) + 1
        for line in lines
        for half in (line[: len(line) // 2], line[: len(line) // 2 - 1 : -1])
    ]


def main():
    sizes = sys.argv[1:] or SIZES
    print(f"fcnproto {fcnproto.__version__}, onnxruntime {onnxruntime.__version__}", end=", ")
    print(f"numpy {np.__version__}, {platform.machine()} {platform.system()}")
    print("net      size      largest score  largest difference  band: top, bottom, left, right")
    for ours, published in PAIRS:
        rng = np.random.default_rng(0)
        weights = random_weights(build(parse_net(render(published))), rng)
        score, reference = scorer(ours, weights), scorer(published, weights)
        for size in sizes:
            height, width = map(int, size.split("x"))
            image = rng.standard_normal((1, 3, height, width), np.float32) * 60
            expected, found = reference(image), score(image)
            difference = np.abs(found - expected).max((0, 1))
            scale = np.abs(expected).max()
            print(
                f"{ours:8s} {size:9s} {scale:13.4g}  {difference.max() / scale:18.2g}"
                f"  {band(difference > SAME * scale)}"
            )


if __name__ == "__main__":
    main()
