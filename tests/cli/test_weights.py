"""The verbs of weights, as a user types them."""

import io

import numpy as np
import pytest
from click.testing import CliRunner

from fcnproto import weights
from fcnproto.cli import main
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.proto.source import parse_net, read_net
from fcnproto.rendering.fcn import render
from fcnproto.weights import fetch as fetching
from fcnproto.weights import npz

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu1_1" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }
layer { name: "fc6" type: "Convolution" bottom: "conv1_1" top: "fc6"
  convolution_param { num_output: 5 kernel_size: 2 } }
layer { name: "score" type: "Convolution" bottom: "fc6" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 } }
"""  # noqa: E501


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    rng = np.random.default_rng(0)
    arrays = {
        "conv1_1": [(4, 3, 3, 3), (4,)],
        "fc6": [(5, 16), (5,)],
        "fc8": [(7, 5), (7,)],
    }
    made = {n: [rng.standard_normal(s, np.float32) for s in shapes] for n, shapes in arrays.items()}
    weights.write(tmp_path / "vgg16.npz", made)
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


def test_the_command_without_options(folder):
    result = run("convert-weights", "vgg16.npz")
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert "conv1_1: copied" in lines
    assert "fc6: reshaped, 5×16 → 5×4×2×2" in lines
    assert "score: left at its filler, zero" in lines
    assert "fc8: dropped, from vgg16.npz: the net has no such layer" in lines
    assert any("left at zero: 'score'" in line for line in lines)
    found = weights.read(folder / "net.npz")
    assert found["fc6"][0].shape == (5, 4, 2, 2)
    assert next(iter(np.load(folder / "net.npz"))) == "conv1_1/0"
    run("convert-weights", "vgg16.npz")  # its own default output it overwrites


def test_an_output_that_exists(folder):
    (folder / "w.npz").write_text("mine")
    result = run("convert-weights", "vgg16.npz", "-o", "w.npz", code=1)
    assert result.stderr == "w.npz: error: it exists; --force overwrites it\n"
    assert (folder / "w.npz").read_text() == "mine"
    run("convert-weights", "vgg16.npz", "-o", "w.npz", "--force")


@pytest.mark.parametrize("ending", [".caffemodel", ".caffemodel.h5", ".safetensors", ".npz"])
def test_every_format_of_output(folder, ending):
    run("convert-weights", "vgg16.npz", "-o", f"w{ending}")
    assert set(weights.read(folder / f"w{ending}")) >= {"conv1_1", "fc6", "score"}


def test_a_caffemodel_has_the_nets_layers(folder):
    run("convert-weights", "vgg16.npz", "-o", "w.caffemodel")
    net = NetParameter.FromString((folder / "w.caffemodel").read_bytes())
    assert [(layer.name, layer.type, len(layer.blobs)) for layer in net.layer] == [
        ("data", "Input", 0),
        ("conv1_1", "Convolution", 2),
        ("relu1_1", "ReLU", 0),
        ("fc6", "Convolution", 2),
        ("score", "Convolution", 2),
    ]
    assert list(net.layer[3].blobs[0].shape.dim) == [5, 4, 2, 2]


def test_strict_writes_nothing(folder):
    result = run("convert-weights", "vgg16.npz", "--strict", code=1)
    assert "layer 'fc8': dropped, and --strict was given" in result.stderr
    assert "layer 'score': left at its filler" in result.stderr
    assert not (folder / "net.npz").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.npz"], "none.npz: error: cannot be read: No such file"),
        (["vgg16.npz", "--net", "none.prototxt"], "there is no file 'none.prototxt'"),
        (["vgg16.npz", "-o", "w.bin"], "ends in .npz"),
        (["vgg16.npz", "--rename", "x=y"], "--rename x=y applies to nothing"),
        (["vgg16.npz", "--rename", "xy"], "expected OLD=NEW"),
        (["vgg16.npz", "--rename", "*=x*"], "no layer of the net is in the weights"),
        (["vgg16.npz", "--classes-map", "none"], "none: error: cannot be read"),
        (["broken.npz"], "not a whole .npz"),
    ],
)
def test_mistakes_in_one_line(folder, args, message):
    (folder / "broken.npz").write_bytes((folder / "vgg16.npz").read_bytes()[:100])
    result = run("convert-weights", *args, code=1)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "net.npz").exists()


def test_wrong_usage(folder):
    assert "for 1 sources" in run("convert-weights", "vgg16.npz", "--suffix", "a", "--suffix", "b",
                                  code=2).stderr  # fmt: skip
    run("convert-weights", code=2)
    run("convert-weights", "vgg16.npz", "--layout", "theano", code=2)


def test_not_finite_weights_are_named(folder):
    source = weights.read(folder / "vgg16.npz")
    source["fc6"][1][0] = np.nan
    weights.write(folder / "nan.npz", source)
    assert "warning: layer 'fc6': some of its weights are NaN" in run(
        "convert-weights", "nan.npz"
    ).stderr  # fmt: skip


def test_pipes(folder):
    content = (folder / "vgg16.npz").read_bytes()
    result = CliRunner().invoke(main, ["convert-weights", "-", "-o", "-"], input=content)
    assert result.exit_code == 0, result.stderr
    assert set(np.load(io.BytesIO(result.stdout_bytes))) >= {"fc6/0", "score/1"}
    result = CliRunner().invoke(main, ["convert-weights", "-"], input=b"garbage")
    assert result.exit_code == 1
    assert result.stderr.startswith("standard input: error: ")
    with_net = ["convert-weights", "vgg16.npz", "--net", "-"]
    assert CliRunner().invoke(main, with_net, input=NET).exit_code == 2


@pytest.fixture
def not_written(tmp_path, monkeypatch):
    """What would be written, since whole nets are large; sources hold some of their layers."""
    monkeypatch.chdir(tmp_path)
    caught = {}
    monkeypatch.setattr(weights, "write", lambda path, arrays, _net: caught.update(arrays))
    return caught


def some_layers(name, path, value):
    kept = {"conv1_1", "conv2_1", "score_fr"}
    graph = build(parse_net(render(name)))
    arrays = {
        graph.nodes[index].layer.name: [np.full(w.shape, value, np.float32) for w in ws]
        for index, ws in infer(graph).weights.items()
        if graph.nodes[index].layer.name in kept
    }
    npz.write(path, arrays)


@pytest.mark.slow
def test_color_and_depth_from_one_command(tmp_path, not_written):
    some_layers("nyud-fcn32s-color", tmp_path / "color.npz", 0.5)
    result = run(
        "convert-weights", "color.npz", "--net", "nyud-fcn32s-color-d", "--rename",
        "conv1_1=conv1_1_bgrd",
    )  # fmt: skip
    assert "conv1_1_bgrd: widened, from 'conv1_1'; 64×3×3×3 → 64×4×3×3" in result.stderr
    assert (not_written["conv1_1_bgrd"][0] == 0.5).all()


@pytest.mark.slow
def test_late_fusion_from_one_command(tmp_path, not_written):
    some_layers("nyud-fcn32s-color", tmp_path / "color.npz", 1)
    some_layers("nyud-fcn32s-hha", tmp_path / "hha.npz", 2)
    result = run(
        "convert-weights", "color.npz", "hha.npz", "--net", "nyud-fcn32s-color-hha",
        "--suffix", "color", "--suffix", "hha",
    )  # fmt: skip
    assert "conv2_1color: suffixed, from 'conv2_1'" in result.stderr
    assert "score_frhha: suffixed, from 'score_fr'" in result.stderr
    assert "upscore: generated" in result.stderr
    assert (not_written["conv1_1color"][0] == 1).all()
    assert (not_written["conv1_1hha"][0] == 2).all()


def test_convolutionize(folder):
    (folder / "c.prototxt").write_text(
        NET.partition('layer { name: "fc6"')[0]
        + 'layer { name: "fc6" type: "InnerProduct" bottom: "conv1_1" top: "fc6"'
        + " inner_product_param { num_output: 5 } }"
    )
    source = weights.read(folder / "vgg16.npz")
    source["fc6"][0] = np.ones((5, 4 * 81), np.float32)
    weights.write(folder / "c.npz", source)
    result = run("convolutionize", "c.prototxt", "c.npz", "-o", "conv")
    assert "fc6-conv: reshaped, from 'fc6'; 5×324 → 5×4×9×9" in result.stderr
    graph = build(read_net(folder / "conv.prototxt"))
    assert infer(graph).blobs["fc6-conv"] == (1, 5, 1, 1)
    assert weights.read(folder / "conv.npz")["fc6-conv"][0].shape == (5, 4, 9, 9)
    assert "--force" in run("convolutionize", "c.prototxt", "c.npz", "-o", "conv", code=1).stderr


def test_fetch_prints_where_the_file_is(folder, monkeypatch):
    monkeypatch.setattr(
        fetching, "fetch", lambda name, url: fetching.Fetched(folder / f"{name}-{url}", (), "free")
    )
    assert run("fetch", "voc-fcn8s", "--url", "U").stdout == f"{folder / 'voc-fcn8s-U'}\n"


def test_fetch_of_what_is_not_published(folder):
    assert "no published weights of 'vgg16-conv'" in run("fetch", "vgg16-conv", code=1).stderr


def test_names_of_fetched_weights_are_weights(folder, monkeypatch):
    monkeypatch.setattr(fetching, "cache_folder", lambda: folder)
    message = run("convert-weights", "voc-fcn8s", code=1).stderr
    assert message == (
        "error: the weights of 'voc-fcn8s' are not here yet: fcnproto fetch voc-fcn8s\n"
    )
