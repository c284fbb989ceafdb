"""Seconds and memory that export-onnx takes for FCN-8s from a .caffemodel of 540 MB.

The program is run as users run it, in a process of its own; its largest resident memory is what
the system says. Weights are random.

    python benchmarks/export_time.py [--runs N]
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
import onnx

from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.version import __version__
from fcnproto.weights import write

NET = "voc-fcn8s"

PROGRAM = """
import resource, sys
from fcnproto.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    source = parse_net(render(NET))
    graph = build(source)
    rng = np.random.default_rng(0)
    weights = {
        graph.nodes[index].layer.name: [
            rng.standard_normal(weight.shape, np.float32) for weight in arrays
        ]
        for index, arrays in infer(graph).weights.items()
        if arrays
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.prototxt").write_text(render(NET))
        write(folder / "net.caffemodel", weights, source.net)
        size = (folder / "net.caffemodel").stat().st_size
        del weights
        seconds, peaks = [], []
        for _ in range(options.runs):
            start = perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, "export-onnx"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            seconds.append(perf_counter() - start)
            peaks.append(int(done.stdout) * 1024 / 2**30)
        written = (folder / "net.onnx").stat().st_size

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(
        f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}, ", end=""
    )
    print(f"onnx {onnx.__version__}")
    print(f"export-onnx of {NET}: {size / 1e6:.0f} MB of weights, {written / 1e6:.0f} MB of ONNX")
    print(f"median {median(seconds):.2f} s, slowest {max(seconds):.2f} s of {options.runs} runs")
    print(f"memory at most {max(peaks):.2f} GiB")


if __name__ == "__main__":
    main()
