"""What tiles cost: multiply-adds, time and memory beside the whole image, in one and two stages.

Multiply-adds are counted tile by tile, and told as a multiple of the whole image's; so are the CPU
seconds of runs on one thread. Memory is the peak of a process that labels the image, everything
included. The net is voc-fcn8s with random weights; `none` is the net as it stands, `exact` without
its padding. Labels are compared with those of the whole image.

    python benchmarks/tiles.py [--size 2048x2048] [--tiles 512 1024] [--count-only]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from speed import random_weights

from fcnproto.exporting.cutting import for_inference
from fcnproto.exporting.export import export
from fcnproto.exporting.filled import Filled, with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.tiling import stages, tiling
from fcnproto.exporting.write import Result
from fcnproto.model.metadata import Metadata
from fcnproto.model.tiles import Span, Tiling, first_stage, second_stage, spans
from fcnproto.net.graph import Node, build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.runner import Runner, Views
from fcnproto.runtime.session import Session
from fcnproto.runtime.staged import SECOND
from fcnproto.surgery.fit import WeightSource
from fcnproto.version import __version__

NET = "voc-fcn8s"
LEVELS = ("none", "exact")


class Count:
    """Multiply-adds of a net, whole and on tiles."""

    def __init__(self, net: Filled, cut: Tiling) -> None:
        self.graph, self.cut = net.graph, cut
        (self.shape,) = (net.shapes.blobs[blob] for blob in net.inference.inputs)
        found = stages(net.graph, net.shapes, cut)
        self.stages = found[0] if found else None
        kept = [each.blob for each in self.stages.kept] if self.stages else []
        below = {id(node) for blob in kept for node, _ in self.graph.upstream(blob)}
        computing = [node for node in self.graph.nodes if not node.layer.feeds]
        self.first = tuple(node for node in computing if id(node) in below)
        self.second = tuple(node for node in computing if id(node) not in below)
        self._of = cache(self._counted)

    def whole(self, height: int, width: int) -> int:
        return self._of(self.first, height, width) + self._of(self.second, height, width)

    def one_stage(self, height: int, width: int, tile: int) -> int:
        cut = self.cut
        axes = [
            spans(size, tile, cut.stride[axis], cut.before[axis], cut.after[axis])
            for axis, size in enumerate((height, width))
        ]
        return sum(self.whole(*size) for size in sizes(*map(list, axes)))

    def two_stages(self, height: int, width: int, tile: int) -> int:
        cut = replace(self.cut, stages=self.stages)
        image = list(enumerate((height, width)))
        first = sizes(*(list(first_stage(size, tile, cut, axis)) for axis, size in image))
        second = sizes(
            *(list(second_stage(size, SECOND * tile, cut, axis)) for axis, size in image)
        )
        return sum(self._of(self.first, *size) for size in first) + sum(
            self._of(self.second, *size) for size in second
        )

    def _counted(self, nodes: tuple[Node, ...], height: int, width: int) -> int:
        images = dict.fromkeys(self.graph.inputs, (1, self.shape[1], height, width))
        blobs = infer(self.graph, images).blobs
        return sum(
            node.layer.multiply_adds(
                [blobs[blob] for blob in node.bottoms], [blobs[blob] for blob in node.tops]
            )
            for node in nodes
        )


def sizes(down: list[Span], across: list[Span]) -> Iterator[tuple[int, int]]:
    for rows in down:
        for columns in across:
            yield rows.last - rows.first, columns.last - columns.first


def measure(path: Path, height: int, width: int, tile: int | None, in_stages: bool) -> None:
    """Label an image; print the CPU seconds, the peak of memory in GB, and a sum over labels."""
    session = Session(path, "cpu", threads=1)
    about = Metadata.from_props(session.metadata)
    if not in_stages:
        about = replace(about, tiling=replace(about.tiling, stages=None))
    segmenter = Runner(session, about, Views(tile))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    start = resource.getrusage(resource.RUSAGE_SELF)
    (labels,) = segmenter.label([{"data": pixels}]).values()
    end = resource.getrusage(resource.RUSAGE_SELF)
    used = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    np.save(path.with_name(f"{path.stem}-{tile}-{in_stages}.npy"), labels)
    print(json.dumps([used, end.ru_maxrss * 1024e-9]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="2048x2048")
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--levels", nargs="+", default=LEVELS)
    parser.add_argument("--count-only", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        path, height, width, tile, in_stages = json.loads(options.one)
        measure(Path(path), height, width, tile, in_stages)
        return
    height, width = map(int, options.size.split("x"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"fcnproto {__version__}, onnxruntime {onnxruntime.__version__}; ", end="")
    print(f"{NET}, {height}×{width}")
    print(f"{'':<8}{'':<26}{'multiply-adds':>14}{'CPU time':>10}{'peak GB':>9}{'labels':>9}")
    source = parse_net(render(NET))
    weights = random_weights(build(source))
    plain = with_weights(inference(build(for_inference(source)), weights), weights)
    cut = tiling(plain.graph, plain.inference.shapes)
    with TemporaryDirectory() as name:
        for level in options.levels:
            net = optimized(plain, Optimize(level)).net
            path = Path(name) / f"{level}.onnx"
            if not options.count_only:
                export(
                    source,
                    WeightSource("random weights", weights),
                    name=NET,
                    result=Result.LABELS,
                    optimize=Optimize(level),
                ).model.save(path)
            count = Count(net, cut)
            whole = count.whole(height, width)
            rows: list[tuple[str, int | None, bool, int]] = [("whole", None, True, whole)]
            for tile in options.tiles:
                rows.append(
                    (f"one stage, {tile}", tile, False, count.one_stage(height, width, tile))
                )
                if count.stages is not None:
                    done = count.two_stages(height, width, tile)
                    rows.append((f"two stages, {tile}/{SECOND * tile}", tile, True, done))
            first: float | None = None
            for title, tile, in_stages, adds in rows:
                line = f"{level:<8}{title:<26}{adds / whole:>14.2f}"
                if not options.count_only:
                    what = json.dumps([str(path), height, width, tile, in_stages])
                    arguments = [sys.executable, __file__, "--one", what]
                    found = subprocess.run(arguments, check=True, capture_output=True, text=True)
                    used, peak = json.loads(found.stdout)
                    first = first or used
                    saved, whole_saved = (
                        np.load(path.with_name(f"{level}-{end}.npy"))
                        for end in (f"{tile}-{in_stages}", "None-True")
                    )
                    same = (saved == whole_saved).mean()
                    line += f"{used / first:>10.2f}{peak:>9.2f}{same:>9.2%}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
