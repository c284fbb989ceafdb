"""Matplotlib's figures as pictures; it is the extra `plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fcnproto.errors import FcnprotoError
from fcnproto.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100


def figure(width: int, height: int) -> Figure:
    """An empty figure of so many pixels, of no window and no global state.

    Raises FcnprotoError if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FcnprotoError("charts need Matplotlib: pip install 'fcnproto[plot]'") from error
    return Figure((width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")


def rendered(drawn: Figure) -> Image.Image:
    """A figure as an RGB picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: Array = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")
