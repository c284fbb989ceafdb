"""Do finer strides win? FCN-32s, 16s and 8s on shapes, each trained from the one before.

Long, Shelhamer and Darrell 2015, table 2, in small: the first net starts from nothing, the others
from the weights of the one above, their new score layer from zero. Each is trained for as many
iterations, and measured on the 200 held-out images. A seed decides the first weights and the order
of the images.

    python benchmarks/skips.py [--seeds 1 2 3] [--iterations 600] [--folder DIR]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import torch

from fcnproto import weights
from fcnproto.datasets.measures import Score
from fcnproto.layers.python import read_param_str
from fcnproto.parallel import cores
from fcnproto.proto import printer
from fcnproto.proto.source import parse_net, read_solver
from fcnproto.rendering.fcn import render, render_solver
from fcnproto.training.loop import Training, prepare
from fcnproto.training.solver import Solver
from fcnproto.version import __version__

NETS = ("shapes-fcn32s", "shapes-fcn16s", "shapes-fcn8s")
MEASURES = ("pixel_accuracy", "mean_accuracy", "mean_iu", "frequency_weighted_iu")
NEVER = 10**9


def write(net: str, seed: int, folder: Path) -> Path:
    """The net's prototxts, its images in the order of that seed; gives the solver's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for phase in ("train", "val"):
        message = parse_net(render(net, phase=phase)).net
        param = message.layer[0].python_param
        param.param_str = repr({**read_param_str(param.param_str), "seed": seed})
        (folder / f"{phase}.prototxt").write_text(printer.format(message))
    path = folder / "solver.prototxt"
    path.write_text(render_solver(net))
    return path


def train(
    net: str, seed: int, iterations: int, start: Path | None, folder: Path
) -> tuple[Score, Path]:
    """How good the net is after its training, and the weights that it then has."""
    source = read_solver(write(net, seed, folder))
    source.solver.random_seed = seed
    source.solver.max_iter = iterations
    source.solver.snapshot_prefix = str(folder / "net")
    source.solver.test_interval = NEVER
    source.solver.train_net = str(folder / "train.prototxt")
    source.solver.test_net[:] = [str(folder / "val.prototxt")]
    data, tests = prepare(source, None, seed)
    shapes = {name: array.shape for name, array in data.first().items()}
    solver = Solver(source, shapes=shapes, seed=seed)
    if start is not None:
        solver.load_weights(weights.read(start))
    training = Training(solver, data, tests)
    training.run()
    (score,) = training.validate(0).values()
    return score, folder / f"net_iter_{iterations}.caffemodel"


def train_all(seed: int, iterations: int, folder: Path) -> list[Score]:
    """How good each net is, trained one after the other on one thread."""
    torch.set_num_threads(1)
    scores, start = [], None
    for net in NETS:
        begun = time.perf_counter()
        score, start = train(net, seed, iterations, start, folder / f"{net}-{seed}")
        scores.append(score)
        minutes = (time.perf_counter() - begun) / 60
        print(f"seed {seed}, {net}: {score.mean_iu:.1%}, {minutes:.1f} min", flush=True)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Train FCN-32s, 16s and 8s on shapes.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    seeds = options.seeds
    print(
        f"fcnproto {__version__}, PyTorch {torch.__version__}, {platform.machine()},"
        f" {cores()} cores, {options.iterations} iterations each,"
        f" seeds {', '.join(map(str, seeds))}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        # A seed to a process: small nets gain less from a second thread than from a second net.
        with ProcessPoolExecutor(len(seeds), get_context("spawn")) as executor:
            work = partial(train_all, iterations=options.iterations, folder=folder)
            runs = list(executor.map(work, seeds))
    print("\n" + table(runs))
    gains = [
        min(finer[step + 1].mean_iu - finer[step].mean_iu for finer in runs)
        for step in range(len(NETS) - 1)
    ]
    print("\nsmallest gains in mean IU over the seeds: " + ", ".join(f"{g:+.1%}" for g in gains))
    if min(gains) <= 0:
        raise SystemExit("a finer stride did not win")


def table(runs: Sequence[Sequence[Score]]) -> str:
    """The mean of each measure over the seeds, and how far seeds differ, in Markdown."""
    titles = [measure.replace("_", " ").replace(" iu", " IU") for measure in MEASURES]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for net, scores in zip(NETS, zip(*runs, strict=True), strict=True):
        cells = []
        for measure in MEASURES:
            values = [getattr(score, measure) * 100 for score in scores]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.1f}{spread}")
        lines.append(f"| {net} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
