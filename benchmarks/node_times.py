"""Where a model's time goes, kernel by kernel: FCN-8s as the net stands, exact and fast.

The times are onnxruntime's own, of each node the fastest of its runs, so that other work on the
machine does not count; multiply-adds are those of a convolution's shapes. Weights are random.

    python benchmarks/node_times.py [HxW] [runs]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from speed import ALL, random_weights, save

from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.inference import inference
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render

LEAST = 0.02
"""The share of the whole from which a node has a line of its own."""


def events(path: Path, size: tuple[int, int], runs: int) -> Iterator[dict[str, Any]]:
    """What onnxruntime tells of each node in each run."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).uniform(-128, 128, (1, 3, *size)).astype(np.float32)
    for _ in range(runs):
        session.run(None, {"data": image})
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            yield event


def multiply_adds(event: dict[str, Any]) -> int:
    """Those of a convolution: of kernels N × C × h × w for each pixel of the top."""
    shapes = [next(iter(each.values())) for each in event["args"]["input_type_shape"]]
    tops = [next(iter(each.values())) for each in event["args"]["output_type_shape"]]
    return prod(tops[0]) * prod(shapes[1][1:])


def report(level: str, path: Path, size: tuple[int, int], runs: int) -> None:
    """Print the kinds of node, and the nodes that take the most."""
    times: dict[str, list[float]] = defaultdict(list)
    last = {}
    for event in events(path, size, runs):
        times[event["name"]].append(event["dur"] / 1000)
        last[event["name"]] = event
    best = {name: min(each) for name, each in times.items()}
    kinds: dict[str, float] = defaultdict(float)
    for name, time in best.items():
        kinds[last[name]["args"]["op_name"]] += time
    total = sum(best.values())
    print(f"{level}: {total:.0f} ms")
    for kind, time in sorted(kinds.items(), key=lambda item: -item[1]):
        if time > LEAST / 10 * total:
            print(f"  {time:8.1f} ms {time / total:6.1%}  {kind}")
    for name, time in sorted(best.items(), key=lambda item: -item[1]):
        if time < LEAST * total:
            break
        args, rate = last[name]["args"], ""
        if args["op_name"] == "Conv":
            rate = f"{multiply_adds(last[name]) / time / 1e6:4.0f} G multiply-adds a second"
        top = "×".join(map(str, next(iter(args["output_type_shape"][0].values()))))
        title = f"{args['op_name']} {name.removesuffix('_kernel_time')} {top}"
        print(f"    {time:8.1f} ms {time / total:6.1%}  {title:50} {rate}")


def main() -> None:
    """Profile the three levels."""
    size = tuple(map(int, (sys.argv[1] if len(sys.argv) > 1 else "500x500").split("x")))
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    source = for_inference(parse_net(render(ALL)))
    graph = build(source)
    with TemporaryDirectory() as folder:
        paths = save(graph, random_weights(inference(graph).graph), Path(folder))
        for level, path in paths.items():
            report(level, path, (size[0], size[1]), runs)


if __name__ == "__main__":
    main()
