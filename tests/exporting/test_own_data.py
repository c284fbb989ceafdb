"""Names and colours of a folder of data, all the way: prototxt, model, tables, JSON, label maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import trees
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main

NAMES = ["sky", "old tree", "road"]
COLOURS = [(70, 130, 180), (10, 120, 30), (0, 128, 0)]  # the last is PASCAL VOC's: it has none


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trees.plain(tmp_path / "data", ["a", "b", "c"])
    Path("data/val.txt").write_text("a\nc\n")
    Path("data/classes.txt").write_text("sky 70 130 180\nold tree 10 120 30\nvoid 1 1 1\nroad\n")


def call(*words: object, code: int = 0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def rendered(phase: str, *words: object) -> None:
    asked = ["fcn32s", "--backbone", "vgg-small", "--dataset", "folder", *words]
    call("render", *asked, "--phase", phase, "-o", f"{phase}.prototxt", "--force")


def exported(phase: str, *words: object):
    result = call("export-onnx", f"{phase}.prototxt", "--init", "--force", *words)
    props = {each.key: each.value for each in onnx.load(f"{phase}.onnx").metadata_props}
    return result, props


def said(props) -> tuple[list[str], list[tuple[int, ...]]]:
    names = json.loads(props.get("classes", "{}")).get("score", [])
    return names, [tuple(each) for each in json.loads(props.get("palette", "[]"))]


@pytest.mark.parametrize("phase", ["deploy", "train", "val"])
def test_a_prototxt_knows_where_the_names_are(phase):
    rendered(phase, "--data-dir", "data")
    text = Path(f"{phase}.prototxt").read_text()
    assert ", 3 classes: " in text.splitlines()[0]
    assert "0 errors, 0 warnings" in call("check", f"{phase}.prototxt").stderr
    result, props = exported(phase)
    assert said(props) == (NAMES, COLOURS)
    assert json.loads(props["mean"]) == {"data": [104.00699, 116.66877, 122.67892]}
    assert "have no names" not in result.stderr


def test_the_solver_measures_all_of_val():
    for data, count in (("data", 2), ("elsewhere", 100)):
        asked = ["fcn32s", "--dataset", "folder", "--data-dir", data, "--solver"]
        assert f"test_iter: {count}\n" in call("render", *asked).stdout


def test_what_a_user_says_comes_first():
    rendered("deploy", "--data-dir", "data")
    Path("others.txt").write_text("one 1 2 3\ntwo 4 5 6\nthree 7 8 9\n")
    _, props = exported("deploy", "--classes", "others.txt")
    assert said(props) == (["one", "two", "three"], [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    _, props = exported("deploy", "--classes", 3)
    assert said(props)[0] == ["class 0", "class 1", "class 2"]
    Path("palette.txt").write_text("9 9 9\n8 8 8\n7 7 7\n")
    _, props = exported("deploy", "--palette", "palette.txt")
    assert said(props) == (NAMES, [(9, 9, 9), (8, 8, 8), (7, 7, 7)])
    call("export-onnx", "deploy.prototxt", "--init", "--force", "--classes", 4, code=1)


def test_folders_that_do_not_fit_are_warned_of():
    rendered("deploy", "--data-dir", "data", "--classes", 5)
    result, props = exported("deploy")
    assert "warning: data names 3 classes, and the net has 5" in result.stderr
    assert said(props)[0] == []
    Path("data/classes.txt").write_text("a 1 1 1\nb 1 1 1\n")
    assert "have one colour" in exported("deploy")[0].stderr
    rendered("deploy", "--data-dir", "nowhere", "--classes", 3)
    assert said(exported("deploy")[1])[0] == []
    broken = Path("deploy.prototxt").read_text().replace("{'data_dir': 'nowhere'}", "{'data_dir'")
    Path("deploy.prototxt").write_text(broken)
    exported("deploy")


def test_classes_of_a_file_are_counted():
    Path("five.txt").write_text("a\nb\nc\nd\ne\n")
    assert "5 classes" in call("render", "fcn32s", "--classes", "five.txt").stdout.splitlines()[0]
    assert "cannot be read" in call("render", "fcn32s", "--classes", "none.txt", code=1).stderr
    done = call("dataset", "check", "data", "--classes", "five.txt", code=1)
    assert "names 3 classes, and --classes says 5" in done.stderr


def test_without_names_label_maps_are_counted():
    Path("data/classes.txt").unlink()
    rendered("deploy", "--data-dir", "data")
    _, props = exported("deploy")
    assert said(props)[0] == ["class 0", "class 1", "class 2"]


def test_names_and_colours_reach_everything_that_is_made():
    rendered("deploy", "--data-dir", "data")
    exported("deploy")
    model = ["--model", "deploy.onnx", "--device", "cpu"]
    line = call("segment", "data/images/a.jpg", *model, "-o", "out", "--json").stdout
    assert set(json.loads(line)["shares"]["score"]) <= set(NAMES)
    with Image.open("out/a.png") as picture:
        assert picture.mode == "P"
        assert [tuple(picture.getpalette()[3 * n : 3 * n + 3]) for n in range(3)] == COLOURS
    names = _names(call("score", *model, "--data", "data", "--json"))
    assert names == NAMES
    Path("data/classes.txt").unlink()
    names = _names(call("score", *model, "--data", "data", "--json"))
    assert names == NAMES  # the model's own
    Path("abc.txt").write_text("a\nb\nc\n")
    table = call("score", *model, "--data", "data", "--classes", "abc.txt").stdout
    assert [row.split()[0] for row in table.splitlines()[-3:]] == ["a", "b", "c"]
    assert (
        "the model has 3 classes, and 2 are given"
        in call("score", *model, "--data", "data", "--classes", 2, code=1).stderr
    )
    maps = ["--pred", "data/labels", "--truth", "data/labels"]
    table = call("score", *maps, "--classes", "abc.txt").stdout
    assert [row.split()[0] for row in table.splitlines()[-3:]] == ["a", "b", "c"]


def _names(result) -> list[str]:
    return [each["name"] for each in json.loads(result.stdout)["per_class"]]


@pytest.mark.parametrize("name", ["labels", "masks", "annotations", "SegmentationClass"])
def test_label_maps_are_found_under_their_usual_names(name):
    Path("data/labels").rename(f"data/{name}")
    rendered("deploy", "--data-dir", "data")
    assert said(exported("deploy")[1])[0] == NAMES
    assert "3 label maps" in call("dataset", "check", "data").stderr


def test_a_folder_of_label_maps_is_brought_to_the_sizes_of_its_images():
    truth = {}
    for path in Path("data/labels").iterdir():
        with Image.open(path) as picture:
            truth[path.name] = np.asarray(picture)
        Image.fromarray(truth[path.name].repeat(3, axis=0).repeat(3, axis=1)).save(path)
    assert "is 18×24, and its image a.jpg is 6×8" in call("dataset", "check", "data", code=1).stdout
    call("dataset", "convert", "data", "-o", "new", "--resize")
    for name, array in truth.items():
        with Image.open(Path("new/labels") / name) as picture:
            np.testing.assert_array_equal(picture, array)
    assert call("dataset", "check", "new").exit_code == 0
