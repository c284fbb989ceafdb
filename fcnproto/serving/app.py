"""A model as an ASGI app: a page for people, and an HTTP interface for programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

import fcnproto
from fcnproto.errors import FcnprotoError, Problem
from fcnproto.parallel import cores
from fcnproto.runtime.images import label_png
from fcnproto.runtime.runner import Picture, Prepared
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving import answers, schemas
from fcnproto.serving.batching import Answer, Batcher, Full
from fcnproto.serving.guard import Guard
from fcnproto.serving.limits import Limits
from fcnproto.serving.metrics import Metrics
from fcnproto.serving.receiving import TITLE, Receiver, Refused, decoded

Result = TypeVar("Result")

PAGE = Path(str(files("fcnproto.serving") / "page"))


def create_app(
    segmenter: Segmenter, limits: Limits = Limits(), hosts: Collection[str] | None = None
) -> FastAPI:
    """The app of a model that takes one image of each scene.

    `hosts` are the names by which it may be called, if not any. Raises FcnprotoError for a model
    that takes several images.
    """
    if len(segmenter.kinds) != 1:
        kinds = " and ".join(segmenter.kinds)
        raise FcnprotoError(
            Problem(f"it takes {kinds} of each scene, and a page one image", segmenter.path)
        )
    server = _Server(segmenter, limits)
    app = FastAPI(
        title="fcnproto",
        summary="Images to label maps.",
        version=fcnproto.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=server.lifespan,
    )
    app.add_middleware(Guard, hosts=hosts)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)

    @app.post("/segment", **schemas.SEGMENT)  # type: ignore[arg-type,unused-ignore]
    async def segment(
        request: Request,
        x: Annotated[
            int | None, Query(ge=0, le=2**31, description="Column of a pixel whose scores to give.")
        ] = None,
        y: Annotated[int | None, Query(ge=0, le=2**31, description="Its row.")] = None,
    ) -> Response:
        """The label map of an image, in the form that Accept names: JSON, label PNG or overlay.

        JSON has the classes' shares, and the label map row by row as run lengths: class, count,
        class, count and so on. With x and y it has the score of each class at that pixel, too.
        """
        return await server.segment(request, x, y)

    @app.head("/model", include_in_schema=False)
    @app.get("/model", response_model=schemas.ModelSchema)
    def model() -> dict[str, Any]:
        """What the model is: its classes and their colours, and what the server takes."""
        return server.model()

    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_model=schemas.HealthSchema)
    def health() -> dict[str, Any]:
        """Whether the server works, and how many images it has in line."""
        return {"status": "ok", "waiting": server.batcher.waiting, "most": limits.waiting}

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=Response, responses=schemas.METRICS)
    def metrics() -> Response:
        """Counters, for Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    # Not mounted: a mount would also answer for what the paths above do not do.
    app.router.default = StaticFiles(directory=PAGE, html=True)
    return app


class _Server:
    """The parts that a request passes: receiving, decoding, the model, the answer."""

    def __init__(self, segmenter: Segmenter, limits: Limits) -> None:
        self._segmenter, self._limits = segmenter, limits
        self._runner = segmenter.runner
        self._blob = next(iter(self._runner.inputs))
        self._receiver = Receiver(limits)
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.batcher = Batcher(self._runner, limits.waiting, self.metrics.batch)

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """From the start of the server to its end."""
        self._pool = ThreadPoolExecutor(cores(), "pixels")
        self.batcher.start()
        yield
        self.batcher.stop()
        self._pool.shutdown(cancel_futures=True)

    async def _in_worker(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def segment(self, request: Request, x: int | None, y: int | None) -> Response:
        """An answer, counted."""
        start = time.perf_counter()
        status = 500
        try:
            response = await self._answer(request, x, y)
            status = response.status_code
        except Refused as error:
            status = error.status
            raise
        finally:
            self.metrics.requests.labels(str(status)).inc()
            self.metrics.request_seconds.observe(time.perf_counter() - start)
        return response

    async def _answer(self, request: Request, x: int | None, y: int | None) -> Response:
        form = answers.accepted(request.headers.get("accept", ""))
        if form is None:
            raise Refused(406, f"an answer can be {', '.join(answers.OFFERED)}")
        if (x is None) != (y is None):
            raise Refused(422, "x and y go together")
        content = await self._receiver.image(request)
        try:
            self.batcher.enter()
        except Full as error:
            words = "too many images are in line: try again in a moment"
            raise Refused(503, words, {"Retry-After": str(error.seconds)}) from error
        try:
            pixel = None if x is None or y is None else (y, x)
            picture, prepared = await self._in_worker(partial(self._prepared, content, pixel))
            answer = await asyncio.wrap_future(self.batcher.ask(picture, prepared, pixel))
            body = await self._in_worker(partial(self._formed, form, picture, answer))
        except FcnprotoError as error:
            raise Refused(422, error.problems[0].message) from error
        finally:
            self.batcher.leave()
        return Response(body, media_type=form, headers={"Vary": "Accept"})

    def _prepared(
        self, content: bytes, pixel: tuple[int, int] | None
    ) -> tuple[Picture, Prepared | None]:
        rgb = decoded(content, self._limits)
        height, width = rgb.shape[:2]
        if pixel is not None and not (pixel[0] < height and pixel[1] < width):
            raise Refused(422, f"pixel x={pixel[1]}, y={pixel[0]} is not in {width}×{height}")
        picture = {self._blob: rgb}
        return picture, self._runner.prepare(picture)

    def _formed(self, form: str, picture: Picture, answer: Answer) -> bytes:
        done = Segmentation(
            TITLE,
            picture,
            answer.labels,
            {},
            self._segmenter.metadata.classes,
            self._runner.palette,
        )
        if form == answers.PNG:
            return label_png(done.labels, self._runner.palette)
        if form == answers.JPEG:
            return done.overlay_jpeg()
        return bytes(JSONResponse(answers.as_json(done, answer.scores, answer.seconds)).body)

    def model(self) -> dict[str, Any]:
        """What /model says."""
        metadata, limits = self._segmenter.metadata, self._limits
        path = self._segmenter.path
        return {
            "name": metadata.net or (Path(path).stem if path else "model"),
            "device": self._segmenter.device,
            "maps": [
                {
                    "blob": each.blob,
                    "classes": [*metadata.classes.get(each.blob, ())],
                    "count": each.classes,
                    "scores": each.score is not None,
                }
                for each in self._runner.maps
            ],
            "palette": [list(colour) for colour in self._runner.palette],
            "limits": {
                "bytes": limits.body,
                "pixels": limits.pixels,
                "seconds": limits.seconds,
                "waiting": limits.waiting,
            },
            "version": fcnproto.__version__,
        }


# Errors in words ------------------------------------------------------------------------------


def _error(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": words}, status, dict(headers or {}))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _error(error.status, error.words, error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = ", ".join(str(each["loc"][-1]) for each in error.errors())
    return _error(422, f"{found}: expected a number of pixels, from 0 on")


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing here", 405: "this cannot be done here"}
    return _error(error.status_code, words.get(error.status_code, error.detail), error.headers)


async def _unforeseen(_request: Request, _error_: Exception) -> Response:
    return _error(500, "something went wrong in the server; its log says what")
