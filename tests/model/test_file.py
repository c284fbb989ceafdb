"""Models as files: the bytes are those of one message, and large arrays go beside it."""

import numpy as np
import onnx
import pytest

from fcnproto.errors import FcnprotoError
from fcnproto.model import file as models
from fcnproto.model.file import Model


@pytest.fixture
def model():
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Add", ["x", "large"], ["sum"], name="add"),
            onnx.helper.make_node("Mul", ["sum", "small"], ["y"], name="multiply"),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 1000])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 1000])],
    )
    opset = onnx.helper.make_operatorsetid("", 21)
    proto = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.helper.set_model_props(proto, {"net": "tiny", "mean": "[1]"})
    rng = np.random.default_rng(0)
    tensors = {
        "large": rng.standard_normal((1, 1000), np.float32),
        "small": np.float32([[2]]),
        "empty": np.zeros((0, 3), np.float32),
        "whole": np.int64([1, -1]),
    }
    return Model(proto, tensors)


def test_file_is_the_serialized_message(model, tmp_path):
    path = tmp_path / "net.onnx"
    assert model.save(path) == (path,)
    assert path.read_bytes() == model.to_proto().SerializeToString(deterministic=True)
    onnx.checker.check_model(str(path), full_check=True)


def test_message_holds_the_arrays(model):
    found = {
        each.name: onnx.numpy_helper.to_array(each) for each in model.to_proto().graph.initializer
    }
    assert found.keys() == model.tensors.keys()
    for name, array in model.tensors.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_arrays_past_the_limit_lie_in_a_file_of_their_own(model, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "LARGEST_MODEL", 2000)
    path = tmp_path / "net.onnx"
    assert model.save(path) == (path, tmp_path / "net.onnx.data")
    assert path.stat().st_size < 2000
    onnx.checker.check_model(str(path), full_check=True)
    loaded = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer
    }
    for name, array in model.tensors.items():
        np.testing.assert_array_equal(loaded[name], array)
    with (
        pytest.raises(FcnprotoError, match="bytes, and one ONNX file can hold"),
        path.open("wb") as file,
    ):
        model.write(file)


def test_external_data_runs(model, tmp_path, monkeypatch):
    from fcnproto.runtime.session import Session

    monkeypatch.setattr(models, "LARGEST_MODEL", 2000)
    path = tmp_path / "net.onnx"
    model.save(path)
    x = np.ones((2, 1000), np.float32)
    found = Session(path, "cpu").run({"x": x})["y"]
    np.testing.assert_array_equal(found, (x + model.tensors["large"]) * 2)


@pytest.mark.parametrize("limit", [models.LARGEST_MODEL, 2000])
def test_nothing_is_left_half_written(model, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(models, "LARGEST_MODEL", limit)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "_write", full)
    with pytest.raises(FcnprotoError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
