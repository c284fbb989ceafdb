"""Draw docs/pictures/hha.png: `python docs/hha_picture.py`.

A room whose surfaces are known, seen by a camera that looks down by 15° and is rolled by 4°, with a
hole in its depth: the depth, the three channels of its HHA, all three together, and how far the
channels are from the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

import rooms

from fcnproto.datasets.hha import encode

PANEL = 320, 240
GAP, LINE = 12, 34
INK, PAPER = (20, 20, 20), (255, 255, 255)


def main() -> None:
    """Six panels in two rows, each with a line below."""
    room = rooms.view(15, 4)
    depth = room.depth.copy()
    depth[150:300, 250:275] = 0
    found = encode(depth, rooms.CAMERA)
    image = found.image
    truth = np.stack([310 / np.maximum(room.depth, 1), 100 * room.height, room.angle + 38], axis=2)
    off = np.abs(image - np.clip(truth, 0, 255)).max(axis=2)
    panels = {
        f"depth, {depth[depth > 0].min():.1f} to {depth.max():.1f} m; black: no depth": grey(
            255 * (depth > 0) * (1.1 - depth / depth.max())
        ),
        "red: disparity": grey(image[:, :, 0]),
        "green: height above ground": grey(image[:, :, 1]),
        "blue: angle with gravity": grey(image[:, :, 2]),
        "HHA": Image.fromarray(image),
        "off the truth: white up to 2, black from 20": grey(
            255 - 255 * np.clip((off - 2) / 18, 0, 1)
        ),
    }
    width, height = PANEL
    sheet = Image.new("RGB", (3 * width + 4 * GAP, 2 * (height + LINE) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for number, (title, panel) in enumerate(panels.items()):
        x = GAP + number % 3 * (width + GAP)
        y = GAP + number // 3 * (height + LINE)
        sheet.paste(panel.convert("RGB").resize(PANEL), (x, y))
        draw.text((x, y + height + 6), title, INK, font)
    target = Path(__file__).parent / "pictures" / "hha.png"
    sheet.quantize(128).save(target, optimize=True)
    print(f"{target}: gravity {found.gravity.round(3)}, floor {found.floor:.2f} m")


def grey(values: np.ndarray) -> Image.Image:
    """Numbers of 0 to 255 as a picture."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
