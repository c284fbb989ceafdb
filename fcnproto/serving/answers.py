"""An answer in the form that a client accepts: label PNG, overlay, or JSON with run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcnproto.runtime.segmentation import Segmentation
from fcnproto.types import Array

PNG, JPEG, JSON = "image/png", "image/jpeg", "application/json"
OFFERED = (JSON, PNG, JPEG)
"""The forms of an answer; the first one is given to who accepts anything."""


def accepted(header: str) -> str | None:
    """The form that an Accept header prefers; None if it accepts none that is offered."""
    best: tuple[float, int, int] = 0.0, 0, 0
    found = None
    for place, offer in enumerate(OFFERED):
        quality, precision = _quality(header or "*/*", offer)
        rank = quality, precision, -place
        if quality > 0 and rank > best:
            best, found = rank, offer
    return found


def _quality(header: str, offer: str) -> tuple[float, int]:
    """How much an offer is liked, by the most precise range that covers it (RFC 9110, 12.5.1)."""
    ranges = {"*/*": 1, f"{offer.partition('/')[0]}/*": 2, offer: 3}
    quality, precision = 0.0, 0
    for part in header.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        if ranges.get(name, 0) <= precision:
            continue
        quality, precision = 1.0, ranges[name]
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = min(1.0, max(0.0, float(parameter[2:])))
                except ValueError:
                    quality = 0.0
    return quality, precision


def runs(labels: Array) -> list[int]:
    """A label map row by row as run lengths: class, count, class, count, …"""
    flat = labels.reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    pairs = np.stack([flat[starts].astype(np.int64), np.diff(np.append(starts, flat.size))], axis=1)
    found: list[int] = pairs.reshape(-1).tolist()
    return found


def as_json(done: Segmentation, scores: dict[str, Array], seconds: float) -> dict[str, Any]:
    """All that is known of an image."""
    height, width = done.labels.shape
    maps = []
    for blob, labels in done.label_maps.items():
        numbers, counts = np.unique(labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        entry: dict[str, Any] = {
            "blob": blob,
            "shares": [
                {
                    "class": int(numbers[each]),
                    "name": done.name(int(numbers[each]), blob),
                    "share": float(counts[each] / labels.size),
                }
                for each in order
            ],
            "runs": runs(labels),
        }
        if blob in scores:
            # What is not finite has no number in JSON.
            values: Sequence[float] = scores[blob].astype(float).tolist()
            entry["scores"] = [value if np.isfinite(value) else None for value in values]
        maps.append(entry)
    return {"width": width, "height": height, "seconds": round(seconds, 4), "maps": maps}
