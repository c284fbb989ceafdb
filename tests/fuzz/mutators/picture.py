"""Images of every format and mode, and PNGs changed chunk by chunk with sums that hold."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image

from tests.fuzz.mutators import values

_FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "F", "CMYK"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I"),
    "TGA": ("L", "LA", "P", "RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA"),
    "DDS": ("RGB",),
    "ICO": ("RGBA",),
    "EPS": ("RGB",),
}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def drawn(rng: Random, kind: str | None = None, mode: str | None = None, most: int = 3) -> bytes:
    """A small image; `most` is the largest class number where it has classes."""
    kind = kind or rng.choice(list(_FORMATS))
    mode = mode or rng.choice(_FORMATS[kind])
    shape = rng.choice((1, 2, 7, 16, 33)), rng.choice((1, 2, 8, 15, 40))
    generator = np.random.default_rng(rng.randrange(2**32))
    if mode in ("L", "P", "I", "I;16"):
        top = rng.choice((most, most, 255, 2**15 if mode[0] == "I" else 255))
        kinds = {"I": np.int32, "I;16": np.uint16}
        numbers = generator.integers(0, top + 1, shape).astype(kinds.get(mode, np.uint8))
        image = Image.fromarray(numbers)
        if mode == "P":
            image.putpalette(generator.integers(0, 256, 768).astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(generator.integers(0, 256, (*shape, 3)).astype(np.uint8))
        image = image.convert(mode)
    settings: dict[str, object] = {}
    if kind in ("JPEG", "PNG", "WEBP") and rng.random() < 0.3:
        exif = Image.Exif()
        exif[274] = rng.choice((0, 1, 3, 5, 6, 8, 9, 65535))
        settings["exif"] = exif
    if kind == "TIFF":
        settings["compression"] = rng.choice(("raw", "tiff_lzw", "tiff_adobe_deflate"))
    if kind in ("PNG", "GIF") and mode in ("L", "P", "RGB") and rng.random() < 0.3:
        settings["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, struct.error):  # of what cannot be written
        return drawn(rng, "PNG", "L")
    return buffer.getvalue()


def mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """An image with a few bytes or chunks changed, or another image."""
    kind = rng.randrange(10)
    if kind == 0:
        return drawn(rng)
    if data.startswith(_SIGNATURE) and kind < 7:
        return _chunks(data, rng)
    return values.changed_bytes(data, rng, 3)


def _chunks(data: bytes, rng: Random) -> bytes:
    chunks: list[tuple[bytes, bytes]] = []
    place = len(_SIGNATURE)
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    if not chunks:
        return values.changed_bytes(data, rng)
    at = rng.randrange(len(chunks))
    name, content = chunks[at]
    kind = rng.randrange(8)
    if kind < 3 and name == b"IHDR" and len(content) == 13:
        fields = list(struct.unpack(">IIBBBBB", content))
        which = rng.randrange(7)
        largest = 2**32 if which < 2 else 256
        fields[which] = abs(values.integer(rng)) % largest
        chunks[at] = name, struct.pack(">IIBBBBB", *fields)
    elif kind < 4 and name == b"IDAT":
        try:
            content = zlib.decompress(content)
        except zlib.error:
            content = b""
        chunks[at] = name, zlib.compress(values.changed_bytes(content, rng))
    elif kind < 5:
        chunks[at] = name, values.changed_bytes(content, rng)
    elif kind == 5:
        del chunks[at]
    elif kind == 6:
        chunks.insert(rng.randrange(len(chunks)), chunks[at])
    else:
        extra = rng.choice((b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"acTL", b"gAMA"))
        chunks.insert(rng.randrange(len(chunks)), (extra, rng.randbytes(rng.randrange(40))))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
