"""What a session of FCN-8s costs by how it is made: seconds to load, peak memory, seconds of a run.

Each choice is a process of its own; the net is voc-fcn8s with random weights. Memory is told after
loading and after the last run: the peak of all that is resident, and of what is the process's own
(anonymous), for the rest is files that the system may drop at any time. CPU seconds are those of
all threads, and depend less than the clock on what else the machine does.

    python benchmarks/session_memory.py [--runs 5] [--size 500] [--threads 2] [--optimize exact]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter

import numpy as np
import onnxruntime
from onnx import ModelProto
from speed import random_weights

from fcnproto.exporting.export import export
from fcnproto.exporting.rewrite import Optimize
from fcnproto.model import file
from fcnproto.model.outline import outline
from fcnproto.model.parts import divided
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery.fit import WeightSource
from fcnproto.version import __version__

NET = "voc-fcn8s"
ONE, TWO = "one.onnx", "two.onnx"
LARGE = 2**26  # as fcnproto/session.py has it
FOLDER = "session.model_external_initializers_file_folder_path"

CHOICES = {
    "one file, its path": {},
    "one file, its bytes": {"given": "bytes"},
    "two files": {"file": TWO},
    "one file, mapped": {"given": "outline"},
    "and divided (ours)": {"given": "divided"},
    "ours, no prepacking": {
        "given": "divided",
        "entries": {"session.disable_prepacking": "1"},
    },
    "ours, weights outside the arena": {
        "given": "divided",
        "entries": {"session.use_device_allocator_for_initializers": "1"},
    },
    "ours, no arena": {"given": "divided", "arena": False},
    "ours, arena as requested": {
        "given": "divided",
        "provider": {"arena_extend_strategy": "kSameAsRequested"},
    },
    "ours, arena shrinks": {"given": "divided", "shrink": True},
    "ours, no memory pattern": {"given": "divided", "pattern": False},
    "ours, level EXTENDED": {"given": "divided", "level": "ORT_ENABLE_EXTENDED"},
}


class Peak:
    """The largest amount of memory that is the process's own, looked at every 5 ms."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._stop = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.largest = max(self.largest, status("RssAnon"))


def status(key: str) -> float:
    """A line of the kernel's account of this process, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024e-9 for line in lines if line.startswith(key))


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(folder: Path, choice: dict, runs: int, size: int, threads: int) -> list[float]:
    """Seconds and CPU seconds to load, peaks; the same of the fastest run; peaks at the end."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_cpu_mem_arena = choice.get("arena", True)
    options.enable_mem_pattern = choice.get("pattern", True)
    level = choice.get("level", "ORT_ENABLE_ALL")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for key, value in choice.get("entries", {}).items():
        options.add_session_config_entry(key, value)
    path = folder / choice.get("file", ONE)
    peak = Peak()
    start, used = perf_counter(), cpu()
    source: str | bytes = str(path)
    if choice.get("given") == "bytes":
        source = path.read_bytes()
    elif choice.get("given"):
        source = outline(path)
        if choice["given"] == "divided":
            source = divided(ModelProto.FromString(source), LARGE).SerializeToString()
        options.add_session_config_entry(FOLDER, str(folder))
    provider = ("CPUExecutionProvider", choice.get("provider", {}))
    session = onnxruntime.InferenceSession(source, options, providers=[provider])
    del source
    row = [perf_counter() - start, cpu() - used, status("VmHWM"), peak.largest]
    how = onnxruntime.RunOptions()
    if choice.get("shrink"):
        how.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    image = np.random.default_rng(1).uniform(-128, 128, (1, 3, size, size)).astype(np.float32)
    times = []
    for _ in range(runs):
        start, used = perf_counter(), cpu()
        session.run(None, {"data": image}, how)
        times.append((perf_counter() - start, cpu() - used))
    fastest = [min(each) for each in zip(*times, strict=True)]
    return [*row, times[0][0], *fastest, status("VmHWM"), peak.largest, status("VmRSS")]


HEADS = (
    "load s",
    "CPU s",
    "peak GB",
    "own GB",
    "first s",
    "run s",
    "CPU s",
    "peak GB",
    "own GB",
    "held GB",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--optimize", choices=[each.value for each in Optimize], default="exact")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    how = options.runs, options.size, options.threads
    if options.one:
        folder, choice = options.one
        print(json.dumps(measure(Path(folder), CHOICES[choice], *how)))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"fcnproto {__version__}, onnxruntime {onnxruntime.__version__}; ", end="")
    print(f"{NET}, {options.optimize}, {options.size}×{options.size}, {options.threads} threads")
    print(f"{'':<34}" + "".join(f"{head:>9}" for head in HEADS))
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = parse_net(render(NET))
        weights = WeightSource("random weights", random_weights(build(source)))
        made = export(source, weights, name=NET, optimize=Optimize(options.optimize)).model
        made.save(folder / ONE)
        file.LARGEST_MODEL = 0  # so that the arrays go into a file of their own
        made.save(folder / TWO)
        del made, weights
        for choice in options.choices:
            arguments = [sys.executable, __file__, *sys.argv[1:], "--one", name, choice]
            found = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
            print(f"{choice:<34}" + "".join(f"{x:>9.2f}" for x in json.loads(found)), flush=True)


if __name__ == "__main__":
    main()
