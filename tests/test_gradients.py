"""Every layer's PyTorch form: what it computes and what flows back, as real Caffe's does.

The oracle is golden/layers and golden/forks: outputs, and gradients for a gradient put in. What they
lack is compared with finite differences, or worked out by hand.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcnproto.errors import NetError
from fcnproto.graph import State
from fcnproto.layers import layer_types
from fcnproto.layers.base import Layer
from fcnproto.layers.known import Known
from fcnproto.proto.caffe_pb2 import TEST, TRAIN
from fcnproto.proto.source import parse_net, read_net
from fcnproto.training.net import Net
from fcnproto.weights import read

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted([*(GOLDEN / "layers").glob("*.npz"), *(GOLDEN / "forks").glob("*.npz")])

# Only its weights tell SegNet's BN from PSPNet's here, and they are in no prototxt.
FORMS = {"bn_segnet_learn": "bn_mode: LEARN"}

# These lie in the memory of a blob that is overwritten afterwards, which shows in Caffe.
OVERWRITTEN = {"net_inplace_chain": ["c1", "v"]}

# SegNet's BN takes the gradient of its scale from its bottom, which it has overwritten itself.
UNLIKE = {"bn_segnet_inplace": ["c_bn/0"]}


def part(arrays, prefix):
    return {
        key.removeprefix(prefix + "/"): array
        for key, array in arrays.items()
        if key.startswith(prefix + "/")
    }


def by_layer(flat):
    weights = {}
    for key in sorted(flat):
        weights.setdefault(key.rpartition("/")[0], []).append(flat[key])
    return weights


def run(path):
    """A golden net with its weights, the tensors fed in, and the pass over them."""
    arrays = dict(np.load(path))
    fed = part(arrays, "in")
    text = path.with_suffix(".prototxt").read_text()
    if path.stem in FORMS:
        text = text.replace('type: "BN"', f'type: "BN" bn_param {{ {FORMS[path.stem]} }}')
    net = Net(parse_net(text), State(TEST), shapes=shapes(fed))
    net.load(by_layer(part(arrays, "param")))
    for parameter in net.parameters:
        parameter.tensor.requires_grad_()
    values = net.take(fed)
    for tensor in values.values():
        tensor.requires_grad_()
    versions = {name: version for version, name in net.graph.blobs.items() if version == name}
    outputs = [versions[name] for name in part(arrays, "out")]
    return arrays, net, values, net.run(values, keep=outputs)


def shapes(fed):
    return {name: np.shape(array) for name, array in fed.items()}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_outputs_are_caffes(path):
    arrays, _, _, done = run(path)
    for name, expected in part(arrays, "out").items():
        if name in OVERWRITTEN.get(path.stem, ()):
            continue
        found = done.blobs[name].detach().numpy()
        assert found.shape == expected.shape
        # Sums of many products of either sign: relative to the largest.
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6 * scale)


WITH_GRADIENTS = [
    path for path in CASES if any(key.startswith("diff/") for key in np.load(path).files)
]


@pytest.mark.parametrize("path", WITH_GRADIENTS, ids=lambda path: path.stem)
def test_gradients_are_caffes(path):
    arrays, net, values, done = run(path)
    given = part(arrays, "topdiff")
    total = sum(((done.blobs[name] * torch.tensor(given[name])).sum() for name in given), done.loss)
    total.backward()
    for name, expected in part(arrays, "diff").items():
        gradient = values[name].grad
        assert_gradient(gradient, expected)
    flat = part(arrays, "paramdiff")
    for index, node in enumerate(net.graph.nodes):
        for number, use in enumerate(net._uses[index]):
            title = f"{node.layer.name}/{number}"
            if title not in UNLIKE.get(path.stem, ()):
                assert_gradient(net.parameters[use.parameter].tensor.grad, flat[title])


def assert_gradient(found, expected):
    found = np.zeros_like(expected) if found is None else found.numpy()
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6 * scale)
