"""A confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fcnproto.datasets.figures import figure, rendered
from fcnproto.types import Array

NONE = "#eeeeee"
"""A row without pixels."""
CELL, LEAST, MOST = 36, 320, 900
"""Pixels for a class, and for all of them."""
NUMBERED = 24
"""With more classes there is no room for a number in each cell, with twice as many for no name."""


def draw(confusion: Array, names: Sequence[str], title: str = "") -> Image.Image:
    """A confusion matrix (rows are the truth) as a picture: each row's shares of its pixels.

    A cell says its share in percent where there is room for it; a grey row has no pixels. Raises
    FcnprotoError if matplotlib is not installed.
    """
    count = len(confusion)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.full(confusion.shape, np.nan), where=totals > 0)
    size = min(max(CELL * count, LEAST), MOST)
    drawn = figure(size + 160, size + 140)
    axes = drawn.subplots()
    axes.set_facecolor(NONE)
    # Small shares are what a reader looks for: the root makes them visible.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    step = math.ceil(count / (2 * NUMBERED))
    places = range(0, count, step)
    labels = [names[place] for place in places]
    # Names are not mathematics, whatever dollars they hold.
    axes.set_xticks(places, labels, rotation=90, parse_math=False)
    axes.set_yticks(places, labels, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(title, parse_math=False)
    if count <= NUMBERED:
        for row, column in np.argwhere(shares >= 0.005):
            share = shares[row, column]
            ink = "white" if share > 0.4 else "black"
            axes.text(column, row, f"{share:.0%}", color=ink, ha="center", va="center", size=8)
    return rendered(drawn)
