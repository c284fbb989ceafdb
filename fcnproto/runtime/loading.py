"""Sessions of onnxruntime on each kind of device, with the options that our nets want."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.kinds import HEAD, no_model
from fcnproto.runtime import engines
from fcnproto.runtime.cache import CachePlace
from fcnproto.runtime.devices import GET_CUDA, Device, DeviceError, cuda_devices
from fcnproto.runtime.source import ModelSource
from fcnproto.types import Array
from fcnproto.words import some

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

FLOAT32 = "float32"

_PLACEMENT = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class Loaded:
    """A session, and the precision in which it computes."""

    session: onnxruntime.InferenceSession
    precision: str


@dataclass(frozen=True)
class Loader:
    """A model and how it is to be loaded."""

    source: ModelSource
    fast: bool
    threads: int | None
    cache: bool = True
    """Whether compiled models are kept."""
    is_part: bool = False
    """Whether other sessions of the same process are run in turn with this one."""

    def on_cpu(self) -> Loaded:
        """A session of onnxruntime's own kernels, which know float32 only."""
        divided = replace(self, source=self.source.divided())
        options = self._options(engines.FATAL)  # errors are raised, and said in one line
        return Loaded(divided._session(options, [CPU]), FLOAT32)

    def on_cuda(self, device: Device) -> Loaded:
        """A session on a CUDA device; DeviceError, and not a word of onnxruntime's, if none can be.

        Convolution search HEURISTIC: trying all algorithms costs seconds for each new image size.
        """
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            raise DeviceError(f"onnxruntime is built without CUDA: {GET_CUDA}")
        count = cuda_devices()
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
        options.add_session_config_entry(_PLACEMENT, "1")
        with engines.silence(onnxruntime):
            if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
                onnxruntime.preload_dlls()
            session = self._session(options, [(CUDA, settings), CPU])
        if CUDA not in session.get_providers():
            raise DeviceError(f"onnxruntime cannot use CUDA here: {GET_CUDA}")
        _check_placement(session, str(device))
        return Loaded(session, "TF32" if self.fast else FLOAT32)

    def on_engine(self, device: Device) -> Loaded:
        """A session on a plug-in engine's device; DeviceError if it is not there, or not precise.

        A compiled model is taken from the cache, and kept there.
        """
        import onnxruntime

        try:
            chosen = _chosen(engines.devices(device.kind), device)
            settings = engines.settings(
                device.kind, chosen, fast=self.fast, threads=self.threads or limited_cores() or 0
            )
        except engines.EngineError as error:
            raise DeviceError(*error.problems) from error
        on_it = _OnEngine(self, device, chosen, settings)
        with engines.silence(onnxruntime):
            precision = engines.measured(on_it.probe())
            if precision != FLOAT32 and not self.fast:
                raise DeviceError(
                    f"{device} computes in {precision}, not in float32: --fast lets it"
                )
            session = on_it.session()
        _check_placement(session, str(device))
        return Loaded(session, precision)

    def _options(self, severity: int = engines.ERROR) -> onnxruntime.SessionOptions:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = severity
        options.intra_op_num_threads = self.threads or limited_cores() or 0
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
            if providers:
                return onnxruntime.InferenceSession(
                    source, options, providers=list(providers), enable_fallback=0
                )
            return onnxruntime.InferenceSession(source, options)  # the options name the provider
        except Exception as error:  # onnxruntime's own exceptions have no other common base
            path = self.source.path
            kind = no_model(_head(path)) if path else None
            what = (
                f"is {kind}, no ONNX model"
                if kind is not None
                else f"is no model that onnxruntime can load: {reason(error)}"
            )
            raise FcnprotoError(Problem(what, str(path) if path else None)) from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


@dataclass(frozen=True)
class _OnEngine:
    """A model for one device of an engine."""

    load: Loader
    device: Device
    chosen: Any
    settings: Mapping[str, str]

    def options(self) -> onnxruntime.SessionOptions:
        options = self.load._options(engines.FATAL)
        options.add_session_config_entry(_PLACEMENT, "1")
        options.add_provider_for_devices([self.chosen], dict(self.settings))
        return options

    def probe(self) -> Any:
        """What runs the model that shows precision."""
        import onnxruntime

        try:
            session = onnxruntime.InferenceSession(engines.probe(), self.options())
        except Exception as error:
            raise DeviceError(f"{self.device} cannot be used: {reason(error)}") from error

        def run(feeds: dict[str, Array]) -> Array:
            try:
                return np.asarray(session.run(None, feeds)[0])
            except Exception as error:
                raise DeviceError(f"{self.device} cannot be used: {reason(error)}") from error

        return run

    def session(self) -> onnxruntime.InferenceSession:
        """The session, from the cache where the model is a file of its own."""
        import onnxruntime

        place = self._place()
        if place is not None and (place.is_whole() or self._compiled(place)):
            try:
                return onnxruntime.InferenceSession(str(place.path), self.options())
            except Exception:  # what the engine does not take is worth nothing
                place.drop()
        return self.load._session(self.options(), [])

    def _place(self) -> CachePlace | None:
        source = self.load.source
        if not self.load.cache or self.load.is_part or source.path is None:
            return None
        if source.message is None:
            return None  # its arrays lie in other files, or it is no model
        import onnxruntime

        about = {
            "engine": self.device.kind,
            "device": engines.title(self.chosen),
            "version": f"{engines.version(self.device.kind)} {onnxruntime.__version__}",
            "options": repr(sorted(self.settings.items())),
        }
        return CachePlace.of(source.path, about)

    def _compiled(self, place: CachePlace) -> bool:
        """Compile the model into the cache; whether that could be done."""
        import onnxruntime

        if not hasattr(onnxruntime, "ModelCompiler"):
            return False

        def compile_to(path: Path) -> None:
            flags = onnxruntime.OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED
            compiler = onnxruntime.ModelCompiler(
                self.options(), str(self.load.source.path), flags=flags
            )
            compiler.compile_to_file(str(path))
            _add_metadata(path, self.load.source)

        try:
            return place.write(compile_to)
        except Exception:  # engines that compile nothing are run as they are
            return False


def _add_metadata(path: Path, source: ModelSource) -> None:
    """Have a compiled model say of itself what the model says."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    known = {each.key for each in model.metadata_props}
    model.metadata_props.extend(
        each for each in source.proto().metadata_props if each.key not in known
    )
    onnx.save(model, str(path))


def _chosen(found: Sequence[Any], device: Device) -> Any:
    """The device that is meant; EngineError if the engine has no such."""
    fitting = [
        each for each in found if not device.part or each.device.type.name.lower() == device.part
    ]
    if device.index < len(fitting):
        return fitting[device.index]
    have = ", ".join(f"{index} ({engines.title(each)})" for index, each in enumerate(found))
    raise engines.EngineError(f"there is no {device}; {device.kind} has {have}")


def _check_placement(session: onnxruntime.InferenceSession, device: str) -> None:
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
        raise DeviceError(
            f"{device} left {some(left)} to onnxruntime's own kernels; use --device cpu"
        )


_HEAVY = ("Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "MaxPool", "AveragePool")


def limited_cores() -> int | None:
    """How many cores this process may use, if those are not all; onnxruntime does not ask."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = len(os.sched_getaffinity(0))
    return cores if cores < (os.cpu_count() or cores) else None
