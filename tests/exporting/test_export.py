"""From a net and weights to a model that says what it is: what is known, assumed, refused."""

import json

import numpy as np
import onnx
import pytest
from exporting import input_text, layer_text, run, session_of

from fcnproto.errors import FcnprotoError, NetError, Severity, WeightsError
from fcnproto.exporting.cutting import Asked, for_inference
from fcnproto.exporting.export import export, weights_beside
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import Result
from fcnproto.model.given import Given
from fcnproto.model.given import said as said_of
from fcnproto.model.metadata import Metadata
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.surgery.fit import WeightSource
from fcnproto.zoo import specs

CONV = "convolution_param { num_output: 2 kernel_size: 3 pad: 1 }"
DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 4 }
  transform_param { %s } }
"""
TRUNK = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
"""
FC = """
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 2 } }
"""
LOSS = """
layer { name: "accuracy" type: "Accuracy" bottom: "%s" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }
"""


def weights_for(**shapes):
    return WeightSource(
        "w",
        {name: [np.ones(shape, np.float32) for shape in these] for name, these in shapes.items()},
    )


def metadata_of(model):
    return {each.key: each.value for each in model.proto.metadata_props}


# What infers ----------------------------------------------------------------------------------


def test_a_training_net_with_data_of_unknown_shape():
    source = parse_net(DATA % "" + TRUNK + LOSS % ("conv", "conv"))
    exported = export(source, weights_for(conv=[(4, 5, 3, 3), (4,)]))
    (value,) = exported.model.proto.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert (value.name, dims) == ("data", ["N", 5, "H", "W"])
    assert [each.name for each in exported.model.proto.graph.output] == ["conv"]
    assert "taken as N×5×H×W" in str(exported.notes[0])


@pytest.mark.parametrize(
    ("crop", "stride", "side"),
    [("", 1, 13), ("crop_size: 23", 2, 23), ("crop_size: 24", 2, 24)],
)
def test_a_size_is_found_that_the_weights_fit(crop, stride, side):
    trunk = TRUNK.replace("stride: 2", f"stride: {stride}")
    source = parse_net(DATA % crop + trunk + FC + LOSS % ("fc", "fc"))
    weights = weights_for(conv=[(4, 3, 3, 3), (4,)], fc=[(2, 4 * 11 * 11), (2,)])
    exported = export(source, weights)
    (value,) = exported.model.proto.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert dims == ["N", 3, side, side]
    fixed = [note for note in exported.notes if "fixed" in note.message]
    assert [note.layer for note in fixed] == ["fc", "fc"]
    assert "no other H of input 'data'" in fixed[0].message


@pytest.mark.parametrize("init", [False, True])
def test_a_size_that_is_one_of_several_is_asked_for(init):
    """With 23 and 24 rows the weights fit alike; without weights anything does."""
    source = parse_net(DATA % "" + TRUNK + FC + LOSS % ("fc", "fc"))
    weights = weights_for(conv=[(4, 3, 3, 3), (4,)], fc=[(2, 4 * 11 * 11), (2,)])
    with pytest.raises(NetError, match=r"Input layer in its place, or give --size HxW"):
        export(source, None if init else weights, init=init)
    exported = export(source, weights, asked=Asked(size=(24, 23)))
    (value,) = exported.model.proto.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert dims == ["N", 3, 24, 23]


@pytest.mark.parametrize(
    "layer",
    [
        'type: "HDF5Data" hdf5_data_param { source: "l" batch_size: 2 }',
        'type: "ImageData" image_data_param { source: "l" }',
        'type: "DenseImageData" dense_image_data_param { source: "l" batch_size: 1 }',
        'type: "Python" python_param { module: "mine" layer: "MyData" }',
    ],
)
def test_every_data_layer_of_unknown_size_asks_for_one(layer):
    data = f'layer {{ name: "d" top: "data" top: "label" {layer} }}'
    source = parse_net(data + TRUNK + FC + LOSS % ("fc", "fc"))
    with pytest.raises(NetError, match=r"layer 'd': the net is made for one size of 'data'"):
        export(source, None, init=True)
    exported = export(source, None, init=True, asked=Asked(size=(40, 30)))
    (value,) = exported.model.proto.graph.input
    assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim][2:] == [
        40,
        30,
    ]


def test_a_size_for_images_that_a_net_gives_another():
    """--size stands in for the size in the text, too: the model holds where the net does."""
    source = parse_net(input_text(data=(1, 3, 20, 20)) + TRUNK + FC)
    exported = export(source, None, init=True, asked=Asked(size=(32, 16)))
    (value,) = exported.model.proto.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    assert dims == ["N", 3, 32, 16]


def test_no_size_fits():
    source = parse_net(DATA % "" + TRUNK + FC + LOSS % ("fc", "fc"))
    weights = weights_for(conv=[(4, 3, 3, 3), (4,)], fc=[(2, 4 * 11 * 12), (2,)])
    with pytest.raises(NetError, match="shape of 'data' is not known"):
        export(source, weights)


def test_data_layers_of_another_phase_serve_where_there_is_no_other():
    text = DATA.replace('top: "label"', 'top: "label" include { phase: TRAIN }') % "crop_size: 8"
    source = parse_net(text + TRUNK + LOSS % ("conv", "conv"))
    net = inference(build(for_inference(source)))
    assert list(net.inputs) == ["data"]


def test_data_layers_of_this_phase_are_kept():
    train = DATA.replace('top: "label"', 'top: "label" include { phase: TRAIN }') % "crop_size: 8"
    test = input_text(data=(1, 1, 9, 9), label=(1, 1, 4, 4))
    net = inference(build(for_inference(parse_net(train + test + TRUNK))))
    assert net.inputs == {"data": ("N", 1, "H", "W")}


def test_labels_vanish_with_what_was_made_of_them():
    text = input_text(data=(1, 3, 8, 8), label=(2, 2, 8, 8)) + (
        'layer { name: "s" type: "Slice" bottom: "label" top: "l1" top: "l2" }\n'
        'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n'
        'layer { name: "x" type: "EuclideanLoss" bottom: "a" bottom: "l1" top: "x" }\n'
        'layer { name: "y" type: "Silence" bottom: "l2" }\n'
        'layer { name: "z" type: "Power" bottom: "x" top: "twice" power_param { scale: 2 } }\n'
    )
    text = text.replace("dim: 2 dim: 2 dim: 8", "dim: 2 dim: 3 dim: 8")
    net = inference(build(parse_net(text)))
    assert (list(net.inputs), list(net.outputs)) == (["data"], ["a"])


def test_silenced_blobs_are_no_outputs():
    text = input_text(data=(1, 3, 8, 8)) + (
        'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" top: "c" }\n'
        'layer { name: "x" type: "Silence" bottom: "b" }\n'
    )
    assert list(inference(build(parse_net(text))).outputs) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (input_text(data=(1, 3, 8, 8)), "computes nothing"),
        (
            'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } }\n'
            'layer { name: "r" type: "ReLU" bottom: "p" top: "r" }',
            "no input",
        ),
    ],
)
def test_nets_that_are_no_nets(text, message):
    with pytest.raises(NetError, match=message):
        inference(build(parse_net(text)))


def test_all_that_cannot_be_written_is_said_at_once():
    text = (
        input_text(data=(1, 3, 8, 8))
        + 'layer { name: "one" type: "Pooling" bottom: "data" top: "p" '
        "pooling_param { pool: STOCHASTIC kernel_size: 2 } }\n"
        'layer { name: "two" type: "Python" bottom: "p" top: "q" }\n'
    )
    with pytest.raises(NetError) as caught:
        inference(build(parse_net(text)))
    assert [problem.layer for problem in caught.value.problems] == ["one", "two"]


def test_inputs_that_belong_together_stay_open_together():
    text = input_text(a=(1, 3, 8, 8), b=(1, 3, 8, 8)) + layer_text("Eltwise", ["a", "b"], ["c"])
    net = inference(build(parse_net(text)))
    assert net.inputs == {"a": ("N", 3, "H", "W"), "b": ("N", 3, "H", "W")}
    assert net.outputs == {"c": ("N", 3, "H", "W")}


def test_what_is_fixed_is_fixed_and_said():
    text = input_text(data=(1, 3, 8, 8)) + layer_text(
        "Reshape", ["data"], ["r"], "reshape_param { shape { dim: 1 dim: 3 dim: 0 dim: 0 } }"
    )
    net = inference(build(parse_net(text)))
    assert net.inputs == {"data": (1, 3, "H", "W")}
    (note,) = net.notes
    assert note.severity is Severity.NOTE
    assert "no other N of input 'data' than 1" in note.message


# Weights --------------------------------------------------------------------------------------


def test_layers_without_weights_are_named_all_at_once():
    text = input_text(data=(1, 3, 8, 8)) + TRUNK + FC
    with pytest.raises(WeightsError) as caught:
        export(parse_net(text), None)
    assert [problem.layer for problem in caught.value.problems] == ["conv", "fc"]
    assert "--init" in str(caught.value)
    with pytest.raises(WeightsError) as caught:
        export(parse_net(text), weights_for(conv=[(4, 3, 3, 3), (4,)]))
    assert [problem.layer for problem in caught.value.problems] == ["fc"]
    exported = export(parse_net(text), None, init=True)
    assert not exported.model.tensors["conv/0"].any()


def test_all_misfits_are_named_at_once():
    text = input_text(data=(1, 3, 8, 8)) + TRUNK + FC
    weights = weights_for(conv=[(4, 3, 5, 5), (4,)], fc=[(3, 36), (2,)])
    with pytest.raises(WeightsError) as caught:
        export(parse_net(text), weights)
    assert {problem.layer for problem in caught.value.problems} == {"conv", "fc"}


def test_random_fillers_are_the_same_twice():
    text = input_text(data=(1, 3, 8, 8)) + TRUNK.replace(
        "stride: 2", 'stride: 2 weight_filler { type: "xavier" }'
    )
    first, second = (export(parse_net(text), None, init=True).model for _ in range(2))
    assert first.tensors["conv/0"].any()
    assert first.to_proto() == second.to_proto()


def test_weights_beside_a_net(tmp_path):
    net = tmp_path / "net.prototxt"
    assert weights_beside(str(net)) is None
    for name in ("net.safetensors", "net.caffemodel.h5", "net.caffemodel", "net.npz"):
        (tmp_path / name).write_bytes(b"")
        assert weights_beside(str(net)) == tmp_path / name


def test_what_a_net_took_and_gave_is_no_weights_of_it(tmp_path):
    """A reference for verify may lie beside a net, under its name."""
    net = tmp_path / "net.prototxt"
    arrays = {"in/data": np.ones(2), "out/score": np.ones(2), "param/conv/0": np.ones(3)}
    np.savez(tmp_path / "net.npz", **arrays)
    assert weights_beside(str(net)) is None
    (tmp_path / "net.caffemodel").write_bytes(b"")
    assert weights_beside(str(net)) == tmp_path / "net.caffemodel"
    np.savez(tmp_path / "net.npz", **{"in/0": np.ones(2)})  # a layer may be called so
    assert weights_beside(str(net)) == tmp_path / "net.npz"


# What a model says of itself ------------------------------------------------------------------


def exported(text, **settings):
    return export(parse_net(text), None, init=True, **settings)


def scores(channels=3, classes=21, name=""):
    title = f'name: "{name}"\n' if name else ""
    return (
        title
        + input_text(data=(1, channels, 8, 8))
        + layer_text(
            "Convolution",
            ["data"],
            ["score"],
            CONV.replace("num_output: 2", f"num_output: {classes}"),
        )
    )


def test_nets_of_the_zoo_say_what_they_are():
    result = exported(scores(name="fcn16s"))
    said = metadata_of(result.model)
    voc = specs.dataset("voc")
    assert said["net"] == "fcn16s"
    assert said["dataset"] == "voc"
    assert said["channel_order"] == "BGR"
    assert json.loads(said["mean"]) == {"data": list(voc.mean["color"])}
    assert json.loads(said["classes"]) == {"score": list(voc.classes)}
    assert json.loads(said["palette"]) == [list(colour) for colour in voc.palette[:21]]
    assert json.loads(said["tiling"]) == {"stride": [1, 1], "before": [1, 1], "after": [1, 1]}
    assert said["fcnproto_version"]
    assert not [
        note
        for note in result.notes
        if note.severity is not Severity.NOTE and "zero" not in note.message
    ]


def test_a_name_of_the_zoo_serves_where_the_net_has_none():
    result = exported(scores(classes=40), name="nyud-fcn32s-hha")
    said = metadata_of(result.model)
    assert json.loads(said["images"]) == {"data": "hha"}
    assert json.loads(said["mean"]) == {"data": list(specs.dataset("nyud").mean["hha"])}


def test_other_nets_are_warned_of():
    result = exported(scores())
    warnings = [str(note) for note in result.notes if note.severity is Severity.WARNING]
    for flag in ("--mean", "--classes", "--palette"):
        assert any(flag in warning for warning in warnings)
    assert metadata_of(result.model).keys() == {"channel_order", "fcnproto_version", "tiling"}


def test_a_net_with_other_classes_than_its_dataset_has_no_names():
    said = metadata_of(exported(scores(classes=5, name="fcn16s")).model)
    assert "classes" not in said
    assert "mean" in said


def test_what_is_given_goes_first(tmp_path):
    (tmp_path / "classes").write_text("no\nyes\n")
    (tmp_path / "palette").write_text("0 0 0\n#ff8000\n")
    said = said_of("voc", (1.0, 2.0, 3.0), tmp_path / "classes", tmp_path / "palette")
    props = metadata_of(exported(scores(classes=2, name="fcn16s"), given=said).model)
    assert json.loads(props["mean"]) == {"data": [1, 2, 3]}
    assert json.loads(props["classes"]) == {"score": ["no", "yes"]}
    assert json.loads(props["palette"]) == [[0, 0, 0], [255, 128, 0]]
    about = Metadata.from_props(props)
    assert about.to_props() == props


def test_what_is_given_and_does_not_fit():
    said = Given(mean=(1.0, 2.0), classes=("a",))
    with pytest.raises(FcnprotoError) as caught:
        exported(scores(), given=said)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 2\n", "found '1 2'"),
        (b"0 0 0\n1 2 256\n", ":2: .*found '1 2 256'"),
        (b"#12345\n", "found '#12345'"),
        (b"red\n", "found 'red'"),
        (b"", "empty"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_palettes_that_are_none(tmp_path, content, message):
    path = tmp_path / "palette"
    path.write_bytes(content)
    with pytest.raises(FcnprotoError, match=message):
        said_of(None, None, None, path)


# How a model is called ------------------------------------------------------------------------


def test_labels_in_the_graph():
    text = scores(classes=3).replace(
        "num_output: 3", 'num_output: 3 weight_filler { type: "xavier" }'
    )
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 6, 7)).astype(np.float32)
    outputs = {
        result: run(session_of(exported(text, result=result).model.to_proto()), {"data": x})
        for result in Result
    }
    score = outputs[Result.SCORE]["score"]
    labels = outputs[Result.LABELS]["labels"]
    assert (labels.dtype, labels.shape) == (np.uint8, (2, 6, 7))
    np.testing.assert_array_equal(labels, score.argmax(axis=1))
    assert list(outputs[Result.BOTH]) == ["score", "labels"]
    np.testing.assert_array_equal(outputs[Result.BOTH]["labels"], labels)


def test_the_first_of_equal_scores_is_the_label():
    model = exported(scores(classes=3), result=Result.LABELS).model.to_proto()
    (labels,) = run(session_of(model), {"data": np.zeros((1, 3, 4, 4))}).values()
    assert not labels.any()


def test_images_as_input_need_a_mean():
    with pytest.raises(NetError, match="--mean B,G,R or --dataset D"):
        exported(scores(), image_input=True)
    with pytest.raises(NetError, match="three channels"):
        exported(scores(channels=1), image_input=True)


def test_only_colour_goes_in_as_an_image():
    text = input_text(color=(1, 3, 8, 8), depth=(1, 1, 8, 8)) + layer_text(
        "Concat", ["color", "depth"], ["score"]
    )
    said = said_of("nyud", None, None, None)
    model = exported(text, given=said, image_input=True).model.to_proto()
    onnx.checker.check_model(model, full_check=True)
    kinds = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    assert kinds == {"color": onnx.TensorProto.UINT8, "depth": onnx.TensorProto.FLOAT}


def test_a_blob_may_be_called_like_what_is_made_of_an_image():
    text = scores(name="fcn16s").replace('"score"', '"data/bgr"')
    model = exported(text, image_input=True).model.to_proto()
    onnx.checker.check_model(model, full_check=True)
