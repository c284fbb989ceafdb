"""Readers: what the published Python layers feed, from trees in the published layouts."""

import random
import struct
import subprocess
import sys
import zlib
from importlib import import_module
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import trees
from PIL import Image
from pycaffe import Blobs, imported
from scipy.io import savemat

from fcnproto import datasets
from fcnproto.datasets.check import check
from fcnproto.datasets.convert import Rule, convert
from fcnproto.datasets.mat import read_mat
from fcnproto.datasets.pictures import read_labels
from fcnproto.errors import DataError, Severity
from fcnproto.layers.python import NYUD_CHANNELS, NYUD_LAYER, PUBLISHED, read_param_str
from fcnproto.zoo import specs

MEAN = (104.00699, 116.66877, 122.67892)
NAMES = ["b", "a", "c"]


def fed(path: Path, mean, bgr: bool = True) -> np.ndarray:
    """What the published layers make of an image, done pixel by pixel."""
    pixels = np.asarray(Image.open(path))
    height, width, channels = pixels.shape
    out = np.zeros((channels, height, width))
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                source = channels - 1 - c if bgr else c
                out[c, y, x] = float(pixels[y, x, source]) - mean[c]
    return out


def problems(error: pytest.ExceptionInfo) -> list[str]:
    return [str(problem) for problem in error.value.problems]


# The published layers -------------------------------------------------------------------------


def test_voc(tmp_path):
    truth = trees.voc(tmp_path, NAMES)
    settings = {"voc_dir": str(tmp_path), "seed": 1337, "split": "train", "mean": MEAN}
    reader = datasets.reader("VOCSegDataLayer", settings)
    assert reader.tops == ("data", "label")
    assert reader.names == ("b", "a", "c")
    for index, name in enumerate(NAMES):
        arrays = reader.read(index)
        expected = fed(tmp_path / "JPEGImages" / f"{name}.jpg", MEAN)
        assert arrays["data"].dtype == np.float32
        np.testing.assert_allclose(arrays["data"], expected, rtol=0, atol=1e-5)
        assert arrays["label"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["label"], truth[name][np.newaxis])
    assert (reader.label("label", 0)[0] == 255).all()


def test_a_mean_in_param_str_is_subtracted_in_double_precision(tmp_path):
    trees.voc(tmp_path, ["a"])
    settings = {"voc_dir": str(tmp_path), "split": "train", "mean": MEAN}
    data = datasets.reader("VOCSegDataLayer", settings).read(0)["data"]
    pixels = np.asarray(Image.open(tmp_path / "JPEGImages" / "a.jpg"))[:, :, ::-1]
    exact = (pixels - np.array(MEAN)).astype(np.float32).transpose(2, 0, 1)
    rounded = (pixels.astype(np.float32) - np.array(MEAN, np.float32)).transpose(2, 0, 1)
    assert (exact != rounded).any()
    np.testing.assert_array_equal(data, exact)


def test_seg11valid_is_shipped(tmp_path):
    with pytest.raises(DataError) as error:
        datasets.find(_folders(tmp_path, "JPEGImages", "SegmentationClass"))
    lines = problems(error)
    assert len(lines) == 2 * 736
    assert "'2007_000033' of split 'seg11valid' has no image" in lines[0]
    assert "2007_000033.jpg" in lines[0] and "has no label map" in lines[1]


def _folders(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


def test_sbdd(tmp_path):
    truth = trees.sbdd(tmp_path, NAMES)
    settings = {"sbdd_dir": str(tmp_path), "seed": 1337, "split": "train", "mean": MEAN}
    reader = datasets.reader("SBDDSegDataLayer", settings)
    np.testing.assert_array_equal(reader.read(1)["label"][0], truth["a"])
    expected = fed(tmp_path / "img" / "a.jpg", MEAN)
    np.testing.assert_allclose(reader.read(1)["data"], expected, rtol=0, atol=1e-5)


def test_nyud(tmp_path):
    raw = trees.nyud(tmp_path, NAMES)
    tops = ["color", "hha", "depth", "label"]
    settings = {"tops": tops, "seed": 1337, "nyud_dir": str(tmp_path), "split": "trainval"}
    reader = datasets.reader("NYUDSegDataLayer", settings)
    assert reader.tops == tuple(tops)
    arrays = reader.read(2)
    data = tmp_path / "data"
    color = fed(data / "images" / "img_c.png", (116.190, 97.203, 92.318))
    np.testing.assert_allclose(arrays["color"], color, rtol=0, atol=1e-4)
    # HHA is not turned to BGR.
    hha = fed(data / "hha" / "img_c.png", (132.431, 94.076, 118.477), bgr=False)
    np.testing.assert_allclose(arrays["hha"], hha, rtol=0, atol=1e-4)
    depth = np.asarray(Image.open(data / "depth" / "img_c.png")).astype(float)
    assert arrays["depth"].dtype == np.float32 and arrays["depth"].shape == (1, 6, 8)
    np.testing.assert_allclose(arrays["depth"][0], np.log(depth) - 7.844, rtol=0, atol=1e-5)
    expected = np.where(raw["c"] == 0, 255, raw["c"].astype(int) - 1)
    np.testing.assert_array_equal(arrays["label"][0], expected)
    assert arrays["label"][0, 0, 0] == 255


def test_nyud_feeds_what_its_tops_name(tmp_path):
    trees.nyud(tmp_path, NAMES)
    settings = {"tops": ("hha", "label"), "nyud_dir": str(tmp_path), "split": "trainval"}
    assert list(datasets.reader("NYUDSegDataLayer", settings).read(0)) == ["hha", "label"]


def test_depth_without_a_logarithm_is_named(tmp_path):
    trees.nyud(tmp_path, ["a"])
    path = tmp_path / "data" / "depth" / "img_a.png"
    depth = np.full((6, 8), 900, np.uint16)
    depth[0, :2] = 0
    trees.save(path, depth)
    settings = {"tops": ("depth", "label"), "nyud_dir": str(tmp_path), "split": "trainval"}
    with pytest.raises(DataError, match="depth is 0 at 2 pixels"):
        datasets.reader("NYUDSegDataLayer", settings).read(0)


def test_siftflow(tmp_path):
    raw = trees.siftflow(tmp_path, NAMES)
    settings = {"siftflow_dir": str(tmp_path), "seed": 1337, "split": "trainval"}
    reader = datasets.reader("SIFTFlowSegDataLayer", settings)
    assert reader.tops == ("data", "sem", "geo")
    arrays = reader.read(0)
    image = tmp_path / "Images" / trees.SIFT / "b.jpg"
    expected = fed(image, (114.578, 115.294, 108.353))
    np.testing.assert_allclose(arrays["data"], expected, rtol=0, atol=1e-4)
    semantic = np.where(raw["b"] == 0, 255, raw["b"].astype(int) - 1)
    np.testing.assert_array_equal(arrays["sem"][0], semantic)
    geometric = np.where(raw["b geo"] <= 0, 255, raw["b geo"].astype(int) - 1)
    np.testing.assert_array_equal(arrays["geo"][0], geometric)
    assert {-1, 0, 1, 2, 3} == set(np.unique(raw["b geo"]))  # the case holds all kinds


def test_pascal_context(tmp_path):
    raw = trees.context(tmp_path, NAMES)
    settings = {
        "context_dir": str(tmp_path / "pascal-context"),
        "seed": 1337,
        "split": "train",
        "voc_dir": str(tmp_path / "pascal"),
    }
    reader = datasets.reader("PASCALContextSegDataLayer", settings)
    names = [
        line.partition(": ")[2]
        for line in (specs.MODELS / "datasets" / "pascalcontext-400.txt").read_text().splitlines()
    ]
    task = specs.dataset("pascalcontext").classes
    for index, name in enumerate(NAMES):
        expected = np.zeros((6, 8), int)
        for place, number in np.ndenumerate(raw[name]):
            word = names[number - 1].replace(" ", "")
            word = {"table": "diningtable", "bedclothes": "bedcloth", "cloth": "clothes"}.get(
                word, word
            )
            expected[place] = task.index(word) if word in task[1:] else 0
        np.testing.assert_array_equal(reader.read(index)["label"][0], expected)


def test_every_class_of_pascal_context_is_reached(tmp_path):
    trees.context(tmp_path, ["a"])
    numbers = np.arange(0, 460).reshape(20, 23)
    trees.mat(tmp_path / "pascal-context" / "trainval" / "a.mat", LabelMap=numbers)
    reader = datasets.reader("PASCALContextSegDataLayer", {"split": "train"}, tmp_path)
    label = reader.label("label", 0)
    assert sorted(label[label > 0]) == list(range(1, 60))
    assert label.flat[397] == 11 and label.flat[19] == 52 and label.flat[80] == 28


def test_lists_beside_the_labels_go_before_the_shipped(tmp_path):
    trees.context(tmp_path, ["a"])
    folder = tmp_path / "pascal-context"
    (folder / "labels.txt").write_text("1: sea weed\n2: table\n3: cloth\n")
    (folder / "59_labels.txt").write_text("0: background\n1: diningtable\n2: seaweed\n")
    trees.mat(folder / "trainval" / "a.mat", LabelMap=np.tile([[0, 1, 2, 3]], (6, 2)))
    reader = datasets.reader("PASCALContextSegDataLayer", {"split": "train"}, tmp_path)
    assert reader.label("label", 0)[0].tolist() == [0, 2, 1, 0, 0, 2, 1, 0]
    trees.mat(folder / "trainval" / "a.mat", LabelMap=np.full((6, 8), 4))
    with pytest.raises(DataError, match="0 to 3; found 0 to 4"):
        reader.label("label", 0)


def test_matlab_7_3(tmp_path):
    trees.nyud(tmp_path, ["a"])
    raw = trees.labels(3, 40)
    path = tmp_path / "segmentation" / "img_a.mat"
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        file["segmentation"] = raw.T
        file.create_group("GTcls")["Segmentation"] = raw.T
    settings = {"tops": ["label"], "nyud_dir": str(tmp_path), "split": "trainval"}
    reader = datasets.reader("NYUDSegDataLayer", settings)
    np.testing.assert_array_equal(reader.label("label", 0), raw - np.uint8(1))
    np.testing.assert_array_equal(read_mat(path, "GTcls", "Segmentation"), raw)
    with h5py.File(path, "a") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(DataError, match="links are not followed"):
        read_mat(path, "link")


def test_without_h5py_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    h5py.File(path, "w", userblock_size=512).close()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "h5py.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path / "none")
    with pytest.raises(DataError, match=r"pip install 'fcnproto\[data\]'"):
        read_mat(path, "S")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4", "u4", "f4", "f8", "i8", "u8"])
def test_every_kind_of_number(tmp_path, kind, compressed):
    """SciPy's writer is the oracle, and MATLAB's own way of storing doubles as bytes below."""
    path = tmp_path / "a.mat"
    array = np.arange(15, dtype=kind).reshape(3, 5)
    structure = np.zeros((1, 1), [("first", "O"), ("second", "O")])
    structure[0, 0] = ("text", array + 1)
    savemat(path, {"T": "x", "S": array, "Z": structure}, do_compression=compressed)
    np.testing.assert_array_equal(read_mat(path, "S"), array)
    np.testing.assert_array_equal(read_mat(path, "Z", "second"), array + 1)


def test_doubles_stored_as_bytes_in_either_order(tmp_path):
    """As MATLAB writes them: small elements in their tags, numbers as narrow as they can be."""
    path = tmp_path / "a.mat"
    for order, mark in (("<", b"IM"), (">", b"MI")):
        head = [
            struct.pack(f"{order}IIII", 6, 8, 6, 0),  # a matrix of doubles
            struct.pack(f"{order}IIii", 5, 8, 2, 3),  # 2×3
            struct.pack(f"{order}I", 1 << 16 | 1) + b"S\0\0\0",  # its name, one byte in the tag
            struct.pack(f"{order}II", 2, 6) + bytes([1, 2, 3, 4, 5, 6, 0, 0]),
        ]
        body = b"".join(head)
        matrix = struct.pack(f"{order}II", 14, len(body)) + body
        path.write_bytes(b"MATLAB".ljust(124) + struct.pack(f"{order}H", 256) + mark + matrix)
        assert read_mat(path, "S").tolist() == [[1, 3, 5], [2, 4, 6]]


def test_a_small_file_does_not_unfold_to_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.mat, "LARGEST_ARRAY", 2**20)
    path = tmp_path / "a.mat"
    savemat(path, {"S": np.zeros((1, 2))})
    huge = zlib.compress(bytes(2**20 + 8))
    path.write_bytes(path.read_bytes()[:128] + struct.pack("<II", 15, len(huge)) + huge)
    with pytest.raises(DataError, match="unfolds to more than any label map"):
        read_mat(path, "S")


@pytest.mark.parametrize("compressed", [False, True])
def test_broken_matlab_files_are_one_line(tmp_path, compressed):
    path = tmp_path / "a.mat"
    structure = np.zeros((1, 1), [("S", "O")])
    structure[0, 0] = (trees.labels(0, 20, (20, 20)),)
    savemat(path, {"S": structure}, do_compression=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        broken = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, len(broken), rng.integers(1, 6)):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            read_mat(path, "S", "S")
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_variables_that_are_no_label_maps(tmp_path):
    path = tmp_path / "a.mat"
    trees.mat(path, S=np.zeros((2, 3, 4)), T="text", U=np.array([[1.5]]))
    with pytest.raises(DataError, match="no variable 'V'"):
        read_mat(path, "V")
    for name in "ST":
        with pytest.raises(DataError, match=f"expected '{name}' to be a matrix of numbers"):
            read_mat(path, name)
    with pytest.raises(DataError, match="expected classes, whole numbers"):
        datasets.base.as_classes(path, read_mat(path, "U"))


@pytest.mark.parametrize("new", [False, True])
def test_a_label_map_of_another_dataset_is_named(tmp_path, new):
    path = tmp_path / "a.mat"
    if new:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["LabelMap"], file["segmentation"] = np.zeros((2, 2)), np.zeros((2, 2))
    else:
        trees.mat(path, LabelMap=np.zeros((2, 2)), segmentation=np.zeros((2, 2)))
    with pytest.raises(DataError) as error:
        read_mat(path, "GTcls", "Segmentation")
    assert str(error.value).endswith(
        "there is no variable 'GTcls.Segmentation' in it; it holds 'LabelMap', 'segmentation'"
        " (LabelMap is PASCAL-Context's, segmentation is NYUDv2's)"
    )


# Order ------------------------------------------------------------------------------------------


def test_training_draws_as_the_published_layers(tmp_path):
    trees.sbdd(tmp_path, [f"n{index}" for index in range(11)])
    settings = {"sbdd_dir": str(tmp_path), "seed": 1337, "split": "train", "mean": MEAN}
    reader = datasets.reader("SBDDSegDataLayer", settings)
    random.seed(1337)
    expected = [random.randint(0, 10) for _ in range(40)]
    assert list(islice(reader.order(), 40)) == expected
    assert list(islice(reader.order(), 40)) == expected  # each order begins anew


@pytest.mark.parametrize("settings", [{"split": "train", "randomize": False}, {"split": "val"}])
def test_measuring_goes_in_the_order_of_the_list(tmp_path, settings):
    trees.sbdd(tmp_path, NAMES, settings["split"])
    reader = datasets.reader("SBDDSegDataLayer", {"sbdd_dir": str(tmp_path), **settings})
    assert list(islice(reader.order(), 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_a_plain_folder_is_shuffled_by_epochs(tmp_path):
    trees.plain(tmp_path, [f"n{index}" for index in range(9)])
    settings = {"data_dir": str(tmp_path), "split": "train", "seed": 4}
    order = list(islice(datasets.reader("FolderSegDataLayer", settings).order(), 27))
    epochs = [order[:9], order[9:18], order[18:]]
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    other = datasets.reader("FolderSegDataLayer", {**settings, "seed": 5})
    assert list(islice(other.order(), 27)) != order


# A plain folder ---------------------------------------------------------------------------------


def test_a_plain_folder(tmp_path):
    truth = trees.plain(tmp_path, ["x/a", "b"])
    np.save(tmp_path / "labels" / "b.npy", truth["b"].astype(np.int64)[np.newaxis])
    (tmp_path / "labels" / "b.png").unlink()
    (tmp_path / "val.txt").write_text("b.jpg\n\nx/a\n")
    reader = datasets.find(tmp_path)
    assert type(reader).__name__ == "FolderSegDataLayer" and reader.names == ("b", "x/a")
    for index, name in enumerate(reader.names):
        np.testing.assert_array_equal(reader.read(index)["label"][0], truth[name])
    expected = fed(tmp_path / "images" / "b.jpg", MEAN)
    np.testing.assert_allclose(reader.read(0)["data"], expected, rtol=0, atol=1e-4)
    assert reader.classes("label") == ()
    (tmp_path / "classes.txt").write_text("sky\ndining table 1 2 3\nvoid 9 9 9\ntree\n")
    assert reader.classes("label") == ("sky", "dining table", "tree")


def test_sizes_that_differ_are_named(tmp_path):
    trees.plain(tmp_path, ["a"])
    trees.save(tmp_path / "labels" / "a.png", np.zeros((8, 6), np.uint8))
    with pytest.raises(DataError, match=r"labels/a.png.*found data 6×8, label 8×6"):
        datasets.find(tmp_path).read(0)


def test_colours_are_no_classes(tmp_path):
    trees.plain(tmp_path, ["a"])
    trees.save(tmp_path / "labels" / "a.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"is RGB, .* `fcnproto dataset convert`"):
        datasets.find(tmp_path).read(0)


def test_two_images_of_one_name(tmp_path):
    trees.plain(tmp_path, ["a"])
    trees.save(tmp_path / "images" / "a.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"shares its name with a\.jpg"):
        datasets.find(tmp_path)


# Finding and refusing -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "layer", "split"),
    [
        (trees.voc, "VOCSegDataLayer", "seg11valid"),
        (trees.sbdd, "SBDDSegDataLayer", "val"),
        (trees.nyud, "NYUDSegDataLayer", "test"),
        (trees.siftflow, "SIFTFlowSegDataLayer", "test"),
        (trees.context, "PASCALContextSegDataLayer", "val"),
    ],
)
def test_a_dataset_is_known_by_its_folders(tmp_path, make, layer, split):
    make(tmp_path, NAMES, split)
    reader = datasets.find(tmp_path)
    assert (type(reader).__name__, reader.split) == (layer, split)
    assert len(reader) == 3 and not reader.is_random
    assert reader.read(0)


def test_published_param_strs_find_their_data_anywhere(tmp_path, published):
    """The nets as published, with all datasets in one folder, as --data gives it."""
    trees.voc(tmp_path / "pascal" / "VOC2011", NAMES, "seg11valid")
    trees.sbdd(tmp_path / "sbdd" / "dataset", NAMES)
    for name in ("trainval", "test"):
        trees.nyud(tmp_path / "nyud", NAMES, name)
        trees.siftflow(tmp_path / "sift-flow", NAMES, name)
    for name in ("train", "val"):
        trees.context(tmp_path, NAMES, name)
    seen = set()
    for name, layer, settings in _python_layers(published):
        reader = datasets.reader(layer, settings, tmp_path)
        assert len(reader) == 3, name
        assert reader.is_random == ("train" in settings["split"]), name
        seen.add(layer)
    ours = {"FolderSegDataLayer", "ShapesSegDataLayer"}
    assert seen == set(PUBLISHED) - ours | {NYUD_LAYER}


def _python_layers(published: Path):
    from fcnproto.proto.source import read_net

    for path in sorted(published.rglob("*.prototxt")):
        if path.name == "solver.prototxt" or "python_param" not in path.read_text():
            continue
        for layer in read_net(path).net.layer:
            if layer.type == "Python":
                param = layer.python_param
                yield path, param.layer, read_param_str(param.param_str)


def test_several_datasets_in_one_folder(tmp_path):
    trees.nyud(tmp_path / "nyud", NAMES)
    trees.siftflow(tmp_path / "sift-flow", NAMES)
    with pytest.raises(DataError, match="several datasets are here"):
        datasets.find(tmp_path)
    with pytest.raises(DataError, match="no dataset is here"):
        datasets.find(tmp_path / "nyud" / "data")
    with pytest.raises(DataError, match="no such folder"):
        datasets.find(tmp_path / "nowhere")


def test_tops_agree_with_what_the_layers_declare(tmp_path):
    for name, tops in PUBLISHED.items():
        kind = datasets.Reader.registry[name]
        labels = [label.name for label in specs.dataset(kind.dataset).labels]
        assert [top for top, _ in tops] == [*kind.images, *labels]
    assert set(NYUD_CHANNELS) == {*datasets.Reader.registry[NYUD_LAYER].images, "label"}
    assert set(datasets.Reader.registry) == {*PUBLISHED, NYUD_LAYER}


def test_all_that_is_missing_is_listed(tmp_path):
    trees.voc(tmp_path, NAMES)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(DataError) as error:
        datasets.reader("VOCSegDataLayer", {"voc_dir": str(tmp_path), "split": "train"})
    lines = problems(error)
    assert len(lines) == 2
    assert "'a' of split 'train' has no image" in lines[0]
    assert "'c' of split 'train' has no label map" in lines[1]


def test_a_split_that_is_not_there(tmp_path):
    trees.sbdd(tmp_path, NAMES)
    with pytest.raises(DataError, match=r"no split 'trian'.* found train"):
        datasets.reader("SBDDSegDataLayer", {"sbdd_dir": str(tmp_path), "split": "trian"})
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match="names no image"):
        datasets.reader("SBDDSegDataLayer", {"sbdd_dir": str(tmp_path), "split": "empty"})
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    with pytest.raises(DataError, match="not UTF-8"):
        datasets.reader("SBDDSegDataLayer", {"sbdd_dir": str(tmp_path), "split": "latin"})


def test_all_that_is_wrong_with_settings_is_listed():
    with pytest.raises(DataError) as error:
        datasets.reader(
            "NYUDSegDataLayer", {"sedd": 3, "split": 4, "seed": "x", "tops": ["color", "lable"]}
        )
    text = "\n".join(problems(error))
    assert "no setting 'sedd'; did you mean 'seed'?" in text
    assert "needs the setting 'nyud_dir', a text; found none" in text
    assert "needs the setting 'split', a text; found 4" in text
    assert "'seed' must be a whole number, found 'x'" in text
    assert "needs the setting 'tops', a list of color, hha, depth, label; found" in text
    with pytest.raises(DataError, match="'mean' must be three numbers"):
        datasets.reader("VOCSegDataLayer", {"voc_dir": "x", "split": "train", "mean": (1, 2)})
    with pytest.raises(DataError, match="no reader 'VOCDataLayer'; did you mean 'VOCSegDataLayer'"):
        datasets.reader("VOCDataLayer", {})


# Real Caffe -------------------------------------------------------------------------------------


@pytest.fixture
def caffe():
    with imported():
        yield


def test_real_caffe_finds_every_published_layer(tmp_path, caffe, published):
    trees.voc(tmp_path / "pascal" / "VOC2011", NAMES, "seg11valid")
    for name in ("trainval", "test"):
        trees.nyud(tmp_path / "nyud", NAMES, name)
    modules = {specs.dataset(name).train.module for name in specs.datasets()}
    layers = {specs.dataset(name).train.layer for name in specs.datasets()}
    found = {}
    for module in modules:
        found.update(vars(import_module(f"fcnproto.caffe_layers.{module.rpartition('.')[2]}")))
    assert layers <= set(found)

    layer = found["VOCSegDataLayer"]()
    folder = str(tmp_path / "pascal" / "VOC2011")
    layer.param_str = repr({"voc_dir": folder, "split": "seg11valid", "mean": MEAN})
    top = Blobs(2)
    layer.setup(Blobs(0), top)
    reader = datasets.find(tmp_path / "pascal" / "VOC2011")
    for index in (0, 1, 2, 0):
        layer.reshape(Blobs(0), top)
        layer.forward(Blobs(0), top)
        expected = reader.read(index)
        assert top[0].data.shape == (1, 3, 6, 8) and top[1].data.shape == (1, 1, 6, 8)
        np.testing.assert_allclose(top[0].data[0], expected["data"], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(top[1].data[0], expected["label"])
    layer.backward(top, [True, True], Blobs(0))
    with pytest.raises(DataError, match=r"has 2 tops \(data, label\), found 1"):
        layer.setup(Blobs(0), Blobs(1))
    with pytest.raises(DataError, match="takes no bottoms"):
        layer.setup(Blobs(1), top)


def test_published_modules_are_found_on_the_printed_path():
    """Where real Caffe is: `import caffe` and the published module's bare name."""
    command = [sys.executable, "-m", "fcnproto.caffe_layers"]
    folder = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    code = (
        "import sys, types\n"
        "sys.modules['caffe'] = types.ModuleType('caffe')\n"
        "sys.modules['caffe'].Layer = object\n"
        f"sys.path.insert(0, {folder!r})\n"
        "import voc_layers, nyud_layers, siftflow_layers, pascalcontext_layers\n"
        "voc_layers.VOCSegDataLayer, voc_layers.SBDDSegDataLayer\n"
        "nyud_layers.NYUDSegDataLayer, siftflow_layers.SIFTFlowSegDataLayer\n"
        "pascalcontext_layers.PASCALContextSegDataLayer\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# dataset check --------------------------------------------------------------------------------


def found(folder: Path, classes: int | None = None) -> list[str]:
    return [str(problem) for problem in check(folder, classes).problems]


def test_nothing_is_wrong(tmp_path):
    trees.plain(tmp_path, ["a", "b"])
    report = check(tmp_path)
    assert report.problems == () and report.labels == 2 and report.used == [0, 1, 2]
    assert report.pixels.sum() == 2 * 48


def test_everything_that_is_wrong_is_found_at_once(tmp_path):
    trees.plain(tmp_path, ["a", "b", "c", "d", "e", "f"])
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\nsea\n")
    folder = tmp_path / "labels"
    trees.save(folder / "a.png", np.zeros((6, 8, 3), np.uint8))
    trees.save(folder / "b.png", np.full((6, 8), 9, np.uint8))
    trees.save(folder / "c.png", np.zeros((5, 8), np.uint8))
    (folder / "d.png").write_bytes((folder / "d.png").read_bytes()[:40])
    (tmp_path / "images" / "e.jpg").unlink()
    (folder / "f.png").unlink()
    (tmp_path / "train.txt").write_text("a\nnobody\n")
    lines = found(tmp_path)
    expected = [
        "f.jpg: error: there is no label map of the name 'f'",
        "labels/e.png: error: there is no image of the name 'e'",
        "train.txt:2: error: there is no image 'nobody'",
        "val.txt:5: error: there is no image 'e'",
        "val.txt: warning: 'a' in train.txt too: what was learned from is measured",
        "a.png: error: is RGB, and a label map has one class number a pixel; `fcnproto dataset",
        "c.png: error: is 5×8, and its image c.jpg is 6×8: scale",
        "d.png: error: cannot be read: ",
        "b.png: error: holds 9 (48 pixels), and there are 4 classes, 0 to 3",
        "labels: warning: class 3 (sea) never occurs",
    ]
    assert len(lines) == len(expected)
    for part in expected:
        assert any(part in line for line in lines), part


def test_masks_are_told_from_ignored_pixels(tmp_path):
    trees.plain(tmp_path, ["a", "b"], 2)
    for name in "ab":
        path = tmp_path / "labels" / f"{name}.png"
        trees.save(path, np.array(Image.open(path)) * np.uint8(255))
    lines = found(tmp_path)
    assert len(lines) == 2 and all("is a mask of 0 and 255" in line for line in lines)
    trees.save(tmp_path / "labels" / "b.png", np.ones((6, 8), np.uint8))
    assert found(tmp_path) == []  # with a class 1, 255 is what is ignored


def test_a_turned_image_is_said_to_be(tmp_path):
    trees.plain(tmp_path, ["a"])
    trees.save(tmp_path / "images" / "a.jpg", trees.colours(0, (8, 6)))
    assert any("Exif" in line for line in found(tmp_path))


def test_classes_without_a_pixel_are_a_warning(tmp_path):
    trees.save(tmp_path / "a.png", np.array([[0, 127, 255]], np.uint8))
    report = check(tmp_path)
    assert [problem.severity for problem in report.problems] == [Severity.WARNING]
    assert "1, 2, 3, 4, 5, 6, 7, 8 and 118 more never occur; if these are grey" in str(
        report.problems[0]
    )


def test_numbers_that_are_no_bytes(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[-1, 3]]))
    np.save(tmp_path / "b.npy", np.array([[0, 300]], np.uint16))
    np.save(tmp_path / "c.npy", np.zeros((3, 4, 5), np.float32))
    lines = found(tmp_path, 4)
    assert "holds -1" in lines[0] and "holds 300" in lines[1]
    assert "found float32 3×4×5; if these are scores" in lines[2]


def test_a_published_dataset_is_checked(tmp_path):
    trees.siftflow(tmp_path, ["a", "b"], "trainval")
    trees.siftflow(tmp_path, ["a"], "test")
    trees.mat(tmp_path / "SemanticLabels" / trees.SIFT / "b.mat", S=np.full((6, 8), 40, np.uint8))
    lines = [line for line in found(tmp_path) if "error" in line]
    assert len(lines) == 1
    assert "b.mat: error: holds 39 (48 pixels), and there are 33 classes" in lines[0]


def test_a_dataset_of_two_folders_is_checked(tmp_path):
    for name in ("train", "val"):
        trees.context(tmp_path, ["a", "b"], name)
    trees.save(tmp_path / "pascal" / "VOC2010" / "JPEGImages" / "b.jpg", trees.colours(0, (5, 8)))
    (line,) = [line for line in found(tmp_path) if "error" in line]  # though in both splits
    assert "b.mat: error: is 6×8, and its image b.jpg is 5×8" in line


def test_what_two_splits_name_is_looked_at_once(tmp_path):
    truth = trees.sbdd(tmp_path, ["a", "b"])
    trees.split(tmp_path / "val.txt", ["b", "a"])
    report = check(tmp_path)
    assert (report.labels, report.pixels.sum()) == (2, 2 * truth["a"].size)
    trees.mat(tmp_path / "cls" / "b.mat", LabelMap=truth["b"])
    (line,) = [line for line in found(tmp_path) if "error" in line]
    assert "b.mat: error: there is no variable 'GTcls.Segmentation'" in line
    for name in ("train", "val"):
        trees.split(tmp_path / f"{name}.txt", ["a", "b", "c"])
    lines = [line for line in found(tmp_path) if "error" in line]
    assert ["c.jpg: error: 'c' of" in line for line in lines] == [True, False]
    assert "c.mat: error: 'c' of" in lines[1]
    with pytest.raises(DataError, match="are read as they are: there is nothing to convert"):
        convert(tmp_path, tmp_path.with_name("converted"))


def test_nothing_to_check(tmp_path):
    with pytest.raises(DataError, match="there are no label maps: expected images/ and labels/"):
        check(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "nowhere")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    np.save(tmp_path / "a.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match="names 2 classes, and --classes says 3"):
        check(tmp_path, 3)


# dataset convert ------------------------------------------------------------------------------


def painted(truth: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for number, colour in colours.items():
        table[number] = colour
    return table[truth]


def test_colours_of_voc(tmp_path):
    truth = trees.plain(tmp_path / "in", ["x/a", "b"], 21)
    truth["b"][0, :2] = 255
    for name, array in truth.items():
        colours = dict(enumerate(specs.voc_palette()))
        trees.save(tmp_path / "in" / "labels" / f"{name}.png", painted(array, colours))
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.rule is Rule.VOC and done.labels == 2
    for name, array in truth.items():
        converted = tmp_path / "out" / "labels" / f"{name}.png"
        np.testing.assert_array_equal(read_labels(converted), array)
    assert datasets.find(tmp_path / "out").classes("label") == specs.dataset("voc").classes
    assert found(tmp_path / "out") == []


def test_colours_of_a_legend(tmp_path):
    truth = trees.plain(tmp_path / "in", ["a"], 3)
    truth["a"][5, 5] = 255
    colours = {0: (9, 9, 9), 1: (250, 1, 2), 2: (0, 0, 0), 255: (255, 255, 255)}
    trees.save(tmp_path / "in" / "labels" / "a.png", painted(truth["a"], colours))
    legend = "ground 9 9 9\nvoid 255 255 255\nred car 250 1 2\nnight 0 0 0\n"
    (tmp_path / "in" / "classes.txt").write_text(legend)
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.rule is Rule.GIVEN
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "labels" / "a.png"), truth["a"])
    assert (tmp_path / "out" / "classes.txt").read_text() == legend
    shown = np.asarray(Image.open(tmp_path / "out" / "labels" / "a.png").convert("RGB"))
    labelled = truth["a"] != 255
    np.testing.assert_array_equal(shown[labelled], painted(truth["a"], colours)[labelled])

    trees.save(tmp_path / "in" / "labels" / "b.png", np.full((6, 8, 3), 8, np.uint8))
    with pytest.raises(DataError, match=r"b.png.*has the colour 8 8 8 \(48 pixels\)"):
        convert(tmp_path / "in", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_colours_that_nobody_has_named(tmp_path):
    truth = trees.plain(tmp_path / "in", ["a"], 3)
    colours = {0: (0, 0, 0), 1: (0, 0, 77), 2: (200, 1, 2)}
    trees.save(tmp_path / "in" / "labels" / "a.png", painted(truth["a"], colours))
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.NEW
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "labels" / "a.png"), truth["a"])
    legend = (tmp_path / "out" / "classes.txt").read_text()
    assert legend == "class 0 0 0 0\nclass 1 0 0 77\nclass 2 200 1 2\n"


def test_masks(tmp_path):
    mask = np.zeros((6, 8), np.uint8)
    mask[2:4] = 255
    trees.save(tmp_path / "in" / "a.png", mask)
    trees.save(tmp_path / "in" / "b.png", np.zeros((6, 8), np.uint8))
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.MASK
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "a.png"), mask // 255)
    assert check(tmp_path / "out").used == [0, 1]


def test_class_maps_stay_what_they_are(tmp_path):
    truth = trees.plain(tmp_path / "in", ["a"], 3)
    truth["a"][1, 1] = 255
    trees.save(tmp_path / "in" / "labels" / "a.png", truth["a"])
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.NONE
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "labels" / "a.png"), truth["a"])


def test_classes_and_colours_are_not_mixed(tmp_path):
    """A black picture may be grey; one with other numbers may hold classes or grey levels."""
    trees.save(tmp_path / "in" / "a.png", np.full((2, 2, 3), (0, 0, 9), np.uint8))
    trees.save(tmp_path / "in" / "b.png", np.zeros((2, 2), np.uint8))
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.NEW
    assert read_labels(tmp_path / "out" / "a.png").tolist() == [[1, 1], [1, 1]]
    trees.save(tmp_path / "in" / "b.png", np.full((2, 2), 7, np.uint8))
    with pytest.raises(DataError, match=r"b\.png: error: has grey levels or classes, and a\.png"):
        convert(tmp_path / "in", tmp_path / "other")
    (tmp_path / "in" / "classes.txt").write_text("night 0 0 9\nday 7 7 7\n")
    convert(tmp_path / "in", tmp_path / "other")
    assert read_labels(tmp_path / "other" / "b.png").tolist() == [[1, 1], [1, 1]]


def test_smooth_edges_are_refused(tmp_path):
    trees.save(tmp_path / "a.png", trees.colours(0, (20, 30)))
    with pytest.raises(DataError, match="smooth edges or JPEG mix colours"):
        convert(tmp_path, tmp_path.parent / "out")


def test_labels_are_not_overwritten(tmp_path):
    trees.save(tmp_path / "labels" / "a.png", np.zeros((2, 2, 3), np.uint8))
    for output in (tmp_path, tmp_path / "labels", tmp_path / "labels" / "new"):
        with pytest.raises(DataError, match="choose another folder"):
            convert(tmp_path, output)
    with pytest.raises(DataError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")
