"""`fcnproto demo`: everything once, from what is drawn and shipped."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.datasets import generated
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runs import demo
from fcnproto.weights import fetch, read
from fcnproto.zoo import specs

ENOUGH = 0.85


def invoke(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What the verb printed, and the folder in which it was called."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = invoke("demo")
    assert result.exit_code == 0, result.output
    return result, folder


def test_it_says_how_good_the_net_is(done):
    result, _ = done
    (value,) = re.findall(r"^mean IU +([\d.]+)%$", result.stdout, re.M)
    assert float(value) > 100 * ENOUGH
    for name in specs.dataset("shapes").classes:
        assert re.search(rf"^{name} ", result.stdout, re.M)


def test_everything_lies_in_the_folder(done):
    _, folder = done
    found = {path.relative_to(folder / "demo").as_posix() for path in folder.rglob("*.*")}
    names = [f"val-{number:04}" for number in range(demo.IMAGES)]
    expected = {"shapes-fcn8s.prototxt", "shapes-fcn8s.onnx", "demo.png", "val.txt", "classes.txt"}
    expected |= {f"{part}/{name}.png" for part in ("images", "labels") for name in names}
    expected |= {f"segmented/{name}.png" for name in names[: demo.SHOWN]}
    expected |= {f"segmented/{name}.overlay.jpg" for name in names[: demo.SHOWN]}
    assert found == expected


def test_the_commands_that_it_tells_do_the_same(done, monkeypatch, tmp_path):
    result, folder = done
    shutil.copytree(folder / "demo", tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    commands = [line for line in result.stderr.splitlines() if line.startswith("fcnproto ")]
    assert [command.split()[1] for command in commands] == [
        "render", "export-onnx", "segment", "score",
    ]  # fmt: skip
    made = [*Path("demo").glob("shapes-fcn8s.*"), *Path("demo/segmented").iterdir()]
    assert len(made) == 2 + 2 * demo.SHOWN
    for path in made:
        path.unlink()
    for command in commands:
        again = invoke(*shlex.split(command)[1:])
        assert again.exit_code == 0, again.output
    assert again.stdout == result.stdout
    for path in made:
        assert path.read_bytes() == (folder / path).read_bytes(), path


def test_the_folder_is_one_of_data_of_ones_own(done, monkeypatch):
    _, folder = done
    monkeypatch.chdir(folder)
    checked = invoke("dataset", "check", "demo")
    assert checked.exit_code == 0, checked.output
    assert "50 label maps, classes 0 to 4 (5)" in checked.stderr
    reader = generated("shapes")
    with (
        Image.open("demo/labels/val-0007.png") as labels,
        Image.open("demo/images/val-0007.png") as image,
    ):
        np.testing.assert_array_equal(labels, reader.label("label", 7))
        np.testing.assert_array_equal(image, reader.picture("data", 7))


def test_a_model_is_scored_on_what_is_drawn(done, monkeypatch):
    _, folder = done
    monkeypatch.chdir(folder)
    model = "demo/shapes-fcn8s.onnx"
    result = invoke("score", "--model", model, "--dataset", "shapes", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["mean_iu"] > ENOUGH
    assert sum(each["pixels"] for each in found["per_class"]) == sum(
        generated("shapes").label("label", index).size for index in range(200)
    )
    result = invoke("score", "--model", model, "--dataset", "voc")
    assert result.exit_code == 1
    assert result.stderr.endswith("error: dataset 'voc' lies in files: --data DIR says where\n")
    result = invoke("score", "--model", model, "--dataset", "shapes", "--data", "demo")
    assert result.exit_code == 2


def test_the_picture_shows_images_labels_and_the_truth(done):
    _, folder = done
    with Image.open(folder / "demo" / "demo.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**24)}
    assert set(specs.dataset("shapes").palette[:5]) <= colours
    assert picture.width == 4 * 348 + 12


@pytest.mark.slow
def test_twice_gives_the_same(done, tmp_path):
    _, folder = done
    shutil.copytree(folder / "demo", tmp_path / "again")
    (tmp_path / "again" / "demo.png").unlink()
    result = invoke("demo", "-o", str(tmp_path / "again"), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["mean_iu"] > ENOUGH
    for path in (folder / "demo").rglob("*.*"):
        again = tmp_path / "again" / path.relative_to(folder / "demo")
        if path.suffix != ".prototxt":
            assert again.read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_it_needs_no_pytorch_and_no_network(tmp_path):
    code = (
        "import socket, sys\n"
        "sys.modules['torch'] = None\n"
        "def refuse(*_): raise OSError('there is no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from fcnproto.cli import main\n"
        "main(['demo', '-o', 'there'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "mean IU" in run.stdout
    assert (tmp_path / "there" / "demo.png").is_file()


@pytest.mark.parametrize("part", ["", "images", "segmented"])
def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path, part):
    folder = tmp_path / "demo"
    if part:
        folder.mkdir()
    (folder / part).write_text("in the way")
    result = invoke("demo", "-o", str(folder))
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("fcnproto ")]
    assert line.startswith(f"{folder / part}: error: ")
    assert "cannot be made" in line


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", fail)
    result = invoke("demo", "-o", str(tmp_path / "demo"))
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert not [path for path in (tmp_path / "demo").rglob("*") if path.is_file()]


# The weights that are shipped ---------------------------------------------------------------------


def test_shipped_weights_fit_their_nets_and_are_small():
    files = sorted((specs.MODELS / "nets").glob("*.caffemodel"))
    assert [path.stem for path in files] == ["shapes-fcn16s", "shapes-fcn32s", "shapes-fcn8s"]
    for path in files:
        assert path.stat().st_size <= 10**6
        graph = build(parse_net(render(path.stem)))
        found = read(path)
        for index, wanted in infer(graph).weights.items():
            name = graph.nodes[index].layer.name
            assert [array.shape for array in found.get(name, [])] == [w.shape for w in wanted], name


def test_shipped_weights_go_by_the_nets_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = specs.MODELS / "nets" / "shapes-fcn8s.caffemodel"
    assert fetch.locate("shapes-fcn8s") == shipped
    result = invoke("fetch", "shapes-fcn8s")
    assert result.exit_code == 0 and str(shipped) in result.output
    result = invoke("export-onnx", "shapes-fcn8s", "--weights", "shapes-fcn8s")
    assert result.exit_code == 0, result.output
    Path("shapes-fcn8s").write_text("a file of that name goes first")
    assert fetch.locate("shapes-fcn8s") == Path("shapes-fcn8s")
    assert fetch.shipped("../nets/shapes-fcn8s") is None
