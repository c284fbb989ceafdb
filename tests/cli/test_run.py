"""export-onnx, verify and segment from the command line."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from exporting import input_text, layer_text
from PIL import Image

import fcnproto as fp
from fcnproto.cli import main
from fcnproto.zoo import specs

CASE = "net_fcn8s_97x75"
MEAN = ["--mean", "104,116.5,122.25"]


def call(*arguments, code=0, **settings):
    result = CliRunner().invoke(main, [str(each) for each in arguments], **settings)
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def net(golden, tmp_path, monkeypatch):
    """A directory with net.prototxt and net.caffemodel, which is the working directory."""
    for ending in (".prototxt", ".caffemodel"):
        shutil.copy(golden / "layers" / f"{CASE}{ending}", tmp_path / f"net{ending}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(net):
    call("export-onnx", *MEAN)
    return net / "net.onnx"


@pytest.fixture
def photo(net):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((60, 45))
    image.save(net / "photo.jpg")
    return net / "photo.jpg"


# export-onnx ----------------------------------------------------------------------------------


def test_export_reads_and_writes_beside_the_net(net):
    result = call("export-onnx")
    assert "weights: net.caffemodel" in result.stderr
    assert "wrote net.onnx" in result.stderr
    assert "--mean B,G,R" in result.stderr
    assert result.stdout == ""
    onnx.checker.check_model(str(net / "net.onnx"), full_check=True)
    first = (net / "net.onnx").read_bytes()
    call("export-onnx")  # its own default output may be overwritten
    assert (net / "net.onnx").read_bytes() == first


def test_export_to_where_it_is_told(net):
    call("export-onnx", "net.prototxt", "--weights", "net.caffemodel", "-o", "other.onnx")
    assert "it exists" in call("export-onnx", "-o", "other.onnx", code=1).stderr
    call("export-onnx", "-o", "other.onnx", "--force", "--result", "labels")
    (output,) = onnx.load("other.onnx").graph.output
    assert output.name == "labels"


def test_export_to_standard_output(net):
    result = call("export-onnx", "-o", "-")
    call("export-onnx")
    assert result.stdout_bytes == (net / "net.onnx").read_bytes()


def test_export_from_standard_input(net):
    text = (net / "net.prototxt").read_bytes()
    result = call("export-onnx", "-", "--weights", "net.caffemodel", input=text)
    onnx.checker.check_model(onnx.load_from_string(result.stdout_bytes), full_check=True)


def test_export_options(net):
    (net / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    (net / "palette.txt").write_text("0 0 0\n1 1 1\n2 2 2\n3 3 3\n4 4 4\n\n \n")
    flags = ["--classes", "classes.txt", "--palette", "palette.txt", "--image-input"]
    call("export-onnx", *MEAN, *flags, "--opset", 17, "--result", "both")
    found = onnx.load("net.onnx")
    assert found.opset_import[0].version == 17
    props = {each.key: each.value for each in found.metadata_props}
    assert json.loads(props["classes"]) == {"score": list("abcde")}
    assert [each.name for each in found.graph.output] == ["score", "labels"]


def costs(stderr):
    """The table that export-onnx prints: by level the operators, multiply-adds and megabytes."""
    lines = stderr.splitlines()
    (head,) = [number for number, line in enumerate(lines) if "multiply-adds at 1×3×" in line]
    rows = [line.split() for line in lines[head + 1 :] if line.endswith("MB")]
    return {row[0]: [float(row[1]), float(row[2]), float(row[4])] for row in rows}


def test_export_rewrites_nets_and_tells_what_they_cost(net):
    exact = costs(call("export-onnx", "-o", "exact.onnx").stderr)
    assert list(exact) == ["none", "exact"]
    assert exact["exact"][1] < exact["none"][1]
    plain = costs(call("export-onnx", "--optimize", "none", "-o", "none.onnx").stderr)
    assert list(plain) == ["none"]
    assert plain["none"] == exact["none"]
    fast = costs(call("export-onnx", "--optimize", "fast", "-o", "fast.onnx").stderr)
    assert list(fast) == ["none", "fast"]
    for other in ("exact.onnx", "fast.onnx"):
        call("verify", "none.onnx", other, "--rtol", "5e-6")
    operators = [len(onnx.load(f"{name}.onnx").graph.node) for name in ("none", "exact")]
    assert operators == [exact["none"][0], exact["exact"][0]]


def test_export_of_a_dataset(net):
    call("export-onnx", "--dataset", "voc")
    props = {each.key: each.value for each in onnx.load("net.onnx").metadata_props}
    assert json.loads(props["mean"]) == {"data": list(specs.dataset("voc").mean["color"])}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.prototxt"], 1, "there is no file 'none.prototxt'"),
        (["--weights", "none.npz"], 1, "none.npz"),
        (["--mean", "a,b,c"], 2, "'a,b,c' is not a mean"),
        (["--mean", "1,2,nan"], 2, "is not a mean"),
        (["--mean", "1,2"], 1, "--mean has 2 channels"),
        (["--dataset", "coco"], 1, "no dataset 'coco'"),
        (["--opset", "12"], 2, "12"),
        (["--image-input"], 1, "--mean B,G,R or --dataset D"),
        (["-o", "nowhere/net.onnx"], 1, "nowhere/net.onnx: error: cannot be written"),
    ],
)
def test_export_of_what_cannot_be(net, arguments, code, message):
    result = call("export-onnx", *arguments, code=code)
    assert message in result.stderr
    assert not list(net.glob("*.onnx")) and not list(net.glob(".net*"))


def test_export_without_weights(net):
    (net / "net.caffemodel").unlink()
    result = call("export-onnx", code=1)
    assert "layer 'c1'" in result.stderr and "layer 'sp3'" in result.stderr
    assert "--init" in result.stderr
    call("export-onnx", "--init")


def test_a_full_disk_leaves_nothing(net, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcnproto.model.file._write", full)
    assert "No space left" in call("export-onnx", code=1).stderr
    assert sorted(path.name for path in net.iterdir()) == ["net.caffemodel", "net.prototxt"]


# verify ---------------------------------------------------------------------------------------


def test_verify_with_arrays(model, golden):
    result = call("verify", model, "--reference", golden / "layers" / f"{CASE}.npz")
    assert "1×5×97×75" in result.stdout
    assert "100.000000%" in result.stdout
    rows = json.loads(
        call("verify", model, "--reference", golden / "layers" / f"{CASE}.npz", "--json").stdout
    )
    score = next(row for row in rows if row["blob"] == "score")
    assert score["shape"] == [1, 5, 97, 75]
    assert score["agrees"] and score["agreement"] == 1


def test_verify_with_a_net(model):
    rewritten = call("verify", model, "--net", "net.prototxt")
    assert "it has no 'c1', 'p1', 'c2', 'p2', 'c3' and 4 more, not compared" in rewritten.stderr
    assert {"fc7", "score"} <= {line.split()[0] for line in rewritten.stdout.splitlines()}
    call("export-onnx", "--optimize", "none")
    result = call("verify", model, "--net", "net.prototxt")
    assert result.stderr == ""
    assert {"c1", "fc7", "score"} <= {line.split()[0] for line in result.stdout.splitlines()}
    call(
        "verify",
        model,
        "--net",
        "net.prototxt",
        "--weights",
        "net.caffemodel",
        "--rtol",
        0,
        "--atol",
        0,
    )


def test_verify_finds_what_differs(net):
    model = net / "net.onnx"
    call("export-onnx", *MEAN, "--optimize", "none")
    other = onnx.load(model)
    for tensor in other.graph.initializer:
        if tensor.name == "sp3/1":
            array = onnx.numpy_helper.to_array(tensor) + np.float32(0.5)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(other, net / "other.onnx")
    result = call("verify", model, "other.onnx", code=1)
    assert "too far" in result.stdout
    call("verify", model, "other.onnx", "--atol", 100)
    rows = json.loads(call("verify", model, "other.onnx", "--json", code=1).stdout)
    assert not rows[0]["agrees"]
    result = call("verify", "other.onnx", "--net", "net.prototxt", code=1)
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "too far" in lines["sp3"] and "too far" not in lines["p3"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give one of --reference"),
        (["net.onnx", "--net", "net.prototxt"], 2, "give one of --reference"),
        (["net.onnx", "--weights", "w"], 2, "--weights goes with --net"),
        (["none.onnx"], 1, "none.onnx"),
        (["net.prototxt"], 1, "net.prototxt: error: is a prototxt, no ONNX model"),
        (["--reference", "none.npz"], 1, "no such file"),
        (["--reference", "net.prototxt"], 1, "net.prototxt"),
        (["net.onnx", "--rtol", "-1"], 2, "-1"),
    ],
)
def test_verify_of_what_cannot_be(model, arguments, code, message):
    result = call("verify", model, *arguments, code=code)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# segment --------------------------------------------------------------------------------------


def test_segment(model, photo, net):
    result = call("segment", photo, "--model", model)
    assert "device: cpu" in result.stderr or "device: cuda" in result.stderr
    assert result.stdout.startswith("photo.png: class ")
    with Image.open("photo.png") as image:
        assert (image.mode, image.size) == ("P", (60, 45))
    with Image.open("photo.overlay.jpg") as image:
        assert image.width == 60 and image.height > 45  # the legend


def test_segment_prints_nothing_but_results(model, photo):
    result = call("segment", photo, "--model", model, "--device", "cpu", "--json", "-o", "out")
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert found["labels"] == {"score": "out/photo.png"}
    assert sum(found["shares"]["score"].values()) == pytest.approx(1)
    assert "image/s" not in result.stderr  # no bar where there is no terminal


def test_segment_in_tiles_gives_the_same(model, photo):
    call("segment", photo, "--model", model, "-o", "whole")
    call("segment", photo, "--model", model, "-o", "tiles", "--tile", 32)
    assert Path("whole/photo.png").read_bytes() == Path("tiles/photo.png").read_bytes()


def test_segment_with_scales_and_flip(model, photo):
    def labels(folder, *flags):
        call("segment", photo, "--model", model, "--device", "cpu", "-o", folder, *flags)
        with Image.open(Path(folder) / "photo.png") as image:
            return np.asarray(image)

    plain = labels("plain")
    for number, (flags, settings) in enumerate(
        [
            (["--flip"], {"flip": True}),
            (["--scale", 0.5], {"scales": (0.5,)}),
            (["--scale", 0.5, "--scale", 1, "--flip"], {"scales": (0.5, 1.0), "flip": True}),
        ]
    ):
        found = labels(f"out{number}", *flags)
        assert (found != plain).any(), flags
        expected = fp.Segmenter(model, device="cpu", **settings)(photo).labels
        np.testing.assert_array_equal(found, expected)
    call("segment", photo, "--model", model, "--scale", 0, code=2)


def test_a_bad_image_does_not_stop_the_rest(model, photo, net):
    (net / "bad.jpg").write_bytes(b"no image")
    (net / "list.txt").write_text("bad.jpg\nmissing.jpg\nphoto.jpg\n")
    result = call("segment", "list.txt", "--model", model, "-o", "out", code=1)
    assert "bad.jpg: error: " in result.stderr
    assert "missing.jpg: error: " in result.stderr
    assert (net / "out" / "photo.png").exists()
    assert not (net / "out" / "bad.png").exists()


def test_segment_from_standard_input(model, photo):
    call("segment", "-", "--model", model, input=photo.read_bytes())
    assert Path("stdin.png").exists()
    call("segment", "-", "--model", model, "-o", "out", input=b"photo.jpg\n")
    assert Path("out/photo.png").exists()
    result = call("segment", "-", "--model", model, input=b"\xff\xfe\x00", code=1)
    assert "neither an image nor a list" in result.stderr


def test_segment_never_replaces_the_image(model, net):
    Image.new("RGB", (9, 9)).save("same.png")
    before = (net / "same.png").read_bytes()
    result = call("segment", "same.png", "--model", model, code=1)
    assert "choose another -o DIR" in result.stderr
    assert (net / "same.png").read_bytes() == before


def foreign(path):
    """A model that says nothing of itself."""
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, "foreign.onnx")
    return "foreign.onnx"


def test_segment_with_a_model_that_is_not_ours(model, photo, net):
    path = foreign(model)
    result = call("segment", photo, "--model", path, code=1)
    assert "mean of input 'data'" in result.stderr
    assert "--mean B,G,R or --dataset D" in result.stderr
    (net / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    result = call("segment", photo, "--model", path, *MEAN, "--classes", "classes.txt", "-o", "out")
    assert result.stdout.startswith("out/photo.png: ") and " class " not in result.stdout
    assert "--palette FILE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "gpu"], 1, "there is no device 'gpu'"),
        (["--tile", "0"], 2, "0"),
        (["--hha", "."], 1, "takes no hha"),
        (["--dataset", "coco"], 1, "no dataset 'coco'"),
        (["--classes", "photo.jpg"], 1, "photo.jpg"),
        (["nothing.jpg"], 1, "nothing.jpg: error: there is no such file"),
    ],
)
def test_segment_of_what_cannot_be(model, photo, arguments, code, message):
    result = call("segment", photo, "--model", model, *arguments, "-o", "out", code=code)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, no ONNX model"),
        (b"\x08\x0a\x12\x03abc", "is no model that onnxruntime can load"),
        (b"no model", "is text, no ONNX model"),
    ],
)
def test_segment_with_what_is_no_model(photo, net, content, said):
    (net / "bad.onnx").write_bytes(content)
    result = call("segment", photo, "--model", "bad.onnx", code=1)
    assert f"bad.onnx: error: {said}" in result.stderr
    assert "no such file" in call("segment", photo, "--model", "none.onnx", code=1).stderr


def test_segment_makes_hha_of_depth(net, photo):
    """The same labels as with HHA that `dataset hha` made of the same depth."""
    text = input_text(color=(1, 3, 8, 8), hha=(1, 3, 8, 8)) + layer_text(
        "Eltwise", ["color", "hha"], ["score"]
    )
    (net / "fused.prototxt").write_text(text)
    call("export-onnx", "fused.prototxt", "--init", "--dataset", "nyud")
    with Image.open(photo) as image:
        size = image.size[1], image.size[0]
    (net / "depth").mkdir()
    slope = np.linspace(3000, 1500, size[0])[:, np.newaxis] + np.zeros(size)
    Image.fromarray(slope.astype(np.uint16)).save(net / "depth" / "photo.png")
    camera = ("--camera", "500,500,40,30")
    call("dataset", "hha", "depth", "-o", "hha", *camera)
    call("segment", photo, "--model", "fused.onnx", "--hha", "hha", "-o", "one")
    result = call(
        "segment", photo, "--model", "fused.onnx", "--depth", "depth", "-o", "two", *camera
    )
    assert result.exit_code == 0, result.stderr
    one, two = (np.asarray(Image.open(net / name / "photo.png")) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert len(np.unique(one)) > 1
    result = call(
        "segment", photo, "--model", "fused.onnx", "--depth", "depth", "-o", "out", code=1
    )
    assert "NYUDv2's camera is known for 480×640" in result.stderr
    result = call(
        "segment", photo, "--model", "fused.onnx", "--hha", "hha", "-o", "out", *camera, code=2
    )
    assert "--camera goes with --depth" in result.stderr


def test_segment_of_depth_alone(net):
    """A net that takes HHA and nothing else, on depth maps that are named themselves."""
    (net / "hha.prototxt").write_text(
        input_text(hha=(1, 3, 8, 8)) + layer_text("AbsVal", ["hha"], ["score"])
    )
    call("export-onnx", "hha.prototxt", "--init", "--dataset", "nyud")
    (net / "depth").mkdir()
    walls = np.linspace(3000, 1500, 30)[:, np.newaxis] + np.repeat([[-900, 3000]], 20, axis=1)
    Image.fromarray(walls.astype(np.uint16)).save(net / "depth" / "room.png")
    camera = ("--camera", "500,500,20,15")
    call("dataset", "hha", "depth", "-o", "hha", *camera)
    call("segment", "hha/room.png", "--model", "hha.onnx", "-o", "one")
    alone = "segment", "depth/room.png", "--model", "hha.onnx", "--depth", "depth"
    call(*alone, *camera, "-o", "two", "--unit", "mm")
    one, two = (np.asarray(Image.open(f"{name}/room.png")) for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert len(np.unique(one)) > 1
    result = call(*alone, *camera, "--unit", "m", "-o", "far", code=1)
    assert "room.png: error: half of its depths are under" in result.stderr
    result = call("segment", "hha/room.png", "--model", "hha.onnx", "--unit", "m", code=2)
    assert "--unit goes with --depth" in result.stderr


def test_segment_of_color_and_hha(net, photo):
    text = input_text(color=(1, 3, 8, 8), hha=(1, 3, 8, 8)) + layer_text(
        "Eltwise", ["color", "hha"], ["score"]
    )
    (net / "fused.prototxt").write_text(text)
    call("export-onnx", "fused.prototxt", "--dataset", "nyud")
    (net / "hha").mkdir()
    shutil.copy(photo, net / "hha" / "photo.jpg")
    call("segment", photo, "--model", "fused.onnx", "--hha", "hha", "-o", "out")
    result = call("segment", photo, "--model", "fused.onnx", "-o", "out", code=1)
    assert "--hha DIR" in result.stderr


def test_segment_starts_fast(model, photo):
    """Not a second of overhead; what it needs not, it does not import."""
    arguments = ["segment", str(photo), "--model", str(model), "--device", "cpu", "-o", "out"]
    code = (
        "import sys; from fcnproto.cli import main;"
        f"main({arguments!r}, standalone_mode=False);"
        "print([each for each in ('onnx', 'jinja2', 'google.protobuf', 'scipy', 'torch')"
        " if each in sys.modules])"
    )
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 10
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.fixture
def heads(net):
    """A model whose outputs have names that lead elsewhere, or break lines."""
    names = ["score", "../up/and/away", r"line\nFORGED \033[31m"]
    layers = "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"'
        ' convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }'
        for name in names
    )
    (net / "heads.prototxt").write_text(input_text(data=(1, 3, 8, 8)) + layers)
    call("export-onnx", "heads.prototxt", "--init", *MEAN)
    return "heads.onnx"


def test_names_of_blobs_lead_nowhere_and_break_no_line(heads, photo, net):
    said = call("segment", "photo.jpg", "--model", heads, "-o", "out/in").output
    assert "FORGED" in said
    assert not [line for line in said.splitlines() if line.startswith("FORGED")]
    assert "\x1b" not in said
    assert [path.name for path in (net / "out").iterdir()] == ["in"]
    assert len(list((net / "out/in").iterdir())) == 4


def test_an_image_of_the_longest_name_is_segmented(model, photo, net):
    name = "n" * 251
    photo.rename(net / f"{name}.jpg")
    call("segment", f"{name}.jpg", "--model", model, "-o", "out")
    labels, overlay = sorted((net / "out").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert labels.name == f"{name}.png"
    assert overlay.suffix == ".jpg"


def test_values_that_are_no_numbers_are_said(net, photo):
    arrays = dict(fp.load_weights("net.caffemodel").by_layer)
    first = next(name for name, each in arrays.items() if each)
    arrays[first] = [np.full_like(each, np.nan) for each in arrays[first]]
    fp.Weights(arrays).save("nan.npz")
    exported = call("export-onnx", *MEAN, "--weights", "nan.npz", "-o", "nan.onnx").output
    assert f"'{first}'" in exported
    assert "NaN or infinite" in exported
    assert "NaN or infinite" in call("verify", "nan.onnx", "nan.onnx").output
    segmented = call("segment", photo, "--model", "nan.onnx", "-o", "out", code=1).output
    assert "infinite or not a number" in segmented
