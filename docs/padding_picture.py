"""Draw docs/pictures/padding.png from what a net computes: `python docs/padding_picture.py`.

Maps of FCN-8s for an image of 150 × 200 pixels. What the image reaches is what differs between two
images. The ring is what else is not as the middle of the map is for an image of zeros. The frame is
the window that the rewritten net computes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from exporting import run, session_of
from rewriting import filled, images, thinned

from fcnproto.exporting.rewrite.padding.rewrite import padding
from fcnproto.exporting.rewrite.padding.surroundings import Surrounded
from fcnproto.exporting.write import Interface, write
from fcnproto.rendering.fcn import render

RING, CONSTANT, REACHED, FRAME = (202, 90, 72), (233, 229, 222), (90, 155, 200), (15, 15, 15)
PANEL, GAP = 384, 16  # pixels of the picture
SIZE = 150, 200
MAPS = {"pool3": "score_pool3", "pool4": "pool4", "conv5_1": None}
"""The maps, and the surrounded blobs with the same windows."""


def main() -> None:
    """Draw the maps side by side, with a legend below."""
    plain = filled(thinned(render("fcn8s"), 32))
    windows = {
        step.node.layer.name: step.node.layer
        for step in padding(plain).net.steps
        if isinstance(step.node.layer, Surrounded)
    }
    session = session_of(write(plain, interface=Interface(every_blob=True)).to_proto())
    first, second = (run(session, images(plain, *SIZE, seed=seed)) for seed in (1, 2))
    nothing = run(session, {"data": np.zeros((1, 3, *SIZE), np.float32)})
    height, width = 368, 3 * PANEL + 2 * GAP
    picture = Image.new("RGB", (width, height + 36), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    for place, (blob, surrounded) in enumerate(MAPS.items()):
        one, two = first[blob][0], second[blob][0]
        reached = (one != two).any(axis=0)
        zeros = nothing[blob][0]
        middle = zeros[:, zeros.shape[1] // 2, zeros.shape[2] // 2, None, None]
        ring = ~reached & (one != middle).any(axis=0)
        colours = np.where(reached[..., None], REACHED, np.where(ring[..., None], RING, CONSTANT))
        cell = PANEL / one.shape[2]
        panel = Image.fromarray(colours.astype(np.uint8))
        panel = panel.resize((PANEL, round(cell * one.shape[1])), Image.Resampling.NEAREST)
        left = place * (PANEL + GAP)
        draw.text((left, 4), f"{blob}, {one.shape[1]} by {one.shape[2]}", "black", font)
        picture.paste(panel, (left, 26))
        if surrounded is not None:
            layer = windows[surrounded]
            top, start = (len(before) for before in layer.before)
            after = [
                phases[(size - 1) % len(phases)]
                for phases, size in zip(layer.after, SIZE, strict=True)
            ]
            bottom, end = (
                size - len(each) for size, each in zip(one.shape[1:], after, strict=True)
            )
            corners = [start, top, end, bottom]
            draw.rectangle(
                [
                    round(cell * each) + offset
                    for each, offset in zip(corners, [left, 26, left - 1, 25], strict=True)
                ],
                outline=FRAME,
                width=3,
            )
    left = 0
    legend = {
        "ring, shaped by zero padding": RING,
        "constant in each channel": CONSTANT,
        "reached by the image": REACHED,
    }
    for title, colour in legend.items():
        draw.rectangle((left, height + 8, left + 18, height + 26), colour, FRAME)
        draw.text((left + 26, height + 8), title, "black", font)
        left += 60 + round(draw.textlength(title, font))
    draw.rectangle((left, height + 8, left + 18, height + 26), "white", FRAME, 3)
    draw.text((left + 26, height + 8), "the window that is computed", "black", font)
    picture.quantize(16).save(Path(__file__).parent / "pictures" / "padding.png", optimize=True)


if __name__ == "__main__":
    main()
