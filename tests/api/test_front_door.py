"""The names of `import fcnproto`: lazy, typed, values that show themselves, errors of one kind."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from paths import ROOT
from PIL import Image

import fcnproto as fp
from fcnproto import cli
from fcnproto.runtime.images import ImageError

SHAPES = "shapes-fcn8s"


@pytest.fixture(scope="module")
def model():
    return fp.export(SHAPES, SHAPES)


@pytest.fixture(scope="module")
def segment(model):
    return fp.Segmenter(model, device="cpu")


def drawn(number):
    from fcnproto.datasets.shapes import draw

    return np.ascontiguousarray(draw("val", number))


# Names ----------------------------------------------------------------------------------------


def test_import_is_light():
    code = (
        "import sys, fcnproto; dir(fcnproto);"
        "heavy = {'numpy', 'onnx', 'torch', 'PIL', 'google', 'click', 'jinja2'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", fp.__all__)
def test_every_name_is_there(name):
    assert getattr(fp, name) is not None
    assert name in dir(fp)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        fp.no_such_name  # noqa: B018


def test_the_stub_has_the_same_names():
    stub = ast.parse((ROOT / "fcnproto" / "__init__.pyi").read_text())
    homes = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == fp._HOMES
    assert {*homes, "__version__"} == set(fp.__all__)


def test_every_name_is_in_the_docs_page_and_in_the_user_script():
    page = (ROOT / "docs" / "python.md").read_text()
    script = (Path(__file__).parent / "user_script.py").read_text()
    calls = [name for name in fp.__all__ if name[0].islower() and name[0] != "_"]
    assert [name for name in calls if f"fp.{name}(" not in page] == []
    for name in fp.__all__:
        assert name == "__version__" or f"fp.{name}" in script


@pytest.mark.slow
def test_a_users_script_is_typed():
    script = Path(__file__).parent / "user_script.py"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if "user_script" in line]
    assert found == [], done.stdout


def test_help_says_what_the_verbs_say():
    for name, (_, sentence) in cli._VERBS.items():
        command = cli.main.get_command(None, name)
        assert command.get_short_help_str(1000) == sentence
    result = CliRunner().invoke(cli.main, ["--help"])
    assert all(f"  {name} " in result.stdout for name in cli._VERBS)


# Values ---------------------------------------------------------------------------------------


def test_the_zoo():
    found = fp.nets()
    assert SHAPES in found.nets and SHAPES in str(found) and "<table>" in found._repr_html_()


def test_a_prototxt_is_a_str_that_shows_and_saves_itself(tmp_path):
    text = fp.render(SHAPES)
    assert isinstance(text, str) and repr(text) == text
    assert "&quot;" in text._repr_html_()
    assert text.save(tmp_path / "net.prototxt").read_text() == text
    assert "base_lr" in fp.render(SHAPES, solver=True)


def test_a_net_from_a_name_a_text_and_a_file(tmp_path):
    text = fp.render(SHAPES)
    path = text.save(tmp_path / "net.prototxt")
    for named in (SHAPES, text, path, str(path)):
        net = fp.load_net(named)
        assert net.name == SHAPES and len(net.layers) == len(net.graph.nodes)
        assert net.shapes["score"] == (1, 5, 500, 500)
        assert not net.problems and not fp.diff(net, SHAPES)
    assert fp.load_net(SHAPES, size=(64, 32)).shapes["score"] == (1, 5, 64, 32)
    with pytest.raises(fp.FcnprotoError, match="no phase"):
        fp.load_net(SHAPES, phase="DEPLOY")


def test_a_net_is_built_for_its_level_and_stages():
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" include {{ {rule} }} }}\n'
        for name, rule in {"a": "min_level: 2", "b": 'stage: "b"', "c": "phase: TRAIN"}.items()
    )

    def names(**state):
        return [row.name for row in fp.load_net(text, **state).layers]

    assert names() == []
    assert names(level=2) == ["a"]
    assert names(stages=["b"]) == ["b"]
    assert names(phase="TRAIN", level=3, stages=["b"]) == ["a", "b", "c"]


def test_a_broken_net_says_what_is_wrong():
    net = fp.load_net('layer { name: "a" type: "ReLU" bottom: "b" top: "c" }')
    assert len(net.problems.errors) == 1 and "makes its bottom 'b'" in repr(net)
    assert "makes its bottom" in net._repr_html_()
    with pytest.raises(fp.FcnprotoError, match="bottom 'b'"):
        net.summary()


def test_a_net_shows_its_layers_and_its_picture(monkeypatch):
    net = fp.load_net(SHAPES)
    monkeypatch.setattr("fcnproto.insight.draw.graphviz", lambda _source, _kind: b"<svg></svg>")
    assert "conv1_1" in repr(net)
    assert re.search(r"<pre>.*conv1_1.*</pre><div><svg", net._repr_html_(), re.S)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    assert "<svg" not in net._repr_html_()  # without Graphviz the table alone


def test_weights_are_a_mapping(tmp_path):
    weights = fp.load_weights(SHAPES)
    kernels, biases = weights["conv1_1"]
    assert kernels.shape == (8, 3, 3, 3) and biases.shape == (8,)
    path = fp.convert(weights, SHAPES).weights.save(tmp_path / "w.npz")
    again = fp.load_weights(path)
    assert all(
        np.array_equal(one, other)
        for name in again
        for one, other in zip(weights[name], again[name], strict=True)
    )


def test_weights_of_any_kind_of_numbers(model):
    """float64 is what numpy makes, and lists are arrays too."""
    own = {name: list(arrays) for name, arrays in fp.load_weights(SHAPES).items()}
    wide = {name: [array.astype(float) for array in arrays] for name, arrays in own.items()}
    listed = {name: [array.tolist() for array in arrays] for name, arrays in own.items()}
    for given in (wide, listed):
        exported = fp.export(SHAPES, given)
        assert [each.raw_data for each in exported.proto.graph.initializer] == [
            each.raw_data for each in model.proto.graph.initializer
        ]
    with pytest.raises(fp.FcnprotoError, match="layer 'score': expected arrays of numbers"):
        fp.load_weights({"score": [["a", "b"]]})


def test_convert_says_what_became_of_each_layer():
    fitted = fp.convert({"conv1_1": fp.load_weights(SHAPES)["conv1_1"]}, SHAPES)
    assert "conv1_1: copied" in str(fitted).splitlines()
    assert [problem.layer for problem in fitted.refused]
    with pytest.raises(fp.FcnprotoError, match="strict"):
        fp.convert({"conv1_1": fp.load_weights(SHAPES)["conv1_1"]}, SHAPES, strict=True)


def test_convolutionize_says_what_is_not_finite():
    net = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape {'
        " dim: 1 dim: 2 dim: 3 dim: 3 } } }\n"
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"'
        " inner_product_param { num_output: 4 } }"
    )
    kernels = np.ones((4, 18), np.float32)
    kernels[1, 2] = np.nan
    found = fp.convolutionize(net, {"fc": [kernels, np.zeros(4)]})
    assert found.weights["fc-conv"][0].shape == (4, 2, 3, 3)
    assert [note.layer for note in found.notes if "NaN or infinite" in note.message] == ["fc-conv"]


def test_export_saves_the_verbs_model(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("ours.onnx")
    arguments = ["export-onnx", SHAPES, "--weights", SHAPES, "-o", "theirs.onnx"]
    assert CliRunner().invoke(cli.main, arguments).exit_code == 0
    assert Path("ours.onnx").read_bytes() == Path("theirs.onnx").read_bytes()
    assert model.metadata.classes["score"][1] == "disc" and "G" in str(model.cost)


def test_verify_a_model_by_net_model_and_arrays(model, segment):
    assert fp.verify(model, SHAPES, SHAPES).agrees
    assert fp.verify(model, model).agrees
    image = drawn(0)
    data = segment.runner._feeds([{"data": image}])["data"]
    scores = segment(image).scores
    arrays = {"in/data": data, "out/score": scores[np.newaxis]}
    assert fp.verify(model, arrays).agrees
    arrays["out/score"] = arrays["out/score"] + 1
    found = fp.verify(model, arrays)
    assert not found.agrees and "too far" in str(found)


# Segmenting -----------------------------------------------------------------------------------


def test_one_image_however_it_is_given(segment, tmp_path):
    image = drawn(0)
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    first = segment(image)
    for given in (path, str(path), Image.fromarray(image), {"color": image}):
        np.testing.assert_array_equal(segment(given).labels, first.labels)
    np.testing.assert_array_equal(first.scores.argmax(axis=0), first.labels)
    assert sum(first.shares.values()) == pytest.approx(1)
    for name, share in first.shares.items():
        classes = segment.metadata.classes["score"]
        assert share == (first.labels == classes.index(name)).mean()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "no such file.png",
        {"depth": np.ones((4, 4))},
        {},
    ],
)
def test_what_is_no_image(segment, image):
    with pytest.raises(ImageError):
        segment(image)
    before, failed, behind = segment([drawn(0), image, drawn(1)])
    assert before.ok and behind.ok and not failed.ok
    with pytest.raises(ImageError):
        failed.labels  # noqa: B018
    assert failed._repr_png_() is None and "error" in repr(failed)


def test_many_images_keep_their_order(segment):
    sizes = [(40, 30), (20, 50), (40, 30), (64, 64), (20, 50)] * 20
    images = [
        np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        for number, size in enumerate(sizes)
    ]
    results = list(segment(iter(images)))
    assert [result.labels.shape for result in results] == sizes
    for index in (0, 1, 3, 97):
        np.testing.assert_array_equal(results[index].labels, segment(images[index]).labels)


def test_an_iterator_is_not_read_to_its_end_first(segment):
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield np.zeros((16, 16, 3), np.uint8)

    results = segment(endless())
    assert all(next(results).ok for _ in range(3))
    assert len(taken) < 200
    results.close()


def test_a_batch_that_fails_is_run_image_by_image(model, monkeypatch):
    segment = fp.Segmenter(model, device="cpu")
    run = segment.runner.run

    def failing(pictures, *args, **settings):
        if any(picture["data"].max() == 255 for picture in pictures):
            raise fp.FcnprotoError("out of memory")
        return run(pictures, *args, **settings)

    monkeypatch.setattr(segment.runner, "run", failing)
    images = [np.full((16, 16, 3), value, np.uint8) for value in (1, 255, 3)]
    assert [result.ok for result in segment(images)] == [True, False, True]


def test_a_segmentation_shows_and_saves_itself(segment, tmp_path):
    image = drawn(3)
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    result = segment(path)
    assert result._repr_png_().startswith(b"\x89PNG")
    assert "background" in repr(result)
    plain = result.overlay(legend=False)
    assert plain.size == (image.shape[1], image.shape[0]) and result.overlay().height > plain.height
    with pytest.raises(fp.FcnprotoError, match="image itself"):
        result.save(tmp_path)
    (tmp_path / "out").mkdir()
    labels, overlay = result.save(tmp_path / "out")
    assert overlay.name == "photo.overlay.jpg"
    with Image.open(labels) as saved:
        np.testing.assert_array_equal(np.asarray(saved), result.labels)


def test_scores_are_kept_only_if_asked_for(model):
    assert fp.Segmenter(model, device="cpu", scores=False)(drawn(0)).scores is None


def test_what_a_model_does_not_say_is_said_by_values(model):
    segment = fp.Segmenter(model, device="cpu", classes=["a", "b", "c", "d", "e"])
    assert set(segment(drawn(0)).shares) <= set("abcde")
    with pytest.raises(fp.FcnprotoError, match="classes"):
        fp.Segmenter(model, device="cpu", classes=["a"])


# Measures -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_score_is_the_verbs(model, tmp_path):
    path = tmp_path / "m.onnx"
    model.save(path)
    found = fp.score(fp.Segmenter(model, device="cpu"), dataset="shapes")
    arguments = ["score", "--model", str(path), "--dataset", "shapes", "--json"]
    result = CliRunner().invoke(cli.main, [*arguments, "--device", "cpu"])
    assert json.loads(result.stdout) == found.as_json()
    assert "mean IU" in repr(found) and "data:image/png" in found._repr_html_()
    with pytest.raises(fp.FcnprotoError, match="give one of model and pred"):
        fp.score(dataset="shapes")
    with pytest.raises(fp.FcnprotoError, match="data or dataset"):
        fp.score(model)


def test_doctor_check_diff_and_upgrade():
    assert str(fp.doctor(SHAPES, SHAPES)) == "nothing found"
    assert fp.check("nothing { }").errors
    assert fp.diff("fcn8s", "fcn16s")
    old = 'layers { name: "a" type: RELU bottom: "x" top: "x" }'
    assert 'type: "ReLU"' in fp.upgrade(old)
    with pytest.raises(fp.FcnprotoError):
        fp.diff("fcn8s", fp.render("fcn8s", solver=True))


def test_explanations():
    assert "offset written" in str(fp.explain_crop(SHAPES))
    assert "pad 33" in str(fp.explain_pad(SHAPES))
    field = fp.explain_field(SHAPES, "score", (8, 8), drawn(0))
    assert "receptive field" in str(field) and field._repr_png_().startswith(b"\x89PNG")
