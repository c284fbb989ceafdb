"""Seconds that `fcnproto segment` takes from its start to the first label map.

For one small image with a small model that is its overhead; for an image of 500×500 with FCN-8s,
half a gigabyte, it is loading and one run besides, which are told apart. CPU seconds are those of
all threads, and depend less than the clock on what else the machine does.

    python benchmarks/segment_start.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime
from PIL import Image
from speed import random_weights

from fcnproto.exporting.export import export
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery.fit import WeightSource
from fcnproto.version import __version__

LARGE = "voc-fcn8s"
NET = """
name: "fcn16s"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 64 dim: 64 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
"""


LOAD = """
from pathlib import Path
from fcnproto.runtime.session import Session
Session(Path("large.onnx"), "cpu")
"""


def seconds(arguments: list[str], folder: Path, runs: int) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of each run."""
    times = []
    for _ in range(runs):
        before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)
        after = getrusage(RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append((perf_counter() - start, used))
    return times


def picture(path: Path, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        export(parse_net(NET), None, init=True).model.save(folder / "small.onnx")
        large = parse_net(render(LARGE))
        weights = WeightSource("random weights", random_weights(build(large)))
        export(large, weights, name=LARGE).model.save(folder / "large.onnx")
        del weights
        picture(folder / "64.jpg", 64)
        picture(folder / "500.jpg", 500)
        segment = ["-c", "from fcnproto.cli import main; main()", "segment", "--model"]
        programs = {
            "python alone": ["-c", "pass"],
            "importing onnxruntime": ["-c", "import onnxruntime"],
            "segment, small model, 64×64": [*segment, "small.onnx", "64.jpg"],
            "loading FCN-8s": ["-c", LOAD],
            "segment, FCN-8s, 500×500": [*segment, "large.onnx", "500.jpg"],
        }
        times = {
            title: seconds(arguments, folder, options.runs) for title, arguments in programs.items()
        }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(
        f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}, ", end=""
    )
    print(f"onnxruntime {onnxruntime.__version__}")
    for title, runs in times.items():
        clock, used = zip(*runs, strict=True)
        print(
            f"{title:<28} median {median(clock):.2f} s, fastest {min(clock):.2f} s,"
            f" CPU {median(used):.2f} s"
        )


if __name__ == "__main__":
    main()
