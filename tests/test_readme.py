"""The README's commands, word for word: installed from a copy, in an environment of their own.

This is the proof of the wheel too: what is installed must hold templates, models and all else.
"""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT

README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.slow


def block(mark):
    """The commands below a mark."""
    (commands,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)```", README, re.DOTALL)
    return commands


def run(commands, folder, environment):
    """Run shell commands, which must all succeed; gives what they printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_project(folder):
    """A copy of what git has, or would have, but for the tests."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a copy of the project, and an environment into which it was installed."""
    folder = tmp_path_factory.mktemp("readme")
    copy_project(folder / "copy")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(folder / "env"),
    }
    environment.pop("PYTHONPATH", None)
    printed = run(block("install"), folder / "copy", environment)
    return folder, environment, printed


def mean_iu(printed):
    (value,) = re.findall(r"^mean IU +([\d.]+)%$", printed, re.M)
    return float(value)


def test_the_first_command_installs_and_shows_all(installed):
    folder, environment, printed = installed
    assert mean_iu(printed) > 85
    assert (folder / "copy" / "demo" / "demo.png").is_file()
    shutil.rmtree(folder / "copy")  # what was installed must stand alone
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    assert mean_iu(run("fcnproto demo", elsewhere, environment)) == mean_iu(printed)
    net = run("fcnproto render fcn8s", elsewhere, environment)
    assert net.startswith("# FCN-8s on VGG16 for PASCAL VOC 2011, 21 classes: deploy\n")
    assert "voc-fcn8s" in run("fcnproto list", elsewhere, environment)
    find = (
        "from importlib.resources import files; print((files('fcnproto') / 'py.typed').is_file())"
    )
    assert run(f'python -c "{find}"', elsewhere, environment).strip() == "True"


LAYERS = {
    "conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64), "conv2_2": (128, 128),
    "conv3_1": (256, 128), "conv3_2": (256, 256), "conv3_3": (256, 256), "conv4_1": (512, 256),
    "conv4_2": (512, 512), "conv4_3": (512, 512), "conv5_1": (512, 512), "conv5_2": (512, 512),
    "conv5_3": (512, 512), "fc6": (4096, 25088), "fc7": (4096, 4096), "fc8": (1000, 4096),
}  # fmt: skip


def test_the_tour(installed):
    folder, environment, _ = installed
    tour = folder / "tour"
    tour.mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in LAYERS.items():
        kernel = (3, 3) if name.startswith("conv") else ()
        arrays[f"{name}/0"] = rng.standard_normal((*shape, *kernel), np.float32) * np.float32(0.02)
        arrays[f"{name}/1"] = np.zeros(shape[0], np.float32)
    np.savez(tour / "vgg16.npz", **arrays)
    run(block("tour"), tour, environment)
    with np.load(tour / "net.npz") as converted:
        assert converted["fc6/0"].shape == (4096, 512, 7, 7)
        assert np.array_equal(converted["fc6/0"], arrays["fc6/0"].reshape(4096, 512, 7, 7))
    del arrays
    check = """
import onnxruntime, numpy as np
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession('net.onnx', options, providers=['CPUExecutionProvider'])
for number, height, width in ((1, 1, 1), (3, 64, 64), (1, 97, 131)):
    image = np.zeros((number, 3, height, width), np.float32)
    (score,) = session.run(None, {'data': image})
    assert score.shape == (number, 21, height, width)
print('ran')
"""
    assert run(f'python -c "{check}"', tour, environment).strip() == "ran"


def test_the_demo_was_made_by_the_same_commands():
    page = (ROOT / "docs" / "demo.md").read_text()
    (commands,) = re.findall(r"<!-- train -->\n```sh\n(.*?)```", page, re.DOTALL)
    # .ci/train runs them, and looks at what comes out.
    assert block("train").startswith("pip install '.[train]'\n" + commands)
