"""The exported ONNX on onnxruntime against what real Caffe and its forks computed."""

import numpy as np
import onnx
import pytest
from caffe_cases import CASES, INFERENCE, arrays_of, is_measure, run, weights_of
from exporting import input_text, layer_text, net_of
from paths import TESTS

from fcnproto.errors import NetError, WeightsError
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.layers import layer_types
from fcnproto.layers.base import Layer
from fcnproto.net.graph import build
from fcnproto.proto.source import read_net


@pytest.mark.parametrize("path", [c for c in CASES if is_measure(c)], ids=lambda path: path.stem)
def test_a_net_that_only_measures_is_refused(path):
    with pytest.raises(NetError, match="computes nothing"):
        inference(build(read_net(path)))


def test_two_layers_of_one_name_cannot_both_be_given_weights():
    settings = "convolution_param { num_output: 3 kernel_size: 1 }"
    text = input_text(data=(1, 3, 8, 8))
    for top in ("one", "two"):
        text += layer_text("Convolution", ["data"], [top], settings)
    net = net_of(text)
    kernels = np.ones((3, 3, 1, 1), np.float32)
    with pytest.raises(WeightsError, match="another layer before it has the same"):
        with_weights(net, {"it": [kernels, np.zeros(3, np.float32)]})


@pytest.mark.parametrize("path", INFERENCE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_onnx_computes_what_caffe_computed(path):
    arrays = arrays_of(path)
    weights = weights_of(arrays)
    net = inference(build(read_net(path)), weights)
    model = write(with_weights(net, weights)).to_proto()
    onnx.checker.check_model(model, full_check=True)
    feeds = {name: arrays[f"in/{name}"] for name in net.inputs}
    for name, found in run(model, feeds).items():
        expected = arrays[f"out/{name}"]
        assert found.shape == expected.shape
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-3)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


# Layers that no golden net has, and the tests that work them out by hand.
BY_HAND = {
    "DummyData": "../exporting/test_cutting",
    "Python": "../exporting/test_cutting",
    "LSTMUnit": "test_onnx_recurrent",
    "Padding": "test_onnx_spatial",
    "SeLu": "test_onnx_pointwise",
    "SeLuDropout": "test_onnx_pointwise",
}


def test_every_layer_that_is_written_in_onnx_has_a_case():
    golden = {layer.type for case in CASES for layer in read_net(case).net.layer}
    written = {name for name, kind in layer_types().items() if kind.onnx is not Layer.onnx}
    assert written - golden == set(BY_HAND)
    for name, module in BY_HAND.items():
        assert f'"{name}"' in (TESTS / "layers" / f"{module}.py").read_text()
