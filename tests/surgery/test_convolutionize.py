"""Classifiers made fully convolutional, and what they then give on larger images."""

import numpy as np
import pytest

from fcnproto.errors import NetError
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery import fit
from fcnproto.surgery.convolutionize import convolutionize
from fcnproto.surgery.fit import WeightSource

CLASSIFIER = """
name: "small"
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 16 dim: 20 }} }} }}
layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param {{ num_output: 6 kernel_size: 3 pad: {pad} }} }}
layer {{ name: "r1" type: "ReLU" bottom: "c1" top: "c1" }}
layer {{ name: "p1" type: "Pooling" bottom: "c1" top: "p1"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "c2" type: "Convolution" bottom: "p1" top: "c2"
  convolution_param {{ num_output: 7 kernel_size: 3 pad: {pad} }} }}
{between}
layer {{ name: "f1" type: "InnerProduct" bottom: "{top}" top: "f1" inner_product_param {{ num_output: 8 {f1} }} }}
layer {{ name: "r3" type: "ReLU" bottom: "f1" top: "f1" }}
layer {{ name: "f2" type: "InnerProduct" bottom: "f1" top: "f2" inner_product_param {{ num_output: 5 }} }}
layer {{ name: "prob" type: "Softmax" bottom: "f2" top: "prob" }}
"""  # noqa: E501

FLATTEN = 'layer { name: "flat" type: "Flatten" bottom: "c2" top: "flat" }'
RESHAPE = (
    'layer { name: "flat" type: "Reshape" bottom: "c2" top: "flat"'
    " reshape_param { shape { dim: 0 dim: -1 } } }"
)
IN_PLACE = """
layer { name: "r2" type: "ReLU" bottom: "flat" top: "flat" }
layer { name: "drop" type: "Dropout" bottom: "flat" top: "flat" }
"""
GLOBAL = (
    'layer { name: "gap" type: "Pooling" bottom: "c2" top: "gap"'
    " pooling_param { pool: AVE global_pooling: true } }"
)


def classifier(between="", top="c2", pad=0, f1=""):
    return CLASSIFIER.format(between=between, top=top, pad=pad, f1=f1)


def random_weights(graph, seed=0):
    rng = np.random.default_rng(seed)
    return {
        graph.nodes[index].layer.name: [0.3 * rng.standard_normal(w.shape, np.float32) for w in ws]
        for index, ws in infer(graph).weights.items()
        if ws
    }


def converted(text):
    graph = build(parse_net(text))
    weights = random_weights(graph)
    return graph, weights, convolutionize(graph, [WeightSource("w", weights)])


def graph_of(net):
    return build(NetSource(net.name, net, (None,) * len(net.layer), ()))


def run(graph, weights, image):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = write(with_weights(inference(graph, weights), weights)).to_proto()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, {session.get_inputs()[0].name: image})
    return scores


BODIES = {
    "plain": {},
    "flatten": {"between": FLATTEN, "top": "flat"},
    "reshape": {"between": RESHAPE, "top": "flat"},
    "flatten and more": {"between": FLATTEN + IN_PLACE, "top": "flat"},
    "global pooling": {"between": GLOBAL, "top": "gap"},
    "transposed": {"f1": "transpose: true"},
}


@pytest.mark.parametrize("body", BODIES)
def test_it_slides(body):
    """Without padding, each place of a larger image gives what the classifier gives on its crop."""
    graph, weights, result = converted(classifier(**BODIES[body]))
    image = np.random.default_rng(1).standard_normal((1, 3, 24, 26)).astype(np.float32)
    scores = run(graph_of(result.net), result.weights, image)
    assert scores.shape == (1, 5, 5, 4)
    for row in range(5):
        for column in range(4):
            crop = image[:, :, 2 * row : 2 * row + 16, 2 * column : 2 * column + 20]
            alone = run(graph, weights, np.ascontiguousarray(crop))
            np.testing.assert_allclose(scores[..., row, column], alone, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_it_is_the_classifier_on_its_own_size(body):
    graph, weights, result = converted(classifier(**BODIES[body], pad=1))
    image = np.random.default_rng(2).standard_normal((1, 3, 16, 20)).astype(np.float32)
    scores = run(graph_of(result.net), result.weights, image)
    assert scores.shape == (1, 5, 1, 1)
    np.testing.assert_allclose(scores[..., 0, 0], run(graph, weights, image), rtol=2e-5, atol=1e-6)


def test_axes_counted_from_the_back():
    text = classifier().replace('top: "prob" }', 'top: "prob" softmax_param { axis: -1 } }')
    graph, weights, result = converted(text)
    assert result.net.layer[-1].softmax_param.axis == 1
    image = np.random.default_rng(2).standard_normal((1, 3, 16, 20)).astype(np.float32)
    scores = run(graph_of(result.net), result.weights, image)
    np.testing.assert_allclose(scores[..., 0, 0], run(graph, weights, image), rtol=2e-5, atol=1e-6)


def test_layers_keep_no_phase_that_they_had_not():
    """Caffe's Dropout would do nothing in training under `phase: TEST`."""
    _, _, result = converted(classifier(FLATTEN + IN_PLACE, "flat"))
    assert not any(layer.HasField("phase") for layer in result.net.layer)


def test_kernels_are_what_the_shapes_say():
    _, _, result = converted(classifier())
    layers = {layer.name: layer for layer in result.net.layer}
    f1, f2 = layers["f1-conv"].convolution_param, layers["f2-conv"].convolution_param
    assert (f1.kernel_h, f1.kernel_w, f1.num_output) == (5, 7, 8)
    assert list(f2.kernel_size) == [1]
    assert result.weights["f1-conv"][0].shape == (8, 7, 5, 7)
    lines = [str(entry) for entry in result.report]
    assert "f1-conv: reshaped, from 'f1'; 8×245 → 8×7×5×7" in lines
    assert "c1: copied" in lines


def test_flattening_goes_and_global_pooling_gets_a_size():
    _, _, flat = converted(classifier(FLATTEN, "flat"))
    assert "flat" not in {layer.name for layer in flat.net.layer}
    _, _, pooled = converted(classifier(GLOBAL, "gap"))
    (param,) = (each.pooling_param for each in pooled.net.layer if each.name == "gap")
    assert (param.global_pooling, param.kernel_h, param.kernel_w) == (False, 5, 7)


def refused(text):
    graph = build(parse_net(text))
    with pytest.raises(NetError) as caught:
        convolutionize(graph, [WeightSource("w", random_weights(graph))])
    return str(caught.value)


def test_what_has_no_plane_is_refused():
    flat_input = """
    layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 9 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip"
      inner_product_param { num_output: 2 } }
    """
    assert "reads 1×9, which has no rows and columns" in refused(flat_input)
    assert "no fully connected layer" in refused(classifier().partition('layer { name: "f1"')[0])
    assert "flattens from axis 2" in refused(classifier(f1="axis: 2"))


def test_what_works_on_no_plane_is_refused():
    text = classifier() + (
        'layer { name: "t" type: "Reshape" bottom: "f2" top: "t"'
        " reshape_param { shape { dim: 5 dim: 1 } } }"
    )
    assert refused(text) != ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("vgg16", "fc6-conv", (4096, 512, 7, 7)),
        ("alexnet", "fc6-conv", (4096, 256, 6, 6)),
        ("caffenet", "fc6-conv", (4096, 256, 6, 6)),
        ("googlenet", "loss3/classifier-conv", (1000, 1024, 1, 1)),
    ],
)
def test_the_classifiers_of_the_zoo(name, layer, shape):
    graph = build(parse_net(render(name)))
    zeros = {n: [np.zeros(a.shape, np.float32) for a in ws] for n, ws in shapes_of(graph).items()}
    result = convolutionize(graph, [WeightSource("w", zeros)])
    assert result.weights[layer][0].shape == shape
    larger = build(NetSource("", result.net, (None,) * len(result.net.layer), ()), size=(384, 384))
    last = infer(larger).blobs[larger.outputs[-1]]
    assert last[1] == 1000
    if name == "vgg16":
        assert last[2:] == (6, 6)
    ours = build(parse_net(render(f"{name}-conv")), size=(384, 384))
    fitted = fit.fit([WeightSource("w", result.weights)], ours, infer(ours))
    assert {entry.action.value for entry in fitted.report} == {"copied"}


def shapes_of(graph):
    return {graph.nodes[i].layer.name: ws for i, ws in infer(graph).weights.items() if ws}
