"""Caffe's solver as a value: read, solved, looked at."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from fcnproto.api.weights import Weights, WeightsLike, source_of
from fcnproto.datasets.measures import Score
from fcnproto.proto.source import SolverSource, read_solver
from fcnproto.training import solver as training
from fcnproto.training.devices import chosen_device
from fcnproto.training.loop import Training, Watcher, prepare
from fcnproto.training.processes import ALONE


class Solver:
    """A Caffe solver with its nets and their data: `Solver.from_file("solver.prototxt").solve()`.

    `data` is where the dataset lies, by default where the net's data layers say. It starts from
    `weights`, or goes on from a .solverstate, `resume`. `device` is auto, cpu, cuda or cuda:1.

    Raises PrototxtError and NetError for what Caffe would refuse, DataError for data that do not
    fit, WeightsError for weights that do not.
    """

    def __init__(
        self,
        source: SolverSource,
        *,
        data: str | PathLike[str] | None = None,
        weights: WeightsLike | None = None,
        resume: str | PathLike[str] | None = None,
        device: str = "auto",
        watcher: Watcher = Watcher(),
    ) -> None:
        own = chosen_device(device)
        seed = training.chosen_seed(source.solver, ALONE, own)
        trained, tested = prepare(source, None if data is None else Path(data), seed)
        shapes = {name: array.shape for name, array in trained.first().items()}
        learner = training.Solver(source, shapes=shapes, device=own, seed=seed)
        if resume is not None:
            learner.restore(Path(resume))
        if weights is not None:
            learner.load_weights(source_of(weights).weights)
        self._training = Training(learner, trained, tested, watcher)

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        data: str | PathLike[str] | None = None,
        weights: WeightsLike | None = None,
        resume: str | PathLike[str] | None = None,
        device: str = "auto",
        watcher: Watcher = Watcher(),
    ) -> Solver:
        """The solver in a prototxt; raises what the class does."""
        source = read_solver(Path(path))
        return cls(
            source, data=data, weights=weights, resume=resume, device=device, watcher=watcher
        )

    @property
    def iteration(self) -> int:
        """How many iterations are done."""
        return self._training.solver.iteration

    @property
    def loss(self) -> float:
        """The mean loss of the last average_loss iterations; NaN before the first."""
        return self._training.solver.smoothed_loss

    @property
    def weights(self) -> Weights:
        """A copy of what is learned."""
        return Weights(self._training.solver.weights, title="solver")

    def solve(self) -> bool:
        """Train up to max_iter, with Caffe's snapshots, a log and a loss curve as files.

        Ctrl-C writes a snapshot and ends it: then the result is False. Raises DataError for label
        maps with classes that the net does not have, before it begins, and TrainingError where the
        loss is no number.
        """
        self._training.check_labels()
        return self._training.run()

    def test(self, index: int = 0) -> dict[str, Score]:
        """The scores of a test net over test_iter images, by the label map that they measure."""
        return self._training.validate(index)

    def __repr__(self) -> str:
        learner = self._training.solver
        return (
            f"<Solver {learner.source.path}: iteration {self.iteration} of"
            f" {learner.param.max_iter} on {learner.device}>"
        )
