"""`fcnproto train`: a small dataset of one's own, from the first warning to the best snapshot."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from torchrun import torchrun

from fcnproto.cli import main
from fcnproto.training.curve import Log, LogRow, _smoothed, draw, read
from fcnproto.weights import read as read_weights

NET = """
name: "tiny"
layer {{ name: "data" type: "Python" top: "data" top: "label" python_param {{ module: "m"
  layer: "FolderSegDataLayer" param_str: "{{'data_dir': 'data', 'split': '{split}'}}" }} }}
layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 {filler} }} }}
layer {{ name: "r1" type: "ReLU" bottom: "c1" top: "c1" }}
layer {{ name: "score" type: "Convolution" bottom: "c1" top: "score"
  convolution_param {{ num_output: 3 kernel_size: 1 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param {{ ignore_label: 255 {loss} }} }}
"""
FILLER = 'weight_filler { type: "msra" }'
SOLVER = """
train_net: "train.prototxt" test_net: "val.prototxt" test_iter: 3 test_interval: 20
base_lr: {rate} lr_policy: "fixed" momentum: 0.9 max_iter: {iterations} snapshot: 20
snapshot_prefix: "{prefix}" random_seed: 5 {more}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with nine images in which class 1 is red and class 2 is green."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    colours = np.array([[40, 40, 40], [220, 40, 40], [40, 220, 40]])
    names = [str(number) for number in range(9)]
    for folder in ("images", "labels"):
        Path("data", folder).mkdir(parents=True)
    for name in names:
        labels = np.repeat(np.repeat(rng.integers(0, 3, (3, 4)), 6, 0), 6, 1).astype(np.uint8)
        image = (colours[labels] + rng.normal(0, 10, (*labels.shape, 3))).clip(0, 255)
        labels[0] = 255
        Image.fromarray(labels).save(f"data/labels/{name}.png")
        Image.fromarray(image.astype(np.uint8)).save(f"data/images/{name}.png")
    Path("data/train.txt").write_text("\n".join(names[:6]))
    Path("data/val.txt").write_text("\n".join(names[6:]))
    write_nets()
    write_solver()
    return tmp_path


def write_nets(filler=FILLER, loss=""):
    for split in ("train", "val"):
        text = NET.format(split=split, filler=filler, loss=loss)
        Path(f"{split}.prototxt").write_text(text)


def write_solver(name="s.prototxt", rate="1e-3", iterations=40, prefix="snap/t", more=""):
    settings = {"rate": rate, "iterations": iterations, "prefix": prefix, "more": more}
    Path(name).write_text(SOLVER.format(**settings))


def train(*arguments):
    return CliRunner().invoke(main, ["train", *arguments, "--device", "cpu"])


def logged():
    with Path("snap/t_log.csv").open() as file:
        return list(csv.DictReader(file))


def weights_of(path):
    return {name: arrays for name, arrays in read_weights(path).items() if arrays}


def assert_same(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    for name, arrays in one.items():
        for array, expected in zip(arrays, other[name], strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.usefixtures("place")
def test_a_small_net_learns():
    result = train("s.prototxt")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    found = {path.name for path in Path("snap").iterdir()}
    assert found == {
        "t_iter_20.caffemodel",
        "t_iter_20.solverstate",
        "t_iter_40.caffemodel",
        "t_iter_40.solverstate",
        "t_best.caffemodel",
        "t_best.solverstate",
        "t_log.csv",
        "t_loss.png",
    }
    rows = logged()
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    measured = [float(row["mean_iu"]) for row in rows if row["mean_iu"]]
    assert len(losses) == 40
    assert losses[-1] < losses[0] / 2
    assert len(measured) == 3
    assert measured[-1] > 0.9
    with Image.open("snap/t_loss.png") as picture:
        assert picture.size == (960, 540)


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_going_on_gives_what_one_run_gives():
    """The images come in the order in which they would have come, too."""
    assert train("s.prototxt").exit_code == 0
    whole = Path("snap/t_iter_40.caffemodel").rename("whole.caffemodel")
    table = logged()
    result = train("s.prototxt", "--resume", "snap/t_iter_20.solverstate")
    assert result.exit_code == 0, result.output
    assert_same("snap/t_iter_40.caffemodel", whole)
    assert [row["loss"] for row in logged()] == [row["loss"] for row in table]


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_two_processes_give_what_one_gives():
    write_solver("one.prototxt", iterations=8, prefix="one", more="iter_size: 4 weight_decay: 0.01")
    write_solver("two.prototxt", iterations=8, prefix="two", more="iter_size: 2 weight_decay: 0.01")
    assert train("one.prototxt").exit_code == 0
    torchrun("train", "two.prototxt")
    one, two = weights_of("one_iter_8.caffemodel"), weights_of("two_iter_8.caffemodel")
    for name, arrays in one.items():
        for array, expected in zip(two[name], arrays, strict=True):
            # Sums of gradients in another order.
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_writes_a_snapshot_first(number, code):
    write_solver(iterations=1_000_000, prefix="snap/t")
    command = [sys.executable, "-m", "fcnproto", "train", "s.prototxt", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not Path("snap/t_iter_20.solverstate").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("snapshot: snap/t_iter_")
    assert Path(last.removeprefix("snapshot: ")).exists()


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_weights_are_where_it_starts():
    assert train("s.prototxt").exit_code == 0
    write_solver(rate="1e-30", iterations=1, prefix="snap/u")
    result = train("s.prototxt", "--weights", "snap/t_iter_40.caffemodel")
    assert result.exit_code == 0, result.output
    assert_same("snap/u_iter_1.caffemodel", "snap/t_iter_40.caffemodel")
    np.savez("part.npz", **{"c1/0": np.zeros((6, 3, 3, 3)), "c1/1": np.zeros(6)})
    result = train("s.prototxt", "--weights", "part.npz")
    assert "part.npz: has nothing for score; it stays as its filler makes it" in result.stderr


@pytest.mark.usefixtures("place")
def test_input_layers_are_fed_from_a_folder():
    for split in ("train", "val"):
        text = NET.format(split=split, filler=FILLER, loss="")
        _, _, rest = text.partition('layer { name: "c1"')
        inputs = "".join(
            f'layer {{ name: "{blob}" type: "Input" top: "{blob}"'
            f" input_param {{ shape {{ dim: 1 dim: {depth} dim: 18 dim: 24 }} }} }}\n"
            for blob, depth in (("data", 3), ("label", 1))
        )
        Path(f"{split}.prototxt").write_text('name: "t"\n' + inputs + 'layer { name: "c1"' + rest)
    result = train("s.prototxt", "--data", "data")
    assert result.exit_code == 0, result.output
    result = train("s.prototxt")
    assert result.exit_code == 1
    assert "nothing feeds data, label: name a dataset with --data" in result.stderr


@pytest.mark.usefixtures("place")
def test_what_is_rendered_for_a_folder_can_be_trained():
    asked = ["fcn16s", "--backbone", "vgg-small", "--dataset", "folder", "--data-dir", "data"]
    asked += ["--classes", "3", "--recipe", "batch", "--force"]
    for words, name in (
        (["--phase", "train"], "train.prototxt"),
        (["--phase", "val"], "val.prototxt"),
        (["--solver"], "solver.prototxt"),
    ):
        result = CliRunner().invoke(main, ["render", *asked, *words, "-o", name])
        assert result.exit_code == 0, result.output
    # Caffe stops where there is no folder for snapshots; train makes it.
    checked = CliRunner().invoke(main, ["check", "solver.prototxt"])
    assert checked.exit_code == 1 and checked.stdout.count("error") == 1
    assert "there is no directory 'snapshot'" in checked.stdout
    Path("snapshot").mkdir()
    checked = CliRunner().invoke(main, ["check", "solver.prototxt"])
    assert checked.exit_code == 0 and not checked.stdout, checked.output
    Path("snapshot").rmdir()
    solver = Path("solver.prototxt")
    text = solver.read_text()
    for old, new in (("max_iter: 100000", "max_iter: 2"), ("iter_size: 20", "iter_size: 2")):
        assert old in text
        text = text.replace(old, new)
    solver.write_text(text)
    result = train("solver.prototxt")
    assert result.exit_code == 0, result.output
    weights = weights_of("snapshot/train_iter_2.caffemodel")
    assert weights["score_pool4"][0].shape == (3, 48, 1, 1)
    assert weights["score_fr"][0].any()


# Warnings and refusals ------------------------------------------------------------------------


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_zeros_upon_zeros_are_warned_of():
    write_nets(filler="")
    result = train("s.prototxt")
    assert "warning: no weights are loaded, and those of c1, score are all 0" in result.stderr
    # Upon what is not zero, zeros learn: so do score layers on a trunk with fillers.
    write_nets()
    result = train("s.prototxt")
    assert result.exit_code == 0 and "nothing is ever learned" not in result.stderr


@pytest.mark.usefixtures("place")
def test_a_rate_that_does_not_fit_the_loss_is_warned_of():
    write_solver(rate="1e-10", iterations=1)
    assert (
        "its loss is a mean over labels, for which base_lr 1e-10 is" in train("s.prototxt").stderr
    )
    write_nets(loss="normalize: false")
    write_solver(rate="1e-2", iterations=1)
    assert "adds up the loss of 432 labels, for which base_lr 0.01" in train("s.prototxt").stderr
    write_solver(rate="1e-6", iterations=1)
    assert "base_lr" not in train("s.prototxt").stderr


@pytest.mark.usefixtures("place")
def test_a_rate_that_learns_nothing_from_nothing_is_refused():
    asked = ["fcn8s", "--backbone", "vgg-small", "--dataset", "folder", "--data-dir", "data"]
    asked += ["--classes", "3", "--recipe", "heavy", "--force"]
    for words, name in (
        (["--phase", "train"], "train.prototxt"),
        (["--phase", "val"], "val.prototxt"),
        (["--solver"], "solver.prototxt"),
    ):
        CliRunner().invoke(main, ["render", *asked, *words, "-o", name])
    result = train("solver.prototxt")
    assert result.exit_code == 1
    assert "for which base_lr 1e-14 is a rate to go on from weights" in result.stderr
    assert "--recipe scratch" in result.stderr
    assert not Path("snapshot").exists()


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_a_mean_in_rgb_is_warned_of():
    for split in ("train", "val"):
        path = Path(f"{split}.prototxt")
        mean = "'mean': (122.68, 116.67, 104.0), 'split'"
        path.write_text(path.read_text().replace("'split'", mean))
    assert "looks like RGB" in train("s.prototxt").stderr


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_masks_that_teach_class_0_alone_are_warned_of():
    assert "nothing but class 0" not in train("s.prototxt").stderr
    for path in Path("data/labels").iterdir():
        mask = (np.asarray(Image.open(path)) > 0) * np.uint8(255)
        Image.fromarray(mask).save(path)
    found = train("s.prototxt").stderr
    assert (
        "warning: the first label maps hold nothing but class 0 and 255, which is ignored" in found
    )


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_out_of_range_are_named_before_it_starts(split):
    name = Path(f"data/{split}.txt").read_text().split()[-1]
    labels = np.zeros((18, 24), np.uint8)
    labels[3, 4] = 9
    Image.fromarray(labels).save(f"data/labels/{name}.png")
    result = train("s.prototxt")
    assert result.exit_code == 1
    assert f"data/labels/{name}.png: error: 'label' holds the label 9, but" in result.stderr
    assert not Path("snap").exists()


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_it_and_spoils_nothing():
    assert train("s.prototxt").exit_code == 0
    before = Path("snap/t_iter_20.caffemodel").read_bytes()
    write_solver(rate="1e30")
    result = train("s.prototxt", "--resume", "snap/t_iter_20.solverstate")
    assert result.exit_code == 1
    assert "the loss of iteration 21 is nan" in result.stderr
    assert Path("snap/t_iter_20.caffemodel").read_bytes() == before
    assert not math.isnan(np.sum(weights_of("snap/t_iter_40.caffemodel")["c1"][0]))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.prototxt"], "gone.prototxt: error: there is no such folder or solver"),
        (["s.prototxt", "--data", "gone"], "gone: error:"),
        (["s.prototxt", "--resume", "gone"], "gone: error: cannot be read"),
        (["s.prototxt", "--weights", "gone"], "gone: error: cannot be read"),
        (["s.prototxt", "--device", "tpu"], "there is no device 'tpu'"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(arguments, message):
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("place")
def test_a_split_that_is_not_there_is_named():
    Path("data/val.txt").unlink()
    result = train("s.prototxt")
    assert result.exit_code == 1
    assert "there is no split 'val'" in result.stderr


@pytest.mark.usefixtures("place")
@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_what_was_there(monkeypatch):
    assert train("s.prototxt").exit_code == 0
    before = Path("snap/t_iter_20.caffemodel").read_bytes()

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcnproto.weights.caffemodel_writer._Message.write", full)
    result = train("s.prototxt")
    assert result.exit_code == 1
    assert "cannot be written: No space left on device" in result.stderr
    assert Path("snap/t_iter_20.caffemodel").read_bytes() == before


@pytest.mark.parametrize(("package", "name"), [("torch", "PyTorch"), ("matplotlib", "Matplotlib")])
def test_without_an_extra_it_says_what_to_install(place, package, name):
    code = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from fcnproto.cli import main; main(['train', 's.prototxt'])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=place
    )
    assert result.returncode == 1
    assert result.stderr == f"error: training needs {name}: pip install 'fcnproto[train]'\n"


# The log and its picture ----------------------------------------------------------------------


def test_a_log_that_goes_on_forgets_what_came_after(tmp_path):
    path = tmp_path / "log.csv"
    log = Log(path, 0)
    for number in range(5):
        log.add(LogRow(number, 1.5, 2.5, None, 1e-3, 10.0))
    again = Log(path, 3)
    again.add(LogRow(3, mean_iu=0.5))
    assert [row.iteration for row in read(path)] == [0, 1, 2, 3]
    assert read(path)[0] == LogRow(0, 1.5, 2.5, None, 1e-3, 10.0)
    assert read(path)[3].mean_iu == 0.5


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [3.0, 3.0], [1e6, 1.0, 1e-3], [float("nan"), 2.0], [0.0, 0.0], [-1.0, 5.0]],
)
def test_any_loss_can_be_drawn(values):
    rows = [LogRow(number, value, value, None, 1e-3, 1.0) for number, value in enumerate(values)]
    assert draw(rows, "title").size == (960, 540)


def test_a_title_is_no_mathematics():
    assert draw([LogRow(1, 2.0)], "$x^{run").size == (960, 540)


def test_the_mean_is_of_the_last_twentieth():
    values = [float(value) for value in np.random.default_rng(0).integers(0, 9, 60)]
    means = [np.mean(values[max(0, end - 3) : end]) for end in range(1, 61)]
    np.testing.assert_allclose(_smoothed(values), means)


@pytest.mark.slow
def test_a_measure_is_no_second_head(place):
    """An Accuracy beside the loss is not scored, whatever it compares with the labels."""

    def measured():
        result = train("s.prototxt")
        assert result.exit_code == 0, result.stderr
        return [line for line in result.stderr.splitlines() if "mean IU" in line]

    alone = measured()
    with Path("val.prototxt").open("a") as file:
        file.write(
            'layer { name: "accuracy" type: "Accuracy" bottom: "c1" bottom: "label" top: "a"'
            " accuracy_param { ignore_label: 255 } }\n"
        )
    assert alone and measured() == alone


LAYERS = {
    "Data": 'data_param { source: "db" batch_size: 2 backend: LMDB }',
    "HDF5Data": 'hdf5_data_param { source: "h5.txt" batch_size: 2 }',
    "ImageSegData": 'top: "dim" image_data_param { source: "list.txt" batch_size: 2 '
    "label_type: PIXEL }",
    "DenseImageData": 'dense_image_data_param { source: "list.txt" batch_size: 2 shuffle: true }',
    "ImageLabelmapData": 'image_data_param { source: "list.txt" batch_size: 2 }',
    "ImageLabelData": 'image_label_data_param { image_list_path: "i.txt" batch_size: 2'
    ' label_list_path: "l.txt" data_dir: "data/" } transform_param { mean_value: 90 }',
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.slow
def test_training_from_the_data_that_caffes_own_layers_read(place, kind):
    """The same nine images, as each layer has them: the loss falls, and the test net is scored."""
    h5py, lmdb = pytest.importorskip("h5py"), pytest.importorskip("lmdb")
    from fcnproto.proto.caffe_pb2 import Datum

    rgbs = [np.asarray(Image.open(f"data/images/{n}.png")) for n in range(9)]
    labels = [np.asarray(Image.open(f"data/labels/{n}.png")) for n in range(9)]
    Path("list.txt").write_text(
        "".join(f"data/images/{n}.png data/labels/{n}.png\n" for n in range(9))
    )
    Path("i.txt").write_text("".join(f"images/{n}.png\n" for n in range(9)))
    Path("l.txt").write_text("".join(f"labels/{n}.png\n" for n in range(9)))
    with h5py.File("0.h5", "w") as file:
        file["data"] = np.stack([rgb[..., ::-1].transpose(2, 0, 1) for rgb in rgbs]) - 90.0
        file["label"] = np.stack(labels)[:, np.newaxis]
    Path("h5.txt").write_text("0.h5\n")
    for name, arrays in (("db", [rgb[..., ::-1].transpose(2, 0, 1) for rgb in rgbs]),
                         ("labels", [label[np.newaxis] for label in labels])):  # fmt: skip
        file = lmdb.open(name, map_size=2**24)
        with file.begin(write=True) as write:
            for number, array in enumerate(arrays):
                channels, height, width = array.shape
                datum = Datum(channels=channels, height=height, width=width, data=array.tobytes())
                write.put(f"{number:04d}".encode(), datum.SerializeToString())
        file.close()
    layer = f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" {LAYERS[kind]} }}\n'
    if kind == "Data":  # as DIGITS has them: images and label maps apart
        layer = layer.replace(' top: "label"', "")
        layer += layer.replace('"data"', '"label"').replace('"db"', '"labels"')
    net = layer + NET.format(split="train", filler=FILLER, loss="").split("\n", 4)[4]
    for name in ("train", "val"):
        Path(f"{name}.prototxt").write_text('name: "tiny"\n' + net)
    result = train("s.prototxt")
    assert result.exit_code == 0, result.output
    rows = logged()
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses[-1] < 0.8 * losses[0]
    assert any(row["mean_iu"] and float(row["mean_iu"]) > 0.3 for row in rows)


def test_labels_in_lists_are_checked_before_it_begins(place):
    Path("list.txt").write_text("data/images/0.png data/labels/0.png\n")
    bad = np.asarray(Image.open("data/labels/0.png")).copy()
    bad[3, 3] = 9
    Image.fromarray(bad).save("data/labels/0.png")
    layer = f'layer {{ name: "data" type: "DenseImageData" top: "data" top: "label" {LAYERS["DenseImageData"]} }}\n'  # noqa: E501
    net = layer + NET.format(split="train", filler=FILLER, loss="").split("\n", 4)[4]
    for name in ("train", "val"):
        Path(f"{name}.prototxt").write_text(net)
    result = train("s.prototxt")
    assert result.exit_code == 1
    assert "data/labels/0.png: error: 'label' holds the label 9" in result.output
