"""Images in, label maps out: finding files, reading any mode, writing palette PNGs and overlays."""

from __future__ import annotations

import glob
import io
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.files import replacing
from fcnproto.parallel import quiet
from fcnproto.types import Array, Colour, show

LISTS = (".txt", ".lst", ".list")
"""The endings of files that name images, one in each line."""

BROKEN = (
    OSError,
    SyntaxError,  # what Pillow raises for a broken PNG
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ZeroDivisionError,
    AttributeError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""All that Pillow's readers raise for files that are not what they seem."""

FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "PPM",
    "JPEG2000",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
"""The formats of Pillow that are decoded at all: some others run programs or are seldom read.

They are tried in this order; all of Pillow's are imported to try those behind PPM."""


class ImageError(FcnprotoError):
    """An image that cannot be read, or does not fit what is asked of it."""


@dataclass(frozen=True)
class ImageSource:
    """An image to be read: a file, or bytes that came through standard input."""

    path: Path
    content: bytes | None = None

    @property
    def stem(self) -> str:
        """What its results are called."""
        return self.path.stem


def find(arguments: Sequence[str]) -> list[ImageSource]:
    """The images that arguments name: files, folders, globs, lists of paths, or - for stdin.

    A folder stands for the images in it, not for those in folders below; what comes through
    standard input is an image or a list. Raises ImageError with everything that names nothing.
    """
    sources: list[ImageSource] = []
    problems: list[Problem] = []
    for argument in arguments:
        try:
            found = _find(argument)
        except ImageError as error:
            problems += error.problems
            continue
        if not found:
            problems.append(Problem("there are no images", argument))
        sources += found
    if problems:
        raise ImageError(*problems)
    return sources


def _find(argument: str) -> list[ImageSource]:
    if argument == "-":
        return _from_stdin(sys.stdin.buffer.read())
    path = Path(argument)
    if path.is_dir():
        endings = Image.registered_extensions()  # of all formats: what is not decoded is named
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in endings)
        return [ImageSource(each) for each in files if each.is_file()]
    if path.exists():
        is_list = path.suffix.lower() in LISTS
        return _listed(path.read_bytes(), argument) if is_list else [ImageSource(path)]
    if glob.has_magic(argument):
        # Path.glob knows no patterns that begin at the root.
        return [ImageSource(Path(each)) for each in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207
    raise ImageError(Problem("there is no such file", argument))


def _from_stdin(content: bytes) -> list[ImageSource]:
    try:
        with quiet, open_image(io.BytesIO(content), large=True):
            return [ImageSource(Path("stdin"), content)]
    except BROKEN:
        return _listed(content, "<stdin>")


def _listed(content: bytes, title: str) -> list[ImageSource]:
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        message = "is neither an image nor a list of paths, one in each line"
        raise ImageError(Problem(message, title)) from error
    return [ImageSource(Path(line)) for line in lines if line and not line.startswith("#")]


# Reading --------------------------------------------------------------------------------------


def read(source: ImageSource, *, large: bool = False) -> Array:
    """An image as H×W×3 uint8 RGB, upright as its Exif says.

    What is transparent is seen on white; 16 bits become 8. Raises ImageError if it cannot be read,
    has no pixels, or would unfold to more pixels than Pillow allows: 89 million without a warning,
    and 179 million with one, which a caller that expects `large` images does not want.
    """
    with _opened(source, large=large) as image:
        rgb: Array = _guarded(source, lambda: np.asarray(_as_rgb(ImageOps.exif_transpose(image))))
    return rgb


def as_rgb(image: Image.Image | Array, title: str) -> Array:
    """An image in memory as H×W×3 uint8 RGB: one of Pillow's, of any mode, or such an array.

    Raises ImageError if it is none; `title` is what it is called then.
    """
    if isinstance(image, Image.Image):
        source = ImageSource(Path(title))
        _check_pixels(image, source)
        rgb: Array = _guarded(source, lambda: np.asarray(_as_rgb(ImageOps.exif_transpose(image))))
        return rgb
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        found = f"{show(array.shape)} {array.dtype}"
        raise ImageError(Problem(f"expected an array H×W×3 uint8, RGB; found {found}", title))
    return array


def as_depth(image: Image.Image | Array, title: str) -> Array:
    """A depth map in memory as H×W float32; ImageError if it is none."""
    array: Array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "uif" or not array.size:
        found = f"{show(array.shape)} {array.dtype}"
        raise ImageError(Problem(f"expected a depth map H×W of numbers, found {found}", title))
    return array.astype(np.float32)


def read_depth(source: ImageSource, *, large: bool = False) -> Array:
    """A depth map as H×W float32, in the unit that it is stored in; limits as in `read`."""
    with _opened(source, large=large) as image:
        depth: Array = _guarded(
            source, lambda: np.asarray(ImageOps.exif_transpose(image), np.float32)
        )
    if depth.ndim != 2:
        message = f"expected a depth map of one channel, found mode {image.mode}"
        raise ImageError(Problem(message, str(source.path)))
    return depth


def is_eight_bit(source: ImageSource) -> bool:
    """Whether an image's numbers have no more than 8 bits. Raises ImageError."""
    with _opened(source, large=True) as image:
        return image.mode in ("1", "L", "P")


def _opened(source: ImageSource, *, large: bool) -> Image.Image:
    content = source.path if source.content is None else io.BytesIO(source.content)
    image: Image.Image = _guarded(source, lambda: open_image(content, large=large))
    _check_pixels(image, source)
    return image


def _check_pixels(image: Image.Image, source: ImageSource) -> None:
    if 0 in image.size:
        width, height = image.size
        raise ImageError(Problem(f"it has no pixels: {width}×{height}", str(source.path)))


def open_image(
    file: Path | IO[bytes], *, formats: tuple[str, ...] = FORMATS, large: bool = False
) -> Image.Image:
    """An image that is decoded when its pixels are asked for; raises one of BROKEN.

    It may have MAX_IMAGE_PIXELS of Pillow's; twice as many where `large` ones are expected.
    """
    Image.preinit()  # JPEG to PPM; Pillow would import all of its formats to know these
    image = Image.open(file, formats=formats)
    most, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if not large and most is not None and pixels > most:
        image.close()
        raise Image.DecompressionBombError(
            f"it has {pixels} pixels, more than the {most} that are taken: a decompression bomb?"
        )
    return image


def _guarded(source: ImageSource, action: Callable[[], Any]) -> Any:
    """What `action` gives; whatever Pillow raises becomes one line."""
    try:
        with quiet:
            return action()
    except BROKEN as error:
        first = reason(error)
        if isinstance(error, UnidentifiedImageError) and source.content is not None:
            first = "cannot identify image file"  # Pillow names an object of Python's
        raise ImageError(
            Problem(f"cannot be read as an image: {first}", str(source.path))
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(image), image.mode)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(values: Array, mode: str) -> Array:
    """Grey of 16 bits, or of 32 that hold 16, as 8; floats up to 1 or up to 255 likewise."""
    if mode.startswith("I"):
        scaled = values / 257
    else:
        scaled = values * 255.0 if values.max(initial=0) <= 1 else values
    rounded: Array = np.clip(np.round(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
    return rounded


# Writing --------------------------------------------------------------------------------------


def png_of(image: Image.Image) -> bytes:
    """An image as a PNG file holds it."""
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def label_png(labels: Array, palette: Sequence[Colour]) -> bytes:
    """A PNG that holds class numbers and shows their colours; of 16 bits where there are others."""
    if labels.max(initial=0) < 2**8:
        labels = labels.astype(np.uint8)
    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image.putpalette([part for colour in palette[:256] for part in colour])
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def write_labels(path: Path, labels: Array, palette: Sequence[Colour]) -> None:
    """Write that PNG, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(label_png(labels, palette))
