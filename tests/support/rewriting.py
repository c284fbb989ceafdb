"""Nets to rewrite, and rewritten nets beside the plain ones on onnxruntime."""

from collections.abc import Mapping

import numpy as np
from exporting import run, session_of

from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.filled import Filled, with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.mean_field import without_mean_fields
from fcnproto.exporting.write import write
from fcnproto.layers.fillers import bilinear_kernel
from fcnproto.net.graph import build
from fcnproto.proto import printer
from fcnproto.proto.source import parse_net

EXACT = 5e-6
"""Of the largest score: what sums that are added up in another order may differ by."""


def thinned(text: str, factor: int) -> str:
    """A net whose convolutions, but for scores, have a part of their channels: it is soon run."""

    source = parse_net(text)
    for layer in source.net.layer:
        param = layer.convolution_param
        if layer.type == "Convolution" and "score" not in layer.name:
            param.num_output = max(4, param.num_output // factor // 4 * 4)
    return printer.format(source.net)


def filled(text: str, seed: int = 0) -> Filled:
    """A net with random kernels, and with biases large enough to make what surrounds an image."""
    net = inference(build(for_inference(parse_net(text))))
    rng = np.random.default_rng(seed)
    weights = {}
    for index, arrays in net.shapes.weights.items():
        layer = net.graph.nodes[index].layer
        if layer.type == "Deconvolution":
            kernels = np.zeros(arrays[0].shape, np.float32)
            channels = np.arange(len(kernels))
            kernels[channels, channels % kernels.shape[1]] = bilinear_kernel(kernels.shape[-1])
            weights[layer.name] = [kernels]
        elif arrays:
            weights[layer.name] = [_random(rng, each.shape) for each in arrays]
    return without_mean_fields(with_weights(net, weights))[0]


def _random(rng, shape):
    scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.5
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def images(net: Filled, height: int, width: int, num: int = 1, seed: int = 0):
    """Random images for each of a net's inputs."""
    rng = np.random.default_rng(seed)
    return {
        blob: 80 * rng.standard_normal((num, sizes[1], height, width)).astype(np.float32)
        for blob, sizes in net.inference.inputs.items()
    }


class Beside:
    """Two forms of one net, run on the same images."""

    def __init__(self, plain: Filled, rewritten: Filled, opset: int = 21) -> None:
        self.plain = plain
        self.sessions = [
            session_of(write(each, opset=opset).to_proto()) for each in (plain, rewritten)
        ]

    def difference(self, height: int, width: int, num: int = 1) -> float:
        """The largest, as a part of the largest score."""
        feeds = images(self.plain, height, width, num, seed=height * 1000 + width)
        wanted, found = (run(session, feeds) for session in self.sessions)
        return largest_difference(wanted, found)


def largest_difference(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Between blobs of the same names and shapes, as a part of the largest magnitude in each."""
    assert wanted.keys() == found.keys()
    differences = [0.0]
    for blob, array in wanted.items():
        assert found[blob].shape == array.shape, blob
        if array.size:
            scale = np.abs(array).max() or 1
            differences.append(np.abs(found[blob] - array).max() / scale)
    return max(differences)
