"""The exported ONNX on onnxruntime against what real Caffe and its forks computed."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exporting import input_text, layer_text, net_of

from fcnproto.errors import NetError, WeightsError
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.layers import layer_types
from fcnproto.layers.base import Layer
from fcnproto.net.graph import build
from fcnproto.proto.source import read_net

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted((GOLDEN / "layers").glob("*.prototxt")) + sorted(
    (GOLDEN / "forks").glob("*.prototxt")
)


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def arrays_of(path):
    with np.load(path.with_suffix(".npz")) as data:
        return {name: data[name] for name in data.files}


def weights_of(arrays):
    weights = {}
    for name in sorted(key for key in arrays if key.startswith("param/")):
        layer, _, index = name.removeprefix("param/").rpartition("/")
        weights.setdefault(layer, {})[int(index)] = arrays[name]
    return {layer: [these[i] for i in sorted(these)] for layer, these in weights.items()}


MEASURES = ("accuracy", "euclidean", "hinge", "sigmoidce", "softmaxloss")


def is_measure(path):
    """Nets of a loss or a measure alone, of which nothing is left that infers."""
    return path.stem.startswith(MEASURES)


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


INFERENCE = [case for case in CASES if not is_measure(case)]


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
        scale = np.abs(expected).max(initial=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * max(scale, 1e-3))


# Layers that no golden net has, and the tests that work them out by hand.
BY_HAND = {
    "LSTMUnit": "test_export_recurrent",
    "Padding": "test_export_spatial",
    "Parameter": "test_export_pointwise",
    "SeLu": "test_export_pointwise",
}


def test_every_layer_that_is_written_in_onnx_has_a_case():
    golden = {layer.type for case in CASES for layer in read_net(case).net.layer}
    written = {name for name, kind in layer_types().items() if kind.onnx is not Layer.onnx}
    assert written - golden == set(BY_HAND)
    for name, module in BY_HAND.items():
        assert f'"{name}"' in (GOLDEN.parent / f"{module}.py").read_text()
