"""A model's message without its arrays: what a runtime makes of it is what it makes of the file."""

import numpy as np
import onnx
import pytest
from exporting import exported, input_text, layer_text, net_of

from fcnproto.model import outline as outlines
from fcnproto.model.outline import outline
from fcnproto.runtime.session import Session

LAYER = layer_text(
    "Convolution", ["data"], ["score"], "convolution_param { num_output: 16 kernel_size: 5 }"
)


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((16, 3, 5, 5)).astype(np.float32)
    weights = {"it": [kernels, rng.standard_normal(16).astype(np.float32)]}
    return exported(net_of(input_text(data=(1, 3, 8, 8)) + LAYER), weights)


def arrays(model):
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor).tobytes()
        for tensor in model.graph.initializer
    }


def test_arrays_are_where_it_says(model, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    message = outline(path)
    assert len(message) < path.stat().st_size - 16 * 3 * 5 * 5 * 4 + 200
    (tmp_path / "outline.onnx").write_bytes(message)
    # onnx itself finds the arrays in the first file.
    found = onnx.load(tmp_path / "outline.onnx")
    assert found.graph.node == model.graph.node
    assert arrays(found) == arrays(model)


def test_small_arrays_and_all_else_stay(model, tmp_path, monkeypatch):
    monkeypatch.setattr(outlines, "_SMALL", 2**30)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    assert onnx.load_from_string(outline(path)) == model


def test_arrays_in_another_file_stay_there(model, tmp_path):
    feeds = {"data": np.ones((1, 3, 9, 9), np.float32)}
    expected = Session(model.SerializeToString(), "cpu").run(feeds)["score"]
    path = tmp_path / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, size_threshold=100)
    assert outline(path) is None
    session = Session(path, "cpu")
    np.testing.assert_array_equal(session.run(feeds)["score"], expected)
    _, all_of_it = session.split(["data"])
    np.testing.assert_array_equal(all_of_it.run(feeds)["score"], expected)


def test_sessions_of_a_link(model, tmp_path):
    (tmp_path / "store").mkdir()
    path = tmp_path / "store" / "blob"
    onnx.save(model, path)
    link = tmp_path / "net.onnx"
    link.symlink_to(path)
    feeds = {"data": np.ones((1, 3, 9, 9), np.float32)}
    expected = Session(model.SerializeToString(), "cpu").run(feeds)["score"]
    np.testing.assert_array_equal(Session(link, "cpu").run(feeds)["score"], expected)


def test_what_is_no_message(model, tmp_path):
    """Whatever the file holds, it is told apart or read; nothing else is raised."""
    path = tmp_path / "net.onnx"
    whole = np.frombuffer(model.SerializeToString(), np.uint8)
    assert outline(tmp_path / "none.onnx") is None
    path.write_bytes(b"")
    assert outline(path) is None
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutated = whole.copy()
        places = rng.integers(0, 400, 3)
        mutated[places] = rng.integers(0, 256, 3)
        path.write_bytes(mutated[: rng.integers(1, len(whole) + 1)].tobytes())
        found = outline(path)
        assert found is None or isinstance(found, bytes)
