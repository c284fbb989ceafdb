"""From a folder of images and label maps to a model: how good it is, and how soon.

Sixty images of 96×128 are drawn, with three classes: reddish discs and bluish bars on a ground with
noise and gradients. With `overlap` all colours overlap, and a sixth of what val shows is hardly
brighter or darker than the ground. `fcnproto.train` is called as it is, from nothing.

python benchmarks/own_data.py [minutes] [overlap]
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import fcnproto as fp

IMAGES, SIZE = 60, (128, 96)

APART = (70, 150), ((180, 30, 30), (250, 110, 110))
OVERLAPPING = (60, 160), ((120, 40, 40), (250, 160, 160))
"""From which to which the ground's channels go, and those of a disc; a bar's are turned round."""


def draw(folder: Path, colours: tuple = APART) -> None:
    """Write images/, labels/ and classes.txt."""
    rng = np.random.default_rng(7)
    ground_colours, shape_colours = colours
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(IMAGES):
        left, right = rng.uniform(*ground_colours, (2, 3))
        across = np.linspace(0, 1, SIZE[0])[None, :, None]
        ground = np.broadcast_to(left * (1 - across) + right * across, (SIZE[1], SIZE[0], 3))
        image = Image.fromarray(ground.astype(np.uint8))
        labels = Image.new("L", SIZE)
        pens = ImageDraw.Draw(image), ImageDraw.Draw(labels)
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1])
            kind = int(rng.integers(1, 3))
            colour = tuple(int(v) for v in rng.uniform(*shape_colours))
            if kind == 1:
                r = rng.uniform(10, 22)
                for pen, fill in zip(pens, (colour, kind), strict=True):
                    pen.ellipse((x - r, y - r, x + r, y + r), fill)
            else:
                angle, half = rng.uniform(0, np.pi), rng.uniform(20, 40)
                dx, dy = half * np.cos(angle), half * np.sin(angle)
                for pen, fill in zip(pens, (colour[::-1], kind), strict=True):
                    pen.line((x - dx, y - dy, x + dx, y + dy), fill, 12)
        noisy = np.asarray(image) + rng.normal(0, 12, (SIZE[1], SIZE[0], 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number}.png")
        labels.save(folder / f"labels/{number}.png")
    (folder / "classes.txt").write_text("ground 0 0 0\ndisc 230 60 60\nbar 60 120 230\n")


def main() -> None:
    """Draw, train, print."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary:
        data, output = Path(temporary, "data"), Path(temporary, "run")
        data.mkdir()
        draw(data, OVERLAPPING if "overlap" in sys.argv[2:] else APART)
        start = time.perf_counter()
        reached: dict[float, float] = {}

        def note(text: str) -> None:
            seconds = time.perf_counter() - start
            print(f"{seconds:7.1f} s  {text}", flush=True)
            found = re.search(r"mean IU ([\d.]+)", text)
            for level in (0.8, 0.9):
                if found and float(found[1]) >= level:
                    reached.setdefault(level, seconds)

        run = fp.train(data, output=output, minutes=minutes, device="cpu", progress=note)
        seconds = time.perf_counter() - start
        assert run.best is not None
        print(run.best)
        for level, when in reached.items():
            print(f"mean IU {level:.2f} reached after {when:.0f} s")
        cores, load = os.cpu_count(), os.getloadavg()[0]
        print(
            f"mean IU {run.best.mean_iu:.4f} after {seconds:.0f} s; {cores} cores, load {load:.1f}"
        )


if __name__ == "__main__":
    main()
