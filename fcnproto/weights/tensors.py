""".safetensors and PyTorch's .pth: arrays by name."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fcnproto.errors import Problem, WeightsError
from fcnproto.parallel import quiet
from fcnproto.types import Floats
from fcnproto.weights.arrays import (
    MOST_AXES,
    Arrays,
    Weights,
    as_float32,
    broken,
    check_unfolded,
    keyed,
)

_NUMBERS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"}


_FLAWS = (ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError,
          MemoryError, OSError, RuntimeError, TypeError, ValueError, struct.error,
          zipfile.BadZipFile)  # fmt: skip
"""What a broken stream makes an unpickler raise, which pickle's documentation leaves open."""


def read_safetensors(path: Path) -> Arrays:
    """The tensors of a .safetensors file by name, as float32."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {}
            for key in file.keys():  # noqa: SIM118  (the handle is no mapping)
                kind = file.get_slice(key).get_dtype()
                if kind not in _NUMBERS:
                    raise broken(path, f"'{key}' holds {kind}; save it as F32 or F16 first")
                values = _bfloat16(path, key) if kind == "BF16" else file.get_tensor(key)
                arrays[key] = _checked(path, key, values)
            return arrays
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise broken(path, f"it is not a whole .safetensors: {error}") from error


def _bfloat16(path: Path, key: str) -> Floats:
    """A tensor of BF16, the upper half of float32, for which NumPy has no type.

    The file's header, whose length stands in the first 8 bytes, has been checked by safetensors.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[key]
    start, end = entry["data_offsets"]
    halves = np.fromfile(path, "<u2", (end - start) // 2, offset=8 + length + start)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _checked(path: Path, key: str, array: np.ndarray[Any, Any]) -> Floats:
    if array.ndim > MOST_AXES or not array.size:
        raise broken(path, f"'{key}' has a shape that Caffe does not: {array.shape}")
    return as_float32(array)


def write_safetensors(path: Path, weights: Weights) -> None:
    """Write each array under `<layer>/<i>`."""
    try:
        save_file({key: np.asarray(array, order="C") for key, array in keyed(weights)}, path)
    except SafetensorError as error:
        raise WeightsError(Problem(f"cannot be written: {error}", str(path))) from error


def read_pytorch(path: Path) -> Arrays:
    """The tensors of a state dict that torch.save wrote, by name, as float32.

    Read by torch.load(weights_only=True), which builds nothing but tensors and containers. A state
    dict inside a checkpoint is found under "state_dict", or where it is the only one.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError("PyTorch's files need torch: pip install 'fcnproto[train]'") from error
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                check_unfolded(path, sum(member.file_size for member in file.infolist()))
        with quiet:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise broken(
            path,
            "it is a pickle that holds more than tensors, or no pickle of torch; it is never"
            " loaded since it could run code. Save its state_dict() alone where you trust it",
        ) from error
    except _FLAWS as error:
        first = str(error).splitlines() or [type(error).__name__]
        raise broken(path, f"torch cannot read it: {first[0]}") from error
    tensors = _state_dict(path, loaded, torch.Tensor)
    for key, tensor in tensors.items():
        if tensor.is_nested or tensor.layout is not torch.strided or tensor.is_meta:
            raise broken(path, f"'{key}' is no plain tensor; save its to_dense() without views")
        if tensor.is_complex() or tensor.is_quantized or tensor.dtype is torch.bool:
            raise broken(path, f"'{key}' holds {tensor.dtype}, expected plain numbers")
    # A tensor can show the same few numbers again and again (Tensor.expand).
    check_unfolded(path, sum(4 * tensor.numel() for tensor in tensors.values()))
    return {
        key: _checked(path, key, tensor.detach().to(torch.float32).numpy())
        for key, tensor in tensors.items()
    }


def _state_dict(path: Path, loaded: Any, tensor: type) -> Mapping[str, Any]:
    """The mapping from names to tensors, at the top or one level below."""
    candidates = [loaded]
    if isinstance(loaded, Mapping):
        candidates += [loaded["state_dict"]] if "state_dict" in loaded else loaded.values()
    found = [
        each
        for each in candidates
        if isinstance(each, Mapping)
        and each
        and all(isinstance(k, str) and isinstance(v, tensor) for k, v in each.items())
    ]
    if len(found) != 1:
        raise broken(path, f"expected one state dict (names and tensors), found {len(found)}")
    return found[0]
