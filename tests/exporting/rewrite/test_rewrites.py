"""All rewrites together, against what real Caffe computed and against the plain net."""

import numpy as np
import onnx
import pytest
from caffe_cases import INFERENCE, arrays_of, run, weights_of
from rewriting import EXACT, Beside, filled, thinned

from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite import Optimize, optimized, rewrites
from fcnproto.exporting.rewrite.winograd import by_tiles, winograd
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.proto.source import read_net
from fcnproto.rendering.fcn import render
from fcnproto.zoo import kinds, specs

EVERY_LAYER = 1e-4
"""Of the largest score. `fast` promises 2e-5, but for the layers for which it pays alone."""


def all_by_tiles(net):
    """A net with every convolution by tiles that can be, whether or not it pays."""
    return net.rewritten([by_tiles(step) or step for step in net.steps])


@pytest.mark.parametrize("path", INFERENCE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_rewritten_nets_give_what_caffe_gave(path):
    arrays = arrays_of(path)
    weights = weights_of(arrays)
    net = inference(build(read_net(path)), weights)
    plain = with_weights(net, weights)
    exact = optimized(plain, Optimize.EXACT).net
    feeds = {name: arrays[f"in/{name}"] for name in net.inputs}
    for form in (exact, all_by_tiles(exact)):
        if form.steps == plain.steps:
            continue
        model = write(form).to_proto()
        onnx.checker.check_model(model, full_check=True)
        for name, found in run(model, feeds).items():
            expected = arrays[f"out/{name}"]
            assert found.shape == expected.shape
            scale = np.abs(expected).max(initial=0)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * max(scale, 1e-3))


# Classifiers have nothing that `exact` could change; golden has their convolutions by tiles.
FCNS = sorted(name for name in specs.nets() if isinstance(specs.net(name), kinds.FcnSpec))


@pytest.mark.slow
@pytest.mark.parametrize("name", FCNS)
def test_every_fcn_of_the_zoo(name):
    plain = filled(thinned(render(name), 16))
    exact = optimized(plain, Optimize.EXACT).net
    exact_beside, fast_beside = Beside(plain, exact), Beside(plain, all_by_tiles(exact))
    for size in [(1, 1), (61, 90), (33, 8)]:
        assert exact_beside.difference(*size) <= EXACT, size
        assert fast_beside.difference(*size) <= EVERY_LAYER, size


def test_levels():
    assert [each.__name__ for each in rewrites(Optimize.NONE)] == []
    *exact, last = rewrites(Optimize.EXACT)
    assert list(rewrites(Optimize.FAST)) == [*exact, winograd, last]
