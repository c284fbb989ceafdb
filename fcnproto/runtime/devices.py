"""Devices by name: the CPU, CUDA, and whatever plug-in engines bring."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fcnproto.errors import FcnprotoError
from fcnproto.runtime import engines

GET_CUDA = "pip install 'fcnproto[cuda]' brings the libraries; an NVIDIA driver must be there"

_PARTS = ("cpu", "gpu", "npu")


class DeviceError(FcnprotoError):
    """A device that is asked for and not there, or a model that it cannot run."""


@dataclass(frozen=True)
class Device:
    """Where a model runs: the CPU, a CUDA device by its number, or a plug-in engine's device.

    `kind` is auto, cpu, cuda or the engine's name. An engine's device is chosen by `part`: cpu, gpu
    or npu; where that is empty, by `index` among all that the engine has.
    """

    kind: str
    index: int = 0
    part: str = ""

    @classmethod
    def parse(cls, text: str) -> Device:
        """From auto, cpu, cuda:1, openvino:gpu …; DeviceError for anything else."""
        if text in ("auto", "cpu"):
            return cls(text)
        kind, colon, rest = str(text).partition(":")
        is_index = re.fullmatch(r"\d{1,3}", rest, re.ASCII) is not None
        is_plugin = kind != "cuda" and engines.is_known(kind)
        if (
            (kind == "cuda" or is_plugin)
            and kind
            and (not colon or is_index or (is_plugin and rest in _PARTS))
        ):
            return cls(kind, int(rest) if is_index else 0, rest if rest in _PARTS else "")
        raise DeviceError(
            f"there is no device '{text}': expected auto, cpu, cuda or cuda:1,"
            f" {', '.join(engines.KNOWN)}, or another that --device list names"
        )

    @property
    def is_plugin(self) -> bool:
        """Whether a plug-in engine runs it."""
        return self.kind not in ("auto", "cpu", "cuda")

    def __str__(self) -> str:
        if self.kind == "cuda":
            return f"cuda:{self.index}"
        if self.part or self.index:
            return f"{self.kind}:{self.part or self.index}"
        return self.kind


def cuda_devices() -> int:
    """How many CUDA devices the driver has; 0 where there is no driver."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def listed() -> Iterator[tuple[str, str]]:
    """Every device that is here, as --device takes it, with what it is."""
    yield "cpu", "onnxruntime's own kernels"
    for index in range(cuda_devices()):
        yield f"cuda:{index}", "CUDA"
    for name in engines.installed():
        try:
            found = engines.devices(name)
        except engines.EngineError as error:
            yield name, f"not here: {error.problems[0].message}"
            continue
        for index, device in enumerate(found):
            yield f"{name}:{index}", engines.title(device)
