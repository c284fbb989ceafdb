"""FCN-8s on a GPU: ours beside PyTorch's, in one table: python benchmarks/gpu.py [--dry].

Contenders take turns: our models (as the net stands, and `exact`) on each CUDA provider that
onnxruntime has, in float32 and with --fast (TF32 for CUDA, fp16 for TensorRT), and PyTorch eager,
compiled (max-autotune) and in fp16. Medians of the milliseconds of a batch, data in the host's
memory before and after, and the speed-up over PyTorch eager; then a step of training. Each line is
printed as it is measured, so that what a time limit cuts off costs only the rest.

Without a GPU, --dry runs the same on the CPU at sizes that say nothing, to show that it runs.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime
import torch
from fcn8s import Fcn8s
from speed import ALL, Weights, random_weights, save

from fcnproto.errors import FcnprotoError
from fcnproto.exporting.cutting import for_inference
from fcnproto.net.graph import State, build
from fcnproto.proto.caffe_pb2 import Phase
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.session import Session
from fcnproto.training.net import Net
from fcnproto.types import Array

SIZES, BATCHES = (224, 500, 1000), (1, 8)
MOST = 8 * 500 * 500 * 2
"""Pixels of a batch, so that eight images of 1000×1000 are left out."""
SECONDS = 3.0
"""Of turns at each size."""

Contender = Callable[[Array], Array]


def with_torch(weights: Weights, device: str) -> Iterator[tuple[str, Contender]]:
    """Eager, compiled and in fp16, each on the same module."""
    module = Fcn8s(weights).to(device).eval()
    half = Fcn8s(weights).to(device).eval()
    half = half.half() if device == "cuda" else half.bfloat16()
    compiled = torch.compile(module, mode="max-autotune" if device == "cuda" else None)
    ways = {"eager": module, "compiled": compiled, "fp16" if device == "cuda" else "bf16": half}
    for title, way in ways.items():
        dtype = next(half.buffers()).dtype if way is half else torch.float32

        def run(data: Array, way: torch.nn.Module = way, dtype: torch.dtype = dtype) -> Array:
            with torch.inference_mode():
                found: Array = way(torch.from_numpy(data).to(device, dtype)).float().cpu().numpy()
            return found

        yield f"PyTorch {title}", run


def ours(paths: Mapping[str, Path], devices: list[str]) -> Iterator[tuple[str, Contender]]:
    """Our models on each device, in float32 and fast; what cannot be had is said."""
    for device in devices:
        for level in ("none", "exact"):
            for fast in (False,) if device == "cpu" else (False, True):
                try:
                    session = Session(paths[level], device, fast=fast)
                except FcnprotoError as error:
                    print(f"{device}, {level}{', fast' * fast}: {error}", file=sys.stderr)
                    continue
                (name,) = (each.name for each in session.inputs)

                def run(data: Array, session: Session = session, name: str = name) -> Array:
                    (found,) = session.run({name: data}).values()
                    return found

                yield f"{device} {level} {session.precision}", run


def measure(contenders: Mapping[str, Contender], data: Array, seconds: float) -> None:
    """Print the table of one size; what fails there is said and left out."""
    times: dict[str, list[float]] = {}
    away: dict[str, float] = {}
    expected: Array | None = None
    for title, contender in contenders.items():
        try:
            found = contender(data)
        except Exception as error:  # a card that is too small, a kernel that is not there
            print(f"{title}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        expected = found if expected is None else expected
        away[title] = float(np.abs(found - expected).max() / np.abs(expected).max())
        times[title] = []
    if not times:
        return
    end = perf_counter() + seconds
    while perf_counter() < end or min(map(len, times.values())) < 3:
        for title, each in times.items():
            start = perf_counter()
            contenders[title](data)
            each.append(perf_counter() - start)
    first = next(iter(times))
    usual = median(times[first])
    print(f"\n{len(data)} × {data.shape[2]}×{data.shape[3]}\n")
    print(f"| | ms | to {first} | difference |\n|---|---:|---:|---:|")
    for title, each in times.items():
        row = f"{1e3 * median(each):.1f} | {median(each) / usual:.2f} | {away[title]:.1e}"
        print(f"| {title} | {row} |", flush=True)


def step(device: str, size: int, seconds: float) -> None:
    """A step of training FCN-32s, forward and backward, by Caffe's layers on PyTorch."""
    shapes = {"data": (1, 3, size, size), "label": (1, 1, size, size)}
    source = parse_net(render("fcn32s", phase="train"))
    net = Net(source, State(Phase.Value("TRAIN")), shapes=shapes, device=device)
    rng = np.random.default_rng(0)
    feed = net.take(
        {
            "data": rng.standard_normal(shapes["data"]).astype(np.float32),
            "label": rng.integers(0, 21, shapes["label"]).astype(np.float32),
        }
    )
    times: list[float] = []
    end = perf_counter() + seconds
    while perf_counter() < end or len(times) < 3:
        start = perf_counter()
        net.run(feed).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    print(f"\na step of training FCN-32s at {size}×{size}: {1e3 * median(times[1:]):.0f} ms")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="on the CPU, at small sizes")
    dry = parser.parse_args().dry
    if not (dry or torch.cuda.is_available()):
        raise SystemExit("there is no GPU that PyTorch sees; --dry runs the same on the CPU")
    card = platform.processor() or "CPU" if dry else torch.cuda.get_device_name()
    print(f"{card}; onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}")
    source = for_inference(parse_net(render(ALL)))
    graph = build(source)
    weights = random_weights(graph)
    with TemporaryDirectory() as folder:
        paths = save(graph, weights, Path(folder))
        contenders = dict(with_torch(weights, "cpu" if dry else "cuda"))
        contenders |= dict(ours(paths, ["cpu"] if dry else ["cuda", "tensorrt"]))
        for size in (32,) if dry else SIZES:
            for batch in (1,) if dry else BATCHES:
                if batch * size * size <= MOST:
                    data = np.random.default_rng(1).standard_normal((batch, 3, size, size))
                    measure(contenders, 50 * data.astype(np.float32), 0.1 if dry else SECONDS)
    step("cpu" if dry else "cuda", 32 if dry else 500, 0.1 if dry else SECONDS)


if __name__ == "__main__":
    main()
