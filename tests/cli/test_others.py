"""Files that other people wrote, through the verbs: what is in them is read as they meant it."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from exporting import session_of
from PIL import Image

from fcnproto.cli import main
from fcnproto.weights import read, write

RNG = np.random.default_rng(0)
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: %d dim: 8 dim: 8 } } }\n'  # noqa: E501


def verb(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def net(folder, text, channels=3):
    path = folder / "net.prototxt"
    path.write_text(INPUT % channels + text)
    return path


def run(folder, path, weights, x, *options):
    """What an exported net gives."""
    if weights is not None:
        write(folder / "w.npz", weights)
        options = (*options, "--weights", folder / "w.npz")
    verb("export-onnx", path, "--force", "-o", folder / "m.onnx", *options)
    (found,) = session_of(onnx.load(folder / "m.onnx")).run(None, {"data": x})
    return found


# Weights ----------------------------------------------------------------------------------------

CONV = 'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" convolution_param { num_output: %d kernel_size: %d } }\n'  # noqa: E501


def test_kernels_for_colour_are_summed_for_a_grey_image(tmp_path):
    """What three equal channels would add up to; later layers are as they were."""
    text = CONV % ("conv1", "data", "conv1", 4, 3) + CONV % ("conv2", "conv1", "conv2", 2, 1)
    weights = {"conv1": [normal(4, 3, 3, 3), normal(4)], "conv2": [normal(2, 4, 1, 1), normal(2)]}
    write(tmp_path / "w.npz", weights)
    told = verb("convert-weights", tmp_path / "w.npz", "--net", net(tmp_path, text, 1),
                "-o", tmp_path / "grey.npz")  # fmt: skip
    grey = read(tmp_path / "grey.npz")
    summed = weights["conv1"][0].sum(1, keepdims=True)
    np.testing.assert_allclose(grey["conv1"][0], summed, rtol=1e-6)
    np.testing.assert_array_equal(grey["conv2"][0], weights["conv2"][0])
    assert "conv1" in told and "gr" in told
    x = normal(1, 1, 8, 8)
    found = run(tmp_path, tmp_path / "net.prototxt", grey, x)
    wanted = run(tmp_path, net(tmp_path, text), weights, np.repeat(x, 3, 1))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_only_what_reads_the_image_is_summed(tmp_path):
    """Three channels of a blob are no colours."""
    text = CONV % ("a", "data", "a", 3, 1) + CONV % ("b", "a", "b", 3, 1)
    text = text.replace('top: "b" convolution_param {', 'top: "b" convolution_param { group: 3')
    weights = {"a": [normal(3, 3, 1, 1), normal(3)], "b": [normal(3, 3, 1, 1), normal(3)]}
    write(tmp_path / "w.npz", weights)
    path = net(tmp_path, text)
    told = verb("convert-weights", tmp_path / "w.npz", "--net", path,
                "-o", tmp_path / "o.npz", code=1)  # fmt: skip
    assert "layer 'b': array 0 is 3×3×1×1, the net has 3×1×1×1" in told


def test_keys_of_caffe2(tmp_path):
    """conv1_1_w and conv1_1_b; scale and bias of a fused norm are _bn_s and _bn_b."""
    text = (
        CONV % ("conv1_1", "data", "c", 4, 3)
        + 'layer { name: "res_conv1_bn" type: "Scale" bottom: "c" top: "s" scale_param { bias_term: true } }'  # noqa: E501
        + CONV % ("fc6", "s", "f", 2, 1)
    )
    arrays = {
        "conv1_1_w": normal(4, 3, 3, 3),
        "conv1_1_b": normal(4),
        "res_conv1_bn_s": normal(4),
        "res_conv1_bn_b": normal(4),
        "fc6_w": normal(2, 4, 1, 1),
        "fc6_b": normal(2),
    }
    np.savez(tmp_path / "caffe2.npz", **arrays)
    path = net(tmp_path, text)
    verb("convert-weights", tmp_path / "caffe2.npz", "--net", path, "-o", tmp_path / "o.npz")
    found = read(tmp_path / "o.npz")
    endings = {"conv1_1": ("w", "b"), "res_conv1_bn": ("s", "b"), "fc6": ("w", "b")}
    for layer, (first, second) in endings.items():
        np.testing.assert_array_equal(found[layer][0], arrays[f"{layer}_{first}"])
        np.testing.assert_array_equal(found[layer][1], arrays[f"{layer}_{second}"])


@pytest.mark.parametrize("order", ["nvidia", "xilinx"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("optimize", ["none", "exact"])
def test_fused_norms_in_both_orders(tmp_path, order, channels, optimize):
    """The arrays' shapes tell them apart, one channel included."""
    text = (
        'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "y"'
        " batch_norm_param { scale_filler { value: 1 } bias_filler { } eps: 0.001 } }"
    )
    scale, bias, mean = (normal(channels) for _ in range(3))
    variance = np.abs(normal(channels)) + 0.5
    one = np.ones(1, np.float32)
    if order == "nvidia":
        arrays = [mean, variance, one, scale, bias]
    else:
        line = (1, channels, 1, 1)
        arrays = [each.reshape(line) for each in (scale, bias, mean, variance)]
        arrays.append(one.reshape(1, 1, 1, 1))
    x = normal(2, channels, 8, 8)
    found = run(tmp_path, net(tmp_path, text, channels), {"bn": arrays}, x, "--optimize", optimize)
    across = (1, channels, 1, 1)
    scale, bias, mean, variance = (a.reshape(across) for a in (scale, bias, mean, variance))
    expected = scale * (x - mean) / np.sqrt(variance + 0.001) + bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# Layers -----------------------------------------------------------------------------------------


def test_auto_crop_lies_where_the_layers_say(tmp_path):
    """A convolution with pad 0 begins at pixel 1, and is undone by a crop of 1."""
    conv = CONV.replace("kernel_size: %d", "kernel_size: %d pad: 4")
    text = conv % ("c", "data", "c", 2, 3)
    auto = text + 'layer { name: "crop" type: "AutoCrop" bottom: "c" bottom: "data" top: "y" }'
    crop = auto.replace('"AutoCrop"', '"Crop"').replace(
        'top: "y"', 'top: "y" crop_param { axis: 2 offset: 3 }'
    )
    weights = {"c": [normal(2, 3, 3, 3), normal(2)]}
    x = normal(1, 3, 8, 8)
    found = run(tmp_path, net(tmp_path, auto), weights, x)
    np.testing.assert_array_equal(found, run(tmp_path, net(tmp_path, crop), weights, x))
    upgraded = tmp_path / "up.prototxt"
    verb("upgrade", net(tmp_path, auto), "-o", upgraded)
    assert 'type: "Crop"' in upgraded.read_text() and "offset: 3" in upgraded.read_text()
    assert "AutoCrop" not in upgraded.read_text()
    np.testing.assert_array_equal(found, run(tmp_path, upgraded, weights, x))


def test_auto_crop_that_fits_nowhere_is_said(tmp_path):
    """Strides that differ have no offset."""
    conv = CONV.replace("kernel_size: %d", "kernel_size: %d stride: 2")
    text = conv % ("c", "data", "c", 2, 3)
    text += 'layer { name: "crop" type: "AutoCrop" bottom: "data" bottom: "c" top: "y" }'
    assert "'crop'" in verb("export-onnx", net(tmp_path, text), "--init", code=1)


@pytest.mark.parametrize("optimize", ["none", "exact"])
@pytest.mark.parametrize("before", ["", CONV % ("c", "data", "data2", 4, 1)])
def test_dropout_that_scales_in_test_instead(tmp_path, optimize, before):
    """scale_train: false (Faster R-CNN): what training did without is made up for in TEST."""
    bottom = "data2" if before else "data"
    text = before + (
        f'layer {{ name: "d" type: "Dropout" bottom: "{bottom}" top: "y" dropout_param'
        " { dropout_ratio: 0.25 scale_train: %s } }"
    )
    weights = {"c": [normal(4, 3, 1, 1), normal(4)]} if before else None
    x = normal(1, 3, 8, 8)
    options = ("--optimize", optimize)
    found = run(tmp_path, net(tmp_path, text % "false"), weights, x, *options)
    whole = run(tmp_path, net(tmp_path, text % "true"), weights, x, *options)
    np.testing.assert_allclose(found, 0.75 * whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", ["Convolution", "InnerProduct"])
def test_arrays_that_layers_of_unlike_types_share(tmp_path, first):
    """share_mode PERMISSIVE asks for as many numbers, not for the same shape."""
    layers = {
        "Convolution": 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" %s convolution_param { num_output: 5 kernel_size: 8 } }',  # noqa: E501
        "InnerProduct": 'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" %s inner_product_param { num_output: 5 } }',  # noqa: E501
    }
    shared = " ".join(f'param {{ name: "{n}" share_mode: PERMISSIVE }}' for n in "wb")
    order = sorted(layers, key=lambda kind: kind != first)
    text = "".join(layers[kind] % shared for kind in order)
    text += 'layer { name: "f" type: "Flatten" bottom: "c" top: "f" }'
    text += 'layer { name: "e" type: "Eltwise" bottom: "f" bottom: "i" top: "y" eltwise_param { coeff: 1 coeff: -1 } }'  # noqa: E501
    kernels, bias = normal(5, 3, 8, 8), normal(5)
    flat = kernels.reshape(5, -1)
    weights = {order[0][0].lower(): [kernels if first == "Convolution" else flat, bias]}
    path = net(tmp_path, text)
    found = run(tmp_path, path, weights, normal(2, 3, 8, 8))
    np.testing.assert_allclose(found, 0, atol=1e-4)
    assert "too far" not in verb(
        "verify", tmp_path / "m.onnx", "--net", path, "--weights", tmp_path / "w.npz"
    )


TRAINING_ONLY = [
    ("default_forward_type: FLOAT16 default_conv_algos_override: '-1,-1,-1'", "", ""),
    ("", "forward_type: FLOAT16 backward_math: FLOAT", "cudnn_convolution_algo_seeker: GET"),
    ("engine: 'MKL2017' bn_stats_batch_size: 32", "engine: 'CAFFE'", "fuse_type: FUSED_CONV_RELU"),
    ("quantize: true", "quantization_param { precision: DYNAMIC }", ""),
]


@pytest.mark.parametrize(("whole", "layer", "conv"), TRAINING_ONLY)
def test_fields_for_training_have_no_effect(tmp_path, whole, layer, conv):
    """Of NVIDIA's, Intel's and TI's Caffe: they are noted, and the model is the same."""
    text = CONV % ("c", "data", "y", 4, 3) + CONV % ("c2", "y", "z", 2, 1)
    weights = {"c": [normal(4, 3, 3, 3), normal(4)], "c2": [normal(2, 4, 1, 1), normal(2)]}
    x = normal(1, 3, 8, 8)
    plain = run(tmp_path, net(tmp_path, text), weights, x)
    more = text.replace('type: "Convolution"', f'type: "Convolution" {layer}')
    more = more.replace("num_output", f"{conv} num_output")
    path = net(tmp_path, more)
    path.write_text(whole + "\n" + path.read_text())
    np.testing.assert_array_equal(run(tmp_path, path, weights, x), plain)
    told = verb("check", path)
    assert "0 errors, 0 warnings" in told
    for field in (whole, layer, conv):
        if field:
            name = field.split(":")[0].split()[0]
            lines = [line for line in told.splitlines() if f" {name} is a field" in line]
            assert lines and all("for training, and has no effect here" in line for line in lines)
            assert len(lines) == sum(name in each for each in (whole, layer, conv)), told


LABELS_BY = {
    "ArgMax": 'layer { name: "a" type: "ArgMax" bottom: "c" top: "a" argmax_param { axis: 1 } }',
    "ArgMax from behind": 'layer { name: "a" type: "ArgMax" bottom: "c" top: "a" argmax_param {'
    " axis: -3 } }",
    "the best two": 'layer { name: "a" type: "ArgMax" bottom: "c" top: "a" argmax_param {'
    " axis: 1 top_k: 2 } }",
    "ArgMax, cut": 'layer { name: "a" type: "ArgMax" bottom: "c" top: "a" argmax_param { axis: 1 }'
    ' } layer { name: "r" type: "Crop" bottom: "a" bottom: "data" top: "r" crop_param { axis: 2 }'
    " }",
    "probabilities": 'layer { name: "p" type: "Softmax" bottom: "c" top: "p" } layer { name: "a"'
    ' type: "ArgMax" bottom: "p" top: "a" argmax_param { axis: 1 } }',
    "Sigmoid": 'layer { name: "s" type: "Sigmoid" bottom: "one" top: "s" }',
    "Sigmoid, cut": 'layer { name: "s" type: "Sigmoid" bottom: "one" top: "s" } layer { name: "r"'
    ' type: "Crop" bottom: "s" bottom: "data" top: "r" crop_param { axis: 2 } }',
    "Sigmoid, other axes": 'layer { name: "s" type: "Sigmoid" bottom: "one" top: "s" } layer {'
    ' name: "i" type: "Interp" bottom: "s" top: "i" interp_param { zoom_factor: 1 } }',
    "Threshold": 'layer { name: "t" type: "Threshold" bottom: "one" top: "t" }',
}


@pytest.mark.parametrize("result", ["score", "labels", "both"])
@pytest.mark.parametrize("kind", LABELS_BY)
def test_labels_that_a_net_makes_itself(tmp_path, kind, result):
    """Three classes by ArgMax and two by a threshold, whichever output is asked for."""
    rng = np.random.default_rng(0)
    one = "one" in LABELS_BY[kind].split('"')
    top, count = ("one", 1) if one else ("c", 3)
    net = tmp_path / "n.prototxt"
    net.write_text(INPUT % 3 + CONV % ("c", "data", top, count, 1) + LABELS_BY[kind])
    kernels = rng.standard_normal((count, 3, 1, 1)).astype(np.float32) / 50
    bias = rng.standard_normal(count).astype(np.float32)
    np.savez(tmp_path / "n.npz", **{"c/0": kernels, "c/1": bias})
    rgb = rng.integers(0, 256, (9, 11, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "i.png")
    model = tmp_path / "m.onnx"
    verb("export-onnx", net, "--mean", "0,0,0", "--result", result, "-o", model)
    verb("segment", tmp_path / "i.png", "--model", model, "-o", tmp_path / "out")
    scores = np.einsum("kc,hwc->hwk", kernels[:, :, 0, 0], rgb[..., ::-1].astype(float)) + bias
    expected = scores[..., 0] > 0 if one else scores.argmax(-1)
    assert len(np.unique(expected)) > 1
    with Image.open(tmp_path / "out/i.png") as labels:
        np.testing.assert_array_equal(np.asarray(labels), expected)


NO_SCORES = {
    "the greatest": "axis: 1 out_max_val: true",
    "the greatest two": "axis: 1 top_k: 2 out_max_val: true",
    "from behind": "axis: -3 out_max_val: true",
    "of all": "out_max_val: true top_k: 3",
    "places of all": "top_k: 3",
    "along rows": "axis: 2",
    "along columns": "axis: 3 out_max_val: true",
}


@pytest.mark.parametrize("kind", [*NO_SCORES, "cut", "places of a pooling"])
def test_values_and_places_are_no_labels(tmp_path, kind):
    """Neither scores nor labels (argmax_layer.cpp, pooling_layer.cpp): refused, alone; else passed
    over."""
    settings = NO_SCORES.get(kind, NO_SCORES["the greatest"])
    made = (
        f'layer {{ name: "a" type: "ArgMax" bottom: "c" top: "a" argmax_param {{ {settings} }} }}'
    )
    if kind == "cut":
        made += (
            'layer { name: "r" type: "Crop" bottom: "a" bottom: "data" top: "r" crop_param {'
            " axis: 2 } }"
        )
    if kind == "places of a pooling":
        made = (
            'layer { name: "p" type: "Pooling" bottom: "c" top: "p" top: "a" pooling_param {'
            ' kernel_size: 2 stride: 2 } } layer { name: "q" type: "Silence" bottom: "p" }'
        )
    net, model = tmp_path / "n.prototxt", tmp_path / "m.onnx"
    convolution = CONV % ("c", "data", "c", 3, 1)
    net.write_text(INPUT % 3 + convolution + made)
    np.savez(tmp_path / "n.npz", **{"c/0": np.eye(3)[..., None, None], "c/1": np.zeros(3)})
    rgb = np.random.default_rng(0).permutation(7 * 12 * 3).reshape(7, 12, 3).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "i.png")
    said = verb("export-onnx", net, "--mean", "0,0,0", "-o", model)
    assert "has neither the scores of classes" in said and "have no names" not in said
    refused = CliRunner().invoke(
        main, ["segment", str(tmp_path / "i.png"), "--model", str(model), "-o", str(tmp_path / "o")]
    )
    assert refused.exit_code == 1 and "gives no score or label for each pixel" in refused.output
    options = ["--mean", "0,0,0", "--result", "labels", "-o", str(tmp_path / "labels.onnx")]
    refused = CliRunner().invoke(main, ["export-onnx", str(net), *options])
    assert refused.exit_code == 1 and "gives no label map" in refused.output

    best = 'layer { name: "b" type: "ArgMax" bottom: "c" top: "b" argmax_param { axis: 1 } }'
    net.write_text(INPUT % 3 + convolution + made + best)
    for result in ("score", "labels", "both"):
        verb("export-onnx", net, "--mean", "0,0,0", "--result", result, "-o", model, "--force")
        verb("segment", tmp_path / "i.png", "--model", model, "-o", tmp_path / result)
        (written,) = (tmp_path / result).glob("*.png")
        with Image.open(written) as labels:
            np.testing.assert_array_equal(np.asarray(labels), rgb[..., ::-1].argmax(-1))


def test_more_channels_than_a_label_map_can_number_are_no_scores(tmp_path):
    net, model = tmp_path / "n.prototxt", tmp_path / "m.onnx"
    tiles = 'layer { name: "t" type: "Tile" bottom: "data" top: "t" tile_param { tiles: 30000 } }'
    net.write_text(INPUT % 3 + tiles)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "i.png")
    verb("export-onnx", net, "--mean", "0,0,0", "-o", model)
    said = verb("segment", tmp_path / "i.png", "--model", model, "-o", tmp_path / "o", code=1)
    assert "it gives no score or label for each pixel: 't' is" in said and "90000" in said


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("Power", ("power_param.scale is inf", "power_param.shift is nan")),
        ("Clip", ()),
        ("Convolution", ("convolution_param.bias_filler.value is -inf",)),
    ],
)
def test_settings_that_are_no_numbers_are_said(tmp_path, layer, said):
    settings = {
        "Power": "power_param { scale: inf shift: nan }",
        "Clip": "clip_param { min: -inf max: inf }",
        "Convolution": "convolution_param { num_output: 2 kernel_size: 1 bias_filler {"
        ' type: "constant" value: -inf } }',
    }
    path = tmp_path / "n.prototxt"
    path.write_text(
        INPUT % 3
        + f'layer {{ name: "x" type: "{layer}" bottom: "data" top: "x" {settings[layer]} }}'
    )
    for args in (["check", path], ["export-onnx", path, "--init", "-o", tmp_path / "m.onnx"]):
        output = verb(*args)
        for words in said:
            assert f"warning: layer 'x': {words}: what it computes is no number" in output
        assert said or "no number" not in output


def test_a_label_map_at_another_size_mixes_no_classes(tmp_path):
    """A net of one size: between classes 0 and 2 there must not be a class 1."""
    net = tmp_path / "n.prototxt"
    net.write_text(
        "input: 'data' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8"
        " layer { name: 'r' type: 'Reshape' bottom: 'data' top: 'r' reshape_param { shape {"
        " dim: 0 dim: 3 dim: 8 dim: 8 } } } layer { name: 'c' type: 'Convolution' bottom: 'r'"
        " top: 'c' convolution_param { num_output: 3 kernel_size: 1 } }"
        " layer { name: 'a' type: 'ArgMax' bottom: 'c' top: 'a' argmax_param { axis: 1 } }"
    )
    kernels = np.zeros((3, 3, 1, 1), np.float32)
    kernels[2] = 1
    bias = np.array([100, 0, 0], np.float32)
    np.savez(tmp_path / "n.npz", **{"c/0": kernels, "c/1": bias})
    rgb = np.zeros((24, 20, 3), np.uint8)
    rgb[:, 10:] = 255
    Image.fromarray(rgb).save(tmp_path / "i.png")
    verb("export-onnx", net, "--mean", "0,0,0", "-o", tmp_path / "m.onnx")
    verb("segment", tmp_path / "i.png", "--model", tmp_path / "m.onnx", "-o", tmp_path / "out")
    with Image.open(tmp_path / "out/i.png") as labels:
        assert set(np.unique(labels)) == {0, 2}
