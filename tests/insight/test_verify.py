"""Models against arrays, nets and models."""

import numpy as np
import onnx
import pytest
from exporting import input_text, layer_text, net_of

from fcnproto.errors import FcnprotoError
from fcnproto.exporting.export import every_blob
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import Interface, Result, write
from fcnproto.insight import verify
from fcnproto.insight.verify import Tolerance, compare, with_arrays, with_model
from fcnproto.net.graph import build
from fcnproto.proto.source import read_net
from fcnproto.surgery.fit import WeightSource
from fcnproto.weights import read


@pytest.fixture
def case(golden):
    return golden / "layers" / "net_fcn8s_97x75"


@pytest.fixture
def model(case, tmp_path):
    path = tmp_path / "net.onnx"
    net = inference(build(read_net(case.with_suffix(".prototxt"))))
    write(with_weights(net, read(case.with_suffix(".caffemodel")))).save(path)
    return path


def test_against_what_caffe_computed(model, case):
    found = with_arrays(model, case.with_suffix(".npz"))
    assert found.agrees
    assert not found.notes
    rows = {row.blob: row for row in found.rows}
    assert {"up8", "score"} <= rows.keys()
    assert (rows["score"].shape, rows["score"].agreement) == ((1, 5, 97, 75), 1)
    assert all(row.relative < 1e-5 for row in found.rows)


def test_every_blob_of_the_net(model, case):
    source = WeightSource("weights", read(case.with_suffix(".caffemodel")))
    plain = every_blob(read_net(case.with_suffix(".prototxt")), source).to_proto()
    onnx.checker.check_model(plain, full_check=True)
    found = with_model(model, plain, every_blob=True)
    assert found.agrees
    assert not found.notes
    blobs = {row.blob for row in found.rows}
    assert {"c1", "p1", "fc6", "up8", "score"} <= blobs


def test_a_blob_that_is_only_another_name_is_exposed_too(tmp_path):
    text = (
        input_text(data=(1, 2, 3, 3))
        + 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n'
        + 'layer { name: "d" type: "Dropout" bottom: "a" top: "d" }\n'
        + 'layer { name: "e" type: "ReLU" bottom: "d" top: "e" }\n'
    )
    model = write(with_weights(net_of(text), {}), interface=Interface(every_blob=True)).to_proto()
    assert [value.name for value in model.graph.output] == ["a", "d", "e"]
    onnx.checker.check_model(model, full_check=True)


def test_wrong_weights_are_found(model, case, tmp_path):
    weights = read(case.with_suffix(".caffemodel"))
    weights["c3"][0] = weights["c3"][0] * np.float32(1.01)
    source = read_net(case.with_suffix(".prototxt"))
    found = with_model(
        model, every_blob(source, WeightSource("w", weights)).to_proto(), every_blob=True
    )
    assert not found.agrees
    rows = {row.blob: row for row in found.rows}
    assert rows["p2"].agrees
    assert not rows["c3"].agrees
    assert rows["c3"].relative > 1e-3


def test_two_models(model, case, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(model.read_bytes())
    found = with_model(model, other)
    assert [(row.blob, row.absolute, row.agreement) for row in found.rows] == [("score", 0, 1)]


def test_two_models_with_labels(case, tmp_path):
    net = inference(build(read_net(case.with_suffix(".prototxt"))))
    weights = read(case.with_suffix(".caffemodel"))
    paths = []
    for result in (Result.LABELS, Result.BOTH):
        paths.append(tmp_path / f"{result.value}.onnx")
        write(with_weights(net, weights), interface=Interface(result)).save(paths[-1])
    found = with_model(*paths)
    assert [row.blob for row in found.rows] == ["labels"]
    (note,) = found.notes
    assert note.message.startswith("it has no 'score', not compared; ")


def test_seeded_inputs_are_the_same_twice(model):
    session = verify.Session(model, "cpu")
    first, second = verify.seeded(session, session), verify.seeded(session, session)
    assert first["data"].shape == (2, 3, 224, 288)
    np.testing.assert_array_equal(first["data"], second["data"])


def row(found, wanted, **tolerance):
    return compare("x", np.asarray(found), np.asarray(wanted), Tolerance(**tolerance))


def test_differences():
    found = row([[1.0, 4.0]], [[1.0, 2.0]], rtol=0.9, atol=0)
    assert (found.absolute, found.relative, found.agreement) == (2, 1, 1)
    assert not found.agrees
    assert row([[1.0, 4.0]], [[1.0, 2.0]], rtol=1, atol=0).agrees
    assert row([[1.0, 4.0]], [[1.0, 2.0]], rtol=0, atol=2).agrees
    assert row([0.0], [0.0], rtol=0, atol=0).agrees
    assert row([1e-7], [0.0], rtol=0, atol=0).relative == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(value):
    assert row([value, 1.0], [value, 1.0]).absolute == 0
    assert not row([value, 1.0], [0.0, 1.0]).agrees
    assert not row([0.0, 1.0], [value, 1.0]).agrees


@pytest.mark.filterwarnings("error")
def test_numbers_that_numpy_warns_of():
    signalling = np.array([0x7F800001, 0], np.uint32).view(np.float32)
    largest = np.finfo(np.float64).max
    assert row(signalling, signalling).absolute == 0
    assert row([largest], [-largest]).absolute == np.inf


def test_shapes_that_differ():
    found = row(np.zeros((1, 2)), np.zeros((2, 1)))
    assert not found.agrees
    assert found.note == "expected 2×1"


def test_no_elements():
    assert row(np.zeros((0, 2)), np.zeros((0, 2))).agrees


def test_label_agreement():
    found = row(np.eye(4)[None], np.eye(4)[None, ::-1])
    assert found.agreement == 0
    assert row(np.zeros((2, 1)), np.zeros((2, 1))).agreement is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"in/data": np.zeros((1, 3, 97, 75))}, "no arrays out/<blob>"),
        ({"out/score": np.zeros((1, 5, 97, 75))}, "no array in/data"),
        (
            {"in/data": np.zeros((1, 3, 9, 9)), "out/nothing": np.zeros(1)},
            "none of the blobs 'nothing'",
        ),
        (
            {"in/data": np.zeros((1, 4, 9, 9)), "out/score": np.zeros(1)},
            "cannot be run",
        ),
    ],
)
def test_references_that_do_not_fit(model, tmp_path, arrays, message):
    path = tmp_path / "reference.npz"
    np.savez(path, **arrays)
    with pytest.raises(FcnprotoError, match=message):
        with_arrays(model, path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"\x93NUMPY"])
def test_references_that_are_no_npz(model, tmp_path, content):
    path = tmp_path / "reference.npz"
    path.write_bytes(content)
    with pytest.raises(FcnprotoError):
        with_arrays(model, path)


def test_pickles_are_never_loaded(model, tmp_path):
    path = tmp_path / "reference.npz"
    np.savez(path, **{"out/score": np.array([{}], object)})
    with pytest.raises(FcnprotoError, match="plain arrays"):
        with_arrays(model, path)


def test_models_with_other_inputs(model, tmp_path):
    other = tmp_path / "other.onnx"
    net = net_of(input_text(other=(1, 3, 4, 4)) + layer_text("ReLU", ["other"], ["score"]))
    write(with_weights(net, {})).save(other)
    with pytest.raises(FcnprotoError, match="its inputs are 'data'"):
        with_model(model, other)


def test_table():
    comparison = verify.Comparison((row([[1.0, 4.0]], [[1.0, 2.0]]), row([1.0], [1.0])))
    lines = list(verify.table(comparison))
    assert lines[0].split() == ["blob", "shape", "absolute", "relative", "labels"]
    assert lines[1].split() == ["x", "1×2", "2", "1", "100.000000%", "too", "far"]
    assert not comparison.agrees
