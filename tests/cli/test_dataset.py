"""The verbs of a dataset, as a user calls them."""

import json

import numpy as np
import pytest
import rooms
import trees
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.datasets.pictures import read_labels
from fcnproto.proto.caffe_pb2 import BlobProto


def call(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_check(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    done = call("dataset", "check", tmp_path)
    assert done.exit_code == 0 and done.stdout == ""
    assert "2 label maps, classes 0 to 2 (3), 0.0% of pixels ignored; 0 errors" in done.stderr
    trees.save(tmp_path / "labels" / "a.png", np.zeros((6, 8, 3), np.uint8))
    done = call("dataset", "check", tmp_path, "--classes", 2)
    assert done.exit_code == 1
    assert "a.png: error: is RGB" in done.stdout and "b.png: error: holds 2" in done.stdout
    assert "2 errors" in done.stderr


def test_convert_mends_what_check_finds(tmp_path):
    truth = trees.plain(tmp_path / "in", ["a", "b"], 2)
    for name, array in truth.items():
        trees.save(tmp_path / "in" / "labels" / f"{name}.png", array * np.uint8(255))
    assert call("dataset", "check", tmp_path / "in").exit_code == 1
    done = call("dataset", "convert", tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 0 and done.stdout == ""
    assert "2 class maps, masks, 255 becomes class 1\n    0 background" in done.stderr
    for name, array in truth.items():
        found = read_labels(tmp_path / "out" / "labels" / f"{name}.png")
        np.testing.assert_array_equal(found, array)
    done = call("dataset", "check", tmp_path / "out")
    assert done.exit_code == 0 and done.stdout == "", done.stdout


def test_help_of_the_group():
    done = call("dataset", "--help")
    assert done.exit_code == 0 and "check" in done.stdout and "convert" in done.stdout
    done = call("dataset", "check", "/nowhere")
    assert done.exit_code == 1 and "there is no such folder" in done.stderr


def test_split_writes_lists_where_it_is_told(tmp_path):
    names = [f"n{number}" for number in range(10)]
    trees.plain(tmp_path / "data", names)
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.txt")}
    done = call("dataset", "split", tmp_path / "data", "-o", tmp_path / "lists", "--val", "0.3")
    assert done.exit_code == 0 and "train.txt: 7 images" in done.stderr, done.stderr
    train, val = (
        (tmp_path / "lists" / f"{each}.txt").read_text().split() for each in ("train", "val")
    )
    assert sorted(train + val) == sorted(names) and len(val) == 3
    assert before == {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.txt")}
    again = call("dataset", "split", tmp_path / "data", "-o", tmp_path / "data")
    assert again.exit_code == 1 and again.stderr.count("--force overwrites it") == 2
    forced = call(
        "dataset", "split", tmp_path / "data", "-o", tmp_path / "lists", "--force", "--val", "0.3"
    )
    assert forced.exit_code == 0 and (tmp_path / "lists" / "train.txt").read_text().split() == train


def test_weights_are_printed_and_written(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    maps = {"a": [[0, 0, 0, 1]], "b": [[0, 0, 255, 2]]}
    for name, array in maps.items():
        trees.save(tmp_path / "labels" / f"{name}.png", np.array(array, np.uint8))
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\n")
    done = call("dataset", "weights", tmp_path, "--json", "-o", tmp_path / "h.binaryproto")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    # By hand: class 0 has 5 of 7 pixels, class 1 one of 4, class 2 one of 3; the median is 1/3.
    expected = [1 / 3 * 7 / 5, 1 / 3 * 4, 1.0]
    assert [row["weight"] for row in rows] == pytest.approx(expected)
    assert [row["name"] for row in rows] == ["sky", "tree", "road"]
    blob = BlobProto.FromString((tmp_path / "h.binaryproto").read_bytes())
    assert list(blob.shape.dim) == [1, 1, 3, 3]
    np.testing.assert_allclose(np.reshape(blob.data, (3, 3)), np.diag(expected), rtol=1e-6)
    table = call("dataset", "weights", tmp_path).stdout.splitlines()
    assert table[1].split() == ["sky", "5", "71.43%", "0.4667"]
    broken = tmp_path / "labels" / "b.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:30])
    done = call("dataset", "weights", tmp_path)
    assert done.exit_code == 1 and done.stdout == "" and "b.png: error: cannot be" in done.stderr
    broken.write_bytes(content)
    wrong = call("dataset", "weights", tmp_path, "--split", "nobody")
    assert wrong.exit_code == 1 and "there is no split 'nobody'; found train, val" in wrong.stderr


def test_hha(tmp_path):
    camera = "130,130,80,60"
    room = rooms.view(20, 5, camera=rooms.Camera(130, 130, 80, 60), size=(120, 160))
    trees.save(tmp_path / "depth" / "a.png", np.round(room.depth * 1000).astype(np.uint16))
    arguments = ("dataset", "hha", tmp_path / "depth", "-o", tmp_path / "hha", "--camera", camera)
    done = call(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "floor 1.4" in done.stdout and "m under the camera, 0.0% holes" in done.stdout
    with Image.open(tmp_path / "hha" / "a.png") as image:
        assert image.mode == "RGB" and image.size == (160, 120)
    assert call(*arguments).exit_code == 1
    trees.save(tmp_path / "depth" / "b.png", np.zeros((120, 160), np.uint8))
    done = call(*arguments, "--force")
    assert done.exit_code == 1 and "b.png: error: has 8 bits" in done.stderr
    assert "a.png: down" in done.stdout
    for wrong in ("1,2,3", "a,b,c,d", "0,1,1,1"):
        assert call(*arguments, "--camera", wrong).exit_code == 2


VERBS = ("check", "convert", "split", "weights", "hha")
