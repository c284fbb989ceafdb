"""A whole training: iterations, validations, snapshots, the log (solver.cpp, Solver::Step)."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from fcnproto.datasets import IGNORE
from fcnproto.datasets.measures import Classes, Score
from fcnproto.errors import DataError, FcnprotoError, Problem, raise_if_any
from fcnproto.files import replacing
from fcnproto.layers.base import shapes_of
from fcnproto.net import solver_rules as rules
from fcnproto.net.graph import Node, build
from fcnproto.parallel import spread
from fcnproto.proto.source import SolverSource
from fcnproto.training.batches import Batches
from fcnproto.training.curve import Log, LogRow, draw
from fcnproto.training.data import Data, WiredReader, label_problem
from fcnproto.training.net import Feed, Net, caffes_precision
from fcnproto.training.solver import Solver, check


class TrainingError(FcnprotoError):
    """A training that cannot go on."""


@dataclass(frozen=True)
class Watcher:
    """What is reported of a training while it goes on; rows are iterations, texts what happened."""

    row: Callable[[LogRow], None] = lambda _row: None
    text: Callable[[str], None] = lambda _text: None
    measured: Callable[[LogRow], None] = lambda _row: None
    """A measurement: the iteration before which it is, and its mean IU."""


@dataclass
class Training:
    """A solver with what it and its test nets are fed."""

    solver: Solver
    data: Data
    tests: Sequence[Data]
    watcher: Watcher = Watcher()
    patience: int | None = None
    """It ends after so many measurements in a row that were no better than the best."""
    replan: Callable[[int], int] | None = None
    """Asked after each measurement: given the iteration, what is max_iter now?"""
    best: float = field(default=-math.inf, init=False)
    """The greatest mean IU so far."""
    stopped: int | None = field(default=None, init=False)
    """The signal that stopped it before its end."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.solver.processes.leads

    def check_labels(self, progress: Callable[[], object] = lambda: None) -> None:
        """Raise DataError with every label map that holds a class its loss does not have."""
        nets = [self.solver.net, *map(self._test_net, range(len(self.tests)))]
        problems = [
            problem
            for net, data in zip(nets, (self.data, *self.tests), strict=True)
            for source in data.sources
            for problem in _label_problems(net, source, progress)
        ]
        unique = sorted(dict.fromkeys(problems), key=lambda problem: problem.path or "")
        raise_if_any(DataError, unique[:_MOST_PROBLEMS])

    def run(self) -> bool:
        """Train up to max_iter, or until patience ends; False if a signal stopped it before.

        Whoever stops it, a snapshot is written first. Raises TrainingError where the loss is no
        number; the snapshots before stay.
        """
        solver, param = self.solver, self.solver.param
        raise_if_any(TrainingError, _not_finite(solver))
        Path(solver.prefix).parent.mkdir(parents=True, exist_ok=True)
        log = Log(Path(f"{solver.prefix}_log.csv"), solver.iteration) if self.leads else None
        if log is not None:
            measured = [row.mean_iu for row in log.rows if row.mean_iu is not None]
            self.best = max(measured, default=-math.inf)
        count, rank = solver.processes.count, solver.processes.rank
        ended = False
        passes = range(rank * param.iter_size, (rank + 1) * param.iter_size)
        feeds = self.data.feeds(passes, skip=solver.iteration, of=param.iter_size * count)
        with stopping() as stopped, closing(feeds):  # type: ignore[type-var]
            while solver.iteration < param.max_iter:
                if self._is_test_due() and (solver.iteration or param.test_initialization):
                    self._validate(log)
                    ended = solver.processes.agree(self._is_enough(log), solver.device)
                    self._replan()
                if ended or solver.iteration >= param.max_iter:
                    break
                if solver.processes.agree(stopped() is not None, solver.device):
                    self.stopped = stopped() or signal.SIGINT
                    self._snapshot(log)
                    return False
                self._iterate(next(feeds), log)
                if param.snapshot and solver.iteration % param.snapshot == 0:
                    self._snapshot(log)
        if param.snapshot_after_train and not (
            param.snapshot and solver.iteration % param.snapshot == 0
        ):
            self._snapshot(log)
        if self._is_test_due() and not self._is_measured(log):
            self._validate(log)
        return True

    def validate(self, index: int) -> dict[str, Score]:
        """The scores of a test net over test_iter images, by the label map that they measure."""
        net, data = self._test_net(index), self.tests[index]
        losses = [node for node in net.graph.nodes if _measures(net, node)]
        kept = sorted({blob for node in losses for blob in node.bottoms[:2]})
        pairs: dict[str, np.ndarray[tuple[int, int], np.dtype[np.int64]]] = {}
        kinds: dict[str, Classes] = {}
        passes = self.solver.param.test_iter[index]
        with torch.no_grad(), caffes_precision():
            for number, chosen in zip(range(passes), data.draws(), strict=False):
                blobs = net.run(net.take(data.read(chosen)), number, keep=kept).blobs
                for node in losses:
                    scores, labels = (blobs[name] for name in node.bottoms[:2])
                    count = node.layer.classes(shapes_of([scores, labels])) or 1
                    ignored = node.layer.ignored_label
                    kind = Classes(count, IGNORE if ignored is None else ignored)
                    found = kind.pairs(*_flat(labels, scores))
                    title = net.graph.blobs[node.bottoms[1]]
                    pairs[title] = pairs.get(title, 0) + found
                    kinds[title] = kind
        return {title: kinds[title].score(total) for title, total in pairs.items()}

    # One iteration ----------------------------------------------------------------------------

    def _iterate(self, feeds: list[Feed], log: Log | None) -> None:
        solver = self.solver
        number, rate, start = solver.iteration, solver.learning_rate, time.perf_counter()
        loss = solver.step(feeds)
        if not math.isfinite(loss):
            raise TrainingError(
                Problem(
                    f"the loss of iteration {number} is {loss:g}: lower base_lr ({rate:g} now), or"
                    " set clip_gradients; snapshots written before are good, --resume goes on"
                    " from one",
                    solver.source.path,
                )
            )
        images = sum(len(next(iter(feed.values()))) if feed else 1 for feed in feeds)
        speed = images * solver.processes.count / (time.perf_counter() - start)
        row = LogRow(number, loss, solver.smoothed_loss, solver.loss_per_label, rate, speed)
        if log is not None:
            log.add(row)
            self.watcher.row(row)

    def _is_enough(self, log: Log | None) -> bool:
        """Whether patience is at its end; said if it is."""
        if log is None or self.patience is None:
            return False
        measured = [row.mean_iu for row in log.rows if row.mean_iu is not None]
        if not measured or len(measured) - 1 - measured.index(max(measured)) < self.patience:
            return False
        self.watcher.text(f"{self.patience} measurements in a row were no better: it ends here")
        return True

    def _replan(self) -> None:
        """Another max_iter, that of the first process in all."""
        param = self.solver.param
        if self.replan is not None:
            param.max_iter = self.replan(self.solver.iteration)
        shared = torch.tensor(param.max_iter, device=self.solver.device)
        self.solver.processes.share([shared])
        param.max_iter = int(shared)

    def _is_measured(self, log: Log | None) -> bool:
        """Whether the last thing that was done was a measurement."""
        return log is not None and bool(log.rows) and log.rows[-1].mean_iu is not None

    def _is_test_due(self) -> bool:
        interval = self.solver.param.test_interval
        return bool(self.tests) and interval > 0 and self.solver.iteration % interval == 0

    def _validate(self, log: Log | None) -> None:
        """Score every test net; keep the snapshot with the best mean IU."""
        if log is None:
            return  # the first process does it
        solver, values = self.solver, []
        for index in range(len(self.tests)):
            for title, score in self.validate(index).items():
                values.append(score.mean_iu)
                self.watcher.text(
                    f"iteration {solver.iteration}, test net {index}, {title}:"
                    f" mean IU {score.mean_iu:.4f}, pixel accuracy {score.pixel_accuracy:.4f}"
                )
        if not values:
            return
        mean = sum(values) / len(values)
        row = LogRow(solver.iteration, mean_iu=mean)
        log.add(row)
        self.watcher.measured(row)
        self._draw(log)
        if mean > self.best:
            self.best = mean
            # The same name each time, so that only the best one stays.
            state = solver.snapshot(f"{solver.prefix}_best", numbered=False)
            self.watcher.text(f"best so far: {state}")

    def _snapshot(self, log: Log | None) -> None:
        if log is None:
            return
        self.watcher.text(f"snapshot: {self.solver.snapshot()}")
        self._draw(log)

    def _draw(self, log: Log) -> None:
        path = Path(f"{self.solver.prefix}_loss.png")
        title = f"{Path(self.solver.source.path).name}, iteration {self.solver.iteration}"
        with replacing(path) as temporary:
            draw(log.rows, title).save(temporary, "PNG")

    def _test_net(self, index: int) -> Net:
        first = self.tests[index].first()
        return self.solver.test_net(index, {name: np.shape(first[name]) for name in first})


_MOST_PROBLEMS = 20


def _label_problems(
    net: Net, source: WiredReader | Batches, progress: Callable[[], object]
) -> list[Problem]:
    def work(share: Iterator[int]) -> list[Problem]:
        found = (label_problem(source, index, net.label_problems) for index in share)
        return [problem for problem in found if problem is not None]

    return [
        problem
        for problems in spread(work, range(len(source)), progress=progress)
        for problem in problems
    ]


def prepare(solver: SolverSource, data: Path | None, seed: int) -> tuple[Data, list[Data]]:
    """What a solver's nets are fed: the one that is trained, and those that are tested."""
    check(solver)
    trained = rules.train_net(solver)
    tested = rules.test_nets(solver)
    return (
        Data.of(build(trained.source, trained.state), data, split="train", seed=seed),
        [Data.of(build(t.source, t.state), data, split="val", seed=seed) for t in tested],
    )


@contextmanager
def stopping() -> Iterator[Callable[[], int | None]]:
    """Which signal has come, of Ctrl-C or a request to end; a second one ends at once."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, note)
    try:
        yield lambda: next(iter(asked), None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _measures(net: Net, node: Node) -> bool:
    """Whether a layer is a loss of labels that are fed, so that its scores can be measured."""
    shapes = [shape for name in node.bottoms if (shape := net.shape(name)) is not None]
    return (
        node.layer.is_loss
        and len(shapes) == len(node.bottoms) == 2
        and node.layer.classes(shapes) is not None
        and node.bottoms[1] in net.graph.inputs
    )


def _flat(
    labels: torch.Tensor, scores: torch.Tensor
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Labels and predicted classes, pixel by pixel."""
    truth = labels.reshape(-1).long().cpu().numpy()
    return truth, scores.argmax(1).reshape(-1).cpu().numpy()


def _not_finite(solver: Solver) -> Iterator[Problem]:
    """The layers whose weights are infinite or not a number before anything is learned."""
    for layer, arrays in solver.net.weights.items():
        if not all(np.isfinite(array).all() for array in arrays):
            message = "the weights that it starts from are infinite or not a number"
            yield Problem(message, solver.source.path, layer=layer)
