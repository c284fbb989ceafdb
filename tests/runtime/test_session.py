"""Where models run: what is chosen, what is said, and what is refused."""

import sys

import numpy as np
import onnx
import pytest

from fcnproto.errors import FcnprotoError
from fcnproto.runtime import loading
from fcnproto.runtime.devices import cuda_devices
from fcnproto.runtime.session import Device, DeviceError, Session, Value


def model_bytes(kind="Relu", metadata=None):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, ["x"], ["y"], name="only")],
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 3])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 3])],
    )
    opset = onnx.helper.make_operatorsetid("", 21)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("text", "kind", "index"),
    [("auto", "auto", 0), ("cpu", "cpu", 0), ("cuda", "cuda", 0), ("cuda:12", "cuda", 12)],
)
def test_devices(text, kind, index):
    assert Device.parse(text) == Device(kind, index)


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:", "cuda:x", "cpu:0", "CUDA", "cuda:-1", "cuda:٣"]
)
def test_what_is_no_device(text):
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:1, openvino"):
        Device.parse(text)


def test_values_and_metadata_and_run():
    session = Session(model_bytes(metadata={"net": "tiny"}), "cpu")
    assert session.inputs == (Value("x", np.dtype("float32"), ("N", 3)),)
    assert session.metadata == {"net": "tiny"}
    for count in (1, 3, 1, 2):
        x = np.linspace(-1, 1, 3 * count, dtype=np.float32).reshape(count, 3)
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(x, 0))
    assert list(session.run({"x": x}, ["y"])) == ["y"]


def test_auto_takes_the_cpu_quietly_where_there_is_no_cuda(monkeypatch, capfd):
    monkeypatch.setattr(loading, "cuda_devices", lambda: 0)
    session = Session(model_bytes())
    assert str(session.device) == "cpu"
    assert "CUDA" in session.reason
    assert capfd.readouterr() == ("", "")


def test_auto_takes_the_cpu_quietly_where_cuda_does_not_work(monkeypatch, capfd):
    """A driver, but none of CUDA's libraries: onnxruntime would print red lines."""
    if cuda_devices():
        pytest.skip("CUDA works here")
    monkeypatch.setattr(loading, "cuda_devices", lambda: 1)
    session = Session(model_bytes())
    assert str(session.device) == "cpu"
    assert capfd.readouterr() == ("", "")


def test_cuda_is_never_replaced_by_the_cpu(monkeypatch):
    monkeypatch.setattr(loading, "cuda_devices", lambda: 0)
    with pytest.raises(DeviceError, match=r"pip install 'fcnproto\[cuda\]'"):
        Session(model_bytes(), "cuda")
    monkeypatch.setattr(loading, "cuda_devices", lambda: 2)
    with pytest.raises(DeviceError, match="CUDA"):
        Session(model_bytes(), "cuda:2")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty, no ONNX model"),
        (b"nonsense", "no model that onnxruntime can load"),
        (model_bytes("NoSuchOperator"), "no model that onnxruntime can load"),
    ],
)
def test_what_cannot_be_loaded(content, words, tmp_path, capfd):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(FcnprotoError, match=words) as caught:
        Session(path, "cpu")
    assert str(caught.value).count("\n") == 0
    assert capfd.readouterr() == ("", "")


def test_no_such_file(tmp_path):
    with pytest.raises(FcnprotoError, match="no such file"):
        Session(tmp_path / "none.onnx", "cpu")


def test_what_cannot_be_run(capfd):
    session = Session(model_bytes(), "cpu")
    with pytest.raises(FcnprotoError, match="cannot be run"):
        session.run({"x": np.zeros((1, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_importing_it_imports_no_runtime():
    import subprocess

    code = "import sys, fcnproto.runtime.session; assert 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_devices(), reason="there is no CUDA device")
def test_cuda_computes_what_the_cpu_computes():
    x = np.random.default_rng(0).standard_normal((5, 3), np.float32)
    on_cuda, on_cpu = Session(model_bytes("Exp"), "cuda"), Session(model_bytes("Exp"), "cpu")
    assert on_cuda.device == Device("cuda", 0)
    np.testing.assert_allclose(on_cuda.run({"x": x})["y"], on_cpu.run({"x": x})["y"], rtol=1e-5)


@pytest.mark.parametrize("name", [b"x", b"y"])
def test_a_name_that_is_no_text_is_one_line(name, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes().replace(b"\x01" + name, b"\x01\xff"))
    with pytest.raises(FcnprotoError, match="not UTF-8: found the byte 0xff") as raised:
        Session(path, "cpu")
    assert str(raised.value).startswith(f"{path}: error: ")
