"""Models side by side: scores against brute force, pictures by their pixels."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import fcnproto as fp
from fcnproto.cli import main
from fcnproto.datasets.shapes import draw, label_map
from fcnproto.errors import FcnprotoError
from fcnproto.zoo import specs

NETS = ("shapes-fcn32s", "shapes-fcn16s", "shapes-fcn8s")
FILES = ("32s.onnx", "16s.onnx", "8s.onnx")
COUNT = 5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in NETS:
        fp.export(name, name).save(folder / f"{name}.onnx")
    return folder


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    """Images and labels, and models under short names."""
    monkeypatch.chdir(tmp_path)
    for name, file in zip(NETS, FILES, strict=True):
        shutil.copy(models / f"{name}.onnx", file)
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for number in range(COUNT):
        Image.fromarray(np.ascontiguousarray(draw("val", number))).save(f"images/{number}.png")
        Image.fromarray(label_map("val", number)).save(f"labels/{number}.png")
    return tmp_path


def run(*words, code=0):
    done = CliRunner().invoke(main, ["compare", *map(str, words)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def mean_iu(pairs):
    """By its definition, class by class, over pairs of truth and prediction."""
    ious = []
    for label in range(5):
        both = sum(((t == label) & (p == label) & (t != 255)).sum() for t, p in pairs)
        either = sum((((t == label) | (p == label)) & (t != 255)).sum() for t, p in pairs)
        if either:
            ious.append(both / either)
    return np.mean(ious)


@pytest.mark.slow
def test_each_model_has_its_score_over_all_images(folder):
    found = json.loads(run(*FILES, "images", "--truth", "labels", "--json").stdout)
    assert list(found["scores"]) == ["32s", "16s", "8s"]
    for name in found["scores"]:
        segment = fp.Segmenter(f"{name}.onnx", device="cpu")
        pairs = [
            (label_map("val", n), segment(folder / "images" / f"{n}.png").labels)
            for n in range(COUNT)
        ]
        assert found["scores"][name]["mean_iu"] == pytest.approx(mean_iu(pairs))
        for row, pair in zip(found["images"], pairs, strict=True):
            assert row["mean_iu"][name] == pytest.approx(mean_iu([pair]))


@pytest.mark.slow
def test_the_finer_net_is_better_and_names_of_the_zoo_are_models(folder):
    table = run(*FILES[:2], NETS[2], "images", "--truth", "labels", "--force").stdout
    lines = [line.split() for line in table.splitlines()[1:]]
    assert [line[0] for line in lines] == ["32s", "16s", NETS[2]]
    ius = [float(line[3].rstrip("%")) for line in lines]
    assert ius == sorted(ius) and ius[0] + 10 < ius[2]


def test_the_picture_has_the_label_maps_in_their_colours(folder):
    run(*FILES[:2], "images/0.png", "images/1.png", "--truth", "labels", "-o", "two.png")
    with Image.open("two.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    assert drawn.shape[1] == 12 + 4 * 348
    # Twice as large, so that all 2×2 pixels of the truth's first row of cells are alike.
    truth = label_map("val", 0)
    table = np.array(specs.dataset("shapes").palette[:5], np.uint8)
    cell = table[truth].repeat(2, axis=0).repeat(2, axis=1)
    left = 12 + 3 * 348 + (336 - cell.shape[1]) // 2
    np.testing.assert_array_equal(drawn[30 : 30 + cell.shape[0], left : left + cell.shape[1]], cell)


def test_values_go_in_and_a_value_comes_out(folder):
    images = [np.ascontiguousarray(draw("val", number)) for number in range(2)]
    truths = [label_map("val", number) for number in range(2)]
    truths[0] = np.where(np.arange(truths[0].shape[1]) < 20, 255, truths[0]).astype(np.uint8)
    found = fp.compare(FILES[1:], images, truth=truths, device="cpu")
    assert found.models == ("16s", "8s") and found.classes[1] == "disc"
    for index in range(2):
        pairs = [(row.truth, row.labels[index]) for row in found.rows]
        assert found.scores[index].mean_iu == pytest.approx(mean_iu(pairs))
    assert found.picture().width == 12 + 4 * 348
    alone = fp.compare(FILES[1:], images[0])
    assert alone.scores == () and alone.rows[0].truth is None
    assert fp.compare(FILES[1:], images[0], truth=truths[0]).rows[0].ious


def test_a_file_is_the_truth_of_one_image(folder):
    done = run(*FILES[:2], "images/2.png", "--truth", "labels/2.png", "--json")
    assert json.loads(done.stdout)["images"][0]["mean_iu"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((FILES[0], "images"), "at least two models are compared, found 32s.onnx"),
        (("images",), "at least two models are compared, found none"),
        (FILES, "name images to compare the models on"),
    ],
)
def test_too_few_of_something_is_wrong_usage(folder, words, message):
    assert message in run(*words, code=2).stderr


def test_missing_truths_are_named_all_at_once(folder):
    for number in (1, 3):
        (folder / "labels" / f"{number}.png").unlink()
    done = run(*FILES[:2], "images", "--truth", "labels", code=1)
    for number in (1, 3):
        assert (
            f"images/{number}.png: error: there is no label map '{number}' in labels" in done.stderr
        )
    assert not (folder / "compare.png").exists()


def test_what_does_not_fit_is_left_out_and_said(folder):
    (folder / "images" / "0.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((3, 4), np.uint8)).save("labels/1.png")
    Image.fromarray(np.full(label_map("val", 2).shape, 77, np.uint8)).save("labels/2.png")
    done = run(*FILES[:2], "images", "--truth", "labels", "--json", code=1)
    assert "images/0.png: error: cannot be read as an image" in done.stderr
    assert "and the truth labels/1.png is 3×4" in done.stderr
    assert "labels/2.png: error: holds 77" in done.stderr
    assert [row["image"] for row in json.loads(done.stdout)["images"]] == [
        "images/3.png",
        "images/4.png",
    ]


def test_no_image_is_left(folder):
    (folder / "images" / "0.png").write_bytes(b"no picture")
    done = run(*FILES[:2], "images/0.png", code=1)
    assert "cannot be read as an image" in done.stderr
    assert not (folder / "compare.png").exists()


def test_models_that_are_none(folder):
    (folder / "a.onnx").write_bytes(b"nothing")
    for words in (("a.onnx", FILES[0]), ("b.onnx", FILES[0]), ("voc-fcn8s", FILES[0])):
        done = run(*words, "images/1.png", code=1)
        assert done.stderr.count("error") == 1
    with pytest.raises(FcnprotoError, match="at least two models"):
        fp.compare(FILES[0], "images/1.png")
    with pytest.raises(FcnprotoError, match="1 truths for 2 images"):
        fp.compare(FILES[:2], ["images/1.png", "images/2.png"], truth=[label_map("val", 1)])


def test_a_picture_that_exists_is_kept(folder):
    (folder / "mine.png").write_bytes(b"mine")
    assert "--force" in run(*FILES[:2], "images/1.png", "-o", "mine.png", code=1).stderr
    assert (folder / "mine.png").read_bytes() == b"mine"
    for _ in range(2):  # the verb's own default is overwritten
        run(*FILES[:2], "images/1.png")
    png = CliRunner().invoke(main, ["compare", *FILES[:2], "images/1.png", "-o", "-"])
    assert png.stdout_bytes.startswith(b"\x89PNG")
