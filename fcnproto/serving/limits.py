"""How much a server takes upon itself, as values."""

from __future__ import annotations

from dataclasses import dataclass

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded; Pillow knows more, some of which start other programs. To it MPO is JPEG."""


@dataclass(frozen=True)
class Limits:
    """What is refused, and what is waited for."""

    body: int = 32 * 2**20
    """Bytes of one request."""
    bodies: int = 256 * 2**20
    """Bytes of all requests that are being received."""
    pixels: int = 2**22
    """Of one image, which is refused before it is decoded; a VGG16 FCN takes 4 GB for so many."""
    waiting: int = 32
    """Images that are decoded, wait or run; the next is refused with 503."""
    seconds: float = 30.0
    """In which the whole of a request must have come."""
