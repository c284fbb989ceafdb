"""Every net of the zoo as ONNX: at any size, against PyTorch, and opened by a second runtime.

The nets are thinned, so that a hundred of them can be run; a few are run as they are.
"""

import numpy as np
import onnx
import pytest
import torch_oracle
from exporting import run, session_of
from paths import PUBLISHED

from fcnproto.errors import NetError
from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import DEFAULT_OPSET, write
from fcnproto.model.metadata import Blobs, missing, of_net
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net, read_net
from fcnproto.rendering.fcn import render
from fcnproto.zoo import kinds, specs

# A mean field has no ONNX form: what ends in one is tested in test_mean_field.
FCNS = [
    name
    for name, spec in specs.nets().items()
    if isinstance(spec, kinds.FcnSpec) and spec.mean_field is None
]
PUBLISHEDFCNS = [name for name in FCNS if specs.net(name).published]
CLASSIFIERS = [
    name for name, spec in specs.nets().items() if isinstance(spec, kinds.ClassifierSpec)
]
SIZES = [(1, 1), (64, 64), (97, 131)]
LARGE = (500, 375)
THINNER = 16


def thinned(source):
    """The net with a sixteenth of the channels; those of scores, below 64, are left."""
    for layer in source.net.layer:
        for param in (layer.convolution_param, layer.inner_product_param):
            if param.num_output >= 64 and param.num_output % THINNER == 0:
                param.num_output //= THINNER
        if not layer.HasField("convolution_param"):
            layer.ClearField("convolution_param")
        if not layer.HasField("inner_product_param"):
            layer.ClearField("inner_product_param")
    return source


def random_weights(net, seed=0):
    """Weights that keep numbers at about the size that they have."""
    rng = np.random.default_rng(seed)
    weights = {}
    for index, wanted in net.shapes.weights.items():
        arrays = []
        for weight in wanted:
            fan_in = max(1, np.prod(weight.shape[1:]))
            scale = np.float32(np.sqrt(2 / fan_in)) if len(weight.shape) > 1 else np.float32(0.1)
            arrays.append(rng.standard_normal(weight.shape, np.float32) * scale)
        weights[net.graph.nodes[index].layer.name] = arrays
    return weights


def check(net, weights, session, batch, size, amplitude=128):
    rng = np.random.default_rng([batch, *size])
    feeds = {
        name: rng.uniform(-amplitude, amplitude, (batch, dims[1], *size)).astype(np.float32)
        for name, dims in net.inputs.items()
    }
    expected = torch_oracle.compute(net.graph, weights, feeds)
    for name, found in run(session, feeds).items():
        assert found.shape == expected[name].shape
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5 * scale)


def exported(net, weights, **settings):
    model = write(with_weights(net, weights), **settings).to_proto()
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", FCNS)
def test_fcns_at_any_size(name):
    net = inference(build(thinned(parse_net(render(name)))))
    for dims in net.inputs.values():
        assert (dims[0], *dims[2:]) == ("N", "H", "W")
    for dims in net.outputs.values():
        assert (dims[0], *dims[2:]) == ("N", "H", "W")
    assert not net.notes
    weights = random_weights(net)
    session = session_of(exported(net, weights))
    for batch, size in zip((3, 2, 1), SIZES, strict=True):
        check(net, weights, session, batch, size)


def test_batches_at_every_size():
    net = inference(build(thinned(parse_net(render("fcn16s")))))
    weights = random_weights(net)
    session = session_of(exported(net, weights))
    for size in SIZES:
        for batch in (1, 3):
            check(net, weights, session, batch, size)


@pytest.mark.slow
def test_a_large_image():
    net = inference(build(thinned(parse_net(render("fcn8s")))))
    weights = random_weights(net)
    check(net, weights, session_of(exported(net, weights)), 3, LARGE)


@pytest.mark.parametrize("opset", range(13, min(26, onnx.defs.onnx_opset_version()) + 1))
def test_opsets(opset):
    net = inference(build(thinned(parse_net(render("voc-fcn8s")))))
    weights = random_weights(net)
    model = exported(net, weights, opset=opset)
    assert [each.version for each in model.opset_import] == [opset]
    opsets = [onnx.helper.make_operatorsetid("", opset)]
    assert model.ir_version == onnx.helper.find_min_ir_version_for(opsets)
    try:
        session = session_of(model)
    except Exception as error:
        if opset > DEFAULT_OPSET and "opset" in str(error):
            pytest.skip("this onnxruntime does not read it")
        raise
    for size in ((1, 1), (33, 47)):
        check(net, weights, session, 2, size)


def test_an_opset_that_onnx_does_not_know():
    net = inference(build(thinned(parse_net(render("voc-fcn8s")))))
    with pytest.raises(NetError, match="knows opsets up to"):
        write(with_weights(net, random_weights(net)), opset=99).to_proto()


def training_nets():

    folder = PUBLISHED
    return sorted(
        path
        for name in PUBLISHEDFCNS
        for path in (folder / name).glob("*.prototxt")
        if path.name != "solver.prototxt"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", training_nets(), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_published_training_nets_export_as_they_are(path):
    net = inference(build(for_inference(thinned(read_net(path)))))
    assert set(net.inputs) <= {"data", "color", "hha", "depth"}
    assert set(net.outputs) <= {"score", "score_sem", "score_geo"}
    weights = random_weights(net)
    check(net, weights, session_of(exported(net, weights)), 2, (40, 56))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    net = inference(build(thinned(parse_net(render(name)))))
    weights = random_weights(net)
    session = session_of(exported(net, weights))
    (dims,) = net.inputs.values()
    spec = specs.net(name)
    if spec.convolutional:
        assert dims == ("N", 3, "H", "W")
        size = spec.size[0] + 32, spec.size[1] + 64
    else:
        assert dims == ("N", 3, *spec.size)
        assert len(net.notes) == 2  # H and W
        size = spec.size
    # Softmax of the large numbers that images lead to would magnify what float32 leaves open.
    check(net, weights, session, 2, size, amplitude=1)


def test_the_same_bytes_twice():
    files = []
    for _ in range(2):
        net = inference(build(thinned(parse_net(render("nyud-fcn32s-color-hha")))))
        files.append(
            write(with_weights(net, random_weights(net)), metadata={"b": "1", "a": "2"}).to_proto()
        )
    first, second = (model.SerializeToString(deterministic=True) for model in files)
    assert first == second
    assert first == files[0].SerializeToString()


def test_the_graph_is_as_a_person_would_write_it():
    net = inference(build(thinned(parse_net(render("voc-fcn8s")))))
    model = write(with_weights(net, random_weights(net))).to_proto()
    found = [node.op_type for node in model.graph.node]
    assert {kind: found.count(kind) for kind in set(found)} == {
        "Conv": 18,
        "Relu": 15,
        "MaxPool": 5,
        "ConvTranspose": 3,
        "Shape": 3,
        "Add": 5,
        "Slice": 3,
    }
    layers = {node.layer.name for node in net.graph.nodes}
    assert {node.name.split("/")[0] for node in model.graph.node} <= layers


@pytest.mark.parametrize("name", ["fcn8s", "voc-fcn8s", "voc-fcn-alexnet", "siftflow-fcn16s"])
def test_a_second_runtime_agrees(name):
    openvino = pytest.importorskip("openvino")
    net = inference(build(thinned(parse_net(render(name)))))
    weights = random_weights(net)
    model = exported(net, weights)
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    session = session_of(model)
    rng = np.random.default_rng(0)
    for shape in ((1, 3, 33, 47), (2, 3, 64, 40)):
        feeds = {"data": rng.uniform(-128, 128, shape).astype(np.float32)}
        found = compiled(feeds)
        for output, (blob, expected) in zip(
            compiled.outputs, run(session, feeds).items(), strict=True
        ):
            assert blob in output.names
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found[output], expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["voc-fcn8s", "voc-fcn-alexnet", "bvlc_googlenet"])
def test_nets_as_they_are(name):
    net = inference(build(parse_net(render(name))))
    weights = random_weights(net)
    session = session_of(write(with_weights(net, weights)).to_proto())
    size = (64, 64) if name in FCNS else specs.net(name).size
    check(net, weights, session, 1, size)


@pytest.mark.parametrize("name", FCNS)
def test_rendered_fcns_say_all_that_segment_needs(name):
    net = inference(build(thinned(parse_net(render(name)))))
    blobs = Blobs(
        {blob: dims[1] for blob, dims in net.inputs.items()},
        {blob: dims[1] for blob, dims in net.outputs.items()},
    )
    about = of_net(net.graph.name, blobs)
    assert not list(missing(about, blobs))
    spec, dataset = specs.net(name), specs.dataset(specs.net(name).dataset)
    assert tuple(about.images.values()) == (spec.images or dataset.images[:1])
    assert tuple(about.classes.values()) == tuple(label.classes for label in dataset.labels)
