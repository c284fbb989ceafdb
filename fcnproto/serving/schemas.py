"""What the interface's OpenAPI says beyond what FastAPI finds out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from fcnproto.serving.answers import JPEG, JSON, PNG
from fcnproto.serving.receiving import MULTIPART, RAW


class ErrorSchema(BaseModel):
    """Why there is no answer."""

    error: str


class LimitsSchema(BaseModel):
    """What the server takes."""

    bytes: int
    pixels: int
    seconds: float
    waiting: int


class MapSchema(BaseModel):
    """A label map that the model gives."""

    blob: str
    classes: list[str]
    count: int | None = Field(description="How many classes there are, if that is known.")
    scores: bool = Field(description="Whether the scores of a pixel can be asked for.")


class ModelSchema(BaseModel):
    """A model."""

    name: str
    device: str
    maps: list[MapSchema]
    palette: list[list[int]]
    limits: LimitsSchema
    version: str


class HealthSchema(BaseModel):
    """A server that works."""

    status: str
    waiting: int
    most: int


class ShareSchema(BaseModel):
    """The part of the pixels that a class has."""

    number: int = Field(alias="class")
    name: str
    share: float


class SegmentedMapSchema(BaseModel):
    """A label map."""

    blob: str
    shares: list[ShareSchema]
    runs: list[int] = Field(description="Class, count, class, count, …, row by row.")
    scores: list[float | None] | None = Field(None, description="Of each class at the pixel.")


class SegmentedSchema(BaseModel):
    """An image, segmented."""

    width: int
    height: int
    seconds: float
    maps: list[SegmentedMapSchema]


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "string", "format": "binary"}},
        "required": ["image"],
    }
}
_WORDS = {
    400: "The request cannot be read.",
    403: "It comes from another site's page.",
    406: "No form of answer is accepted.",
    408: "The image has not come in time.",
    413: "The image has too many bytes or pixels.",
    415: "The request's type is not an image's.",
    422: "This is no image, or the model cannot run it.",
    503: "Too many images are in line; Retry-After says when to try again.",
}

SEGMENT: dict[str, Any] = {
    "responses": {
        200: {
            "model": SegmentedSchema,
            "description": "The label map.",
            "content": {JSON: {}, PNG: _BINARY, JPEG: _BINARY},
        },
        **{
            status: {"model": ErrorSchema, "description": words} for status, words in _WORDS.items()
        },
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {RAW: _BINARY, PNG: _BINARY, JPEG: _BINARY, MULTIPART: _FORM},
        }
    },
}

METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus's text.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}
