"""How far every prototxt of a folder comes: parsed, checked, exported, ran, and why not.

Each file has a process of its own, with bounds on time and memory, so that none ends the run. A
net's weights are those that lie beside it, else arrays of zeros in its shapes: what is asked is
whether a net is read and written. It runs once in ONNX Runtime, on a random image, unless that
takes more than --multiply-adds. Files of the same content are worked on once.

    python benchmarks/corpus.py DIR [--jobs N] [--seconds S] [--gigabytes G] [--results FILE.tsv]
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fcnproto.api.model import weights_beside
from fcnproto.api.weights import source_of
from fcnproto.errors import FcnprotoError, Problem, PrototxtError, Severity, raise_if_any
from fcnproto.exporting.cutting import Asked, for_inference
from fcnproto.exporting.export import Exported, export
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite import Optimize
from fcnproto.net.check import check_net
from fcnproto.net.graph import build
from fcnproto.proto.source import NetSource, SolverSource, read_any
from fcnproto.surgery.fit import WeightSource

_SIZE = 224, 224
_SIZED = "exported with --size 224x224, which their data would say"
STAGES = "parsed", "checked", "exported", "ran"


@dataclass(frozen=True)
class Bounds:
    """What one file may take: seconds, bytes of memory, multiply-adds of one run."""

    seconds: float
    bytes: int
    multiply_adds: int


@dataclass(frozen=True)
class Outcome:
    """A stage of a file, and what kept it from being passed; nothing if it was."""

    stage: str
    obstacles: tuple[str, ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("--multiply-adds", type=float, default=5e9, help="the most of one run")
    parser.add_argument("--results", type=Path, help="where one line for each file is written")
    options = parser.parse_args()
    bounds = Bounds(options.seconds, int(options.gigabytes * 2**30), int(options.multiply_adds))

    groups: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(options.folder.rglob("*.prototxt")):
        if path.is_file():
            groups[sha256(path.read_bytes() + _weights_key(path)).hexdigest()].append(path)
    with ThreadPoolExecutor(options.jobs) as pool:
        found = pool.map(partial(bounded, bounds=bounds), [paths[0] for paths in groups.values()])
        files: dict[Path, list[Outcome]] = {}
        for number, (paths, outcomes) in enumerate(zip(groups.values(), found, strict=True), 1):
            files |= dict.fromkeys(paths, outcomes)
            print(f"\r{number} of {len(groups)} files", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)

    if options.results:
        lines = [
            "\t".join(
                (
                    str(path.relative_to(options.folder)),
                    outcome.stage,
                    " | ".join(outcome.obstacles).replace("\t", " ") or "yes",
                )
            )
            for path, outcomes in files.items()
            for outcome in outcomes
        ]
        options.results.write_text("\n".join(lines) + "\n")
    print("\n".join(report(files)))


def _weights_key(path: Path) -> bytes:
    weights = weights_beside(path)
    return str(weights).encode() if weights else b""


# One file -------------------------------------------------------------------------------------


def bounded(path: Path, bounds: Bounds) -> list[Outcome]:
    """The outcomes of a file, worked on in a process of its own."""
    context = get_context("forkserver")
    context.set_forkserver_preload([Path(__file__).stem, "onnxruntime"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(path, bounds, there))
    process.start()
    there.close()
    outcomes: list[Outcome] = []
    why = f"more than {bounds.seconds:g} s"
    try:
        while here.poll(bounds.seconds):
            stage, *obstacles = here.recv()
            if stage == "memory":
                why = f"more than {bounds.bytes / 2**30:g} GiB"
                break
            outcomes.append(Outcome(stage, tuple(obstacles)))
    except EOFError:
        process.join()
        if not outcomes or outcomes[-1].stage != "done":
            why = f"the process ended with {process.exitcode}"
    process.kill()
    process.join()
    if not outcomes or outcomes[-1].stage != "done":
        passed = {outcome.stage for outcome in outcomes}
        stage = next((stage for stage in STAGES if stage not in passed), STAGES[-1])
        return [*outcomes, Outcome(stage, (why,))]
    return outcomes[:-1]


def _work(path: Path, bounds: Bounds, pipe: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (bounds.bytes, bounds.bytes))
    seconds = int(bounds.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        for outcome in outcomes(path, bounds):
            pipe.send((outcome.stage, *outcome.obstacles))
    except MemoryError:
        pipe.send(("memory",))
        return
    pipe.send(("done",))


def outcomes(path: Path, bounds: Bounds) -> Iterator[Outcome]:
    """What becomes of a file, stage by stage, as far as it comes."""
    try:
        source = read_any(path)
        raise_if_any(PrototxtError, source.problems)
    except FcnprotoError as error:
        yield Outcome("parsed", _obstacles(error.problems))
        return
    if isinstance(source, SolverSource):
        yield Outcome("solver")
        return
    if not source.net.layer:
        yield Outcome("no net")
        return
    yield Outcome("parsed")
    problems = check_net(source)
    yield Outcome("checked", _obstacles(problems))
    try:
        exported = export(source, _weights(path, source), optimize=Optimize.NONE)
    except FcnprotoError as error:
        yield Outcome("exported", _obstacles(error.problems))
        if any("--size" in problem.message for problem in error.problems):
            asked = Asked(_SIZE)
            with suppress(FcnprotoError):
                weights = _weights(path, source, _SIZE)
                export(source, weights, optimize=Optimize.NONE, asked=asked)
                yield Outcome(_SIZED)
        return
    yield Outcome("exported")
    yield from _run(exported, bounds)


def _weights(
    path: Path, source: NetSource, size: tuple[int, int] | None = None
) -> WeightSource | None:
    """The weights that lie beside a net, else zeros, whose memory nothing touches."""
    beside = weights_beside(path)
    if beside is not None:
        return source_of(beside)
    net = inference(build(for_inference(source)), size=size)
    zeros = {
        net.graph.nodes[index].layer.name: [np.zeros(w.shape, np.float32) for w in weights]
        for index, weights in net.shapes.weights.items()
        if weights
    }
    return WeightSource("zeros", zeros) if zeros else None


def _run(exported: Exported, bounds: Bounds) -> Iterator[Outcome]:
    """Run a model once, at the size at which its cost is said."""
    if exported.before.multiply_adds > bounds.multiply_adds or exported.before.bytes > 2**29:
        yield Outcome("too large to run here")
        return
    import onnxruntime  # loaded by the server of the processes

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    rng = np.random.default_rng(0)
    try:
        session = onnxruntime.InferenceSession(
            exported.model.to_proto().SerializeToString(), options, ["CPUExecutionProvider"]
        )
        images = zip(session.get_inputs(), exported.before.images, strict=True)
        session.run(None, {put.name: rng.random(size, np.float32) for put, size in images})
    except Exception as error:  # its errors have no root of their own
        yield Outcome("ran", (f"ONNX Runtime: {error}".splitlines()[0],))
        return
    yield Outcome("ran")


def _obstacles(problems: Sequence[Problem]) -> tuple[str, ...]:
    """The messages of errors, each once."""
    errors = (each.message for each in problems if each.severity is Severity.ERROR)
    return tuple(dict.fromkeys(errors))


# The report -----------------------------------------------------------------------------------


def report(files: dict[Path, list[Outcome]]) -> Iterator[str]:
    """How many files passed each stage, and for each stage the causes why others did not."""
    stages = Counter(o.stage for found in files.values() for o in found if not o.obstacles)
    nets = [
        path for path, found in files.items() if not {o.stage for o in found} & {"solver", "no net"}
    ]
    yield f"{len(files)} files: {stages['solver']} solvers, {stages['no net']} without layers,"
    yield f"{len(nets)} nets or what cannot be read"
    for stage in STAGES:
        yield f"  {stage:8} {stages[stage]:5}"
    yield f"  too large to run here {stages['too large to run here']}"
    yield f"  {_SIZED} {stages[_SIZED]}"
    for stage in STAGES:
        causes: Counter[str] = Counter()
        alone: Counter[str] = Counter()
        examples: dict[str, Path] = {}
        for path, found in files.items():
            kinds = {cause(text) for o in found if o.stage == stage for text in o.obstacles}
            causes.update(kinds)
            for kind in kinds:
                examples.setdefault(kind, path)
            if len(kinds) == 1:
                alone.update(kinds)
        if causes:
            yield f"\nnot {stage}: files, of which for nothing else, cause, an example"
        for kind, count in causes.most_common():
            yield f"  {count:5} {alone[kind]:5}  {kind}  [{examples[kind]}]"


_NAMES = re.compile(r"'[^']*'")
_NUMBERS = re.compile(r"\d+")
_KEPT = re.compile(
    r"^(unknown|layers? of type|type|a) .*?(?=;|$)|^.*?(has no field|cannot be) '[^']*'"
)


def cause(message: str) -> str:
    """The kind of a message: without the names and numbers of one file.

    What is unknown is named, since that is the cause.
    """
    if kept := _KEPT.match(message):
        return kept[0]
    return _NUMBERS.sub("N", _NAMES.sub("'…'", message))


if __name__ == "__main__":
    main()
