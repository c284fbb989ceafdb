"""Where ours and the published nets differ: the table of docs/alignment.md, by brute force.

Upsampling and cropping are linear, and the same along rows and columns, so each net's head is a
matrix from the rows of its scored blobs to the rows of the image. No layer's code is used for it.
"""

import numpy as np
import pytest

from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render

PAIRS = [("fcn32s", "voc-fcn32s"), ("fcn16s", "voc-fcn16s"), ("fcn8s", "voc-fcn8s")]
TOP = {"fcn32s": 0, "fcn16s": 5, "fcn8s": 9}


def bottom(net, height):
    """What the documentation says."""
    rest = height % 32
    first = {"fcn32s": 32, "fcn16s": 22, "fcn8s": 18}[net]
    return rest - first + 1 if first <= rest <= 26 else 0


def upsampling(size, kernel, stride, pad):
    """The matrix of a bilinear deconvolution, written down tap by tap."""
    factor = (kernel + 1) // 2
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    full = np.zeros((stride * (size - 1) + kernel, size))
    for pixel in range(size):
        for tap in range(kernel):
            full[stride * pixel + tap, pixel] += 1 - abs(tap / factor - centre)
    return full[pad : len(full) - pad]


def heads(name, height):
    """For each scored blob, the matrix from its rows to the image's."""
    graph = build(parse_net(render(name)))
    blobs = infer(graph, {"data": (1, 3, height, height)}).blobs
    found = {"data": {"data": np.eye(height)}}
    for node in graph.nodes:
        proto = node.layer.proto
        top, bottoms = node.tops[0], node.bottoms
        if proto.type == "Convolution" and proto.name.startswith("score"):
            found[top] = {top: np.eye(blobs[top][2])}
        elif proto.type == "Deconvolution":
            param = proto.convolution_param
            pad = param.pad[0] if param.pad else 0
            (source,) = {len(matrix) for matrix in found[bottoms[0]].values()}
            up = upsampling(source, param.kernel_size[0], param.stride[0], pad)
            found[top] = {key: up @ matrix for key, matrix in found[bottoms[0]].items()}
        elif proto.type == "Crop":
            start, size = proto.crop_param.offset[0], blobs[bottoms[1]][2]
            found[top] = {
                k: matrix[start : start + size] for k, matrix in found[bottoms[0]].items()
            }
        elif proto.type == "Eltwise":
            found[top] = {
                key: matrix for bottom in bottoms for key, matrix in found[bottom].items()
            }
    return found["score"]


@pytest.mark.parametrize(("ours", "published"), PAIRS)
@pytest.mark.slow
def test_the_band_is_as_documented(ours, published):
    for height in range(33, 65):
        mine, theirs = heads(ours, height), heads(published, height)
        assert mine.keys() == theirs.keys()
        differs = np.zeros(height, bool)
        for blob in mine:
            differs |= np.abs(mine[blob] - theirs[blob]).max(1) > 1e-9
        half = height // 2
        found = [
            int(np.flatnonzero(d[:half]).max(initial=-1)) + 1 for d in (differs, differs[::-1])
        ]
        assert found == [TOP[ours], bottom(ours, height)], height
