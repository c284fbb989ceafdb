"""Annotations of LabelMe, COCO and CVAT, drawn into class maps."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnproto import datasets
from fcnproto.datasets.check import check
from fcnproto.datasets.convert import Rule, convert
from fcnproto.datasets.drawing import Area, Drawing, fill, run_lengths, unpacked_lengths
from fcnproto.datasets.pictures import read_labels
from fcnproto.errors import DataError

SIZE = (20, 30)
SQUARE = [[2, 3], [12, 3], [12, 9], [2, 9]]
INSIDE = np.s_[3:9, 2:12]


def written(folder, name="a"):
    return read_labels(folder / "labels" / f"{name}.png")


# Drawing ----------------------------------------------------------------------------------------


def by_hand(polygon, size):
    """The even-odd rule for each pixel's middle, one by one."""
    inside = np.zeros(size, bool)
    for row, column in np.ndindex(size):
        x, y = column + 0.5, row + 0.5
        for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            if (y1 <= y) != (y2 <= y) and x1 + (y - y1) * (x2 - x1) / (y2 - y1) <= x:
                inside[row, column] ^= True
    return inside


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 20), st.floats(-5, 20)), min_size=3, max_size=8))
def test_polygons_are_filled_by_the_middles_of_pixels(polygon):
    labels = np.zeros((12, 15), np.uint8)
    fill(labels, polygon, 7)
    expected = by_hand(polygon, labels.shape)
    # On an edge itself rounding decides, one way or the other.
    assert ((labels == 7) != expected).sum() <= 1


def test_polygons_that_share_an_edge_share_no_pixel():
    labels = np.zeros(SIZE, np.uint8)
    fill(labels, [(0, 0), (30, 0), (30, 20)], 1)
    fill(labels, [(0, 0), (30, 20), (0, 20)], 2)
    assert (labels > 0).all()
    again = np.zeros(SIZE, np.uint8)
    fill(again, [(0, 0), (30, 20), (0, 20)], 2)
    fill(again, [(0, 0), (30, 0), (30, 20)], 1)
    np.testing.assert_array_equal(labels, again)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.sampled_from([-(2**70), *range(-8, 12), 2**63 - 1])] * 2))
def test_a_mask_counts_where_it_lies_over_the_image(corner):
    mask = np.array([[1, 0, 1], [1, 1, 1]], bool)
    drawing = Drawing(Path("x.xml"), "x", None, (Area("a", mask=mask, corner=corner),), {})
    expected = np.zeros((6, 5), np.uint8)
    for row, column in np.ndindex(expected.shape):
        down, right = row - corner[0], column - corner[1]
        if 0 <= down < 2 and 0 <= right < 3:
            expected[row, column] = 4 * mask[down, right]
    np.testing.assert_array_equal(drawing.paint(expected.shape, {"a": 4}, 0), expected)


def test_run_lengths_as_coco_s_tools_write_them():
    """The text is what pycocotools 2.0.11 encodes of this mask."""
    mask = np.zeros((37, 53), np.uint8)
    mask[5:30, 10:40], mask[10:20, 20:25], mask[0, 0], mask[36, 50:] = 1, 0, 1, 1
    text = "01f;h0fD000000000000000000\\ON52KN52KN52KN52KN52?0000000000000000000000000000a<XOWD000"
    found = run_lengths(unpacked_lengths(text), mask.size).reshape(mask.shape, order="F")
    np.testing.assert_array_equal(found, mask)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_run_lengths_of_strangers_are_refused_in_words(text):
    try:
        run_lengths(unpacked_lengths(text), 600)
    except DataError as error:
        assert "run lengths" in str(error)


# LabelMe ----------------------------------------------------------------------------------------


def labelme(folder, shapes, name="a", size=SIZE):
    trees.save(folder / f"{name}.jpg", trees.colours(0, size))
    value = {"imagePath": f"..\\photos\\{name}.jpg", "imageHeight": size[0], "imageWidth": size[1]}
    (folder / f"{name}.json").write_text(json.dumps({**value, "shapes": shapes}))


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def png(mask):
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_labelme(tmp_path):
    shapes = [
        shape("tree", SQUARE),
        shape("car", [[4, 4], [8, 8]], "rectangle"),
        shape("ball", [[20, 10], [24, 10]], "circle"),
        shape("tree", [[25, 1], [28, 3]], "mask", mask=png(np.full((2, 3), 255, np.uint8))),
        shape("car", [[1, 1]], "point"),
    ]
    labelme(tmp_path / "in", shapes)
    trees.split(tmp_path / "in" / "train.txt", ["a"])
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.rule is Rule.DRAWN
    assert [entry.name for entry in done.legend] == ["background", "ball", "car", "tree"]
    found = written(tmp_path / "out")
    expected = np.zeros(SIZE, np.uint8)
    expected[INSIDE] = 3
    expected[4:8, 4:8] = 2
    expected[1:3, 25:28] = 3
    y, x = np.mgrid[:20, :30] + 0.5
    expected[(x - 20) ** 2 + (y - 10) ** 2 < 16] = 1
    assert (found != expected).sum() <= 2
    assert "what has no area is left out of '..\\photos\\a.jpg': 1 point" in str(
        done.notes[0]
    ).replace("\\\\", "\\")
    reader = datasets.find(tmp_path / "out", "train")
    assert reader.classes("label") == ("background", "ball", "car", "tree") and reader.read(0)


def test_a_legend_says_the_classes(tmp_path):
    labelme(
        tmp_path / "in", [shape("car", SQUARE), shape("ignore", [[20, 10], [28, 10], [28, 18]])]
    )
    (tmp_path / "in" / "classes.txt").write_text("road\ncar\n")
    convert(tmp_path / "in", tmp_path / "out")
    found = written(tmp_path / "out")
    assert (found[INSIDE] == 1).all() and found[0, 0] == 0 and found[11, 26] == 255
    (tmp_path / "in" / "classes.txt").write_text("car\nroad\n")
    done = convert(tmp_path / "in", tmp_path / "out")
    assert "class 0 is car, no background: what nobody drew is 255" in str(done.notes[0])
    assert written(tmp_path / "out")[0, 0] == 255 and (written(tmp_path / "out")[INSIDE] == 0).all()
    (tmp_path / "in" / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(DataError, match="does not name the annotations' 'car'"):
        convert(tmp_path / "in", tmp_path / "out")


# COCO -------------------------------------------------------------------------------------------


def test_a_label_is_one_line(tmp_path):
    labelme(tmp_path / "in", [shape(" cat \n0 0 0\t", SQUARE), shape("cat 0 0 0", SQUARE)])
    convert(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines()[1:] == ["cat 0 0 0 128 0 0"]
    for wrong in ("", " \n", "a\u202eb", "a\x07"):
        labelme(tmp_path / "in", [shape(wrong, SQUARE)])
        with pytest.raises(DataError, match="expected a name that can be printed"):
            convert(tmp_path / "in", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def coco(folder, annotations, images=({"id": 7, "file_name": "a.jpg", "height": 20, "width": 30},)):
    trees.save(folder / "images" / "a.jpg", trees.colours(0, SIZE))
    (folder / "annotations").mkdir()
    value = {
        "images": list(images),
        "annotations": [{"image_id": 7, **each} for each in annotations],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (folder / "annotations" / "instances.json").write_text(json.dumps(value))


def test_coco(tmp_path):
    mask = np.zeros(SIZE, int)
    mask[15:18, 20:25] = 1
    counts = np.diff(np.r_[0, np.flatnonzero(np.diff(mask.ravel(order="F"))) + 1, mask.size])
    flat = [part for point in SQUARE for part in point]
    small = [4, 4, 8, 4, 8, 8, 4, 8]
    annotations = [
        {"category_id": 9, "segmentation": [small], "area": 16},
        {"category_id": 3, "segmentation": [flat, [20, 0, 30, 0, 30, 2, 20, 2]], "area": 80},
        {
            "category_id": 9,
            "segmentation": {"size": list(SIZE), "counts": counts.tolist()},
            "area": 15,
        },
        {"category_id": 9, "segmentation": [], "bbox": [1, 1, 2, 2]},
    ]
    coco(tmp_path / "in", annotations)
    done = convert(tmp_path / "in", tmp_path / "out")
    expected = np.zeros(SIZE, np.uint8)
    expected[INSIDE], expected[:2, 20:30], expected[4:8, 4:8] = 1, 1, 2
    expected[15:18, 20:25] = 2
    np.testing.assert_array_equal(written(tmp_path / "out"), expected)
    assert [entry.name for entry in done.legend] == ["background", "cat", "dog"]
    assert "1 box without an outline" in str(done.notes[0])


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3]], "not pairs of numbers"),
        ([[1, 2, "x", 4]], "no numbers"),
        ([[1, 2, 1e300, 4]], "not pairs of numbers within an image"),
        ({"size": [20, 30], "counts": [1, 2]}, "run lengths are not those of 600 pixels"),
        (
            {"size": [10**6, 10**6], "counts": [10**12]},
            "has a mask of 1000000×1000000 for an image",
        ),
        ({"size": [20], "counts": "a"}, "cannot be read|not as annotations are"),
        ({}, "is not as annotations are"),
    ],
)
def test_broken_coco(tmp_path, segmentation, message):
    coco(tmp_path / "in", [{"category_id": 3, "segmentation": segmentation or {"x": 1}}])
    with pytest.raises(DataError, match=rf"instances\.json: error: .*({message})"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_that_are_not_there_or_of_another_size(tmp_path):
    images = (
        {"id": 7, "file_name": "../../../etc/a.jpg", "height": 10, "width": 30},
        {"id": 8, "file_name": "b.jpg", "height": 20, "width": 30},
    )
    coco(tmp_path / "in", [], images)
    with pytest.raises(DataError) as error:
        convert(tmp_path / "in", tmp_path / "out")
    text = str(error.value)
    assert (
        "is drawn over 10×30 pixels" in text and "there is no image 'b.jpg' in the folder" in text
    )


# CVAT -------------------------------------------------------------------------------------------

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>road</name><color>#0a141e</color></label><label><name>car</name></label>
</labels></task></meta>
<image id="0" name="sub/a.jpg" width="30" height="20">
<polygon label="car" points="4,4;8,4;8,8;4,8" z_order="1"/>
<box label="road" xtl="2" ytl="3" xbr="12" ybr="9" z_order="0"/>
<ellipse label="car" cx="20" cy="10" rx="4" ry="4" z_order="0"/>
<mask label="road" rle="1, 2, 1, 2" left="24" top="1" width="3" height="2" z_order="2"/>
<points label="car" points="1,1"/>
</image></annotations>"""


def test_cvat(tmp_path):
    trees.save(tmp_path / "in" / "images" / "sub" / "a.jpg", trees.colours(0, SIZE))
    (tmp_path / "in" / "annotations.xml").write_text(CVAT)
    done = convert(tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in done.legend] == ["background", "road", "car"]
    assert done.legend[1].colour == (10, 20, 30)
    expected = np.zeros(SIZE, np.uint8)
    expected[INSIDE], expected[4:8, 4:8] = 1, 2
    expected[1, 25:27], expected[2, 25:27] = 1, 1
    y, x = np.mgrid[:20, :30] + 0.5
    expected[(x - 20) ** 2 + (y - 10) ** 2 < 16] = 2
    assert (written(tmp_path / "out", "sub/a") != expected).sum() <= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations><image", "cannot be read"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "declares a document type"),
        (CVAT.replace('xtl="2"', ""), "is not as annotations are"),
        (CVAT.replace('cx="20"', 'cx="twenty"'), "cannot be read"),
        (CVAT.replace("<image", '<track id="1"/><image'), "tracks of a video"),
    ],
)
def test_broken_cvat(tmp_path, content, message):
    trees.save(tmp_path / "in" / "images" / "a.jpg", trees.colours(0, SIZE))
    (tmp_path / "in" / "a.xml").write_text(content)
    with pytest.raises(DataError, match=rf"a\.xml: error: .*{message}"):
        convert(tmp_path / "in", tmp_path / "out")


def test_all_that_is_wrong_with_annotations_is_said_at_once(tmp_path):
    """Of each file all, but no more than twenty lines."""
    good = {"category_id": 3, "segmentation": [[4, 4, 8, 4, 8, 8]]}
    bad = [good, {**good, "category_id": 5}, {**good, "segmentation": [[1, 2, 3]]}, {"area": 3}]
    images = [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}, {"id": 8, "height": 2}]
    coco(tmp_path, bad, images)
    shapes = [{"label": "x", "points": [[1, 2]]}, {"points": []}, {"label": "x", "points": "no"}]
    labelme = {"shapes": shapes * 10, "imagePath": "a.jpg"}
    (tmp_path / "a.json").write_text(json.dumps(labelme))
    broken = CVAT.replace('xtl="2"', "").replace('cx="20"', "").replace('width="30"', "")
    (tmp_path / "a.xml").write_text(broken)
    with pytest.raises(DataError) as raised:
        convert(tmp_path, tmp_path / "out")
    of_file = {name: [] for name in ("a.json", "a.xml", "instances.json")}
    for problem in raised.value.problems:
        of_file[Path(problem.path).name].append(problem.message.split(":")[0])
    parts = ["annotation 1", "annotation 2", "annotation 3", "image 1"]
    assert of_file["instances.json"] == parts
    assert of_file["a.xml"] == ["image 0, shape 1", "image 0, shape 2", "image 0"]
    assert of_file["a.json"][-1] == "and 10 more like these" and len(of_file["a.json"]) == 21


def test_a_folder_of_images_and_annotations_is_not_checked_as_label_maps(tmp_path):
    coco(tmp_path, [])
    trees.save(tmp_path / "images" / "b.png", trees.colours(0, SIZE))
    (tmp_path / "annotations" / "instances.json").rename(tmp_path / "instances.json")
    (tmp_path / "annotations").rmdir()
    with pytest.raises(DataError, match=r"no label maps, but instances.json: `fcnproto dataset"):
        check(tmp_path)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_annotations_beside_images_are_said_by_check(tmp_path, ending):
    """As LabelMe leaves a folder."""
    trees.save(tmp_path / f"a.{ending}", trees.colours(0, SIZE))
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [], "imagePath": f"a.{ending}"}))
    with pytest.raises(DataError, match=r"no label maps, but a.json: `fcnproto dataset convert`"):
        check(tmp_path)


def test_other_json_beside_label_maps_is_not_annotations(tmp_path):
    """What programs note of each picture, such as the weather."""
    trees.save(tmp_path / "a.png", trees.colours(0, SIZE)[..., 0] % 3)
    (tmp_path / "a.json").write_text(json.dumps({"weather": "sunny"}))
    assert len(check(tmp_path).maps) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels/a.txt", "0 0.1 0.1 0.5 0.5\n"),
        ("annotations/a.xml", "<annotation><object><name>dog</name></object></annotation>"),
        ("via.json", '{"a.jpg1": {"filename": "a.jpg", "regions": []}}'),
    ],
)
def test_annotations_that_are_not_read_are_named(tmp_path, name, content):
    trees.save(tmp_path / "in" / "images" / "a.jpg", trees.colours(0, SIZE))
    (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / name).write_text(content)
    named = Path(name).name
    with pytest.raises(DataError, match=rf"no label pictures, \.png; {named}: of annotations, out"):
        convert(tmp_path / "in", tmp_path / "out")


def test_panoptic_annotations_are_told_apart(tmp_path):
    coco(tmp_path / "in", [{"file_name": "a.png", "segments_info": []}])
    with pytest.raises(DataError, match="annotation 0: is panoptic"):
        convert(tmp_path / "in", tmp_path / "out")
