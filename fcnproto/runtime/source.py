"""A model as a session is made of it: mapped into memory where it lies, parts of it, its digest."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.model.outline import outline

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]
    from onnx import ModelProto


@dataclass(frozen=True)
class ModelSource:
    """A model as a message whose large arrays may lie in files of a folder, or as a file alone.

    From its own file they are mapped into memory: a copy of them would be made only to be re-laid.
    """

    path: Path | None = None
    message: bytes | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, model: Path | bytes) -> ModelSource:
        """A model from a file or a message; FcnprotoError if there is no such file."""
        if isinstance(model, bytes):
            return cls(message=model)
        if not os.path.isfile(model):  # noqa: PTH113 (Path's raises for names that are too long)
            is_folder = os.path.isdir(model)  # noqa: PTH112
            what = "is a folder, no ONNX model" if is_folder else "there is no such file"
            raise FcnprotoError(Problem(what, str(model)))
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

    def beside(self) -> dict[str, Path]:
        """The files that arrays of the model's file lie in, by their paths from its folder.

        What is no model has none: whoever loads it says what is wrong with it. Raises FcnprotoError
        for files outside of its folder, and for those that are not there.
        """
        if self.path is None:
            return {}
        from google.protobuf.message import DecodeError

        from fcnproto.model.external import array_files

        try:
            model = self.proto()
        except DecodeError:
            return {}
        real = self.path.resolve()
        files = {str(name): real.parent / name for name in array_files(model, self.path)}
        return {name: file for name, file in files.items() if file != real}

    def divided(self) -> ModelSource:
        """The same model, that takes less memory to load where it has large convolutions."""
        if self.message is None or self.path is None or self.path.stat().st_size <= _LARGE:
            return self
        from fcnproto.model.parts import divided

        return replace(self, message=divided(self.proto(), _LARGE).SerializeToString())

    def part(self, message: bytes) -> ModelSource:
        """A message whose arrays lie where this one's do."""
        folder = self.folder or (self.path and self.path.absolute().parent)
        return replace(self, message=message, folder=folder)


_LARGE = 2**26  # bytes of kernels that one convolution may have

_FOLDER = "session.model_external_initializers_file_folder_path"
