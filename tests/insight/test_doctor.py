"""doctor.py: a small net with each of the troubles in turn, and none when there is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.insight.doctor import examine
from fcnproto.insight.doctor_scores import examine_scores
from fcnproto.layers.fillers import bilinear_kernel
from fcnproto.net.graph import State, build
from fcnproto.proto.caffe_pb2 import TRAIN
from fcnproto.proto.source import parse_net, read_net
from fcnproto.weights import write

CLASSES = 4

# The name makes it one of the zoo's, whose mean is known.
NET = """
name: "fcn32s"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
  convolution_param { num_output: 64 kernel_size: 3 pad: 4 } }
layer { name: "relu" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }
layer { name: "pool" type: "Pooling" bottom: "conv1_1" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "score" type: "Convolution" bottom: "pool" top: "score"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "up" type: "Deconvolution" bottom: "score" top: "up" param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 bias_term: false } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "crop"
  crop_param { axis: 2 offset: 4 } }
"""


def net(text=NET):
    return build(parse_net(text))


@pytest.fixture
def healthy():
    random = np.random.default_rng(5)
    up = np.zeros((CLASSES, CLASSES, 4, 4), np.float32)
    up[range(CLASSES), range(CLASSES)] = bilinear_kernel(4)

    def normal(*shape):
        return random.standard_normal(shape).astype(np.float32)

    return {
        "conv1_1": [0.05 * normal(64, 3, 3, 3), normal(64)],
        "score": [normal(CLASSES, 64, 1, 1), normal(CLASSES)],
        "up": [up],
    }


def found(weights, text=NET):
    return [(f.layer, f.severity.value, f.what, f.advice) for f in examine(net(text), weights)]


def test_a_healthy_net_has_nothing(healthy):
    assert found(healthy) == []


def test_layers_that_were_never_set(healthy):
    del healthy["score"]
    ((layer, severity, what, advice),) = found(healthy)
    assert (layer, severity) == ("score", "error")
    assert "not in the weights" in what
    assert "convert-weights" in advice


@pytest.mark.parametrize(
    ("layer", "advice"), [("conv1_1", "--rename"), ("score", "train it"), ("up", "bilinear")]
)
def test_kernels_that_are_all_zero_and_what_that_means_there(healthy, layer, advice):
    healthy[layer][0][:] = 0
    first = found(healthy)[0]
    assert first[0] == layer
    assert "kernels are all zero" in first[2]
    assert advice in first[3]


def test_some_kernels_that_are_zero(healthy):
    healthy["conv1_1"][0][:5] = 0
    ((layer, severity, what, _),) = found(healthy)
    assert (layer, severity, what) == ("conv1_1", "warning", "5 of its 64 kernels are all zero")


def test_weights_that_are_no_numbers_or_one_number(healthy):
    healthy["conv1_1"][0][3, 1, 1, 1] = np.nan
    assert "not a number" in found(healthy)[0][2]
    healthy["conv1_1"][0][:] = 0.5
    assert found(healthy)[0][2] == "all of its 1,728 weights are 0.5"


def test_weights_of_another_net(healthy):
    healthy["score"][0] = healthy["score"][0][:3]
    healthy["fc8"] = [np.ones((2, 2), np.float32)]
    findings = found(healthy)
    assert findings[0][:2] == ("score", "error")
    assert "3×64×1×1, 4, and the net asks for 4×64×1×1, 4" in findings[0][2]
    assert "fc8" in findings[1][2]
    assert findings[1][1] == "note"


def test_layers_of_one_name_are_each_held_against_the_weights(healthy):
    """Caffe gives both of them what has their name, and refuses the one that it does not fit."""
    named_alike = NET.replace('name: "up" type', 'name: "score" type')
    del healthy["up"]
    (finding,) = examine(net(named_alike), healthy)
    assert finding.layer == "score" and "the net asks for 4×4×4×4" in finding.what


def test_upsampling_that_is_not_bilinear(healthy):
    healthy["up"][0][2, 2] *= 0.9
    ((layer, severity, what, _),) = found(healthy)
    assert (layer, severity) == ("up", "warning")
    assert "not bilinear" in what
    learned = NET.replace("param { lr_mult: 0 }", "")
    assert found(healthy, learned)[0][1] == "note"


def test_upsampling_that_mixes_channels(healthy):
    healthy["up"][0][0, 1] = 0.2
    assert "mix channels" in found(healthy)[0][2]


def test_a_bilinear_filler_without_groups_sums_up_all_classes(healthy):
    healthy["up"][0][:] = bilinear_kernel(4)
    ((layer, severity, what, _),) = found(healthy)
    assert (layer, severity) == ("up", "error")
    assert "the sum of all classes'" in what


def test_upsampling_in_groups_is_bilinear_too(healthy):
    grouped = NET.replace("num_output: 4 kernel_size: 4", "num_output: 4 group: 4 kernel_size: 4")
    healthy["up"] = [np.tile(bilinear_kernel(4), (CLASSES, 1, 1, 1))]
    assert found(healthy, grouped) == []
    healthy["up"][0][1] *= 2
    assert "not bilinear" in found(healthy, grouped)[0][2]


TAPS = {  # of VGG16's first layer: filter: blue, green, red of its first tap
    0: (0.42947057, 0.55037946, 0.4800154),
    1: (0.117273867, 0.0208774377, -0.17269668),
    2: (0.0340129584, 0.0988311544, 0.0375577137),
    61: (-0.132241577, -0.0848205537, -0.12713556),
    62: (-0.0533475243, -0.0511389151, -0.0502991639),
    63: (0.00757738389, 0.0374943428, 0.0348965675),
}


@pytest.mark.parametrize(("order", "wrong"), [((0, 1, 2), False), ((2, 1, 0), True)])
def test_vgg16s_first_layer_for_rgb_is_recognized(healthy, order, wrong):
    noise = np.random.default_rng(1).normal(0, 0.003, (6, 3))  # fine-tuning moves it a little
    for (index, taps), moved in zip(TAPS.items(), noise, strict=True):
        healthy["conv1_1"][0][index, :, 0, 0] = np.take(taps, order) + moved
    findings = found(healthy)
    assert bool(findings) is wrong
    if wrong:
        assert findings[0][:2] == ("conv1_1", "error")
        assert "--input-order rgb" in findings[0][3]


def test_a_mean_that_nobody_knows(healthy):
    ((layer, severity, what, advice),) = found(healthy, NET.replace("fcn32s", "mine"))
    assert (layer, severity) == ("data", "note")
    assert "mean" in what
    assert "--mean B,G,R" in advice


DATA = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "list.txt" batch_size: 1 new_height: 24 new_width: 24 }
  transform_param { crop_size: 24 MEAN } }
"""


@pytest.mark.parametrize(("mean", "missing"), [("", True), ("mean_value: 104", False)])
def test_a_data_layer_that_subtracts_no_mean(healthy, mean, missing):
    text = DATA.replace("MEAN", mean) + NET[NET.index('layer { name: "conv1_1"') :]
    findings = [f for f in found(healthy, text) if f[0] == "data"]
    if not missing:
        assert findings == []
        return
    ((_, severity, what, _),) = findings
    assert severity == "warning"
    assert "no mean is subtracted" in what


def test_the_papers_data_layers_subtract_theirs(published):
    for name in ("voc-fcn8s", "siftflow-fcn8s"):
        path = next((published / name).glob("train*.prototxt"))
        findings = examine(build(read_net(path), State(TRAIN)), {})
        assert not any("mean" in finding.what for finding in findings)


# Classes that cannot win ----------------------------------------------------------------------


def test_a_class_below_another_for_every_image(healthy):
    kernels, biases = healthy["score"]
    kernels[2] = kernels[1] - 0.5
    biases[2] = biases[1] - 0.1
    ((layer, severity, what, _),) = found(healthy)
    assert (layer, severity) == ("score", "warning")
    assert "never win, counted from 0: 2 (below 1)" in what


def test_it_is_only_said_of_scores_whose_inputs_are_not_negative(healthy):
    kernels, biases = healthy["score"]
    kernels[2] = kernels[1] - 0.5
    biases[2] = biases[1] - 0.1
    without = NET.replace(
        'layer { name: "relu" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }', ""
    )
    assert found(healthy, without) == []
    kernels[2] = kernels[1]
    assert "2 (below 1)" in found(healthy, without)[0][2]


def test_of_equal_classes_the_first_wins(healthy):
    kernels, biases = healthy["score"]
    kernels[3], biases[3] = kernels[0], biases[0]
    assert "3 (below 0)" in found(healthy)[0][2]


def test_what_is_said_never_to_win_never_wins(healthy):
    """By trying: random inputs that are not negative, and a class that is only just below."""
    random = np.random.default_rng(2)
    kernels, biases = healthy["score"]
    kernels[1] = kernels[2] - np.abs(random.standard_normal(kernels[1].shape)) * 0.01
    biases[1] = biases[2]
    assert found(healthy) == []  # where all inputs are 0 both are equal, and the first wins
    biases[1] -= 1e-3
    assert "1 (below 2)" in found(healthy)[0][2]
    inputs = np.maximum(random.standard_normal((1000, 64)), 0)
    scores = inputs @ kernels.reshape(CLASSES, -1).T + biases
    assert 1 not in scores.argmax(axis=1)


def test_skips_can_save_a_class(healthy):
    """A class is lost only if no layer that scores it ever puts it ahead."""
    text = NET.replace(
        'layer { name: "up"',
        'layer { name: "score2" type: "Convolution" bottom: "pool" top: "score2"'
        " convolution_param { num_output: 4 kernel_size: 1 } }\n"
        'layer { name: "sum" type: "Eltwise" bottom: "score" bottom: "score2" top: "sum" }\n'
        'layer { name: "up"',
    ).replace('bottom: "score" top: "up"', 'bottom: "sum" top: "up"')
    kernels, biases = healthy["score"]
    kernels[2], biases[2] = kernels[1] - 0.5, biases[1] - 0.1
    healthy["score2"] = [np.random.default_rng(9).standard_normal((4, 64, 1, 1)), np.zeros(4)]
    assert found(healthy, text) == []
    healthy["score2"][0][2] = healthy["score2"][0][1]
    ((layer, _, what, _),) = found(healthy, text)
    assert layer == "score, score2"
    assert "2 (below 1)" in what


# Scores ---------------------------------------------------------------------------------------


def of_scores(scores, swapped=None):
    return [f.what for f in examine_scores("score", np.asarray(scores, np.float32), swapped)]


def test_scores_that_are_fine():
    assert of_scores(np.random.default_rng(0).standard_normal((3, 5, 6))) == []


def test_scores_that_are_constant():
    (what,) = of_scores(np.arange(3.0)[:, None, None] * np.ones((3, 5, 6)))
    assert "the same at every pixel" in what


def test_everything_is_background():
    scores = np.random.default_rng(0).standard_normal((3, 5, 6))
    scores[0] += 50
    (what,) = of_scores(scores)
    assert "every pixel of 'score' is background (class 0), by 4" in what


def test_scores_that_are_no_numbers():
    scores = np.zeros((3, 5, 6))
    scores[1, 2, 3] = np.inf
    assert "infinite or not a number" in of_scores(scores)[0]


def test_a_net_that_is_surer_of_exchanged_channels():
    scores = np.random.default_rng(0).standard_normal((3, 5, 6)).astype(np.float32)
    assert "surer" in of_scores(scores, 10 * scores)[0]
    assert of_scores(10 * scores, scores) == []
    assert of_scores(scores, 1.05 * scores) == []


# The verb -------------------------------------------------------------------------------------


@pytest.fixture
def fcnproto(tmp_path, monkeypatch):
    """Run the program in an empty directory with the net; gives the result."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    pixels = np.random.default_rng(3).integers(0, 255, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return lambda *words: CliRunner().invoke(main, list(words))


NORM = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm" batch_norm_param { %s } }
"""
BN = NORM.replace('"BatchNorm"', '"BN"').replace("batch_norm_param { %s }", "bn_param { eps: 0.1 }")


def of_norm(text, *arrays):
    weights = {"norm": [np.float32(array) for array in arrays]}
    return [(f.layer, f.severity.value, f.what) for f in examine(net(text), weights)
            if f.layer == "norm"]  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "variance", "factor", "severity", "words"),
    [
        ([1, 2, 3], [1, 1, 1], 0, "error", "factor is 0"),
        ([0, 0, 0], [0, 0, 0], 1, "error", "mean and variance are 0 in every channel"),
        ([1, 0, 0], [0, 0, 0], 1, "error", "variance is 0 in every channel"),
        ([1, 2, 3], [1, 0, 1], 1, "warning", "0 in 1 of 3 channels"),
        ([1, 2, 3], [1, -1, 0], 2, "error", "below 0 in 1 of 3 channels"),
        ([1, 2, 3], [1, np.nan, 1], 1, "error", "infinite or not a number"),
        ([1, 2, 3], [1, 2, 1], 1, None, ""),
    ],
)
def test_statistics_of_zero(mean, variance, factor, severity, words):
    """In each form that a layer of statistics has: plain, fused, and PSPNet's."""
    scale, bias = [1, 2, 1], [0, 1, 0]
    one = [np.float32(each).reshape(1, 3, 1, 1) for each in (scale, bias, mean, variance)]
    found = {
        "plain": of_norm(NORM % "", mean, variance, [factor]),
        "fused": of_norm(NORM % "scale_bias: true", mean, variance, [1], scale, bias),
        "pspnet": of_norm(BN, *one),
    }
    for form, told in found.items():
        if severity is None or (factor == 0 and form != "plain"):
            assert told == [], form
        else:
            assert [each[1] for each in told] == [severity], form
            assert words in told[0][2]


@pytest.mark.parametrize("fixed", [False, True])
def test_layers_that_are_fixed_on_purpose_give_no_alarm(fixed):
    """A mean over windows, one that takes channels out, blocks of pixels, a scale of 1."""
    rate = "param { lr_mult: 0 } " if fixed else ""
    text = (
        NET
        + f"""
layer {{ name: "mean" type: "Convolution" bottom: "crop" top: "mean" {rate}
  convolution_param {{ num_output: 4 kernel_size: 3 group: 4 bias_term: false }} }}
layer {{ name: "take" type: "Convolution" bottom: "mean" top: "take" {rate}
  convolution_param {{ num_output: 4 kernel_size: 1 bias_term: false }} }}
layer {{ name: "one" type: "Scale" bottom: "take" top: "one" {rate} }}
layer {{ name: "blocks" type: "Deconvolution" bottom: "one" top: "blocks" {rate}
  convolution_param {{ num_output: 4 kernel_size: 2 stride: 2 group: 4 bias_term: false }} }}
"""
    )
    take = np.zeros((4, 4, 1, 1))
    take[1, 0] = take[2, 2] = 1
    weights = {
        "mean": np.full((4, 1, 3, 3), 1 / 9),
        "take": take,
        "one": np.ones(4),
        "blocks": np.ones((4, 1, 2, 2)),
    }
    arrays = {name: [array.astype(np.float32)] for name, array in weights.items()}
    told = {f.layer for f in examine(net(text), arrays)} & set(weights)
    assert told == (set() if fixed else set(weights))


def test_fixed_layers_that_were_never_set_give_an_alarm(healthy):
    """Zeros are no filter: FCNs whose upsampling is fixed and empty score nothing."""
    healthy["up"][0][:] = 0
    assert found(healthy)[0][:2] == ("up", "error")
    healthy["up"][0][:] = np.nan
    assert "not a number" in found(healthy)[0][2]


def test_dead_relus_are_named(fcnproto, healthy):
    healthy["conv1_1"][1][:] = -1e4
    write("dead.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "dead.npz", "photo.png")
    assert result.exit_code == 1
    assert "error: layer 'relu': it gives 0 in every channel and at every pixel" in result.stdout
    healthy["conv1_1"][1][:3] = 1
    write("most.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "most.npz", "photo.png")
    assert "warning: layer 'relu': 61 of its 64 channels are 0 at every pixel" in result.stdout
    healthy["conv1_1"][1][:32] = 1  # many are silent on any one image
    write("half.npz", healthy)
    assert "dead" not in fcnproto("doctor", "net.prototxt", "half.npz", "photo.png").stdout


def test_only_the_first_dead_relu_is_named(fcnproto, healthy):
    text = NET.replace('bottom: "pool" top: "score"', 'bottom: "pool2" top: "score"')
    text += ""
    second = """
layer { name: "relu2" type: "ReLU" bottom: "pool" top: "pool2" }
layer { name: "score\""""
    text = text.replace('\nlayer { name: "score"', second, 1)
    Path("two.prototxt").write_text(text)
    healthy["conv1_1"][1][:] = -1e4
    write("dead.npz", healthy)
    result = fcnproto("doctor", "two.prototxt", "dead.npz", "photo.png")
    assert "'relu'" in result.stdout and "'relu2'" not in result.stdout


def test_the_verb(fcnproto, healthy):
    write("good.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "good.npz", "photo.png")
    assert (result.exit_code, result.stdout) == (0, "nothing found\n")
    healthy["score"][0][:] = 0
    write("bad.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "bad.npz", "photo.png")
    assert result.exit_code == 1
    assert "layer 'score': its kernels are all zero" in result.stdout
    assert "the scores 'crop' are the same at every pixel" in result.stdout
    findings = json.loads(fcnproto("doctor", "net.prototxt", "bad.npz", "--json").stdout)
    assert {"severity", "layer", "what", "advice"} == set(findings[0])


def test_the_verb_runs_the_net_with_what_is_missing_at_its_filler(fcnproto, healthy):
    del healthy["score"]
    write("part.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "part.npz", "photo.png")
    assert "layer 'score': it is not in the weights" in result.stdout
    assert "the same at every pixel" in result.stdout


def test_files_that_are_not_there(fcnproto, healthy):
    result = fcnproto("doctor", "net.prototxt", "nowhere.npz")
    assert result.exit_code == 1
    assert "nowhere.npz" in result.stderr
    write("good.npz", healthy)
    result = fcnproto("doctor", "net.prototxt", "good.npz", "nowhere.png")
    assert result.exit_code == 1
    assert "nowhere.png" in result.stderr


@pytest.mark.parametrize("kind", ["PReLU", "Bias"])
def test_zeros_that_let_everything_through_are_no_alarm(healthy, kind):
    """Slopes of 0 are ReLU's, and a bias of 0 is none; a scale of 0 leaves nothing."""

    def told(kind):
        layer = f'layer {{ name: "it" type: "{kind}" bottom: "conv1_1" top: "conv1_1" }} '
        text = NET.replace('layer { name: "pool"', layer + 'layer { name: "pool"')
        return [f.layer for f in examine(net(text), {**healthy, "it": [np.zeros(64, np.float32)]})]

    assert told(kind) == []
    assert told("Scale") == ["it"]
