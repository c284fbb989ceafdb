"""How long a dense CRF and CRF-RNN's mean field take, and how much memory.

A photograph's size, 500×375, with 21 classes and 10 iterations of pydensecrf's README values; and a
mean field at 500×500. Scores are random, smooth over a few pixels; the image is one of the drawn
ones, enlarged, with noise, or any file. Each is done in a process of its own; the time is the
median, the kernels' part of it beside, and the memory what the process holds at most.

    python benchmarks/crf.py [--image FILE] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np
from PIL import Image

from fcnproto.crf.mean_field import MeanField, Weights
from fcnproto.crf.presets import preset
from fcnproto.datasets import generated
from fcnproto.parallel import cores
from fcnproto.version import __version__

CLASSES = 21
SIZES = {"dense CRF": (375, 500), "CRF-RNN": (500, 500)}


def image_of(path: str | None, height: int, width: int) -> np.ndarray:
    if path is not None:
        return np.asarray(Image.open(path).convert("RGB").resize((width, height)))
    picture = generated("shapes", "val").picture("data", 0)
    large = np.asarray(Image.fromarray(picture).resize((width, height)), np.int16)
    noise = np.random.default_rng(1).integers(-8, 9, large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def scores_of(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((CLASSES, height // 8 + 2, width // 8 + 2)).astype(np.float32)
    return 4 * coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]


def measure(what: str, path: str | None, runs: int) -> dict[str, float]:
    """Seconds of one image and of its kernels, and the most memory held, in GB."""
    height, width = SIZES[what]
    image, scores = image_of(path, height, width), scores_of(height, width)
    times, builds = [], []
    for _ in range(runs):
        start = time.perf_counter()
        if what == "dense CRF":
            field = preset("pydensecrf").on(image)
            built = time.perf_counter()
            field.refine(scores)
        else:
            mean_field = MeanField(160, 3, 3, 10)
            planes = image[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) - 110
            eye = np.eye(CLASSES, dtype=np.float32)
            mean_field.kernels(planes)
            built = time.perf_counter()
            start, built = built, built + built - start  # the call builds them itself
            mean_field(scores, scores, planes, Weights(3 * eye, 5 * eye, -eye))
        times.append(time.perf_counter() - start)
        builds.append(built - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": median(times), "kernels": median(builds), "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--what", choices=SIZES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what:
        print(json.dumps(measure(given.what, given.image, given.runs)))
        return
    print(f"fcnproto {__version__}, {platform.machine()}, {cores()} cores")
    for what, (height, width) in SIZES.items():
        command = [sys.executable, __file__, "--what", what, "--runs", str(given.runs)]
        command += ["--image", given.image] if given.image else []
        done = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"{what}, {width}×{height}, {CLASSES} classes, 10 iterations:"
            f" {done['seconds']:.2f} s (kernels {done['kernels']:.2f} s), {done['memory']:.2f} GB"
        )


if __name__ == "__main__":
    main()
