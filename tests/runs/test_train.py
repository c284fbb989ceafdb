"""`fcnproto train DIR`: a folder of images and label maps to a model, pictures and a card."""

import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pycaffe
import pytest
from click.testing import CliRunner
from PIL import Image
from torchrun import torchrun

import fcnproto as fp
from fcnproto.cli import main
from fcnproto.datasets.augment import SETTINGS
from fcnproto.layers.python import read_param_str
from fcnproto.proto.caffe_pb2 import BlobProto
from fcnproto.proto.source import parse_net, read_solver
from fcnproto.runs import plan
from fcnproto.runs.pace import Pace
from fcnproto.training import curve
from fcnproto.training.loop import prepare
from fcnproto.weights import solverstate

NAMES = ("ground", "square", "bar")
COLOURS = ((0, 0, 0), (230, 60, 60), (60, 120, 230))
SIZE = (40, 56)


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def trained(*arguments):
    return invoke("train", *arguments, "--device", "cpu")


def write(folder, count=20, classes=3):
    """Squares and bars on a ground, each class in its own colours, with noise."""
    rng = np.random.default_rng(count)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        labels = np.zeros(SIZE, np.uint8)
        y, x = rng.integers(0, 20, 2)
        labels[y : y + 16, x : x + 16] = 1
        if classes > 2:
            x = rng.integers(40, 50)
            labels[:, x : x + 6] = 2
        image = np.array([(90, 110, 90), (220, 60, 60), (60, 60, 220)])[labels]
        image = image + rng.normal(0, 15, image.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.png")
        Image.fromarray(labels).save(folder / f"masks/{number}.png")
    legend = [f"{n} {r} {g} {b}\n" for n, (r, g, b) in zip(NAMES, COLOURS, strict=True)]
    (folder / "classes.txt").write_text("".join(legend[:classes]))


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data."""
    folder = tmp_path_factory.mktemp("train")
    write(folder / "data")
    return folder


@pytest.fixture(scope="module")
def done(place):
    """What the verb printed; run is beside the data."""
    before = bytes_of(place / "data")
    result = trained(place / "data", "-o", place / "run", "--iterations", 4)
    assert result.exit_code == 0, result.output
    assert bytes_of(place / "data") == before, "the data's own folder is left alone"
    return result


@pytest.fixture
def run(place, done):
    return place / "run"


def test_what_a_run_holds(run):
    files = {path.name for path in run.iterdir()}
    assert files == {
        "card.md",
        "confusion.png",
        "curves.png",
        "deploy.prototxt",
        "log.csv",
        "model.onnx",
        "run.json",
        "samples.png",
        "snapshot",
        "solver.prototxt",
        "tensorboard",
        "train.prototxt",
        "train.txt",
        "val.prototxt",
        "val.txt",
    }
    for name in ("confusion", "curves", "samples"):
        with Image.open(run / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 10
    rows = curve.read(run / "log.csv")
    assert [row.iteration for row in rows if row.loss is not None] == [0, 1, 2, 3]
    assert [row.iteration for row in rows if row.mean_iu is not None] == [1, 2, 3, 4]


def test_images_are_shared_out(run):
    train, val = ((run / f"{name}.txt").read_text().split() for name in ("train", "val"))
    assert len(val) == 4 and sorted([*train, *val]) == sorted(map(str, range(20)))


def test_nets_and_solver_are_taken_by_check(run):
    for name in ("solver", "train", "val", "deploy"):
        result = invoke("check", run / f"{name}.prototxt")
        assert result.exit_code == 0 and result.stdout == "", result.output


def test_the_solver_is_as_long_as_the_plan(run):
    """Of 4 iterations each is measured, and each is a snapshot: the plan makes 4 at most."""
    solver = read_solver(run / "solver.prototxt").solver
    assert (solver.max_iter, solver.test_interval, solver.snapshot) == (4, 1, 1)


def test_real_caffe_is_fed_the_same(run):
    """As the net's data layer says it: changed images in batches, and val as it is."""
    source = read_solver(run / "solver.prototxt")
    trained, (tested,) = prepare(source, None, 0)
    for phase, data, batch in (("train", trained, 2), ("val", tested, 1)):
        net = parse_net((run / f"{phase}.prototxt").read_text(), phase).net
        (param,) = (layer.python_param for layer in net.layer if layer.type == "Python")
        ours = data.feeds(range(1), skip=0, of=1)
        with pycaffe.imported():
            for (feed,), theirs, _ in zip(ours, pycaffe.feeds(param, 2), range(12), strict=False):
                np.testing.assert_array_equal(feed["data"], theirs[0])
                np.testing.assert_array_equal(feed["label"], theirs[1])
                assert len(theirs[0]) == batch and theirs[0].shape[2:] == SIZE
        ours.close()
        settings = {"mirror": True, "scale": (0.75, 1.5), "crop": SIZE, "batch": 2}
        for name, value in settings.items():
            assert (f"'{name}': {value}" in param.param_str) == (phase == "train"), name


@pytest.mark.parametrize(
    ("augment", "expected"), [("none", {}), ("flip", {"mirror": True}), (None, None)]
)
@pytest.mark.slow
def test_what_changes_images_is_chosen(place, tmp_path, augment, expected):
    chosen = [] if augment is None else ["--augment", augment]
    result = trained(place / "data", "-o", tmp_path / "run", "--iterations", 1, *chosen)
    assert result.exit_code == 0, result.output
    net = parse_net((tmp_path / "run" / "train.prototxt").read_text(), "train").net
    settings = read_param_str(net.layer[0].python_param.param_str)
    own = {key: settings[key] for key in (*SETTINGS, "batch") if key in settings}
    if expected is None:
        assert own.keys() == {*SETTINGS, "batch"}
    else:
        assert own == expected
        assert "iter_size: 2\n" in (tmp_path / "run" / "solver.prototxt").read_text()
    assert f"augmentation {augment or 'full'}," in (tmp_path / "run" / "card.md").read_text()


def test_the_model_says_what_it_is(run):
    about = fp.Segmenter(run / "model.onnx", device="cpu").metadata
    assert about.classes == {"score": NAMES}
    assert about.palette == COLOURS
    assert about.mean == {"data": (104.00699, 116.66877, 122.67892)}


def test_the_card_has_the_models_measures(place, run, done):
    """Counted once more, pixel by pixel, from what the model makes of val's images."""
    segmenter = fp.Segmenter(run / "model.onnx", device="cpu")
    confusion = np.zeros((3, 3), int)
    for name in (run / "val.txt").read_text().split():
        truth = np.asarray(Image.open(place / "data" / "masks" / f"{name}.png"))
        labels = segmenter(place / "data" / "images" / f"{name}.png").labels
        np.add.at(confusion, (truth, labels), 1)
    right = confusion.diagonal()
    ius = right / (confusion.sum(0) + confusion.sum(1) - right)
    card = (run / "card.md").read_text()
    assert f"| {ius.mean():.4f} |" in card
    for name, iu in zip(NAMES, ius, strict=True):
        assert f"| {name} | {iu:.4f} |" in card
    assert "recipe: scratch (Adam, base_lr 0.002" in card
    assert "16 images to train on, 4 to measure on" in card
    assert f"mean IU {ius.mean():.4f}" in done.stdout


@pytest.mark.slow
def test_a_run_is_never_overwritten(place, run):
    before = bytes_of(run)
    for name in ("run-2", "run-3"):
        result = trained(place / "data", "-o", run, "--iterations", 1)
        assert result.exit_code == 0, result.output
        assert (place / name / "model.onnx").is_file()
    assert bytes_of(run) == before


@pytest.mark.slow
def test_lists_of_the_folder_are_kept(place, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    (data / "val.txt").write_text("0\n1\n2\n")
    result = trained(data, "-o", tmp_path / "a", "--iterations", 1)
    assert result.exit_code == 1 and "no train.txt" in result.stderr
    (data / "train.txt").write_text("".join(f"{n}\n" for n in range(3, 20)))
    result = trained(data, "-o", tmp_path / "a", "--iterations", 1)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "a" / "val.txt").exists()
    assert "17 images to train on, 3 to measure on" in (tmp_path / "a" / "card.md").read_text()


@pytest.mark.slow
def test_patience_ends_it(place, tmp_path, monkeypatch):
    """With a net that stays as it is, no measurement is better than the first."""
    monkeypatch.setattr(
        "fcnproto.training.solver.rate", lambda _param, _iteration, step: (0.0, step)
    )
    options = ["--iterations", 8, "--patience", 3]
    result = trained(place / "data", "-o", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert "3 measurements in a row were no better: it ends here" in result.stderr
    rows = curve.read(tmp_path / "run" / "log.csv")
    assert [row.iteration for row in rows if row.mean_iu is not None] == [1, 2, 3, 4]
    assert max(row.iteration for row in rows if row.loss is not None) == 3
    assert "--patience 3" in (tmp_path / "run" / "card.md").read_text()
    result = trained(place / "data", "--resume", tmp_path / "run")
    assert result.exit_code == 0 and "it ends here" in result.stderr


@pytest.mark.slow
def test_class_weights(place, tmp_path):
    """By median frequency over the label maps of train, in the loss of the training net alone."""
    run = tmp_path / "run"
    result = trained(place / "data", "-o", run, "--iterations", 2, "--class-weights")
    assert result.exit_code == 0, result.output
    names = (run / "train.txt").read_text().split()
    maps = [np.asarray(Image.open(place / "data" / "masks" / f"{name}.png")) for name in names]
    counts = np.array([np.bincount(each.ravel(), minlength=3) for each in maps])
    frequencies = counts.sum(0) / (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)
    weights = np.median(frequencies) / frequencies
    said = ", ".join(f"{n} {w:.3g}" for n, w in zip(NAMES, weights, strict=True))
    assert f"class weights: {said}" in result.stderr
    losses = {}
    for phase in ("train", "val"):
        net = parse_net((run / f"{phase}.prototxt").read_text(), phase).net
        losses[phase] = net.layer[-1]
        result = invoke("check", run / f"{phase}.prototxt")
        assert result.exit_code == 0 and result.stdout == "", result.output
    assert [loss.type for loss in losses.values()] == ["InfogainLoss", "SoftmaxWithLoss"]
    blob = BlobProto.FromString(Path(losses["train"].infogain_loss_param.source).read_bytes())
    np.testing.assert_allclose(np.reshape(blob.data, (3, 3)), np.diag(weights), rtol=1e-6)
    assert all(row.loss_per_label for row in curve.read(run / "log.csv") if row.loss)


@pytest.mark.slow
def test_rare_classes_are_said(place, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    for path in (data / "masks").iterdir():
        labels = np.zeros(SIZE, np.uint8)
        labels[5:8, 5:8] = 1
        labels[:, 20:40] = 2
        Image.fromarray(labels).save(path)
    result = trained(data, "-o", tmp_path / "run", "--iterations", 1)
    assert result.exit_code == 0, result.output
    assert "rare, under 0.5% of the pixels: square; --class-weights lets them" in result.stderr


def test_tensorboard_shows_the_run(run):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(run / "tensorboard")).Reload()
    rows = curve.read(run / "log.csv")
    for tag, name in (("loss", "loss_per_label"), ("mean_iu", "mean_iu")):
        expected = [(r.iteration, getattr(r, name)) for r in rows if getattr(r, name) is not None]
        shown = [(each.step, each.value) for each in found.Scalars(tag)]
        assert shown == [(step, pytest.approx(value, rel=1e-5)) for step, value in expected]
    assert len(found.Scalars("learning_rate")) == 4


@pytest.mark.slow
def test_two_processes_train_a_folder(place, run, tmp_path):
    """Two that take one image each do what one does that takes two."""
    options = ["--iterations", 4, "--augment", "none"]
    torchrun("train", place / "data", *options, "--batch", 1, "-o", tmp_path / "two")
    assert not (tmp_path / "two-2").exists()
    result = trained(place / "data", *options, "--batch", 2, "-o", tmp_path / "one")
    assert result.exit_code == 0, result.output
    last = Path("snapshot", "train_iter_4.caffemodel")
    one, other = (fp.load_weights(tmp_path / each / last).by_layer for each in ("one", "two"))
    for name, arrays in one.items():
        for mine, whole in zip(other[name], arrays, strict=True):
            # Sums of gradients in another order, which Adam divides by their size.
            np.testing.assert_allclose(mine, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_minutes_plan_the_iterations(place, tmp_path):
    lines = []
    run = fp.train(
        place / "data", output=tmp_path / "run", minutes=0.05, device="cpu", progress=lines.append
    )
    count = int(re.findall(r"(\d+) iterations fit into", "\n".join(lines))[-1])
    assert sum(row.loss is not None for row in run.history) == count
    assert f"max_iter: {count}\n" in (run.path / "solver.prototxt").read_text()
    assert run.best.mean_iu > 0 and run.model == run.path / "model.onnx"


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_goes_on_bit_for_bit(place, run, tmp_path):
    def stop(text):
        if text.startswith("iteration 2, test net"):
            os.kill(os.getpid(), signal.SIGINT)

    stopped = fp.train(
        place / "data", output=tmp_path / "run", iterations=4, device="cpu", progress=stop
    )
    assert stopped.model is None and stopped.best is None
    assert (stopped.path / "snapshot" / "train_iter_2.solverstate").is_file()
    assert not (stopped.path / "model.onnx").exists()
    result = trained(place / "data", "--resume", stopped.path)
    assert result.exit_code == 0, result.output
    assert "device: cpu\ngoing on at iteration 2 of 4" in result.stderr
    assert_same_end(stopped.path, run)


def assert_same_end(path, run):
    """Two runs came to the same weights, bit for bit, and logged the same."""
    last = Path("snapshot", "train_iter_4.caffemodel")
    # The files themselves differ in the folder's name, which their data layer has.
    ended, expected = (fp.load_weights(each / last).by_layer for each in (path, run))
    assert ended.keys() == expected.keys()
    for name, arrays in expected.items():
        for mine, whole in zip(ended[name], arrays, strict=True):
            np.testing.assert_array_equal(mine, whole)
    mine, whole = (curve.read(each / "log.csv") for each in (path, run))
    assert [(row.iteration, row.loss, row.mean_iu) for row in mine] == [
        (row.iteration, row.loss, row.mean_iu) for row in whole
    ]


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(place, run, tmp_path):
    """Right after it has logged half a line of the iteration that comes after its snapshot."""
    path = tmp_path / "run"

    def kill(text):
        if text.startswith("iteration 3, test net"):
            raise Killed

    with pytest.raises(Killed):
        fp.train(place / "data", output=path, iterations=4, device="cpu", progress=kill)
    with (path / "snapshot" / "train_log.csv").open("a") as file:
        file.write("3,0.1")
    result = trained(place / "data", "--resume", path)
    assert result.exit_code == 0, result.output
    assert_same_end(path, run)
    assert not [each for each in path.rglob("*") if each.name.startswith(".fcnproto-")]


@pytest.mark.parametrize("where", ["snapshot", "log", "tensorboard"])
@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on(place, run, tmp_path, monkeypatch, where):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        if where == "snapshot":
            # The first snapshots, of the start and of the best, have been written by then.
            write, count = solverstate.write, [0]

            def some(*arguments):
                count[0] += 1
                return write(*arguments) if count[0] < 3 else full()

            patched.setattr("fcnproto.training.solver.solverstate.write", some)
        elif where == "log":
            patched.setattr("fcnproto.training.curve._cells", lambda row: full())
        else:
            name = "torch.utils.tensorboard.SummaryWriter.add_scalar"
            pytest.importorskip("tensorboard")
            patched.setattr(name, full)
        result = trained(place / "data", "-o", path, "--iterations", 4)
    if where == "tensorboard":
        assert result.exit_code == 0, result.output
        assert "TensorBoard's files cannot be written: No space left on device" in result.stderr
    else:
        assert result.exit_code == 1, result.output
        assert "No space left on device" in result.stderr.splitlines()[-1]
        result = trained(place / "data", "--resume", path)
        assert result.exit_code == 0, result.output
    assert_same_end(path, run)


def test_what_cannot_be_resumed(place, run, tmp_path):
    write(tmp_path / "other", 5)
    result = trained(tmp_path / "other", "--resume", run)
    assert result.exit_code == 1 and "this run was begun on" in result.stderr
    result = trained(place / "data", "--resume", tmp_path)
    assert result.exit_code == 1 and "there is no run here" in result.stderr
    legend = place / "data" / "classes.txt"
    written = legend.read_text()
    try:
        legend.write_text(written + "kite\n")
        result = trained(place / "data", "--resume", run)
    finally:
        legend.write_text(written)
    assert result.exit_code == 1
    assert "begun with the classes ground, square, bar" in result.stderr
    assert "ground, square, bar, kite now: begin another run" in result.stderr
    result = trained(place / "data", "--resume", run, "--iterations", 3)
    assert result.exit_code == 2 and "--iterations cannot change it" in result.stderr


@pytest.mark.slow
def test_weights_of_another_net_are_taken_over(run, tmp_path):
    write(tmp_path / "two", 6, classes=2)
    weights = run / "snapshot" / "train_best.caffemodel"
    result = trained(
        tmp_path / "two", "-o", tmp_path / "a", "--iterations", 1, "--weights", weights
    )
    assert result.exit_code == 0, result.output
    assert "recipe finetune: it starts from" in result.stderr
    assert "has nothing that fits score_fr, " in result.stderr
    assert "base_lr: 0.0001\n" in (tmp_path / "a" / "solver.prototxt").read_text()
    start, old = (
        fp.load_weights(path)
        for path in (tmp_path / "a" / "snapshot" / "start.caffemodel", weights)
    )
    np.testing.assert_array_equal(start["conv1_1"][0], old["conv1_1"][0])
    assert start["score_fr"][0].shape[0] == 2


# Stages ---------------------------------------------------------------------------------------


def staged(place, run, output, stop=None):
    def say(text):
        if text.startswith(stop or "never"):
            raise Killed

    weights = run / "snapshot" / "train_best.caffemodel"
    return fp.train(
        place / "data", output=output, weights=weights, iterations=6, stages=True, device="cpu",
        progress=say,
    )  # fmt: skip


@pytest.mark.slow
def test_stages_follow_each_other(place, run, tmp_path):
    """Each from the best of the one before, 32s, 16s, 8s, two iterations each."""
    done = staged(place, run, tmp_path / "run")
    assert done.path == tmp_path / "run" and done.model == done.path / "model.onnx"
    before = fp.load_weights(run / "snapshot" / "train_best.caffemodel")
    for net, folder in (("32", "fcn32s"), ("16", "fcn16s"), ("8", "")):
        path = done.path / folder
        assert f"FCN-{net}s on" in (path / "train.prototxt").read_text().splitlines()[0]
        assert "max_iter: 2\n" in (path / "solver.prototxt").read_text()
        start = fp.load_weights(path / "snapshot" / "start.caffemodel")
        for layer in ("conv1_1", "fc7", "score_fr"):
            np.testing.assert_array_equal(start[layer][0], before[layer][0])
        before = fp.load_weights(path / "snapshot" / "train_best.caffemodel")
        assert not np.array_equal(before["fc7"][0], start["fc7"][0])
        assert (path / "val.txt").read_bytes() == (run / "val.txt").read_bytes()


@pytest.mark.slow
def test_stages_go_on_where_they_were_killed(place, run, tmp_path):
    whole = staged(place, run, tmp_path / "whole")
    path = tmp_path / "run"
    with pytest.raises(Killed):
        staged(place, run, path, stop="fcn16s on vgg-small")
    thirty_two = bytes_of(path / "fcn32s")
    result = trained(place / "data", "--resume", path)
    assert result.exit_code == 0, result.output
    assert bytes_of(path / "fcn32s") == thirty_two
    assert {each.name for each in path.iterdir()} == {each.name for each in whole.path.iterdir()}
    last = Path("snapshot", "train_iter_2.caffemodel")
    one, other = (fp.load_weights(each / last).by_layer for each in (path, whole.path))
    for name, arrays in one.items():
        for mine, theirs in zip(arrays, other[name], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    write(tmp_path / "other", 5)
    (path / "run.json").unlink()
    result = trained(tmp_path / "other", "--resume", path)
    assert result.exit_code == 1 and "this run was begun on" in result.stderr


# Bad input ------------------------------------------------------------------------------------


def _one_image(data):
    for number in range(1, 20):
        (data / f"images/{number}.png").unlink()
        (data / f"masks/{number}.png").unlink()


def _no_masks(data):
    shutil.rmtree(data / "masks")


def _other_size(data):
    Image.new("L", (9, 9)).save(data / "masks/3.png")


def _beyond(data):
    Image.new("L", SIZE[::-1], 7).save(data / "masks/3.png")


def _all_ignored(data):
    for path in (data / "masks").iterdir():
        Image.new("L", SIZE[::-1], 255).save(path)


def _one_class(data):
    for path in (data / "masks").iterdir():
        Image.new("L", SIZE[::-1], 1).save(path)


def _other_names(data):
    for path in list((data / "masks").iterdir()):
        path.rename(path.with_name(f"x{path.name}"))


def _no_image(data):
    (data / "images/3.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_image, "1 image has a label map"),
        (_no_masks, "there are no label maps"),
        (_other_size, "3.png"),
        (_beyond, "7"),
        (_all_ignored, "255"),
        (_one_class, "there is one class only, 1"),
        (_other_names, "label map"),
        (_no_image, "3.png"),
    ],
)
def test_bad_folders_are_refused_before_training(place, tmp_path, spoil, message):
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    spoil(data)
    result = trained(data, "-o", tmp_path / "run", "--iterations", 1)
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    assert errors and any(message in line for line in errors), result.stderr
    assert not (tmp_path / "run").exists()


def _one_is_ignored(data):
    Image.new("L", SIZE[::-1], 255).save(data / "masks/3.png")


def _in_val_alone(data):
    names = sorted(path.stem for path in (data / "masks").iterdir())
    (data / "train.txt").write_text("\n".join(names[1:]))
    (data / "val.txt").write_text(names[0])
    labels = np.full(SIZE, 3, np.uint8)
    labels[:4] = 0
    Image.fromarray(labels).save(data / f"masks/{names[0]}.png")
    (data / "classes.txt").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_is_ignored, "3.png: warning: all of it is 255"),
        (_in_val_alone, "in val alone: what train does not show is not learned"),
    ],
)
@pytest.mark.slow
def test_doubtful_folders_are_warned_of_before_training(place, tmp_path, spoil, message):
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    spoil(data)
    result = trained(data, "-o", tmp_path / "run", "--iterations", 1)
    assert result.exit_code == 0, result.output
    before = result.stderr.partition("everything goes to")[0]
    assert message in before, result.stderr


def test_a_folder_that_is_not_there_is_said(tmp_path):
    result = trained(tmp_path / "none", "-o", tmp_path / "run", "--iterations", 1)
    assert result.exit_code == 1
    assert result.stderr.endswith("none: error: there is no such folder or solver\n")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--net", "fcn9s"], 1, "there is no net 'fcn9s'; did you mean 'fcn8s'?"),
        (["--backbone", "vgg"], 1, "there is no backbone 'vgg'"),
        (["--weights", "none.npz"], 1, "none.npz"),
        (["--iterations", "0"], 1, "iterations must be at least 1"),
        (["--minutes", "-1"], 1, "minutes must be more than 0"),
        (["--minutes", "nan"], 1, "minutes must be more than 0"),
        (["--stages"], 1, "stages are for fine-tuning: give the weights"),
        (["--stages", "--net", "fcn32s", "--weights", "w"], 1, "stages lead to fcn16s or fcn8s"),
        (["--patience", "0"], 1, "patience must be at least 1"),
        (["--batch", "0"], 1, "batch must be at least 1"),
        (["--augment", "fulll"], 1, "there is no augmentation 'fulll'; did you mean 'full'?"),
        (["--minutes", "1", "--iterations", "1"], 2, "not both"),
        (["--data", "x"], 2, "--data is for a solver"),
    ],
)
def test_bad_options(place, tmp_path, options, code, message):
    result = trained(place / "data", "-o", tmp_path / "run", *options)
    assert result.exit_code == code and message in result.stderr, result.output
    assert not (tmp_path / "run").exists()


def test_options_of_a_folder_are_not_for_a_solver(run, tmp_path):
    result = trained(run / "solver.prototxt", "--minutes", 1, "-o", tmp_path / "x")
    assert result.exit_code == 2 and "takes no --minutes, --output" in result.stderr


# The plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 20, 100, 101, 3000])
def test_the_last_iteration_is_measured(count):
    found = plan.of_iterations(count)
    assert found.iterations == count and count % found.interval == 0
    assert count // found.interval <= plan.MEASURED


def test_a_slow_computer_gets_a_shorter_plan():
    """100 seconds, of which 90 train; 200 iterations in 20 parts, each of which takes 9 seconds."""

    class Planned:
        recipe = SimpleNamespace(max_iter=200, test_interval=10)
        saved = 0

        def planned(self, own):
            assert own.interval == 10
            new = Planned()
            new.recipe = SimpleNamespace(max_iter=own.iterations, test_interval=10)
            return new

        def save(self):
            Planned.saved += 1

    clock = [0.0]
    said = []
    pace = Pace(Planned(), 100, said.append, lambda: clock[0])
    end, iteration = 200, 0
    while iteration < end:
        iteration += 10
        clock[0] += 9
        end = pace(iteration)
    assert iteration == end == pace.job.recipe.max_iter == 100 and clock[0] == 90
    assert said == ["steps take another time than planned: 100 iterations fit into it"]
    assert Planned.saved == 1


def test_a_computer_that_is_free_again_gets_its_plan_back():
    clock, asked = [0.0], []
    job = SimpleNamespace(recipe=SimpleNamespace(max_iter=200, test_interval=10), save=list)
    job.planned = lambda own: SimpleNamespace(
        **vars(job) | {"recipe": SimpleNamespace(max_iter=own.iterations, test_interval=10)}
    )
    pace = Pace(job, 100, asked.append, lambda: clock[0])
    ends = []
    for iteration, seconds in ((10, 9), (20, 9), (30, 1), (40, 1)):
        clock[0] += seconds
        ends.append(pace(iteration))
    assert ends == [100, 100, 200, 200] and len(asked) == 2


def test_a_fast_computer_keeps_its_plan():
    recipe = SimpleNamespace(max_iter=200, test_interval=10)
    clock = [0.0]
    pace = Pace(SimpleNamespace(recipe=recipe), 100, print, lambda: clock[0])
    for iteration in range(10, 201, 10):
        clock[0] += 1
        assert pace(iteration) == 200


def test_a_plan_fits_its_time():
    for seconds, step, measurement in ((600, 0.1, 2), (60, 0.5, 30), (600, 0.01, 0.01)):
        found = plan.of_seconds(seconds, step, measurement)
        taken = found.iterations * step + found.iterations // found.interval * measurement
        assert 0.8 * seconds < taken <= 0.9 * seconds
    assert plan.of_seconds(1, 50, 50) == plan.Plan(1, 1)


@pytest.mark.slow
def test_it_learns(place, tmp_path):
    run = fp.train(place / "data", output=tmp_path / "run", iterations=300, device="cpu")
    assert run.best.mean_iu > 0.8
