"""Nets that end in a mean field, through the verbs, on what the real layers computed."""

import json
import re

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from paths import GOLDEN
from PIL import Image

from fcnproto import weights
from fcnproto.cli import main
from fcnproto.model.metadata import Metadata
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.proto.source import read_binary_net
from fcnproto.runtime.runner import Runner, Views
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.runtime.session import Session

CRFRNN = GOLDEN / "crfrnn"
WHOLE = ("crfrnn_net_it10", "crfrnn_v1_it10")


def run(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


def golden(name):
    with np.load(CRFRNN / f"{name}.npz") as file:
        return dict(file)


def exported(name, folder, *more):
    path = folder / f"{name}.onnx"
    run("export-onnx", CRFRNN / f"{name}.prototxt", "--weights", CRFRNN / f"{name}.caffemodel",
        "-o", path, "--mean", "0,0,0", *more)  # fmt: skip
    return path


def mean_field_of(path):
    props = {each.key: each.value for each in onnx.load(path).metadata_props}
    return json.loads(props["mean_fields"])


@pytest.mark.parametrize("name", WHOLE)
def test_verify_compares_the_whole(name, tmp_path):
    path = exported(name, tmp_path)
    done = run("verify", path, "--reference", CRFRNN / f"{name}.npz", "--rtol", "2e-5", "--json")
    (row,) = json.loads(done.stdout)
    assert row["blob"] == "pred" and row["agreement"] == 1


@pytest.mark.parametrize("name", WHOLE)
def test_the_labels_are_those_of_the_whole(name, tmp_path):
    session = Session(exported(name, tmp_path), "cpu")
    arrays = golden(name)
    # As pictures come: H×W×3, RGB; here less the mean already.
    picture = {"data": arrays["in/data"][0].transpose(1, 2, 0)[:, :, ::-1]}
    about = Metadata.from_props(session.metadata)
    found = {
        refine: Runner(session, about, Views(refine=refine)).label([picture])["unary"][0]
        for refine in (None, "none")
    }
    np.testing.assert_array_equal(found[None], arrays["out/pred"][0].argmax(0))
    unary = session.run({"data": arrays["in/data"]})["unary"][0].argmax(0)
    np.testing.assert_array_equal(found["none"], unary)
    assert (found[None] != found["none"]).any()


def test_the_model_says_what_follows_its_scores(tmp_path):
    path = exported("crfrnn_net_it10", tmp_path)
    model = onnx.load(path)
    assert [value.name for value in model.graph.output] == ["unary"]
    arrays = golden("crfrnn_net_it10")
    said = mean_field_of(path)["unary"]
    assert (said["top"], said["start"], said["image"]) == ("pred", "unary", "data")
    assert (said["theta_alpha"], said["theta_beta"], said["theta_gamma"]) == (160, 3, 3)
    assert said["iterations"] == 10
    for index, matrix in enumerate(("spatial", "bilateral", "compatibility")):
        array = arrays[f"param/inference1/{index}"][0, 0]
        np.testing.assert_array_equal(np.float32(said[matrix]), array)


def test_segment_says_it_loudly(tmp_path):
    path = exported("crfrnn_net_it10", tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    labels = {}
    for refine, words in (
        (None, "mean field 'pred' is applied to 'unary'; --refine none leaves it out"),
        ("none", "mean field 'pred' of 'unary' is left out"),
        ("crf", "mean field 'pred' of 'unary' is left out"),
    ):
        more = ("--refine", refine) if refine else ()
        folder = tmp_path / str(refine)
        done = run("segment", tmp_path / "a.png", "--model", path, "-o", folder, *more)
        assert words in done.stderr
        labels[refine] = np.asarray(Image.open(folder / "a.png"))
    assert (labels[None] != labels["none"]).any()
    assert (labels["crf"] != labels["none"]).any()
    assert (labels["crf"] != labels[None]).any()


def test_what_a_mean_field_starts_from_is_no_label_map_that_lacks_names(tmp_path):
    """Q0 is another layer's, and caffe-tvg's index is read by nothing that is left."""
    net = tmp_path / "net.prototxt"
    net.write_text("""
        input: "data" input_shape { dim: 1 dim: 3 dim: 20 dim: 28 }
        input: "index" input_shape { dim: 1 dim: 1 dim: 1 dim: 1 }
        layer { name: "a" type: "Convolution" bottom: "data" top: "unary"
          convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
        layer { name: "b" type: "Convolution" bottom: "data" top: "Q0"
          convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
        layer { name: "c" type: "MultiStageMeanfield" bottom: "unary" bottom: "Q0" bottom: "data"
          bottom: "index" top: "pred" top: "y" multi_stage_meanfield_param {
          num_iterations: 2 theta_alpha: 80 theta_beta: 5 theta_gamma: 3 } }
    """)
    run("export-onnx", net, "--init", "-o", tmp_path / "net.onnx", "--mean", "0,0,0")
    Image.new("RGB", (28, 20), (9, 99, 199)).save(tmp_path / "a.png")
    done = run(
        "segment", tmp_path / "a.png", "--model", tmp_path / "net.onnx", "-o", tmp_path / "o"
    )
    assert "classes of 'unary' have no names" in done.stderr and "'Q0'" not in done.stderr
    assert [file.name for file in (tmp_path / "o").glob("*.png")] == ["a.png"]
    run("segment", tmp_path / "a.png", "--model", tmp_path / "net.onnx", "-o", tmp_path / "none",
        "--refine", "none")  # fmt: skip


def test_the_image_may_go_in_as_it_is(tmp_path):
    path, other = exported("crfrnn_net_it10", tmp_path), tmp_path / "bytes"
    other.mkdir()
    bytes_in = exported("crfrnn_net_it10", other, "--image-input")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    one, same = (Segmenter(each, device="cpu")(picture).labels for each in (path, bytes_in))
    assert (one != same).mean() < 0.002


def text(name):
    return (CRFRNN / f"{name}.prototxt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("is_no_class_weights: true", "detection_potentials_enabled: true"),
            "asks for detections",
        ),
        (("is_no_class_weights: true", "ho_potentials_enabled: true"), "asks for superpixels"),
        (("num_iterations: 3", "num_iterations: 1"), "must be greater than 1, found 1"),
        (("num_iterations: 3", "num_iterations: 4000000000"), "must be at most 1000, found 4000"),
        (("theta_beta: 5", "theta_beta: 0"), "theta_beta must be a number greater than 0, found 0"),
        (("theta_gamma: 3", "theta_gamma: nan"), "theta_gamma .* found nan"),
        (("theta_gamma: 3", ""), "theta_gamma"),
        (('_str: "2.5"', '_str: "2.5 x"'), "must be numbers with spaces, found '2.5 x'"),
        (("is_no_class_weights: true", ""), "a number for each of the 4 classes, found 1"),
        (("dim: 4 dim: 20 dim: 28", "dim: 1 dim: 20 dim: 28"), "one shape|two classes"),
        (("1 dim: 3 dim: 20", "1 dim: 3 dim: 21"), "the scores' batch, height and width"),
    ],
)
def test_check_refuses_by_name(change, message, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(text("crfrnn_tvg_noclass_it3").replace(*change))
    done = run("check", path, code=1)
    assert re.search(f"error: layer 'inference1': .*({message})", done.output)


@pytest.mark.parametrize("path", sorted(CRFRNN.glob("*.prototxt")), ids=lambda path: path.stem)
def test_check_and_upgrade_read_every_version(path, tmp_path):
    assert "0 errors" in run("check", path).output
    run("upgrade", path, "-o", tmp_path / "net.prototxt")
    current = (tmp_path / "net.prototxt").read_text()
    assert 'type: "MultiStageMeanfield"' in current and "num_iterations" in current
    run("diff", path, tmp_path / "net.prototxt")  # exits with 1 where the two differ


def test_a_binary_net_of_2015_is_told_from_deconvnets(tmp_path):
    """Type 42 and field 44 are CRF-RNN's there where the layer has three blobs."""
    name, path = "crfrnn_v1_it10", tmp_path / "net.caffemodel"
    run("upgrade", CRFRNN / f"{name}.caffemodel", "-o", path)
    layer = read_binary_net(path).layer[-1]
    assert (layer.name, layer.type) == ("inference1", "MultiStageMeanfield")
    assert layer.multi_stage_meanfield_param.theta_alpha == 160
    arrays = golden(name)
    for index, array in enumerate(weights.read(path)["inference1"]):
        np.testing.assert_array_equal(array, arrays[f"param/inference1/{index}"])

    unpooling = NetParameter()
    unpooling.ParseFromString((CRFRNN / f"{name}.caffemodel").read_bytes())
    for entry in unpooling.layers:
        del entry.blobs[:]
    (tmp_path / "other.caffemodel").write_bytes(unpooling.SerializeToString())
    run("upgrade", tmp_path / "other.caffemodel", "-o", tmp_path / "other.new")
    assert read_binary_net(tmp_path / "other.new").layer[-1].type != "MultiStageMeanfield"


def test_what_follows_a_mean_field_is_no_model(tmp_path):
    path = tmp_path / "net.prototxt"
    softmax = 'layer { name: "p" type: "Softmax" bottom: "pred" top: "p" }'
    path.write_text(text("crfrnn_net_it10") + softmax)
    weights = CRFRNN / "crfrnn_net_it10.caffemodel"
    done = run("export-onnx", path, "--weights", weights, code=1)
    assert "layer 'p': it reads 'pred', which mean field 'inference1' gives" in done.output
    assert not (tmp_path / "net.onnx").exists()


def test_labels_alone_cannot_be_refined(tmp_path):
    name = "crfrnn_net_it10"
    done = run("export-onnx", CRFRNN / f"{name}.prototxt", "--result", "labels", "--weights",
               CRFRNN / f"{name}.caffemodel", "-o", tmp_path / "a.onnx", code=1)  # fmt: skip
    assert "a mean field follows its scores" in done.output


def test_scores_that_nothing_computes(tmp_path):
    name = "crfrnn_c21_it5_raw"
    done = run("export-onnx", CRFRNN / f"{name}.prototxt", "--weights",
               CRFRNN / f"{name}.caffemodel", "-o", tmp_path / "a.onnx", code=1)  # fmt: skip
    assert "no layer computes its scores 'unary'" in done.output


def test_metadata_that_makes_no_sense(tmp_path):
    path = exported("crfrnn_net_it10", tmp_path)
    model = onnx.load(path)
    for prop in model.metadata_props:
        if prop.key == "mean_fields":
            prop.value = prop.value.replace('"iterations": 10', '"iterations": 1')
    onnx.save(model, path)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    done = run("segment", tmp_path / "a.png", "--model", path, "-o", tmp_path, code=1)
    assert "its metadata 'mean_fields'" in done.output


def test_crfrnn_is_rendered_trained_and_run(tmp_path):
    """Ours: FCN-8s's weights and the published mean field's start, with no word of --init."""
    options = ("--backbone", "vgg-small", "--dataset", "shapes")
    run("render", "crfrnn", *options, "-o", tmp_path / "net.prototxt")
    run("render", "crfrnn", *options, "--phase", "train", "-o", tmp_path / "train.prototxt")
    train = (tmp_path / "train.prototxt").read_text()
    assert "num_iterations: 5" in train and 'bottom: "pred"' in train
    assert "num_iterations: 10" in (tmp_path / "net.prototxt").read_text()
    assert "base_lr: 1e-13" in run("render", "crfrnn", "--solver").stdout
    done = run("export-onnx", tmp_path / "net.prototxt", "--weights", "shapes-fcn8s")
    assert (
        "inference1: generated, a diagonal of 3; a diagonal of 5; a diagonal of -1" in done.stderr
    )
    said = mean_field_of(tmp_path / "net.onnx")["unary"]
    assert np.diag(said["bilateral"]).tolist() == [5] * 5


def test_the_crops_of_the_first_release_find_their_offsets(tmp_path):
    """Its text has no offsets and several crops of one name, in V1 and in the current form."""
    current = """
        input: "data" input_dim: 1 input_dim: 3 input_dim: 40 input_dim: 40
        layer { name: "a" type: "Convolution" bottom: "data" top: "a"
          convolution_param { num_output: 3 pad: 10 kernel_size: 3 } }
        layer { name: "crop" type: "Crop" bottom: "a" bottom: "data" top: "b" }
        layer { name: "c" type: "Convolution" bottom: "b" top: "c"
          convolution_param { num_output: 3 pad: 5 kernel_size: 3 } }
        layer { name: "crop" type: "Crop" bottom: "c" bottom: "data" top: "coarse" }
    """
    mean_field = text("crfrnn_2015_batch2").partition("layer {")[2].replace('"unary"', '"coarse"')
    mean_field = mean_field.replace('"Q0"', '"coarse"')
    old = tmp_path / "old.prototxt"
    old.write_text(current + "layer {" + mean_field)
    run("upgrade", old, "-o", tmp_path / "new.prototxt")
    found = re.findall(r"offset: (\d+)", (tmp_path / "new.prototxt").read_text())
    assert found == ["9", "4"]
    assert "0 errors, 0 warnings" in run("check", old).output


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value, tmp_path):
    name = "crfrnn_net_it10"
    arrays = weights.read(CRFRNN / f"{name}.caffemodel")
    arrays["inference1"] = [np.full_like(each, value) for each in arrays["inference1"]]
    weights.write(tmp_path / "w.npz", arrays)
    path = tmp_path / "m.onnx"
    done = run("export-onnx", CRFRNN / f"{name}.prototxt", "--weights", tmp_path / "w.npz", "-o",
               path, code=1)  # fmt: skip
    assert "its weights are not all finite numbers, and a model says them" in done.stderr
    assert not path.exists()
