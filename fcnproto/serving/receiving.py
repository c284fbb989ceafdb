"""A request's image: its bytes within limits, then its pixels within limits."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator

from fastapi import Request
from PIL import Image
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from fcnproto.errors import FcnprotoError
from fcnproto.parallel import quiet
from fcnproto.runtime.images import BROKEN, as_rgb, open_image
from fcnproto.serving.limits import FORMATS, Limits
from fcnproto.types import Array

TITLE = "image"
"""What an image is called in words: what clients call theirs is never used."""
RAW = "application/octet-stream"
MULTIPART = "multipart/form-data"


class Refused(Exception):  # noqa: N818  an answer, not a failure of ours
    """A request that is answered with a status and words."""

    def __init__(self, status: int, words: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, headers or {}


class Receiver:
    """Reads bodies: each within the limits, and all that are being read within another."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def image(self, request: Request) -> bytes:
        """The bytes of the image that a request brings, raw or as the part `image` of a form."""
        kind = request.headers.get("content-type", RAW).partition(";")[0].strip().lower()
        if kind not in (RAW, MULTIPART) and not kind.startswith("image/"):
            raise Refused(415, f"send the image as {MULTIPART}, image/png, image/jpeg or {RAW}")
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await self._body(request)
        except TimeoutError as error:
            words = f"the image has not come within {self._limits.seconds:g} seconds"
            raise Refused(408, words, {"Connection": "close"}) from error
        except ClientDisconnect as error:
            raise Refused(400, _SHORT) from error
        content = await _part(request, body) if kind == MULTIPART else body
        if not content:
            raise Refused(422, "there is no image: it has no bytes")
        return content

    async def _body(self, request: Request) -> bytes:
        too_large = Refused(
            413,
            f"the request is larger than {self._limits.body / 2**20:g} MiB",
            {"Connection": "close"},
        )
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Refused(400, "Content-Length is not a number")
        if len(length) > 15 or int(length) > self._limits.body:
            raise too_large
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._held += len(chunk)
                if len(body) > self._limits.body:
                    raise too_large
                if self._held > self._limits.bodies:
                    words = "too many images are being sent: try again in a moment"
                    raise Refused(503, words, {"Retry-After": "2", "Connection": "close"})
        finally:
            self._held -= len(body)
        if len(body) < int(length):
            raise Refused(400, _SHORT, {"Connection": "close"})
        return bytes(body)


_SHORT = "the request is shorter than its Content-Length says"


async def _part(request: Request, body: bytes) -> bytes:
    """The part called `image` of a form."""

    async def whole() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(request.headers, whole(), max_files=1, max_fields=8)
    parser.spool_max_size = len(body) + 1  # it stays in memory, where it is already
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        raise Refused(400, "the form cannot be read: send one file, as the part image") from error
    try:
        part = form.get("image")
        if part is None or isinstance(part, str):
            raise Refused(422, "the form has no file called image")
        return await part.read()
    finally:
        await form.close()


def decoded(content: bytes, limits: Limits) -> Array:
    """An image's pixels, H×W×3 uint8 RGB; its size is looked at before it is decoded."""
    try:
        with quiet:
            image = open_image(io.BytesIO(content), formats=FORMATS, large=True)
    except Image.DecompressionBombError as error:
        words = (
            f"the image has too many pixels: at most {limits.pixels / 1e6:.1f} million are taken"
        )
        raise Refused(413, words) from error
    except BROKEN as error:
        kinds = "PNG, JPEG, WebP, GIF, BMP or TIFF"
        raise Refused(422, f"this cannot be read as an image: expected {kinds}") from error
    with image:
        width, height = image.size
        if width * height > limits.pixels:
            raise Refused(
                413,
                f"the image has {width}×{height} pixels, {width * height / 1e6:.1f} million, and"
                f" at most {limits.pixels / 1e6:.1f} million are taken: make it smaller",
            )
        if not width * height:
            raise Refused(422, "the image has no pixels")
        try:
            return as_rgb(image, TITLE)
        except FcnprotoError as error:
            raise Refused(422, error.problems[0].message) from error
