"""Images and label maps in files: pixels as they are stored, classes as numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.errors import DataError, Problem
from fcnproto.runtime.images import BROKEN
from fcnproto.types import Array

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
LABELS = (".png", ".npy")

INDEXED = ("1", "L", "P", "I", "I;16")
"""Pillow's modes in which a pixel is one whole number: a palette's index, or a grey."""

CONVERT = "`fcnproto dataset convert` makes class maps of colours"


def by_name(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files in a folder and below it, by their path from it without the ending, in order.

    Hidden files are left out. Raises DataError, with all of them, for files that share a name.
    """
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            message = f"shares its name with {found[name].name}: only one can be '{name}'"
            problems.append(Problem(message, str(path)))
        found.setdefault(name, path)
    if problems:
        raise DataError(*problems)
    return found


def read_image(path: Path) -> Array:
    """An image as H×W×3 uint8 RGB, its pixels as they are stored, whatever its Exif says.

    Label maps are drawn over stored pixels. Raises DataError.
    """
    rgb: Array = _guarded(path, lambda image: np.asarray(image.convert("RGB")))
    return rgb


def read_depth(path: Path) -> Array:
    """A depth map as H×W float32, in the unit that it is stored in. Raises DataError."""
    depth: Array = _guarded(path, lambda image: np.asarray(image, np.float32))
    if depth.ndim != 2:
        message = f"expected a depth map of one channel, found an array {_by(depth.shape)}"
        raise DataError(Problem(message, str(path)))
    return depth


def read_size(path: Path) -> tuple[int, int]:
    """The height and width of an image, or of a label map. Raises DataError."""
    if path.suffix.lower() == ".npy":
        height, width = _read_npy(path).shape
        return height, width
    width, height = _guarded(path, lambda image: image.size)
    return height, width


def read_mode(path: Path) -> str:
    """An image's mode as Pillow calls it: P for palettes, L for grey, RGB. Raises DataError."""
    mode: str = _guarded(path, lambda image: image.mode)
    return mode


def read_labels(path: Path) -> Array:
    """A label map as H×W whole numbers, of a PNG (palettes give their indices) or a .npy file.

    A .npy file may have axes of length 1 before the last two. Raises DataError for PNGs with
    colours instead of classes, and for arrays that are not H×W whole numbers.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    labels: Array = _guarded(path, lambda image: _indices(path, image))
    return labels


def _indices(path: Path, image: Image.Image) -> Array:
    if image.mode not in INDEXED:
        message = f"is {image.mode}, and a label map has one class number a pixel; {CONVERT}"
        raise DataError(Problem(message, str(path)))
    return _numbers(image)


def _numbers(image: Image.Image) -> Array:
    array = np.asarray(image)
    return array.astype(np.uint8) if image.mode == "1" else array


def _read_npy(path: Path) -> Array:
    try:
        # Mapped, a file that claims to be larger than it is fails before memory is taken.
        found = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise _unreadable(path, error) from error
    shape = found.shape
    if found.dtype.kind not in "iub" or len(shape) < 2 or set(shape[:-2]) - {1}:
        message = f"expected H×W whole numbers, found {found.dtype} {_by(shape)}"
        if found.dtype.kind == "f":
            message += "; if these are scores, save their argmax over the classes"
        raise DataError(Problem(message, str(path)))
    array = np.array(found).reshape(shape[-2:])
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _guarded(path: Path, action: Callable[[Image.Image], Any]) -> Any:
    """What `action` makes of an image; whatever Pillow raises becomes one line."""
    try:
        with Image.open(path) as image:
            return action(image)
    except BROKEN as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DataError(Problem(f"cannot be read: {reason.splitlines()[0]}", str(path)))


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
