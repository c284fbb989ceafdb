"""Every FCN of ours, whatever its backbone, stride, classes and phase, at every size of image."""

from itertools import product
from random import Random

import pytest

from fcnproto.errors import Severity
from fcnproto.net import graph, shapes
from fcnproto.net.check import check_net
from fcnproto.net.graph import State
from fcnproto.proto.caffe_pb2 import TEST, TRAIN
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render

NETS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce")
BACKBONES = ("vgg16", "alexnet", "caffenet", "googlenet", "vgg-small")
CLASSES = (2, 21, 60)
PHASES = {"deploy": TEST, "train": TRAIN, "val": TEST}
LARGEST = 600
STRIDE = 32  # after so many sizes in a row, what is left over at each stride repeats

ours = pytest.mark.parametrize(("net", "backbone"), list(product(NETS, BACKBONES)))


@pytest.mark.slow
@ours
@pytest.mark.parametrize("phase", PHASES)
def test_it_passes_check_and_scores_every_pixel(net, backbone, phase):
    for classes, size in zip(CLASSES, [None, (1, 1), (333, 500)], strict=True):
        source = parse_net(render(net, backbone=backbone, classes=classes, phase=phase))
        state = State(PHASES[phase])
        found = check_net(source, state, size)
        assert not [str(problem) for problem in found if problem.severity is not Severity.NOTE]
        blobs = shapes.infer(graph.build(source, state, size)).blobs
        assert blobs["score"] == (1, classes, *(size or (500, 500)))


@pytest.mark.slow
@ours
def test_the_score_has_the_size_of_the_image(net, backbone):
    built = graph.build(parse_net(render(net, backbone=backbone)))
    for rows, columns in sampled(f"{net} {backbone}"):
        blobs = shapes.infer(built, {"data": (1, 3, rows, columns)}).blobs
        assert blobs["score"] == (1, 21, rows, columns)


def sampled(seed):
    """Every remainder among the smallest and the largest sizes, then sizes by chance."""
    random = Random(seed)
    for size in range(1, 2 * STRIDE + 1):
        yield size, LARGEST + 1 - size
    for size in range(1, STRIDE + 1):
        yield size, size
    for _ in range(50):
        yield random.randint(1, LARGEST), random.randint(1, LARGEST)
