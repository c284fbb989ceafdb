"""Images and label maps in files: the one place where a dataset's pictures are decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fcnproto.errors import DataError, Problem, WeightsError, reason
from fcnproto.parallel import quiet
from fcnproto.runtime.images import BROKEN, open_image
from fcnproto.types import Array, Colour, show
from fcnproto.weights import npz

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
LABELS = (".png", ".npy", ".bmp", ".tif", ".tiff")
LOSSY = (".jpg", ".jpeg")
"""The endings of JPEGs, which lose classes where two of them meet."""
UNFIT = (*LOSSY, ".webp", ".gif", ".jp2")
"""The endings of pictures from which no label map is read."""

INDEXED = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F")
"""Pillow's modes in which a pixel is one number: a palette's index, or a grey."""


CONVERT = "`fcnproto dataset convert` makes class maps of colours"


def holds(folder: Path, endings: tuple[str, ...]) -> bool:
    """Whether there is a file with one of the endings in a folder or below it."""
    return any(path.suffix.lower() in endings for path in folder.rglob("*"))


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


def read_image(path: Path, *, upright: bool = False) -> Array:
    """An image as H×W×3 uint8 RGB: its pixels as they are stored, or `upright` as its Exif says.

    Raises DataError.
    """

    def pixels(image: Image.Image) -> Array:
        turned = ImageOps.exif_transpose(image) if upright else image
        return np.asarray(turned.convert("RGB"))

    rgb: Array = _guarded(path, pixels)
    return rgb


def read_colours(path: Path) -> Array:
    """A label picture's colours as H×W×3 uint8 RGB; what is transparent lies over black.

    Raises DataError.
    """

    def pixels(image: Image.Image) -> Array:
        if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
            return np.asarray(image.convert("RGB"))
        over = image.convert("RGBA")
        black = Image.new("RGBA", over.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, over).convert("RGB"))

    rgb: Array = _guarded(path, pixels)
    return rgb


def read_depth(path: Path) -> Array:
    """A depth map as H×W float32, in the unit that it is stored in. Raises DataError."""
    depth: Array = _guarded(path, lambda image: np.asarray(image, np.float32))
    if depth.ndim != 2:
        message = f"expected a depth map of one channel, found an array {show(depth.shape)}"
        raise DataError(Problem(message, str(path)))
    return depth


def read_depth_map(path: Path) -> tuple[Array, bool]:
    """A depth map H×W as it is stored, and whether it has whole numbers. Raises DataError.

    Numbers of 8 bits are refused: they are a picture of depth, in no unit.
    """
    if path.suffix.lower() == ".npy":
        depth = _read_array(path)
    else:
        depth = _guarded(path, lambda image: np.asarray(image))
    if depth.ndim != 2 or 0 in depth.shape or depth.dtype.kind not in "iuf":
        message = f"expected a depth map of one channel, found {depth.dtype} {show(depth.shape)}"
        raise DataError(Problem(message, str(path)))
    if depth.dtype.kind in "iu" and depth.dtype.itemsize == 1:
        message = (
            "has 8 bits, a picture of depth in no unit: save depth in millimetres as 16-bit PNG, or"
            " in metres as TIFF or .npy of floats"
        )
        raise DataError(Problem(message, str(path)))
    return depth, depth.dtype.kind in "iu"


@dataclass(frozen=True)
class Stored:
    """How an image lies in its file."""

    size: tuple[int, int]
    """Its height and width as they are stored."""
    turn: int
    """The orientation in its Exif, 1 to 8; 1 is upright."""

    @property
    def upright(self) -> tuple[int, int]:
        """Its height and width when it is turned as its Exif says."""
        height, width = self.size
        return (width, height) if self.turn in _LYING else (height, width)


def read_stored(path: Path, *, whole: bool = False) -> Stored:
    """How an image lies in its file, without its pixels; with `whole`, they can be read too.

    Raises DataError.
    """

    def stored(image: Image.Image) -> Stored:
        if whole:
            image.load()
        turn = image.getexif().get(_ORIENTATION, 1) if _may_be_turned(path, image) else 1
        return Stored((image.height, image.width), turn if turn in range(1, 9) else 1)

    found: Stored = _guarded(path, stored)
    return found


def _may_be_turned(path: Path, image: Image.Image) -> bool:
    """Whether it may be turned; Pillow decodes all of a PNG to know, for Exif may stand at its end.

    A TIFF is turned by Pillow when it is opened.
    """
    if image.format != "PNG":
        return image.format != "TIFF"
    content = path.read_bytes()
    return any(name in content for name in (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"))


_ORIENTATION = 274
_LYING = (5, 6, 7, 8)
"""The orientations in which height and width change places."""
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned(labels: Array, turn: int) -> Array:
    """A label map that was drawn over stored pixels, turned upright as the image's Exif says."""
    if turn == 1:
        return labels
    return np.asarray(Image.fromarray(labels).transpose(_METHODS[turn]))


def resized(labels: Array, size: tuple[int, int]) -> Array:
    """A label map H×W at another height and width: of each pixel, the class at its middle."""
    lines = [
        ((2 * np.arange(new) + 1) * old) // (2 * new)
        for new, old in zip(size, labels.shape, strict=True)
    ]
    return labels[np.ix_(*lines)]


def read_palette(path: Path) -> tuple[Colour, ...]:
    """The colours of a palette PNG's indices, from 0 on; none if it has no palette. DataError."""
    if path.suffix.lower() == ".npy":
        return ()
    found: tuple[Colour, ...] = _guarded(path, _palette)
    return found


def _palette(image: Image.Image) -> tuple[Colour, ...]:
    parts = image.getpalette("RGB") if image.mode == "P" else None
    return tuple(zip(*[iter(parts or ())] * 3, strict=False))


def read_mask(content: bytes) -> Array:
    """A mask H×W bool from the bytes of a PNG of one channel. Raises DataError."""
    try:
        with quiet, open_image(io.BytesIO(content), formats=("PNG",)) as image:
            mask: Array = np.asarray(image) != 0
    except BROKEN as error:
        raise DataError("holds a mask that cannot be read as a PNG") from error
    if mask.ndim != 2:
        raise DataError("holds a mask of more than one channel")
    return mask


def read_mode(path: Path) -> str:
    """An image's mode as Pillow calls it: P for palettes, L for grey, RGB. Raises DataError."""
    mode: str = _guarded(path, lambda image: image.mode)
    return mode


def read_labels(path: Path) -> Array:
    """A label map as H×W whole numbers, of a picture (palettes give their indices) or a .npy file.

    A .npy file may have axes of length 1 before the last two. Raises DataError for pictures with
    colours instead of classes, for JPEGs, and for arrays that are not H×W whole numbers.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    labels: Array = _guarded(path, lambda image: _indices(path, image))
    return labels


@dataclass(frozen=True)
class LabelPicture:
    """A label map H×W, and the colours of its classes, from 0 on, if the file has some."""

    labels: Array
    palette: tuple[Colour, ...] = ()


def read_label_picture(path: Path) -> LabelPicture:
    """As `read_labels` and `read_palette`, of a file that is opened once. Raises DataError."""
    if path.suffix.lower() == ".npy":
        return LabelPicture(_read_npy(path))

    def picture(image: Image.Image) -> LabelPicture:
        return LabelPicture(_indices(path, image), _palette(image))

    found: LabelPicture = _guarded(path, picture)
    return found


def read_greys(path: Path) -> Array:
    """A picture of greys, of whatever mode, as H×W uint8. Raises DataError for colours."""

    def greys(image: Image.Image) -> Array:
        if image.mode in ("1", "L"):
            return np.asarray(image.convert("L"))
        rgb = np.asarray(image.convert("RGB"))
        if (rgb != rgb[:, :, :1]).any():
            raise DataError(Problem("has colours, and a map has greys", str(path)))
        return rgb[:, :, 0]

    found: Array = _guarded(path, greys)
    return found


def _indices(path: Path, image: Image.Image) -> Array:
    if image.format == "JPEG":  # whatever it is called
        raise DataError(Problem(_JPEG, str(path)))
    if image.mode not in INDEXED:
        message = f"is {image.mode}, and a label map has one class number a pixel; {CONVERT}"
        raise DataError(Problem(message, str(path)))
    numbers = _numbers(image)
    if numbers.dtype.kind != "f":
        return numbers
    if not (np.isfinite(numbers) & (numbers % 1 == 0) & (abs(numbers) < 2**31)).all():
        raise DataError(Problem("holds fractions: expected whole numbers, the classes", str(path)))
    return numbers.astype(np.int32)


def unfit(path: Path) -> Problem:
    """That a label map is a picture of a kind from which none is read."""
    if path.suffix.lower() in LOSSY:
        return Problem(_JPEG, str(path))
    return Problem(f"is a {path.suffix.lower()} picture: save label maps as PNG", str(path))


_JPEG = "is a JPEG, which mixes classes where they meet: save label maps as PNG"


def _numbers(image: Image.Image) -> Array:
    array = np.asarray(image)
    return array.astype(np.uint8) if image.mode == "1" else array


def _read_array(path: Path) -> Array:
    try:
        return npz.mapped(path)
    except WeightsError as error:
        raise DataError(
            *(Problem(f"cannot be read: {each.message}", each.path) for each in error.problems)
        ) from error


def _read_npy(path: Path) -> Array:
    found = _read_array(path)
    shape = found.shape
    if found.dtype.kind not in "iub" or len(shape) < 2 or set(shape[:-2]) - {1}:
        message = f"expected H×W whole numbers, found {found.dtype} {show(shape)}"
        if found.dtype.kind == "f":
            message += "; if these are scores, save their argmax over the classes"
        raise DataError(Problem(message, str(path)))
    array = np.array(found).reshape(shape[-2:])
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _guarded(path: Path, action: Callable[[Image.Image], Any]) -> Any:
    """What `action` makes of an image; whatever Pillow raises becomes one line."""
    try:
        with quiet, open_image(path) as image:
            return action(image)
    except BROKEN as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(Problem(f"cannot be read: {reason(error)}", str(path)))
