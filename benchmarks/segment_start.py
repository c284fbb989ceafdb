"""Seconds that `fcnproto segment` takes for one small image with a small model: its overhead.

python benchmarks/segment_start.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime
from PIL import Image

from fcnproto import __version__
from fcnproto.deploy import deploy
from fcnproto.proto.source import parse_net

NET = """
name: "fcn16s"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 64 dim: 64 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
"""


def seconds(arguments: list[str], folder: Path, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = perf_counter()
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True)
        times.append(perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        deploy(parse_net(NET), None, init=True).model.save(folder / "net.onnx")
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "image.jpg")
        program = "from fcnproto.cli import main; main()"
        segment = [sys.executable, "-c", program, "segment", "image.jpg", "--model", "net.onnx"]
        times = {
            "fcnproto segment": seconds(segment, folder, options.runs),
            "python alone": seconds([sys.executable, "-c", "pass"], folder, options.runs),
            "importing onnxruntime": seconds(
                [sys.executable, "-c", "import onnxruntime"], folder, options.runs
            ),
        }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(
        f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}, ", end=""
    )
    print(f"onnxruntime {onnxruntime.__version__}")
    for title, each in times.items():
        print(f"{title:<22} median {median(each):.2f} s, fastest {min(each):.2f} s")


if __name__ == "__main__":
    main()
