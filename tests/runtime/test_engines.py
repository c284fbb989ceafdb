"""Plug-in engines: what is said where there are none, and what they compute where there are."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from caffe_cases import INFERENCE, arrays_of, weights_of
from click.testing import CliRunner
from exporting import session_of
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, RuntimeException

from fcnproto.cli import main
from fcnproto.errors import FcnprotoError
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.proto.source import read_net
from fcnproto.runtime import engines
from fcnproto.runtime.devices import Device, DeviceError
from fcnproto.runtime.session import Session


def has_openvino():
    try:
        return bool(engines.devices("openvino"))
    except engines.EngineError:
        return False


HERE = has_openvino()
on_openvino = pytest.mark.skipif(
    not HERE, reason="onnxruntime-ep-openvino is not installed, or takes none of the devices here"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCNPROTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "probe.onnx"
    message = onnx.load_from_string(engines.probe())
    onnx.helper.set_model_props(message, {"net": "probe"})
    onnx.save(message, path)
    return path


def image():
    return {"x": 1 + np.random.default_rng(3).random((1, engines.PROBE, 16, 16), np.float32)}


# Names and errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("openvino", Device("openvino")),
        ("openvino:gpu", Device("openvino", 0, "gpu")),
        ("openvino:1", Device("openvino", 1)),
        ("tensorrt", Device("tensorrt")),
        ("webgpu", Device("webgpu")),
    ],
)
def test_names(text, device):
    assert Device.parse(text) == device
    assert str(device) == text


@pytest.mark.parametrize(
    "text", ["openvino:", "openvino:tpu", "OpenVINO", ":cpu", "a:cpu", "cuda:cpu"]
)
def test_what_is_no_engine(text):
    with pytest.raises(DeviceError, match="there is no device"):
        Device.parse(text)


@pytest.mark.parametrize("name", ["openvino", "tensorrt", "webgpu"])
def test_engines_that_are_not_installed(name, model, monkeypatch):
    monkeypatch.setattr(engines, "installed", dict)
    with pytest.raises(DeviceError, match="is not installed: pip install") as caught:
        Session(model, name)
    assert len(str(caught.value).splitlines()) == 1


class Package:
    """A package that brings an engine, in its parts."""

    def __init__(self, name, monkeypatch, library="/nowhere/lib.so"):
        monkeypatch.setattr(engines, "installed", lambda: {name: f"module_of_{name}"})
        monkeypatch.setattr(engines, "import_module", lambda _: self)
        self.get_library_path = lambda: library
        self.get_ep_name = lambda: "SomeExecutionProvider"


def test_an_engine_that_cannot_be_loaded(model, monkeypatch, capfd):
    Package("broken", monkeypatch)
    with pytest.raises(DeviceError, match="broken cannot be loaded") as caught:
        Session(model, "broken")
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def fake_device(kind="CPU", **about):
    return SimpleNamespace(
        ep_name="SomeExecutionProvider",
        ep_metadata=about,
        device=SimpleNamespace(type=SimpleNamespace(name=kind), vendor="Some", metadata={}),
    )


def test_an_engine_without_devices(model, monkeypatch):
    Package("lonely", monkeypatch)
    monkeypatch.setattr(engines, "_register", lambda _: ("SomeExecutionProvider",))
    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    with pytest.raises(DeviceError, match="lonely has no device here: use --device cpu"):
        Session(model, "lonely")


def test_a_device_that_an_engine_does_not_have(model, monkeypatch):
    monkeypatch.setattr(engines, "devices", lambda _: [fake_device()])
    with pytest.raises(
        DeviceError, match=r"there is no openvino:npu; openvino has 0 \(cpu, Some\)"
    ):
        Session(model, "openvino:npu")


def test_devices_are_listed(monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda: {"some": "some", "other": "other"})

    def devices(name):
        if name == "other":
            raise engines.EngineError("other has no device here")
        return [fake_device(), fake_device("GPU", FULL_DEVICE_NAME="A card")]

    monkeypatch.setattr(engines, "devices", devices)
    found = CliRunner().invoke(main, ["segment", "--device", "list"])
    assert found.exit_code == 0
    lines = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    assert ["some:1", "gpu, A card"] in lines
    assert ["other", "not here: other has no device here"] in lines
    assert lines[0][0] == "cpu"


# Precision --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "fast", "hint"),
    [
        ("FP32 BF16 FP16", False, "f32"),
        ("FP32 BF16 FP16", True, "bf16"),
        ("FP32 FP16", True, "f16"),
        ("FP32", True, "f32"),
    ],
)
def test_precision_is_always_said(capabilities, fast, hint):
    device = fake_device(ov_device="GPU.0", OPTIMIZATION_CAPABILITIES=capabilities)
    found = engines.settings("openvino", device, fast=fast, threads=2)
    assert json.loads(found["load_config"]) == {"GPU.0": {"INFERENCE_PRECISION_HINT": hint}}


def test_a_device_without_float32_is_refused():
    device = fake_device(ov_device="NPU", OPTIMIZATION_CAPABILITIES="FP16 INT8")
    with pytest.raises(engines.EngineError, match="--fast"):
        engines.settings("openvino", device, fast=False, threads=0)


def rounded(array, bits):
    """Numbers with so many bits, the first one included."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(np.float32)


@pytest.mark.parametrize(("bits", "name"), [(24, "float32"), (11, "fp16 or TF32"), (8, "bf16")])
def test_precision_is_measured(bits, name):
    model = onnx.load_from_string(engines.probe())
    (kernels,) = model.graph.initializer
    array = rounded(onnx.numpy_helper.to_array(kernels), bits)
    kernels.CopyFrom(onnx.numpy_helper.from_array(array, "w"))
    session = session_of(model)
    assert (
        engines.measured(lambda feeds: session.run(None, {"x": rounded(feeds["x"], bits)})[0])
        == name
    )


# On OpenVINO ------------------------------------------------------------------------------------


@on_openvino
def test_float32_by_default(model, capfd):
    """Processors with bf16 units would compute in it, were they let."""
    session = Session(model, "openvino")
    assert session.precision == "float32"
    wanted = Session(model, "cpu").run(image())["y"]
    np.testing.assert_allclose(session.run(image())["y"], wanted, rtol=2e-6)
    assert capfd.readouterr() == ("", "")


@on_openvino
def test_fast_is_what_the_device_has(model):
    (device, *_) = engines.devices("openvino")
    has_bf16 = "BF16" in dict(device.ep_metadata)["OPTIMIZATION_CAPABILITIES"]
    session = Session(model, "openvino", fast=True)
    if has_bf16:
        assert session.precision == "bf16"
        wanted = Session(model, "cpu").run(image())["y"]
        assert np.abs(session.run(image())["y"] / wanted - 1).max() > 1e-4


@on_openvino
def test_the_cache_is_taken_and_mended(model, own_cache):
    wanted = Session(model, "openvino").run(image())["y"]
    (place,) = (own_cache / "compiled").iterdir()
    written = {each.name: each.stat().st_mtime_ns for each in place.iterdir()}
    second = Session(model, "openvino")
    assert second.metadata["net"] == "probe"
    np.testing.assert_array_equal(second.run(image())["y"], wanted)
    assert {each.name: each.stat().st_mtime_ns for each in place.iterdir()} == written
    for file in place.iterdir():
        if file.suffix == ".bin":
            file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(Session(model, "openvino").run(image())["y"], wanted)


@on_openvino
def test_no_cache(model, own_cache):
    Session(model, "openvino", cache=False).run(image())
    assert not own_cache.exists()


@on_openvino
def test_what_cannot_be_run_there(model, capfd):
    session = Session(model, "openvino")
    with pytest.raises(FcnprotoError, match="--device cpu"):
        session.run({"x": np.zeros((1, 3, 4, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


@on_openvino
def test_verify_on_a_device(model):
    found = CliRunner().invoke(main, ["verify", str(model), "--device", "openvino", "--json"])
    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)
    assert (row["blob"], row["agrees"]) == ("y", True)
    assert row["relative"] < 2e-6


@on_openvino
@pytest.mark.slow
@pytest.mark.parametrize("path", INFERENCE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_exact_nets_give_what_caffe_gave(path, tmp_path):
    arrays = arrays_of(path)
    weights = weights_of(arrays)
    net = inference(build(read_net(path)), weights)
    exact = optimized(with_weights(net, weights), Optimize.EXACT).net
    model = tmp_path / "net.onnx"
    write(exact).save(model)
    try:
        session = Session(model, "openvino")
    except DeviceError as error:
        pytest.skip(
            str(error)
        )  # an operator that OpenVINO lacks; it is never run elsewhere quietly
    feeds = {name: np.asarray(arrays[f"in/{name}"], np.float32) for name in net.inputs}
    for name, found in session.run(feeds).items():
        expected = arrays[f"out/{name}"]
        assert found.shape == expected.shape
        scale = np.abs(expected).max(initial=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * max(scale, 1e-3))


def test_devices_that_are_only_virtual_are_not_taken(monkeypatch):
    """onnxruntime lists them for compiling elsewhere; nothing runs on them."""

    def device(name, metadata):
        return SimpleNamespace(ep_name=name, device=SimpleNamespace(metadata=metadata))

    real = device("Engine", {})
    listed = [device("Engine", {"is_virtual": "1"}), real, device("Other", {})]
    monkeypatch.setattr(engines, "installed", lambda: {"engine": object()})
    monkeypatch.setattr(engines, "_register", lambda module: {"Engine"})
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: listed)
    assert engines.devices("engine") == [real]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeException, "device lost"),
        (EPFail, "out of memory: 1234 bytes"),
    ],
)
def test_an_engine_that_fails_in_the_middle(tmp_path, monkeypatch, error, said):
    """What was made stays, each image that was not is said with what to do, and the rest go on."""
    monkeypatch.setattr(
        Session, "_on", lambda self, wanted: (wanted, "", self._load.on_cpu()), raising=True
    )
    run, calls = onnxruntime.InferenceSession.run, []

    def failing(self, *args):
        calls.append(self)
        if len(calls) == 3:
            raise error(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {said}\n at kernel.cc:17")
        return run(self, *args)

    runner = CliRunner()
    assert runner.invoke(main, ["demo", "-o", str(tmp_path)]).exit_code == 0
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", failing)
    images = sorted((tmp_path / "images").iterdir())[:5]
    arguments = [*map(str, images), "--model", str(tmp_path / "shapes-fcn8s.onnx")]
    out = tmp_path / "out"
    result = runner.invoke(main, ["segment", *arguments, "-o", str(out), "--device", "webgpu"])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if "error:" in line]
    assert line.startswith(f"{images[2]}: error: cannot be run at ") and said in line
    assert line.endswith("--tile N needs less of webgpu's memory, --device cpu none")
    made = {path.stem for path in out.iterdir() if path.suffix == ".png"}
    assert made == {path.stem for path in images} - {images[2].stem}
