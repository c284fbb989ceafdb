"""How fast pairs of label maps are scored: 500×500 PNGs of 21 classes, decoding included.

The maps are shapes with ragged outlines of ignored pixels, as PASCAL VOC's are, and predictions
that are wrong about a tenth of the time. The files are in the page cache.

    python benchmarks/score.py [--pairs N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import PIL
from PIL import Image

from fcnproto.datasets.map_sets import Folder
from fcnproto.datasets.measures import Classes
from fcnproto.datasets.score import score_maps
from fcnproto.parallel import cores
from fcnproto.version import __version__
from fcnproto.zoo import specs

SIZE, CLASSES = 500, 21


def label_map(rng: np.random.Generator) -> np.ndarray:
    """Ellipses over each other, each with an outline of ignored pixels."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(rng.integers(3, 9)):
        (y, x), (b, a) = rng.integers(0, SIZE, 2), rng.integers(30, 200, 2)
        ragged = rng.normal(0, 0.01, (SIZE, SIZE))
        distance = ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 + ragged
        labels[distance < 1.1] = 255
        labels[distance < 1] = rng.integers(1, CLASSES)
    return labels


def prediction(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """The truth moved a little, with classes mistaken for others, and none ignored."""
    guess = np.roll(labels, rng.integers(-9, 10, 2), (0, 1))
    guess[guess == 255] = 0
    mistaken = rng.permutation(CLASSES).astype(np.uint8)
    return np.where(rng.random((SIZE // 50, 1)).repeat(50, 0) < 0.1, mistaken[guess], guess)


def write(folder: Path, pairs: int) -> None:
    rng = np.random.default_rng(0)
    palette = [part for colour in specs.voc_palette() for part in colour]
    for index in range(pairs):
        truth = label_map(rng)
        for name, array in (("truth", truth), ("pred", prediction(rng, truth))):
            image = Image.fromarray(array)
            image.putpalette(palette)
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"{index}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="where the files go for a while")
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], cores(): []}
    busy: dict[int, list[float]] = {1: [], cores(): []}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write(Path(name), options.pairs)
        truth, pred = Folder(Path(name) / "truth"), Folder(Path(name) / "pred")
        size = sum(path.stat().st_size for path in Path(name).rglob("*.png"))
        score_maps(truth, pred, Classes(CLASSES))  # fills the page cache
        for _ in range(5):
            for workers, found in rates.items():
                start, cpu = time.perf_counter(), time.process_time()
                score_maps(truth, pred, Classes(CLASSES), workers=workers)
                busy[workers].append((time.process_time() - cpu) / options.pairs)
                found.append(options.pairs / (time.perf_counter() - start))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"fcnproto {__version__}, numpy {np.__version__}, Pillow {PIL.__version__}; {options.pairs}"
        f" pairs of {SIZE}×{SIZE}, {size / options.pairs / 2000:.1f} kB a PNG"
    )
    for workers, found in rates.items():
        rate = median(found)
        print(
            f"{workers} thread{'s' * (workers > 1)}: {rate:.0f} pairs a second,"
            f" {1 / median(busy[workers]):.0f} for each second of a core's time"
            f" (medians of {len(found)})"
        )


if __name__ == "__main__":
    main()
