"""The command line: exit codes and outputs of list, render, check, diff and upgrade."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from fcnproto.cli import main
from fcnproto.version import __version__


@pytest.fixture
def fcnproto(tmp_path, monkeypatch):
    """Run the program in an empty directory; gives the result."""
    monkeypatch.chdir(tmp_path)

    def run(*words, **options):
        return CliRunner().invoke(main, [str(word) for word in words], **options)

    return run


def files():
    return sorted(path.name for path in Path().iterdir())


def assert_refused(result, *parts):
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


def test_version_and_help(fcnproto):
    assert __version__ in fcnproto("--version").stdout
    words = fcnproto("--help").stdout
    for verb in ("list", "render", "check", "diff", "upgrade"):
        assert verb in words
        assert fcnproto(verb, "--help").exit_code == 0


def test_list_names_every_kind(fcnproto):
    assert "fcn16s" in fcnproto("list").stdout
    names = json.loads(fcnproto("list", "--json").stdout)
    assert set(names) == {"nets", "datasets", "backbones"}
    assert "voc-fcn8s" in names["nets"]


def test_render_writes_prototxt_and_nothing_else(fcnproto):
    result = fcnproto("render", "fcn16s")
    assert result.exit_code == 0
    assert result.stderr == ""
    Path("net.prototxt").write_text(result.stdout)
    checked = fcnproto("check", "net.prototxt")
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert "0 errors" in checked.stderr


def test_render_to_a_file_is_whole_and_never_overwrites_unasked(fcnproto):
    assert fcnproto("render", "fcn32s", "-o", "net.prototxt").exit_code == 0
    first = Path("net.prototxt").read_text()
    assert_refused(fcnproto("render", "fcn8s", "-o", "net.prototxt"), "net.prototxt", "--force")
    assert Path("net.prototxt").read_text() == first
    assert fcnproto("render", "fcn8s", "-o", "net.prototxt", "--force").exit_code == 0
    assert Path("net.prototxt").read_text() != first
    assert files() == ["net.prototxt"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("fcn16",), ("fcn16", "did you mean 'fcn16s'?")),
        (("fcn16s", "--classes", "0"), ("classes", "0")),
        (("fcn16s", "--backbone", "vgg"), ("vgg", "did you mean 'vgg16'?")),
        (("fcn16s", "--dataset", "coco"), ("coco",)),
        (("fcn16s", "--pad", "3", "--size", "8x8"), ("8x8",)),
    ],
)
def test_render_refuses_in_one_line_and_writes_nothing(fcnproto, words, parts):
    result = fcnproto("render", *words, "-o", "net.prototxt")
    assert_refused(result, *parts)
    assert result.stderr.count("\n") == 1
    assert files() == []


@pytest.mark.parametrize("size", ["500", "axb", "0x5", "5x", "-1x5"])
def test_a_size_that_is_none_is_wrong_usage(fcnproto, size):
    assert fcnproto("render", "fcn32s", "--size", size).exit_code == 2


def test_a_solver_takes_no_size(fcnproto):
    assert fcnproto("render", "fcn32s", "--solver", "--size", "5x5").exit_code == 2


def test_what_is_current_already_is_said_once(fcnproto):
    result = fcnproto("upgrade", "-", input='name: "n"\n')
    assert result.stderr == "<stdin>: note: is in the current form already\n"


def test_check_tells_every_problem_with_file_and_line(fcnproto):
    Path("bad.prototxt").write_text(
        """name: "bad"
colour: 1
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "a" type: "Convolutional" bottom: "data" top: "a" }
layer { name: "b" type: "ReLU" bottom: "nope" top: "b" }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 9 kernal: 3 } }
"""  # noqa: E501
    )
    result = fcnproto("check", "bad.prototxt")
    assert result.exit_code == 1
    for start in (
        "bad.prototxt:2:1: error: ",
        "bad.prototxt:4: error: layer 'a': unknown layer type",
        "bad.prototxt:5: error: layer 'b': no layer before it makes",
        "bad.prototxt:6: error: layer 'c': ",
        "bad.prototxt:7:52: error: ",
    ):
        assert start in result.stdout
    assert "5 errors" in result.stderr


def test_check_is_lenient_only_when_told_and_never_silently(fcnproto):
    Path("net.prototxt").write_text('layer { name: "r" type: "Silence" frobnicate: 3 }')
    assert fcnproto("check", "net.prototxt").exit_code == 1
    result = fcnproto("check", "net.prototxt", "--lenient")
    assert "net.prototxt:1:35: warning: " in result.stdout
    assert "frobnicate" in result.stdout


def test_check_notes_what_only_forks_have(fcnproto):
    Path("net.prototxt").write_text(
        """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "p" type: "Pooling" bottom: "data" top: "p"
  pooling_param { kernel_size: 2 stride: 2 ceil_mode: false } }
layer { name: "i" type: "Interp" bottom: "p" top: "i" interp_param { zoom_factor: 2 } }
"""
    )
    result = fcnproto("check", "net.prototxt")
    assert result.exit_code == 0
    assert "net.prototxt:4:44: note: " in result.stdout
    assert "net.prototxt:5: note: layer 'i': " in result.stdout
    assert result.stdout.count("not in BVLC Caffe") >= 2


def test_check_reads_solvers_and_the_nets_they_name(fcnproto):
    Path("train.prototxt").write_text('layer { name: "a" type: "Nope" }')
    Path("solver.prototxt").write_text('train_net: "train.prototxt"\nbase_lr: 1\nlr_policy: "fixd"')
    result = fcnproto("check", "solver.prototxt")
    assert result.exit_code == 1
    assert (
        "solver.prototxt:3: error: unknown lr_policy 'fixd'; did you mean 'fixed'?" in result.stdout
    )
    Path("solver.prototxt").write_text(
        'train_net: "train.prototxt"\nbase_lr: 1\nlr_policy: "fixed"'
    )
    result = fcnproto("check", "solver.prototxt")
    assert "train.prototxt:1: error: layer 'a': unknown layer type 'Nope'" in result.stdout


def test_check_warns_of_an_offset_that_misaligns_and_gives_the_right_one(fcnproto):
    text = fcnproto("render", "voc-fcn32s").stdout.replace("offset: 19", "offset: 18")
    Path("net.prototxt").write_text(text)
    result = fcnproto("check", "net.prototxt")
    assert result.exit_code == 0
    assert "warning: layer 'score': it crops at offset 18" in result.stdout
    assert "at offset 19" in result.stdout


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"\xff\xfe\x00n", ("net.prototxt",)),
        (b'name: "caf\xe9"', ("net.prototxt:1", "UTF-8")),
        (b'layer { name: "a"', ("net.prototxt:1",)),
    ],
)
@pytest.mark.parametrize("verb", ["check", "upgrade", "diff"])
def test_files_that_are_no_prototxt_are_refused_in_one_line(fcnproto, verb, content, parts):
    Path("net.prototxt").write_bytes(content)
    result = fcnproto(verb, "net.prototxt", *(["net.prototxt"] if verb == "diff" else []))
    assert_refused(result, *parts)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["check", "upgrade"])
def test_a_file_that_is_not_there_is_refused(fcnproto, verb):
    assert_refused(fcnproto(verb, "fcn16z"), "fcn16z")
    Path("folder").mkdir()
    assert_refused(fcnproto(verb, "folder"), "folder")


def test_diff(fcnproto, published):
    path = published / "voc-fcn8s" / "deploy.prototxt"
    assert fcnproto("diff", "voc-fcn8s", path).output == ""
    result = fcnproto("diff", "voc-fcn8s", "voc-fcn16s")
    assert result.exit_code == 1
    assert "layer 'upscore8': only in the first" in result.stdout


def test_standard_input_and_output(fcnproto):
    text = 'input: "x" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4'
    result = fcnproto("upgrade", "-", input=text)
    assert result.exit_code == 0
    assert result.stdout.startswith('layer {\n  name: "input"\n  type: "Input"\n')
    assert fcnproto("check", "-", input=result.stdout).exit_code == 0


def test_debug_shows_the_traceback(fcnproto):
    result = fcnproto("check", "nowhere.prototxt", "--debug")
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


def run_python(*words):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - start


def test_the_package_is_a_program_too():
    stdout, _ = run_python("-m", "fcnproto", "--version")
    assert __version__ in stdout


def test_importing_the_package_pulls_in_nothing_heavy():
    heavy = ("onnx", "onnxruntime", "torch", "scipy", "h5py", "PIL", "google.protobuf")
    code = f"import sys, fcnproto; print([name for name in {heavy!r} if name in sys.modules])"
    stdout, _ = run_python("-c", code)
    assert stdout.strip() == "[]"


def test_rendering_pulls_in_nothing_heavy():
    heavy = ("numpy", "onnx", "onnxruntime", "torch", "PIL", "h5py")
    code = (
        "import sys; from fcnproto.cli import main\n"
        "main(['render', 'fcn8s'], standalone_mode=False)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    stdout, _ = run_python("-c", code)
    assert stdout.rstrip().endswith("[]")
