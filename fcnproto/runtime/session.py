"""A model on a device: onnxruntime with the options that this project's nets want.

onnxruntime is imported only when a session is made.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.model.outline import outline
from fcnproto.types import Array

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]
    from onnx import ModelProto


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
GET_CUDA = "pip install 'fcnproto[cuda]' brings the libraries; an NVIDIA driver must be there"

_FATAL, _ERROR, _WARNING = 4, 3, 2  # onnxruntime's severities


class DeviceError(FcnprotoError):
    """A device that is asked for and not there, or a model that it cannot run."""


@dataclass(frozen=True)
class Device:
    """Where a model runs: the CPU, or a CUDA device by its number."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """From auto, cpu, cuda or cuda:1; DeviceError for anything else."""
        match = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d{1,3})", text, re.ASCII)
        if match is None:
            raise DeviceError(f"there is no device '{text}': expected auto, cpu, cuda or cuda:1")
        return cls(match[1] or "cuda", int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind == "cuda" else self.kind


@dataclass(frozen=True)
class Value:
    """An input or output: its name, its elements' type, its sizes (a name where one is open)."""

    name: str
    dtype: np.dtype[Any]
    sizes: tuple[int | str | None, ...]


class Session:
    """A model that is ready to run.

    `device` is where it runs, `reason` why, where auto chose it.
    """

    def __init__(
        self,
        model: Path | bytes,
        device: str = "auto",
        *,
        fast: bool = False,
        threads: int | None = None,
    ) -> None:
        """Load a model; with `fast`, CUDA may use TF32, which keeps 10 bits of each factor.

        `threads` are the CPU's; by default as many as there are cores. Raises DeviceError if the
        device is not there, FcnprotoError if the model cannot be loaded.
        """
        self.path = str(model) if isinstance(model, Path) else None
        self._open(_Loader(_Source.of(model), fast, threads), Device.parse(device))

    def _open(self, load: _Loader, device: Device) -> None:
        self._load = load
        self.device, self.reason, self._loaded = self._on(device)
        session = self._session
        self.inputs = tuple(map(_value, session.get_inputs()))
        self.outputs = tuple(map(_value, session.get_outputs()))
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        self._last: object = None

    @property
    def _session(self) -> onnxruntime.InferenceSession:
        if self._loaded is None:
            _, _, self._loaded = self._on(self.device)
        return self._loaded

    def split(self, kept: Collection[str]) -> tuple[Session, Session]:
        """Two sessions on the same device: up to the values `kept`, and from them to the outputs.

        The second one takes those inputs too of which it reads the sizes. What this session holds
        in memory is given back, until it is run again. Raises FcnprotoError if the model has no
        such values.
        """
        from fcnproto.model.parts import part

        self._loaded = None
        whole = self._load.source.proto()
        inputs, outputs = (
            [value.name for value in values] for values in (self.inputs, self.outputs)
        )
        try:
            parts = part(whole, inputs, kept), part(whole, kept, outputs)
        except FcnprotoError as error:
            raise FcnprotoError(
                *(replace(problem, path=self.path) for problem in error.problems)
            ) from error
        first, second = (self._part(each.SerializeToString()) for each in parts)
        return first, second

    def _part(self, message: bytes) -> Session:
        session = Session.__new__(Session)
        session.path = self.path
        source = self._load.source.part(message)
        session._open(replace(self._load, source=source, is_part=True), self.device)
        return session

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] = ()) -> dict[str, Array]:
        """The outputs (all, or those named) for arrays by the names of the inputs."""
        names = list(outputs) or [output.name for output in self.outputs]
        try:
            if self.device.kind == "cuda":
                results = self._run_bound(feeds, names)
            else:
                results = self._session.run(names, dict(feeds), self._options(feeds))
        except Exception as error:  # onnxruntime's own exceptions have no other common base
            raise FcnprotoError(
                Problem(f"cannot be run: {_first_line(error)}", self.path)
            ) from error
        return dict(zip(names, results, strict=True))

    def _options(self, feeds: Mapping[str, Array]) -> onnxruntime.RunOptions:
        """Give memory back where the sizes are new: what was kept for the old ones is of no use."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        sizes = {name: array.shape for name, array in feeds.items()}
        if sizes != self._last:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._last = sizes
        return options

    def _run_bound(self, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        """Run with inputs and outputs that lie on the device, each copied once."""
        import onnxruntime

        binding = self._session.io_binding()
        for name, array in feeds.items():
            contiguous = np.ascontiguousarray(array)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(contiguous, "cuda", self.device.index)
            binding.bind_ortvalue_input(name, value)
        for name in names:
            binding.bind_output(name, "cuda", self.device.index)
        self._session.run_with_iobinding(binding)
        return [np.asarray(array) for array in binding.copy_outputs_to_cpu()]

    def _on(self, wanted: Device) -> tuple[Device, str, onnxruntime.InferenceSession]:
        """The device that serves, why, and a session on it."""
        if wanted.kind == "cpu":
            return wanted, "", self._load.on_cpu()
        try:
            device = Device("cuda", wanted.index)
            session = self._load.on_cuda(device)
        except DeviceError as error:
            if wanted.kind == "cuda":
                raise
            return Device("cpu"), error.problems[0].message, self._load.on_cpu()
        return device, "", session


@dataclass(frozen=True)
class _Source:
    """A model as a message whose large arrays may lie in files of a folder, or as a file alone.

    From its own file they are mapped into memory: a copy of them would be made only to be re-laid.
    """

    path: Path | None = None
    message: bytes | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, model: Path | bytes) -> _Source:
        if isinstance(model, bytes):
            return cls(message=model)
        if not model.is_file():
            raise FcnprotoError(Problem("there is no such file", str(model)))
        real = model.resolve()
        message = outline(real)
        return cls(model) if message is None else cls(model, message, real.parent)

    def given(self, options: onnxruntime.SessionOptions) -> bytes | str:
        """What a session is made of; the folder goes into its options."""
        if self.folder is not None:
            options.add_session_config_entry(_FOLDER, str(self.folder))
        return str(self.path) if self.message is None else self.message

    def proto(self) -> ModelProto:
        """The message, without arrays that lie in files."""
        from onnx import ModelProto

        message = self.message
        if message is None:
            assert self.path is not None
            message = self.path.read_bytes()
        return ModelProto.FromString(message)

    def divided(self) -> _Source:
        """The same model, that takes less memory to load where it has large convolutions."""
        if self.message is None or self.path is None or self.path.stat().st_size <= _LARGE:
            return self
        from fcnproto.model.parts import divided

        return replace(self, message=divided(self.proto(), _LARGE).SerializeToString())

    def part(self, message: bytes) -> _Source:
        """A message whose arrays lie where this one's do."""
        folder = self.folder or (self.path and self.path.absolute().parent)
        return replace(self, message=message, folder=folder)


_LARGE = 2**26  # bytes of kernels that one convolution may have

_FOLDER = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class _Loader:
    source: _Source
    fast: bool
    threads: int | None
    is_part: bool = False
    """Whether other sessions of the same process are run in turn with this one."""

    def on_cpu(self) -> onnxruntime.InferenceSession:
        return replace(self, source=self.source.divided())._session(self._options(), [CPU])

    def on_cuda(self, device: Device) -> onnxruntime.InferenceSession:
        """A session on a CUDA device; DeviceError, and not a word of onnxruntime's, if none can be.

        Convolution search HEURISTIC: trying all algorithms costs seconds for each new image size.
        """
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            raise DeviceError(f"onnxruntime is built without CUDA: {GET_CUDA}")
        count = _cuda_devices()
        if device.index >= count:
            found = "no CUDA device" if not count else f"CUDA devices 0 to {count - 1} only"
            raise DeviceError(f"there is {found}: {GET_CUDA}")
        settings = {
            "device_id": str(device.index),
            "cudnn_conv_algo_search": "HEURISTIC",
            "use_tf32": str(int(self.fast)),
            "arena_extend_strategy": "kSameAsRequested",
        }
        options = self._options()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        with _silence(onnxruntime):
            if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
                onnxruntime.preload_dlls()
            session = self._session(options, [(CUDA, settings), CPU])
        if CUDA not in session.get_providers():
            raise DeviceError(f"onnxruntime cannot use CUDA here: {GET_CUDA}")
        _check_placement(session)
        return session

    def _options(self) -> onnxruntime.SessionOptions:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERROR
        options.intra_op_num_threads = self.threads or _limited_cores() or 0
        if self.is_part:
            # Its idle threads would wait in a loop while those of the other parts work.
            options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def _session(
        self, options: onnxruntime.SessionOptions, providers: Sequence[Any]
    ) -> onnxruntime.InferenceSession:
        import onnxruntime

        source = self.source.given(options)
        try:
            return onnxruntime.InferenceSession(
                source, options, providers=list(providers), enable_fallback=0
            )
        except Exception as error:  # onnxruntime's own exceptions have no other common base
            path = str(self.source.path) if self.source.path else None
            raise FcnprotoError(
                Problem(f"is no model that onnxruntime can load: {_first_line(error)}", path)
            ) from error


def _check_placement(session: onnxruntime.InferenceSession) -> None:
    """DeviceError if convolutions were left to the CPU, as happens where a kernel is missing."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return  # before onnxruntime 1.24; the session's providers have been looked at
    left = [
        node.name or node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == CPU
        for node in part.get_nodes()
        if node.op_type in _HEAVY
    ]
    if left:
        raise DeviceError(f"onnxruntime left {', '.join(left[:5])} to the CPU; use --device cpu")


_HEAVY = ("Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "MaxPool", "AveragePool")


@contextmanager
def _silence(onnxruntime: Any) -> Iterator[None]:
    """Keep onnxruntime from printing what it cannot load: we say it in one line."""
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with redirect_stdout(StringIO()):  # where preload_dlls prints
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def _cuda_devices() -> int:
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


def _limited_cores() -> int | None:
    """How many cores this process may use, if those are not all; onnxruntime does not ask."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = len(os.sched_getaffinity(0))
    return cores if cores < (os.cpu_count() or cores) else None


_TYPES = {"float16": "float16", "float": "float32", "double": "float64", "bool": "bool"}


def _value(node: Any) -> Value:
    name = node.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_TYPES.get(name, name))
    except TypeError:
        dtype = np.dtype(object)
    return Value(node.name, dtype, tuple(node.shape))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
