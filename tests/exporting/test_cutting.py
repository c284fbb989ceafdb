"""What is left of a net for inference, through the verbs: constants, names, chance, boxes."""

import re

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from exporting import input_text, session_of

import fcnproto as fp
from fcnproto.cli import main


def layer(kind, bottoms, tops, settings=""):
    """A layer that is called after its type and its top."""
    names = [f'bottom: "{name}"' for name in bottoms] + [f'top: "{name}"' for name in tops]
    title = f'name: "{kind} {tops[0]}"'
    return f'layer {{ {title} type: "{kind}" {" ".join(names)} {settings} }}\n'


IMAGE = input_text(data=(1, 3, 8, 8))
CONV = "convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: 'xavier' } }"


def verb(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stderr


def exported(text, folder, *options):
    """What the verb writes for a net, and what it says."""
    net, file = folder / "net.prototxt", folder / "net.onnx"
    net.write_text(text)
    told = verb("export-onnx", net, "--init", "-o", file, "--force", *options)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    return model, told


def run(model, **feeds):
    session = session_of(model)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def names(values):
    return [value.name for value in values]


def dummies(*fillers, dims=(1, 3, 8, 8)):
    tops = [f"k{number}" for number in range(len(fillers))]
    shape = " ".join(f"dim: {dim}" for dim in dims)
    given = " ".join(f"data_filler {{ {filler} }}" for filler in fillers)
    return layer("DummyData", [], tops, f"dummy_data_param {{ shape {{ {shape} }} {given} }}")


# Constants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", ["none", "exact", "fast"])
def test_dummy_data_that_are_constant_are_part_of_the_model(tmp_path, optimize):
    text = IMAGE + dummies("value: 2", "") + layer("Eltwise", ["data", "k0", "k1"], ["sum"])
    model, told = exported(text, tmp_path, "--optimize", optimize)
    assert names(model.graph.input) == ["data"]
    assert "'k0'" not in told
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(run(model, data=x)["sum"], x + 2)


def test_older_words_and_a_bias_that_is_no_image(tmp_path):
    older = layer(
        "DummyData",
        [],
        ["k"],
        "dummy_data_param { num: 3 channels: 1 height: 1 width: 1 data_filler { value: -1.5 } }",
    )
    text = (
        IMAGE
        + older
        + layer("Reshape", ["k"], ["r"], "reshape_param { shape { dim: 3 } }")
        + layer("Bias", ["data", "r"], ["y"], "bias_param { axis: 1 }")
    )
    model, _ = exported(text, tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7), np.float32)
    np.testing.assert_array_equal(run(model, data=x)["y"], x - 1.5)


def test_constants_and_random_numbers_of_one_layer_are_told_apart(tmp_path):
    text = (
        IMAGE
        + dummies("value: 3", 'type: "gaussian" std: 1')
        + layer("Eltwise", ["data", "k0", "k1"], ["sum"])
    )
    model, _ = exported(text, tmp_path)
    assert names(model.graph.input) == ["data", "k1"]
    ones = np.ones((1, 3, 8, 8), np.float32)
    assert (run(model, data=ones, k1=ones)["sum"] == 5).all()


def test_dummy_data_that_nothing_else_stands_beside_are_what_is_fed(tmp_path):
    """As people write to time a net."""
    text = dummies("") + layer("Convolution", ["k0"], ["c"], CONV)
    model, told = exported(text, tmp_path)
    assert names(model.graph.input) == ["k0"]
    assert "nothing else feeds the net: it is an input" in told


# Names ----------------------------------------------------------------------------------------

NAMELESS = {
    "inside": IMAGE
    + layer("Concat", ["data", "data"], [""])
    + layer("Convolution", [""], ["c"], CONV),
    "first": input_text(**{"": (1, 3, 8, 8)}) + layer("Convolution", [""], ["c"], CONV),
    "last": IMAGE + layer("Convolution", ["data"], [""], CONV),
    "in place": IMAGE
    + layer("Convolution", ["data"], [""], CONV)
    + layer("ReLU", [""], [""])
    + layer("Power", [""], ["c"], "power_param { shift: 1 }"),
    "taken": IMAGE
    + layer("Convolution", ["data"], ["unnamed"], CONV)
    + layer("ReLU", ["unnamed"], [""]),
    "input in place": input_text(**{"": (1, 3, 8, 8)})
    + layer("Power", [""], [""], "power_param { scale: 2 }")
    + layer("Convolution", [""], ["c"], CONV),
}


@pytest.mark.parametrize("case", NAMELESS)
@pytest.mark.parametrize("optimize", ["none", "exact"])
def test_a_blob_without_a_name(tmp_path, case, optimize):
    model, _ = exported(NAMELESS[case], tmp_path, "--optimize", optimize)
    plain, _ = exported(NAMELESS[case].replace('""', '"named"'), tmp_path)
    assert all(names(model.graph.input)) and all(names(model.graph.output))
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8), np.float32)
    (found,), (wanted,) = (
        run(each, **{each.graph.input[0].name: x}).values() for each in (model, plain)
    )
    # The fillers' numbers come in the order of the layers, so both models have the same.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_blob_without_a_name_is_verified(tmp_path):
    text = NAMELESS["inside"]
    exported(text, tmp_path)
    net = fp.load_net(text)
    kernels = np.random.default_rng(0).standard_normal((2, 6, 1, 1), np.float32)
    weights = {"Convolution c": [kernels, np.zeros(2, np.float32)]}
    model = fp.export(net, weights, mean=(0, 0, 0))
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)
    twice = np.concatenate([x, x], 1)
    expected = np.einsum("oi,nihw->nohw", kernels[:, :, 0, 0], twice)
    arrays = {"in/data": x, "out/": twice, "out/c": expected}
    assert {row.blob for row in fp.verify(model, arrays).rows} >= {"unnamed", "c"}
    assert fp.verify(model, arrays, rtol=1e-5).agrees
    assert not fp.verify(model, {**arrays, "out/": twice + 1}).agrees
    assert fp.verify(model, net, weights).agrees


def test_an_input_that_is_overwritten_in_place_keeps_its_name(tmp_path):
    text = (
        IMAGE
        + layer("Power", ["data"], ["data"], "power_param { scale: 0.5 }")
        + layer("ReLU", ["data"], ["data"])
        + layer("Power", ["data"], ["c"], "power_param { shift: 1 }")
    )
    for optimize in ("none", "exact", "fast"):
        model, _ = exported(text, tmp_path, "--optimize", optimize)
        assert names(model.graph.input) == ["data"]
        x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)
        found = run(model, data=x)["c"]
        np.testing.assert_allclose(found, np.maximum(x / 2, 0) + 1, rtol=1e-6)


# Chance ---------------------------------------------------------------------------------------


def bayesian(ratio, more=""):
    """A net such as Bayesian SegNet's, whose pooling's places pass by the dropout."""
    return (
        IMAGE
        + layer("Pooling", ["data"], ["pool", "mask"], "pooling_param { kernel_size: 2 stride: 2 }")
        + layer("Dropout", ["pool"], ["pool"], f"dropout_param {{ sample_weights_test: true dropout_ratio: {ratio} {more} }}")  # noqa: E501
        + layer("Upsample", ["pool", "mask"], ["up"], "upsample_param { scale: 2 }")
        + layer("Dropout", ["up"], ["drop"], f"dropout_param {{ sample_weights_test: true dropout_ratio: {ratio} }}")  # noqa: E501
        + layer("Convolution", ["drop"], ["score"], CONV)
        + layer("Softmax", ["score"], ["prob"])
    )  # fmt: skip


@pytest.mark.parametrize("samples", [1, 2, 7])
@pytest.mark.parametrize("opset", [13, 21])
def test_samples_of_what_hardly_drops_are_all_the_mean(tmp_path, samples, opset):
    x = np.random.default_rng(0).standard_normal((3, 3, 12, 8), np.float32)
    mean, told = exported(bayesian(0.5), tmp_path)
    assert "draw at random in TEST; their mean is exported" in told
    model, told = exported(bayesian(1e-7), tmp_path, "--samples", samples, "--opset", opset)
    assert f"outputs are means of {samples} samples" in told
    assert names(model.graph.output) == ["prob"]
    np.testing.assert_allclose(run(model, data=x)["prob"], run(mean, data=x)["prob"], atol=1e-5)


@pytest.mark.parametrize(("more", "kept"), [("", 2.0), ("scale_train: false", 1.0)])
def test_samples_are_drawn_as_the_ratio_says(tmp_path, more, kept):
    text = IMAGE + layer(
        "Dropout",
        ["data"],
        ["drop"],
        f"dropout_param {{ sample_weights_test: true dropout_ratio: 0.5 {more} }}",
    )
    x = np.ones((1, 3, 64, 64), np.float32)
    one = run(exported(text, tmp_path, "--samples", 1)[0], data=x)["drop"]
    assert set(np.unique(one)) == {0, kept}
    assert abs((one == 0).mean() - 0.5) < 0.02
    many = run(exported(text, tmp_path, "--samples", 16)[0], data=x)["drop"]
    assert abs(many.mean() - kept / 2) < 0.01
    assert abs(many.std() - kept / 2 / 4) < 0.01  # that of a mean of 16
    mean = run(exported(text, tmp_path)[0], data=x)["drop"]
    assert (mean == kept / 2).all()


def test_samples_of_tiles_are_those_of_the_image(tmp_path):
    """A net deep enough to be run in two stages, with chance in the first."""
    text = IMAGE + layer("Convolution", ["data"], ["c0"], CONV)
    for number in range(1, 5):
        text += layer(
            "Convolution",
            [f"c{number - 1}"],
            [f"c{number}"],
            "convolution_param { num_output: 2 kernel_size: 3 pad: 1 stride: 2"
            " weight_filler { type: 'xavier' } }",
        )
    text += layer(
        "Deconvolution",
        ["c4"],
        ["up"],
        "convolution_param { num_output: 2 kernel_size: 32 stride: 16 weight_filler { type:"
        " 'bilinear' } }",
    ) + layer("Crop", ["up", "data"], ["score"], "crop_param { axis: 2 offset: 8 }")
    chance = "dropout_param { sample_weights_test: true dropout_ratio: 1e-7 }"
    drawn = text.replace(
        'layer { name: "Convolution c2"',
        layer("Dropout", ["c1"], ["c1"], chance) + 'layer { name: "Convolution c2"',
    )
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    found = []
    for each, samples in ((text, None), (drawn, 2)):
        model = fp.export(each, init=True, mean=(0, 0, 0), samples=samples)
        found.append(fp.Segmenter(model, tile=48)(photo).labels)
    assert len(np.unique(found[0])) > 1
    assert (found[0] == found[1]).mean() > 0.999  # sums in another order


def test_samples_of_a_net_without_chance_change_nothing(tmp_path):
    text = IMAGE + layer("Dropout", ["data"], ["d"]) + layer("ReLU", ["d"], ["r"])
    model, told = exported(text, tmp_path, "--samples", 4)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
    assert "means of" not in told


# Layers that do nothing -------------------------------------------------------------------------


def python(name, module, layer, bottom="data", top="p"):
    return (
        f'layer {{ name: "{name}" type: "Python" bottom: "{bottom}" top: "{top}"'
        f' python_param {{ module: "{module}" layer: "{layer}" param_str: "0.1" }} }}\n'
    )


def test_spatial_dropout_is_known_to_do_nothing(tmp_path):
    text = IMAGE + python("drop", "spatial_dropout", "SpatialDropoutLayer", top="data")
    model, _ = exported(text + layer("Convolution", ["data"], ["c"], CONV), tmp_path)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert names(model.graph.input) == ["data"]


@pytest.mark.parametrize("top", ["p", "data"])
def test_a_layer_is_the_identity_when_it_is_named(tmp_path, top):
    text = IMAGE + python("noise", "mine", "Noise", top=top)
    text += layer("Convolution", [top], ["c"], CONV)
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    told = verb("export-onnx", net, "--init", code=1)
    assert "--identity NAME" in told
    assert "Python 'Noise' of module 'mine' ('noise')" in told
    model, _ = exported(text, tmp_path, "--identity", "noise")
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    weights = {"Convolution c": [np.ones((2, 3, 1, 1), np.float32), np.zeros(2, np.float32)]}
    verb("verify", tmp_path / "net.onnx", "--net", net, "--init", code=2)
    with pytest.raises(fp.FcnprotoError):
        fp.export(text, weights)
    made = fp.export(text, weights, identity=["noise"])
    assert fp.verify(made, fp.load_net(text), weights, identity=["noise"]).agrees


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nois", "there is no such layer; did you mean 'noise'?"),
        ("join", "one bottom and one top, found 2 and 1"),
    ],
)
def test_an_identity_must_be_one(tmp_path, name, message):
    text = IMAGE + python("noise", "mine", "Noise")
    text += 'layer { name: "join" type: "Concat" bottom: "data" bottom: "p" top: "j" }'
    (tmp_path / "net.prototxt").write_text(text)
    told = verb("export-onnx", tmp_path / "net.prototxt", "--identity", name, code=1)
    assert message in told


# Boxes ----------------------------------------------------------------------------------------

SSD = (
    IMAGE
    + """
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "p1" type: "PriorBox" bottom: "c" bottom: "data" top: "p1"
  prior_box_param { min_size: 3 } }
layer { name: "p2" type: "PriorBox" bottom: "c" bottom: "data" top: "p2"
  prior_box_param { min_size: 9 } }
layer { name: "join" type: "Concat" bottom: "p1" bottom: "p2" top: "join"
  concat_param { axis: 2 } }
layer { name: "flat" type: "Flatten" bottom: "c" top: "flat" }
layer { name: "out" type: "DetectionOutput" bottom: "flat" bottom: "flat" bottom: "join" top: "out"
  detection_output_param { num_classes: 3 no_such_field: 1 } }
"""
)
RCNN = (
    IMAGE
    + """
layer { name: "p" type: "Python" bottom: "data" top: "rois"
  python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" } }
layer { name: "roi" type: "ROIPooling" bottom: "data" bottom: "rois" top: "roi"
  roi_pooling_param { pooled_w: 2 pooled_h: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "roi" top: "fc"
  inner_product_param { num_output: 2 } }
"""
)
YOLO = (
    IMAGE
    + """
layer { name: "re" type: "Reorg" bottom: "data" top: "re" reorg_param { stride: 2 } }
layer { name: "region" type: "Region" bottom: "re" top: "region"
  region_param { classes: 20 coords: 4 } }
layer { name: "box" type: "YoloDetectionOutput" bottom: "region" top: "box"
  yolo_detection_output_param { side: 13 } }
"""
)


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (SSD, "PriorBox ('p1', 'p2'), DetectionOutput ('out')"),
        (RCNN, "Python 'ProposalLayer' of module 'rpn.proposal_layer' ('p'), ROIPooling ('roi')"),
        (YOLO, "Reorg ('re'), Region ('region'), YoloDetectionOutput ('box')"),
    ],
    ids=["ssd", "rcnn", "yolo"],
)  # fmt: skip
def test_nets_that_find_boxes_are_refused_in_one_line(tmp_path, text, listed):
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    errors = [line for line in verb("export-onnx", net, "--init", code=1).splitlines() if line]
    assert len(errors) == 1, errors
    assert errors[0].endswith(f"error: layers that find boxes have no ONNX form: {listed}")


def test_what_else_is_wrong_is_said_beside_the_boxes(tmp_path):
    net = tmp_path / "net.prototxt"
    stranger = 'layer {{ name: "{0}" type: "Strange" bottom: "c" top: "{0}" }}\n'
    net.write_text(SSD + stranger.format("s1") + stranger.format("s2"))
    errors = verb("export-onnx", net, "--init", code=1).splitlines()
    assert len(errors) == 2
    assert "PriorBox ('p1', 'p2')" in errors[0]
    assert re.search(r"layer 's1': unknown layer type 'Strange'.*; 2 layers are of it", errors[1])


def test_many_layers_of_one_type_are_counted(tmp_path):
    net = tmp_path / "net.prototxt"
    priors = "".join(
        f'layer {{ name: "p{n}" type: "PriorBox" bottom: "data" bottom: "data" top: "p{n}" }}\n'
        for n in range(9)
    )
    net.write_text(IMAGE + priors)
    (line,) = verb("export-onnx", net, code=1).splitlines()
    assert line.endswith("PriorBox ('p0', 'p1', 'p2', 'p3' and 5 more)")


def test_a_loss_of_boxes_is_cut_off_like_any_other(tmp_path):
    text = IMAGE + layer("Convolution", ["data"], ["c"], CONV)
    text += layer("RegionLoss", ["c", "data"], ["loss"])
    model, _ = exported(text, tmp_path)
    assert names(model.graph.output) == ["c"]


# What is written to files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bottoms", "settings"),
    [
        ("MatWrite", ["score"], "mat_write_param { prefix: 'x' }"),
        ("MatWrite", ["score", "data"], ""),
        ("HDF5Output", ["score", "data"], "hdf5_output_param { file_name: 'x.h5' }"),
    ],
)
def test_what_is_written_to_a_file_is_what_the_net_gives(tmp_path, kind, bottoms, settings):
    read = " ".join(f'bottom: "{name}"' for name in bottoms)
    text = IMAGE + layer("Convolution", ["data"], ["score"], CONV)
    text += layer("ReLU", ["score"], ["aside"])
    text += f'layer {{ name: "w" type: "{kind}" {read} {settings} }}'
    model, _ = exported(text, tmp_path)
    assert names(model.graph.output) == ["score", "aside"]
    text = IMAGE + layer("Convolution", ["data"], ["score"], CONV)
    text += f'layer {{ name: "w" type: "{kind}" {read} {settings} }}'
    model, _ = exported(text, tmp_path)
    assert names(model.graph.output) == ["score"]
