"""How fast our models are, as the net stands and rewritten, beside every other way to run it.

All contenders take turns in one process; onnxruntime's share one pool of threads, and idle workers
of none wait in a loop, which would slow the next contender's turn down. Times are told as ratios to
`none`, our model of the net as it stands: of the medians, and in brackets of the fastest runs. Peak
memory is that of a process of its own that loads the model and runs it once at 500×500.

The contenders for FCN-8s are OpenVINO and OpenCV 4's Caffe importer, where they are installed,
PyTorch, and plug-in engines through onnxruntime (--engines), in float32 and in what they are faster
in. Weights are random (He et al.), with biases, so that what surrounds the image is not zero.

    python benchmarks/speed.py [--runs 9] [--threads 2] [--nets voc-fcn8s …] [--sizes 500x500 …]
        [--engines openvino …]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnxruntime

from fcnproto.errors import FcnprotoError
from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.write import write
from fcnproto.layers import fillers
from fcnproto.net.graph import Graph, build
from fcnproto.net.shapes import infer
from fcnproto.proto import printer
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.proto.source import NetSource, parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.session import Session
from fcnproto.types import Array
from fcnproto.version import __version__
from fcnproto.weights import Weights
from fcnproto.weights import write as write_weights

ALL = "voc-fcn8s"
"""The net that everyone runs."""

OURS = (
    "voc-fcn16s",
    "voc-fcn32s",
    "voc-fcn8s-atonce",
    "nyud-fcn32s-color-hha",
    "voc-fcn-alexnet",
)
"""The nets that only our models run."""

SIZES = ("224x224", "375x500", "500x500", "1000x1000")

Feeds = Mapping[str, Array]
Contender = Callable[[Feeds], Array]


def random_weights(graph: Graph) -> Weights:
    """Kernels drawn as He et al. do, biases, bilinear kernels where the net upsamples."""
    rng = np.random.default_rng(0)
    msra = FillerParameter(type="msra")
    weights: Weights = {}
    for index, arrays in infer(graph).weights.items():
        layer = graph.nodes[index].layer
        if layer.type == "Deconvolution":
            kernel = np.zeros(arrays[0].shape, np.float32)
            channels = np.arange(len(kernel))
            kernel[channels, channels] = fillers.bilinear_kernel(kernel.shape[-1])
            weights[layer.name] = [kernel]
        elif arrays:
            weights[layer.name] = [
                rng.standard_normal(weight.shape).astype(np.float32)
                if number
                else fillers.fill(msra, weight.shape, rng)
                for number, weight in enumerate(arrays)
            ]
    return weights


def save(graph: Graph, weights: Weights, folder: Path) -> dict[str, Path]:
    """Our models of a net, by how far they are rewritten."""
    plain = with_weights(inference(graph), weights)
    paths = {}
    for level in Optimize:
        path = folder / f"{graph.name}-{level.value}.onnx"
        write(optimized(plain, level).net).save(path)
        paths[level.value] = path
    return paths


def with_onnxruntime(path: Path) -> Contender:
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))[0]


def with_openvino(path: Path, threads: int, feeds: Feeds) -> Contender | None:
    """In float32, made for one size, which is the fastest that it can be."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: array.shape for name, array in feeds.items()})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda feeds: request.infer(dict(feeds))[0]


def with_engine(
    device: str, level: str, path: Path, threads: int, *, fast: bool
) -> tuple[str, Contender] | None:
    """One of our models on a plug-in engine, as `segment --device` runs it, with a title."""
    try:
        session = Session(path, device, fast=fast, threads=threads, cache=False)
    except FcnprotoError as error:
        print(f"  {error}")
        return None
    (blob,) = (output.name for output in session.outputs)
    title = f"{session.device} {session.precision} on {level}"
    return title, lambda feeds: session.run(feeds)[blob]


def with_torch(weights: Weights, threads: int) -> Contender | None:
    try:
        import torch
    except ImportError:
        return None
    from fcn8s import Fcn8s

    torch.set_num_threads(threads)
    net = Fcn8s(weights).eval()

    def run(feeds: Feeds) -> Array:
        with torch.inference_mode():
            return net(torch.from_numpy(feeds["data"])).numpy()

    return run


def with_opencv(
    source: NetSource, weights: Weights, folder: Path, threads: int
) -> Contender | None:
    try:
        import cv2
    except ImportError:
        return None
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        return None
    prototxt_path, weights_path = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt_path.write_text(printer.format(source.net))
    write_weights(weights_path, weights, source.net)
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromCaffe(str(prototxt_path), str(weights_path))

    def run(feeds: Feeds) -> Array:
        net.setInput(feeds["data"])
        return net.forward()

    return run


def timed(contenders: Mapping[str, Contender], feeds: Feeds, runs: int) -> dict[str, list[float]]:
    """The seconds of each run of each contender, who take turns."""
    seconds: dict[str, list[float]] = {title: [] for title in contenders}
    for contender in contenders.values():
        contender(feeds)
    for _ in range(runs):
        for title, contender in contenders.items():
            start = perf_counter()
            contender(feeds)
            seconds[title].append(perf_counter() - start)
    return seconds


def peak(path: Path, size: tuple[int, int], threads: int) -> str:
    """The peak memory of a process that loads and runs one of our models, in GB."""
    command = [sys.executable, __file__, "--measure", str(path), *map(str, size), str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    loaded, ran = json.loads(output)
    return f"{loaded:.2f} GB loaded, {ran:.2f} GB at 500×500"


def measure(path: str, height: str, width: str, threads: str) -> None:
    """What the process that `peak` starts does."""
    session = Session(Path(path), "cpu", threads=int(threads))
    loaded = _peak_of_this_process()
    feeds = {
        each.name: np.zeros((1, each.sizes[1], int(height), int(width)), np.float32)
        for each in session.inputs
    }
    session.run(feeds)
    print(json.dumps([loaded, _peak_of_this_process()]))


def _peak_of_this_process() -> float:
    """In GB. What getrusage tells would be that of the process that started this one."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024 / 1e9


def report(net: str, sizes: Sequence[str], runs: int, threads: int, engines: Sequence[str]) -> None:
    """Print the table of one net."""
    source = for_inference(parse_net(render(net)))
    graph = build(source)
    weights = random_weights(inference(graph).graph)
    print(net)
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths = save(graph, weights, folder)
        # From here on, for the rewrites use a session of their own.
        onnxruntime.set_global_thread_pool_sizes(threads, 1)
        ours = {title: with_onnxruntime(path) for title, path in paths.items()}
        others: dict[str, Callable[[Feeds], Contender | None]] = {}
        if net == ALL:
            made = {
                "OpenCV's Caffe importer": with_opencv(source, weights, folder, threads),
                "PyTorch": with_torch(weights, threads),
            }
            others |= {title: lambda _, run=run: run for title, run in made.items()}
            for level in ("none", "exact"):
                others[f"OpenVINO on {level}"] = partial(with_openvino, paths[level], threads)
            for device, fast, level in product(engines, (False, True), ("none", "exact")):
                found = with_engine(device, level, paths[level], threads, fast=fast)
                if found is None:
                    break
                ours[found[0]] = found[1]
        for size in sizes:
            height, width = map(int, size.split("x"))
            rng = np.random.default_rng(1)
            feeds = {
                blob: rng.uniform(-128, 128, (1, dims[1], height, width)).astype(np.float32)
                for blob, dims in inference(graph).inputs.items()
            }
            contenders = dict(ours)
            for title, make in others.items():
                contender = make(feeds)
                if contender is not None:
                    contenders[title] = contender
            _print_table(size, contenders, feeds, runs)
        del ours
        for title, path in paths.items():
            print(f"  peak memory of {title}: {peak(path, (500, 500), threads)}")


def _print_table(size: str, contenders: Mapping[str, Contender], feeds: Feeds, runs: int) -> None:
    seconds = timed(contenders, feeds, runs)
    plain, reference = seconds["none"], contenders["none"](feeds)
    width = max(map(len, contenders))
    for title, times in seconds.items():
        scores = contenders[title](feeds)
        away = np.abs(scores - reference).max() / np.abs(reference).max()
        equal = np.mean(scores.argmax(1) == reference.argmax(1))
        print(
            f"  {size:>9}  {title:<{width}}  {median(times) / median(plain):.2f}"
            f" ({min(times) / min(plain):.2f})  {median(times):.2f} s"
            f"  {away:.1e} away, {equal:.4%} of labels equal",
            flush=True,
        )


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nets", nargs="+", default=[ALL, *OURS])
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--engines", nargs="*", default=["openvino"])
    options = parser.parse_args()
    if len(options.nets) > 1:  # each in a process of its own, with the memory to itself
        for net in options.nets:
            command = [sys.executable, __file__, "--nets", net, "--sizes", *options.sizes]
            command += ["--runs", str(options.runs), "--threads", str(options.threads)]
            command += ["--engines", *options.engines]
            subprocess.run(command, check=True)
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(
        f"{platform.system()}, Python {platform.python_version()}, fcnproto {__version__}, ", end=""
    )
    print(f"onnxruntime {onnxruntime.__version__}, {options.threads} threads, {options.runs} runs")
    report(options.nets[0], options.sizes, options.runs, options.threads, options.engines)


if __name__ == "__main__":
    main()
