"""Images and label maps in files: pixels as they are stored, classes as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcnproto.errors import DataError, Problem

Array = np.ndarray[Any, Any]

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
LABELS = (".png", ".npy")

INDEXED = ("1", "L", "P", "I", "I;16")
"""Pillow's modes in which a pixel is one whole number: a palette's index, or a grey."""

CONVERT = "`fcnproto dataset convert` makes class maps of colours"

_BROKEN = (
    OSError,
    SyntaxError,  # what Pillow raises for a broken PNG
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(path: Path) -> Array:
    """An image as H×W×3 uint8 RGB, its pixels as they are stored, whatever its Exif says.

    Label maps are drawn over stored pixels. Raises DataError.
    """
    return _guarded(path, lambda image: np.asarray(image.convert("RGB")))


def read_depth(path: Path) -> Array:
    """A depth map as H×W float32, in the unit that it is stored in. Raises DataError."""
    depth = _guarded(path, lambda image: np.asarray(image, np.float32))
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


def read_labels(path: Path) -> Array:
    """A label map as H×W whole numbers, of a PNG (palettes give their indices) or a .npy file.

    A .npy file may have axes of length 1 before the last two. Raises DataError for PNGs with
    colours instead of classes, and for arrays that are not H×W whole numbers.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    return _guarded(path, lambda image: _indices(path, image))


def read_colours(path: Path) -> tuple[str, Array]:
    """A label PNG's mode, and its H×W numbers or, where it has no numbers, H×W×3 uint8 RGB."""

    def pixels(image: Image.Image) -> tuple[str, Array]:
        if image.mode in INDEXED:
            return image.mode, _numbers(image)
        return image.mode, np.asarray(image.convert("RGB"))

    found: tuple[str, Array] = _guarded(path, pixels)
    return found


def _indices(path: Path, image: Image.Image) -> Array:
    if image.mode not in INDEXED:
        raise DataError(
            Problem(f"is {image.mode}, and a label map has one class number a pixel; {CONVERT}", str(path))
        )
    return _numbers(image)


def _numbers(image: Image.Image) -> Array:
    array = np.asarray(image)
    return array.astype(np.uint8) if image.mode == "1" else array


def _read_npy(path: Path) -> Array:
    try:
        # Mapped, a file that claims to be larger than it is fails before memory is taken.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, np.ndarray):
        raise DataError(Problem("is no .npy file: expected one array, found an archive", str(path)))
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
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return action(image)
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DataError(Problem(f"cannot be read: {reason.splitlines()[0]}", str(path)))


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
