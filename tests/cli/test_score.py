"""The verb score, as a user calls it."""

import json

import numpy as np
import pytest
import trees
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main


def call(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def maps(tmp_path):
    """By hand: class 0 has 3 pixels, of which one is taken for class 1; class 1 has 1; 2 none."""
    trees.save(tmp_path / "truth" / "a.png", np.array([[0, 0, 255]], np.uint8), "P")
    trees.save(tmp_path / "truth" / "b.png", np.array([[0, 1]], np.uint8), "P")
    trees.save(tmp_path / "pred" / "a.png", np.array([[0, 1, 2]], np.uint8))
    (tmp_path / "pred").mkdir(exist_ok=True)
    np.save(tmp_path / "pred" / "b.npy", np.array([[0, 1]]))
    return "--pred", tmp_path / "pred", "--truth", tmp_path / "truth"


def test_json(maps):
    done = call("score", *maps, "--classes", 3, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    per_class = found.pop("per_class")
    assert found == pytest.approx(
        {
            "pixel_accuracy": 3 / 4,
            "mean_accuracy": (2 / 3 + 1) / 2,
            "mean_iu": (2 / 3 + 1 / 2) / 2,
            "frequency_weighted_iu": (3 * 2 / 3 + 1 / 2) / 4,
        }
    )
    assert [each["iu"] for each in per_class] == [pytest.approx(2 / 3), 0.5, None]
    assert [each["pixels"] for each in per_class] == [3, 1, 0]
    assert per_class[2] == {"class": 2, "name": "2", "accuracy": None, "iu": None, "pixels": 0}


def test_a_table(maps):
    done = call("score", *maps)
    assert done.exit_code == 0 and done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["pixel", "accuracy", "75.00%"]
    assert lines[2] == ["mean", "IU", "58.33%"]
    assert lines[-1] == ["1", "100.00%", "50.00%", "1"]


def test_a_picture(maps, tmp_path):
    picture = tmp_path / "matrix.png"
    assert call("score", *maps, "--picture", picture).exit_code == 0
    with Image.open(picture) as image:
        assert image.format == "PNG"
    again = call("score", *maps, "--picture", picture)
    assert again.exit_code == 1 and "--force overwrites it" in again.stderr
    assert call("score", *maps, "--picture", picture, "--force").exit_code == 0


def test_all_problems_one_line_each(maps, tmp_path):
    trees.save(tmp_path / "pred" / "c.png", np.zeros((2, 2), np.uint8))
    trees.save(tmp_path / "pred" / "a.png", np.zeros((2, 2), np.uint8))
    done = call("score", *maps)
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert "pred/c.png: error: there is no 'c' in" in done.stderr
    assert "pred/a.png: error: is 2×2, and the truth" in done.stderr


def test_masks_are_warned_of(tmp_path):
    for folder in ("pred", "truth"):
        trees.save(tmp_path / folder / "a.png", np.array([[0, 255]], np.uint8))
    done = call("score", "--pred", tmp_path / "pred", "--truth", tmp_path / "truth")
    assert done.exit_code == 0
    assert "warning: the truth has 1 class that is not ignored: masks of 0 and 255" in done.stderr


def test_classes_that_are_numbered_otherwise_are_warned_of(tmp_path):
    for folder, labels in (("pred", [0, 1, 2]), ("truth", [100, 101, 255])):
        trees.save(tmp_path / folder / "a.png", np.array([labels], np.uint8))
    done = call("score", "--pred", tmp_path / "pred", "--truth", tmp_path / "truth")
    assert done.exit_code == 0
    assert "none of the truth's classes (100, 101) is predicted, but 0, 1: are both" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --model M or --pred DIR"),
        (("--pred", "a"), "give --data DIR or --dataset D, or with --pred, --truth DIR"),
        (("--pred", "a", "--model", "m", "--data", "d"), "give --model M or --pred DIR"),
        (
            ("--model", "m", "--truth", "d"),
            "give --data DIR or --dataset D, or with --pred, --truth DIR",
        ),
        (("--pred", "a", "--truth", "b", "--split", "val"), "--split goes with --data"),
        (("--model", "m", "--data", "d", "--ignore", "3"), "--ignore goes with --pred"),
    ],
)
def test_wrong_usage(arguments, message):
    done = call("score", *arguments)
    assert done.exit_code == 2 and message in done.stderr


def test_predictions_on_a_dataset(tmp_path):
    truth = trees.plain(tmp_path / "data", ["a", "b"], 3)
    (tmp_path / "data" / "classes.txt").write_text("sky\ntree\nroad\n")
    (tmp_path / "data" / "val.txt").write_text("b\n")
    trees.save(tmp_path / "pred" / "b.png", truth["b"])
    done = call("score", "--pred", tmp_path / "pred", "--data", tmp_path / "data", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["mean_iu"] == 1
    assert [each["name"] for each in found["per_class"]] == ["sky", "tree", "road"]
    done = call("score", "--pred", tmp_path / "pred", "--data", tmp_path / "data", "--split", "x")
    assert done.exit_code == 1 and "there is no split 'x'" in done.stderr


@pytest.mark.parametrize("image_input", [False, True])
def test_a_model_on_a_dataset(tmp_path, image_input):
    """A net whose score is the image's own colour, exported and measured from the command line."""
    net = tmp_path / "net.prototxt"
    net.write_text(
        'name: "tiny"\ninput: "data"\ninput_shape { dim: 1 dim: 3 dim: 6 dim: 8 }\n'
        'layer { name: "score" type: "Convolution" bottom: "data" top: "score"\n'
        "  convolution_param { num_output: 3 kernel_size: 1 } }\n"
    )
    weights = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)  # BGR to red, green, blue
    np.savez(tmp_path / "net.npz", **{"score/0": weights, "score/1": np.zeros(3, np.float32)})
    options = ["--mean", "0,0,0"] + ["--image-input"] * image_input
    done = call("export-onnx", net, *options)
    assert done.exit_code == 0, done.stderr
    trees.plain(tmp_path / "data", ["a", "b"], 3)
    for name in "ab":
        pixels = np.asarray(Image.open(tmp_path / "data" / "images" / f"{name}.jpg"))
        trees.save(tmp_path / "data" / "labels" / f"{name}.png", pixels.argmax(2).astype("u1"))
    arguments = ("--model", tmp_path / "net.onnx", "--data", tmp_path / "data", "--device", "cpu")
    done = call("score", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pixel_accuracy"] == 1
    wrong = np.zeros((6, 8), np.uint8)
    wrong[0] = 5
    trees.save(tmp_path / "data" / "labels" / "b.png", wrong)
    done = call("score", *arguments)
    assert done.exit_code == 1
    assert "b.png: error: holds 5, and there are 3 classes" in done.stderr
