"""Images, scores and label maps at another size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fcnproto.runtime.outputs import _filled
from fcnproto.types import Array


def resized(image: Array, height: int, width: int) -> Array:
    """An image (bilinear) or a depth map (nearest, since depths do not mix) at another size."""
    if image.shape[:2] == (height, width):
        return image
    how = Image.Resampling.BILINEAR if image.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def enlarged(labels: Array, height: int, width: int) -> Array:
    """Label maps N×H×W at another size, by the nearest pixel: classes do not mix."""
    rows = (2 * np.arange(height) + 1) * labels.shape[1] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[2] // (2 * width)
    enlarged: Array = labels[:, rows[:, None], columns]
    return enlarged


def resized_scores(score: Array, height: int, width: int) -> Array:
    """N×C×H×W scores at another size, each plane bilinearly."""
    if score.shape[2:] == (height, width):
        return score
    planes = _filled(score).reshape(-1, *score.shape[2:]).astype(np.float32)
    resized = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
        for plane in planes
    ]
    return np.stack([np.asarray(plane) for plane in resized]).reshape(
        *score.shape[:2], height, width
    )
