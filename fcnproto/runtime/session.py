"""A model on a device, ready to run.

onnxruntime is imported only when a session is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.runtime.devices import Device, DeviceError
from fcnproto.runtime.engines import FATAL
from fcnproto.runtime.loading import Loaded, Loader
from fcnproto.runtime.source import ModelSource
from fcnproto.types import Array, show

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

__all__ = ["Device", "DeviceError", "Session", "Value"]


@dataclass(frozen=True)
class Value:
    """An input or output: its name, its elements' type, its sizes (a name where one is open)."""

    name: str
    dtype: np.dtype[Any]
    sizes: tuple[int | str | None, ...]


class Session:
    """A model that is ready to run.

    `device` is where it runs, `reason` why, where auto chose it; `precision` is what it computes
    in: float32, or with `fast` TF32, bf16, or fp16 or TF32.
    """

    def __init__(
        self,
        model: Path | bytes,
        device: str = "auto",
        *,
        fast: bool = False,
        threads: int | None = None,
        cache: bool = True,
    ) -> None:
        """Load a model; all is computed in float32, with `fast` in what the device is faster in.

        That is TF32 for CUDA, and for plug-in engines bf16 or fp16; `precision` says which.
        `threads` are the CPU's; by default as many as there are cores. With `cache`, a model that a
        plug-in engine compiles is kept in the user's cache folder. Raises DeviceError if the device
        is not there, FcnprotoError if the model cannot be loaded.
        """
        self.path = str(model) if isinstance(model, Path) else None
        self._open(Loader(ModelSource.of(model), fast, threads, cache), Device.parse(device))

    def _open(self, load: Loader, device: Device) -> None:
        self._load = load
        self.device, self.reason, loaded = self._on(device)
        self.precision = loaded.precision
        self._loaded: onnxruntime.InferenceSession | None = loaded.session
        session = self._session
        self.inputs, self.outputs = _values(session, self.path)
        self.metadata = _metadata(session, self.path)
        self._last: object = None

    @property
    def _session(self) -> onnxruntime.InferenceSession:
        if self._loaded is None:
            self._loaded = self._on(self.device)[2].session
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
            raise FcnprotoError(Problem(self._failed(error, feeds), self.path)) from error
        return dict(zip(names, results, strict=True))

    def _failed(self, error: Exception, feeds: Mapping[str, Array]) -> str:
        sizes = " and ".join(show(array.shape) for array in feeds.values())
        message = f"cannot be run at {sizes}, which it may not fit: {reason(error)}"
        if self.device.kind == "cpu":
            return message
        return f"{message}; --tile N needs less of {self.device}'s memory, --device cpu none"

    def _options(self, feeds: Mapping[str, Array]) -> onnxruntime.RunOptions:
        """Give memory back where the sizes are new: what was kept for the old ones is of no use."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = FATAL  # what is wrong is said in one line
        sizes = {name: array.shape for name, array in feeds.items()}
        if sizes != self._last and not self.device.is_plugin:
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

    def _on(self, wanted: Device) -> tuple[Device, str, Loaded]:
        """The device that serves, why, and a session on it."""
        if wanted.kind == "cpu":
            return wanted, "", self._load.on_cpu()
        if wanted.is_plugin:
            return wanted, "", self._load.on_engine(wanted)
        try:
            device = Device("cuda", wanted.index)
            loaded = self._load.on_cuda(device)
        except DeviceError as error:
            if wanted.kind == "cuda":
                raise
            return Device("cpu"), error.problems[0].message, self._load.on_cpu()
        return device, "", loaded


_TYPES = {"float16": "float16", "float": "float32", "double": "float64", "bool": "bool"}


def _values(
    session: onnxruntime.InferenceSession, path: str | None
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """The inputs and outputs; FcnprotoError if their names are no text."""
    try:
        return tuple(map(_value, session.get_inputs())), tuple(map(_value, session.get_outputs()))
    except UnicodeDecodeError as error:
        message = f"a name in it is not UTF-8: found the byte 0x{error.object[error.start]:02x}"
        raise FcnprotoError(Problem(message, path)) from error


def _value(node: Any) -> Value:
    name = node.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_TYPES.get(name, name))
    except TypeError:
        dtype = np.dtype(object)
    return Value(node.name, dtype, tuple(node.shape))


def _metadata(session: onnxruntime.InferenceSession, path: str | None) -> Mapping[str, str]:
    """What a model says of itself; FcnprotoError if that is no text."""
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        message = f"its metadata are not UTF-8: found the byte 0x{error.object[error.start]:02x}"
        raise FcnprotoError(Problem(message, path)) from error
