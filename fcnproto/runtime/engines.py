"""Plug-in engines: execution providers that packages of their own bring to onnxruntime.

A package called `onnxruntime-ep-NAME` has a library that onnxruntime loads; which devices it has is
asked of onnxruntime. Precision is never left to an engine: some compute in bf16 by default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib import import_module, metadata
from io import StringIO
from typing import Any

import numpy as np

from fcnproto.errors import FcnprotoError, reason

KNOWN: Mapping[str, str] = {
    "openvino": "pip install 'fcnproto[openvino]'",
    "tensorrt": "pip install 'fcnproto[tensorrt]'",
    "webgpu": "pip install onnxruntime-ep-webgpu",
}
"""The engines that have a name here, and how they are had."""

_PREFIX = "onnxruntime-ep-"
_ALIASES = {"nv-tensorrt-rtx": "tensorrt"}

FATAL, ERROR, WARNING = 4, 3, 2
"""onnxruntime's severities."""


class EngineError(FcnprotoError):
    """An engine that is not installed, cannot be loaded, or has no device here."""


def installed() -> dict[str, str]:
    """The engines whose packages are installed, and the modules that they bring."""
    found: dict[str, str] = {}
    for name, package in _packages():
        modules = {
            file.parts[0]
            for file in package.files or ()
            if len(file.parts) == 2 and file.name == "__init__.py"
        }
        if modules:
            found[name] = min(modules)
    return dict(sorted(found.items()))


def is_known(name: str) -> bool:
    """Whether an engine is one of KNOWN, or an installed package brings it."""
    return name in KNOWN or name in installed()


def version(name: str) -> str:
    """The version of the package that brings an engine."""
    return next((package.version for engine, package in _packages() if engine == name), "")


def _packages() -> Iterator[tuple[str, metadata.Distribution]]:
    """The packages that bring engines, with the engines' names."""
    for package in metadata.distributions():
        title = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
        if title.startswith(_PREFIX):
            name = re.sub(r"-cu\d+$", "", title.removeprefix(_PREFIX))
            yield _ALIASES.get(name, name), package


def devices(name: str) -> list[Any]:
    """The engine's devices, as onnxruntime's OrtEpDevice; EngineError if there are none."""
    module = installed().get(name)
    if module is None:
        how = KNOWN.get(name, f"pip install {_PREFIX}{name}")
        raise EngineError(f"the package of {name} is not installed: {how}")
    import onnxruntime  # type: ignore[import-untyped]

    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise EngineError(
            f"onnxruntime {onnxruntime.__version__} loads no plug-in engines: from 1.23 on it does"
        )
    with silence(onnxruntime):
        try:
            providers = _register(module)
        except Exception as error:  # what a package's code and onnxruntime raise has no other base
            line = reason(error)
            raise EngineError(f"{name} cannot be loaded: {line}") from error
        found = [
            device
            for device in onnxruntime.get_ep_devices()
            if device.ep_name in providers and "is_virtual" not in device.device.metadata
        ]
    if not found:
        own = " (OpenVINO's package takes Intel's processors only)" if name == "openvino" else ""
        raise EngineError(f"{name} has no device here{own}: use --device cpu")
    return found


@cache
def _register(module: str) -> Sequence[str]:
    """Register an engine's library, once for the process, and give the names of its providers."""
    import onnxruntime

    package = import_module(module)
    onnxruntime.register_execution_provider_library(module, package.get_library_path())
    names = [package.get_ep_name()] if hasattr(package, "get_ep_name") else package.get_ep_names()
    return tuple(names)


def title(device: Any) -> str:
    """What a device is, in words."""
    about = dict(device.ep_metadata)
    own = about.get("FULL_DEVICE_NAME") or device.device.vendor or "unknown"
    return f"{device.device.type.name.lower()}, {own}"


# Precision --------------------------------------------------------------------------------------


def settings(name: str, device: Any, *, fast: bool, threads: int) -> dict[str, str]:
    """The options with which an engine computes in float32, or with `fast` in what is faster.

    Raises EngineError if the device has no float32, and `fast` is not given.
    """
    if name != "openvino":
        return {}
    about = dict(device.ep_metadata)
    hint = _openvino_hint(about.get("OPTIMIZATION_CAPABILITIES", "FP32").split(), fast)
    own: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint}
    kind = about.get("ov_device", "CPU")
    if kind == "CPU" and threads:
        own["INFERENCE_NUM_THREADS"] = threads
    return {"load_config": json.dumps({kind: own})}


def _openvino_hint(capabilities: Sequence[str], fast: bool) -> str:
    if fast:
        for name, hint in (("BF16", "bf16"), ("FP16", "f16")):
            if name in capabilities:
                return hint
    if not fast and "FP32" not in capabilities:
        raise EngineError("the device has no float32: --fast lets it compute in what it has")
    return "f32"


PROBE = 64
"""Channels of the convolution with which precision is measured: as many as units want."""


def measured(run: Any) -> str:
    """The precision in which a session of `probe` computes: float32, fp16 or TF32, or bf16.

    `run` takes the feeds and gives the top.
    """
    image = 1 + np.random.default_rng(0).random((1, PROBE, 16, 16), np.float32)
    away = float(np.abs(run({"x": image}) / _expected(image) - 1).max())
    # Factors are rounded by 2^-24 of themselves in float32, 2^-11 in TF32 and fp16, 2^-8 in bf16;
    # sums of as many products of one sign by less.
    if away < 2e-6:
        return "float32"
    return "fp16 or TF32" if away < 2**-11 else "bf16"


def _kernels() -> Any:
    return np.random.default_rng(1).random((PROBE, PROBE, 1, 1), np.float32)


def _expected(image: Any) -> Any:
    top = _kernels()[:, :, 0, 0].astype(np.float64) @ image[0].reshape(PROBE, -1)
    return top.reshape(1, PROBE, *image.shape[2:])


def probe() -> bytes:
    """A convolution of random numbers, in which rounding shows."""
    from onnx import TensorProto, helper, numpy_helper

    sizes = (1, PROBE, 16, 16)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [numpy_helper.from_array(_kernels(), "w")],
    )
    opset = helper.make_operatorsetid("", 21)
    model: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=10
    ).SerializeToString()
    return model


@contextmanager
def silence(onnxruntime: Any) -> Iterator[None]:
    """Keep onnxruntime from printing what it cannot load: we say it in one line."""
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        with redirect_stdout(StringIO()):  # where preload_dlls prints
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
