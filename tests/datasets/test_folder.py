"""A plain folder under any of the usual names, and what it says of itself."""

import numpy as np
import pytest
import trees
from PIL import Image

from fcnproto import datasets
from fcnproto.datasets import folder
from fcnproto.datasets.check import check, check_folder
from fcnproto.errors import DataError, Severity


@pytest.mark.parametrize("images", ["images", "JPEGImages"])
@pytest.mark.parametrize("labels", ["labels", "masks", "annotations", "SegmentationClass"])
def test_all_usual_names_are_found(tmp_path, images, labels):
    truth = trees.plain(tmp_path, ["a", "b"])
    if images != "images":
        (tmp_path / "images").rename(tmp_path / images)
    if labels != "labels":
        (tmp_path / "labels").rename(tmp_path / labels)
    reader = datasets.find(tmp_path)
    assert type(reader).__name__ == "FolderSegDataLayer"
    np.testing.assert_array_equal(reader.read(0)["label"][0], truth["a"])
    assert check_folder(tmp_path) == []
    assert folder.spec(tmp_path).layout.labels == tmp_path / labels


def test_own_lists_in_the_layout_of_voc(tmp_path):
    truth = trees.voc(tmp_path, ["a", "b"], "val")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nsky:1,2,3::\nsea:4,5,6::\n"
    )
    reader = datasets.find(tmp_path)
    assert type(reader).__name__ == "FolderSegDataLayer" and reader.names == ("a", "b")
    assert reader.classes("label") == ("sky", "sea")
    np.testing.assert_array_equal(reader.read(1)["label"][0], truth["b"])
    assert folder.spec(tmp_path).palette == ((1, 2, 3), (4, 5, 6))


def test_lists_may_lie_elsewhere(tmp_path):
    trees.plain(tmp_path / "data", ["a", "b"])
    trees.split(tmp_path / "run" / "val.txt", ["b"])
    settings = {"data_dir": str(tmp_path / "data"), "split": "val", "lists": str(tmp_path / "run")}
    assert datasets.reader("FolderSegDataLayer", settings).names == ("b",)
    with pytest.raises(DataError, match="'lists' must be a folder's name, found 3"):
        datasets.reader("FolderSegDataLayer", {**settings, "lists": 3})


@pytest.mark.parametrize("line", ["images\\a.png labels\\b.png", "a,b", "a.png; b.png", "a\tb"])
def test_two_columns_as_windows_and_spreadsheets_write_them(line):
    assert folder.pair(line, {"a": 1}, {"b": 1}) == ("a", "b")


def test_two_columns_name_image_and_label_map(tmp_path):
    truth = trees.plain(tmp_path, ["a", "b"])
    for name in "ab":
        path = tmp_path / "labels" / f"{name}.png"
        path.rename(tmp_path / "labels" / f"{name}_mask.png")
    lines = "images/a.jpg labels/a_mask.png\n/data/set/images/b.jpg /data/set/labels/b_mask.png\n"
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(lines)
    reader = datasets.find(tmp_path)
    for index, name in enumerate("ab"):
        assert reader.names[index] == name
        np.testing.assert_array_equal(reader.read(index)["label"][0], truth[name])
    assert check_folder(tmp_path) == []
    (tmp_path / "val.txt").write_text("images/a.jpg labels/nobody.png\n")
    assert "val.txt:1: error: there is no label map 'labels/nobody'" in "\n".join(
        map(str, check_folder(tmp_path))
    )


def test_names_and_colours(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    spec = folder.spec(tmp_path)
    assert spec.names == ("class 0", "class 1", "class 2")
    assert spec.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0)) and spec.val_images == 2
    image = Image.open(tmp_path / "labels" / "a.png")
    image = Image.fromarray(np.asarray(image))
    image.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
    image.save(tmp_path / "labels" / "a.png")
    assert folder.spec(tmp_path).palette == ((9, 8, 7), (6, 5, 4), (3, 2, 1))
    (tmp_path / "classes.txt").write_text("sky 1 2 3\nvoid 7 7 7\ntree\nroad\n")
    spec = folder.spec(tmp_path)
    assert spec.names == ("sky", "tree", "road") and spec.palette == (
        (1, 2, 3),
        (6, 5, 4),
        (3, 2, 1),
    )
    assert set(spec.splits) == {"train", "val"}


def test_images_are_turned_upright(tmp_path):
    """As `segment` turns them: a label map drawn over the upright image goes with it."""
    trees.plain(tmp_path, ["a"])
    pixels = np.asarray(Image.open(tmp_path / "images" / "a.jpg"))
    (tmp_path / "images" / "a.jpg").unlink()
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by 90° to be upright
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png", exif=exif)
    trees.save(tmp_path / "labels" / "a.png", trees.labels(1, 2, (8, 6)))
    data = datasets.find(tmp_path).read(0)["data"]
    upright = np.rot90(pixels, -1)[:, :, ::-1].transpose(2, 0, 1)
    mean = np.array(datasets.find(tmp_path).mean("color")).reshape(3, 1, 1)
    np.testing.assert_allclose(data, upright - mean, rtol=0, atol=1e-4)
    assert not [each for each in check_folder(tmp_path) if each.severity is Severity.ERROR]
    trees.save(tmp_path / "labels" / "a.png", trees.labels(1, 2, (6, 8)))
    assert any("--resize" in str(each) for each in check_folder(tmp_path))


# What the check says ----------------------------------------------------------------------------


def said(path, *arguments, **options):
    return "\n".join(map(str, check_folder(path, *arguments, **options)))


def test_one_image(tmp_path):
    trees.plain(tmp_path, ["a"])
    assert "warning: there is one image" in said(tmp_path)


def test_no_masks(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert "error: there are no label maps" in said(tmp_path)
    (tmp_path / "labels").rmdir()
    assert "there are no label maps: expected one of labels/, masks/" in said(tmp_path)
    assert "there is no such folder" in said(tmp_path / "nowhere")


def test_jpeg_label_maps(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    for name in "ab":
        (tmp_path / "labels" / f"{name}.png").unlink()
        trees.save(tmp_path / "labels" / f"{name}.jpg", np.zeros((6, 8), np.uint8))
    text = said(tmp_path)
    assert text.count("is a JPEG, which mixes classes") == 2 and "there is no label map" not in text
    with pytest.raises(DataError, match="is a JPEG"):
        datasets.find(tmp_path)
    trees.save(tmp_path / "only" / "a.jpg", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match="is a JPEG"):
        check(tmp_path / "only")


def test_a_jpeg_that_is_called_png(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "labels" / "a.png", "JPEG")
    assert "a.png: error: is a JPEG" in said(tmp_path)


@pytest.mark.parametrize("ending", ["bmp", "tif"])
def test_lossless_formats_are_read(tmp_path, ending):
    truth = trees.plain(tmp_path, ["a", "b"])
    path = tmp_path / "labels" / "a.png"
    path.unlink()
    trees.save(path.with_suffix(f".{ending}"), truth["a"])
    np.testing.assert_array_equal(datasets.find(tmp_path).read(0)["label"][0], truth["a"])


def test_one_class_only_and_all_ignored(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    for name in "ab":
        trees.save(tmp_path / "labels" / f"{name}.png", np.full((6, 8), 1, np.uint8))
    assert "error: there is one class only, 1" in said(tmp_path)
    trees.save(tmp_path / "labels" / "a.png", np.full((6, 8), 255, np.uint8))
    trees.save(tmp_path / "labels" / "b.png", trees.labels(0, 2))
    assert "a.png: warning: all of it is 255" in said(tmp_path)
    trees.save(tmp_path / "labels" / "b.png", np.full((6, 8), 255, np.uint8))
    assert "error: every pixel of every label map is 255" in said(tmp_path)


def test_a_class_in_val_alone(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    trees.save(tmp_path / "labels" / "a.png", np.zeros((6, 8), np.uint8))
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\n")
    trees.split(tmp_path / "train.txt", ["a"])
    trees.split(tmp_path / "val.txt", ["b"])
    assert "warning: classes 1 (tree), 2 (road) in val alone" in said(tmp_path)
    trees.split(tmp_path / "run" / "train.txt", ["b"])
    trees.split(tmp_path / "run" / "val.txt", ["a"])
    assert said(tmp_path, lists=tmp_path / "run") == ""


def test_what_a_report_has_seen_is_not_read_again(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    trees.save(tmp_path / "labels" / "a.png", np.zeros((6, 8), np.uint8))
    seen = check(tmp_path)
    for path in (tmp_path / "labels").iterdir():
        path.write_bytes(b"damaged since")
    trees.split(tmp_path / "run" / "train.txt", ["a"])
    trees.split(tmp_path / "run" / "val.txt", ["b"])
    (problem,) = check(tmp_path, lists=tmp_path / "run", seen=seen).problems
    assert "in val alone" in problem.message
    assert len(check(tmp_path, lists=tmp_path / "run").problems) > 1


def test_a_list_without_a_name(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    (tmp_path / "train.txt").write_text("\n\n")
    assert "train.txt: error: names no image" in said(tmp_path)


def test_labels_beyond_the_classes_and_other_sizes(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    trees.save(tmp_path / "labels" / "b.png", trees.labels(0, 2, (3, 4)))
    text = said(tmp_path, 2)
    assert "holds 2 (" in text and "is 3×4, and its image b.jpg is 6×8" in text


def test_palettes_that_differ(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    for name, colours in (
        ("a", [0, 0, 0, 255, 0, 0, 0, 255, 0]),
        ("b", [0, 0, 0, 0, 255, 0, 255, 0, 0]),
    ):
        image = Image.fromarray(trees.labels(0, 2))
        image.putpalette(colours)
        image.save(tmp_path / "labels" / f"{name}.png")
    text = said(tmp_path)
    assert "its palette is not that of a.png: 1 is 0 255 0 here and 255 0 0 there" in text


def test_numbers_of_16_bits(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    trees.save(tmp_path / "labels" / "a.png", trees.labels(0, 2).astype(np.uint16) * 257)
    assert "holds 514: labels are 0 to 255; its numbers of 16 bits are 257 times" in said(tmp_path)
    trees.save(tmp_path / "labels" / "a.png", trees.labels(0, 2).astype(np.uint16))
    assert said(tmp_path) == ""


def test_an_image_that_was_cut_off_is_said_before_anything_is_trained(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    path = tmp_path / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    (problem,) = check_folder(tmp_path)
    assert problem.path == str(path) and "truncated" in problem.message.lower()


def test_images_of_val_that_are_learned_from_are_said(tmp_path):
    trees.plain(tmp_path, ["a", "b", "c"])
    trees.split(tmp_path / "val.txt", ["b", "c"])
    (problem,) = check_folder(tmp_path)
    assert problem.severity is Severity.WARNING and problem.path == str(tmp_path / "val.txt")
    assert "'b', 'c' in train.txt too" in problem.message


def test_colours_of_classes_are_written_as_in_a_palette(tmp_path):
    legend = tmp_path / "classes.txt"
    trees.plain(tmp_path, ["a"])
    legend.write_text("sky #010203\nsea 4,5,6\nhill no. 7\n")
    spec = folder.spec(tmp_path)
    assert spec.names == ("sky", "sea", "hill no. 7")
    assert spec.palette[:2] == ((1, 2, 3), (4, 5, 6))


def test_two_classes_of_one_name_are_refused(tmp_path):
    trees.plain(tmp_path, ["a"])
    (tmp_path / "classes.txt").write_text("sky\nsea\nsky\nvoid 1 1 1\nvoid 2 2 2\n")
    with pytest.raises(DataError, match="2 classes are called sky"):
        folder.spec(tmp_path)


def test_a_split_that_is_not_there_says_who_makes_it(tmp_path):
    trees.plain(tmp_path, ["a"])
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").unlink()
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError) as caught:
        datasets.find(tmp_path)
    assert "dataset split DIR -o DIR` makes them" in str(caught.value)
    assert "classes" not in str(caught.value)


@pytest.mark.parametrize("place", ["annotations/a.json", "coco.json", "annotations.xml"])
def test_annotations_are_said_to_be_drawn_first(tmp_path, place):
    trees.plain(tmp_path, ["a", "b"])
    for each in (tmp_path / "labels").iterdir():
        each.unlink()
    (tmp_path / "labels").rmdir()
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    (problem,) = check_folder(tmp_path)
    assert "there are no label maps, but " + path.name in problem.message
    assert "`fcnproto dataset convert` makes label maps" in problem.message
