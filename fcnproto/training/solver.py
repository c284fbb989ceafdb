"""Caffe's solver: passes, gradients, updates, snapshots (solver.cpp, sgd_solver.cpp)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcnproto import weights as weight_files
from fcnproto.errors import FcnprotoError, Problem, PrototxtError, Severity, raise_if_any
from fcnproto.net import solver_rules as rules
from fcnproto.proto.caffe_pb2 import SolverParameter
from fcnproto.proto.source import SolverSource, read_solver
from fcnproto.training.net import Feed, Net, caffes_precision
from fcnproto.training.passes import Parameter
from fcnproto.training.processes import ALONE, Processes
from fcnproto.training.rates import rate
from fcnproto.training.updates import TYPES
from fcnproto.types import Shape
from fcnproto.weights import Weights, solverstate


class Solver:
    """A net that is being trained, and how: everything that Caffe's solver of that file would do.

    `source` is the solver's file. `shapes` are those of blobs fed in which the net does not say
    (others may follow). `device` is as PyTorch calls it. `seed` is random_seed unless given. With
    `processes` each process is fed its own part: gradients are added up as over a larger iter_size.

    Raises PrototxtError and NetError for what Caffe would refuse, WeightsError if the solver names
    weights that do not fit.
    """

    def __init__(
        self,
        source: SolverSource,
        *,
        shapes: Mapping[str, Shape] = MappingProxyType({}),
        device: str = "cpu",
        processes: Processes = ALONE,
        seed: int | None = None,
    ) -> None:
        check(source)
        self.source = source
        self.param: SolverParameter = source.solver
        self.device = device
        self.processes = processes
        self.iteration = 0
        self.losses: deque[float] = deque(maxlen=self.param.average_loss)
        """The losses of the last iterations, of which average_loss are averaged."""
        self.loss_per_label: float | None = None
        """The last iteration's loss for each label that counts, where losses are of labels."""
        self._step = 0
        self._update = TYPES[self.param.type](self.param)
        self.seed = chosen_seed(self.param, processes, device) if seed is None else seed
        trained = rules.train_net(source)
        self.net = Net(trained.source, trained.state, shapes=shapes, device=device, seed=self.seed)
        self._history = self._new_history()
        self._test_nets: dict[int, Net] = {}
        for name in _listed(self.param.weights):
            self.load_weights(weight_files.read(rules.located(source, name)))
        self.share()

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        shapes: Mapping[str, Shape] = MappingProxyType({}),
        device: str = "cpu",
        processes: Processes = ALONE,
    ) -> Solver:
        """The solver in a prototxt; files that it names are looked for as Caffe does, or beside it.

        Raises what the class does.
        """
        return cls(read_solver(path), shapes=shapes, device=device, processes=processes)

    # Weights ----------------------------------------------------------------------------------

    @property
    def weights(self) -> Weights:
        """A copy of the learned arrays, {layer: [arrays in Caffe's order]}, float32."""
        return self.net.weights

    def load_weights(self, weights: Mapping[str, Sequence[npt.NDArray[np.float32]]]) -> list[str]:
        """Start from other weights, taken over by layers' names; gives the layers left as they are.

        Layers that the net does not have are passed over. Raises WeightsError where arrays of a
        layer differ in number or shape.
        """
        return self.net.load(weights)

    def share(self) -> None:
        """Take the first process's arrays."""
        self.processes.share([parameter.tensor.detach() for parameter in self.net.parameters])

    # Training ---------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The learning rate of the iteration that comes next, before any lr_mult."""
        return rate(self.param, self.iteration, self._step)[0]

    @property
    def smoothed_loss(self) -> float:
        """The mean loss of the last average_loss iterations; NaN before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else float("nan")

    def step(self, feeds: Sequence[Feed]) -> float:
        """Do one iteration, of iter_size passes, and give its mean loss.

        Each feed has an array for each blob that the net takes in. Raises NetError for feeds that
        the net cannot take; then nothing has changed.
        """
        if len(feeds) != self.param.iter_size:
            raise FcnprotoError(
                f"an iteration takes iter_size {self.param.iter_size} feeds, found {len(feeds)}"
            )
        values = [self.net.take(feed) for feed in feeds]
        loss = self._passes(values)
        with torch.no_grad():
            self._apply(self._gradients())
        self.iteration += 1
        self.losses.append(loss)
        return loss

    def test(self, feeds: Iterable[Feed], index: int = 0) -> dict[str, npt.NDArray[np.float32]]:
        """The outputs of one of the solver's test nets, averaged over passes (solver.cpp, Test).

        Raises FcnprotoError if there is no such test net, or nothing is fed.
        """
        sums: dict[str, Tensor] = {}
        net, passes = None, 0
        with torch.no_grad(), caffes_precision():
            for number, feed in enumerate(feeds):
                net = net or self.test_net(index, {name: np.shape(feed[name]) for name in feed})
                blobs = net.run(net.take(feed), self.iteration, number).blobs
                sums = {name: sums[name] + blobs[name] if sums else blobs[name] for name in blobs}
                passes += 1
        if not passes:
            raise FcnprotoError("there is nothing to test on: no feed was given")
        return {name: (total / passes).cpu().numpy() for name, total in sums.items()}

    def test_net(self, index: int = 0, shapes: Mapping[str, Shape] = MappingProxyType({})) -> Net:
        """One of the solver's test nets, with the arrays of the net that is trained."""
        if index not in self._test_nets:
            nets = rules.test_nets(self.source)
            if index >= len(nets):
                message = f"it has {len(nets)} test nets: there is no number {index}"
                raise FcnprotoError(Problem(message, self.source.path))
            chosen = nets[index]
            net = Net(chosen.source, chosen.state, shapes=shapes, device=self.device)
            net.share(self.net)
            self._test_nets[index] = net
        return self._test_nets[index]

    # Snapshots --------------------------------------------------------------------------------

    def snapshot(self, prefix: str | Path | None = None, *, numbered: bool = True) -> Path:
        """Write weights and state as Caffe does, and give the path of the .solverstate.

        They are called <prefix>_iter_<n>.caffemodel and .solverstate, both with .h5 appended if
        snapshot_format is HDF5; the prefix is the solver's unless given, and _iter_<n> is left out
        if not `numbered`. Each is written whole or not at all, the weights first. Raises
        FcnprotoError where they cannot be written.
        """
        stem = str(self.prefix if prefix is None else prefix)
        stem += f"_iter_{self.iteration}" if numbered else ""
        suffix = ".h5" if self.param.snapshot_format == SolverParameter.HDF5 else ""
        model, state = f"{stem}.caffemodel{suffix}", Path(f"{stem}.solverstate{suffix}")
        weight_files.write(model, self.weights, self.net.message())
        history = [tensor.cpu().numpy() for tensor in self._history]
        solverstate.write(state, solverstate.Stop(self.iteration, model, self._step, history))
        return state

    def restore(self, path: str | Path) -> None:
        """Go on where a .solverstate stopped, of Caffe or of this, with the weights it names.

        These are looked for from the working directory, and then beside it. Raises WeightsError if
        it is broken, or of another net or type of solver; then nothing has changed.
        """
        path = Path(path)
        stop = solverstate.read(path)
        shapes = [tuple(tensor.shape) for tensor in self._history]
        if [array.shape for array in stop.history] != shapes:
            raise solverstate.misfit(path, shapes, stop.history)
        if stop.learned_net:
            self.load_weights(weight_files.read(_weights_beside(path, stop.learned_net)))
        for tensor, array in zip(self._history, stop.history, strict=True):
            tensor.copy_(torch.from_numpy(array))
        self.iteration, self._step = stop.iteration, stop.current_step
        self.losses.clear()

    @property
    def prefix(self) -> str:
        """What snapshots are called: snapshot_prefix, or in it, if it is a directory, the solver.

        Without snapshot_prefix it is the solver's path (upgrade_proto.cpp,
        UpgradeSnapshotPrefixProperty).
        """
        own = Path(self.source.path).with_suffix("")
        given = self.param.snapshot_prefix
        if not given:
            return str(own)
        return str(Path(given) / own.name) if Path(given).is_dir() else given

    # One iteration ----------------------------------------------------------------------------

    def _passes(self, values: Sequence[Mapping[str, Tensor]]) -> float:
        """Passes forward and back, and their mean loss over all processes."""
        for parameter in self.net.parameters:
            parameter.tensor.grad = None
        total = 0.0
        means = []
        first = self.processes.rank * len(values)
        for number, given in enumerate(values, first):
            # Chance differs from pass to pass, but not from one run of the training to the next.
            with caffes_precision():
                loss = self.net.run(given, self.iteration, number).loss
                if loss.requires_grad:
                    loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            means.append(self.net.mean_loss())
        known = [mean for mean in means if mean is not None]
        self.loss_per_label = sum(known) / len(known) if known else None
        mean = torch.tensor(total / len(values), dtype=torch.float64, device=self.device)
        self.processes.add([mean])
        return float(mean) / self.processes.count

    def _gradients(self) -> list[Tensor]:
        """The gradients summed over all passes, zeros where there are none."""
        gradients = []
        for parameter in self.net.parameters:
            own = parameter.tensor.grad
            gradients.append(torch.zeros_like(parameter.tensor) if own is None else own)
        learning = [g for g, p in zip(gradients, self.net.parameters, strict=True) if _learns(p)]
        self.processes.add(learning)
        return gradients

    def _apply(self, gradients: Sequence[Tensor]) -> None:
        """Clip, normalise, decay, update (sgd_solver.cpp, ApplyUpdate)."""
        learning_rate, self._step = rate(self.param, self.iteration, self._step)
        shrink = _clipping(self.param.clip_gradients, gradients)
        shrink /= self.param.iter_size * self.processes.count
        count = len(self.net.parameters)
        for index, parameter in enumerate(self.net.parameters):
            gradient = gradients[index]
            if shrink != 1:
                gradient = gradient.mul_(shrink)
            gradient = self._decayed(gradient, parameter)
            history = self._history[index::count]
            own_rate = learning_rate * parameter.lr_mult
            change = self._update.update(gradient, history, own_rate, self.iteration)
            parameter.tensor.sub_(change)

    def _decayed(self, gradient: Tensor, parameter: Parameter) -> Tensor:
        """The gradient with that of weight decay."""
        decay = self.param.weight_decay * parameter.decay_mult
        if not decay:
            return gradient
        if self.param.regularization_type == "L1":
            return gradient.add_(parameter.tensor.sign(), alpha=decay)
        return gradient.add_(parameter.tensor, alpha=decay)

    def _new_history(self) -> list[Tensor]:
        tensors = [parameter.tensor for parameter in self.net.parameters]
        return [torch.zeros_like(each) for _ in range(self._update.moments) for each in tensors]


def _clipping(limit: float, gradients: Sequence[Tensor]) -> float:
    """What all gradients are multiplied by, so that their common norm is within the limit."""
    if limit < 0:
        return 1.0
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    return limit / norm if norm > limit else 1.0


def _learns(parameter: Parameter) -> bool:
    return parameter.tensor.requires_grad


def check(source: SolverSource) -> None:
    """Raise PrototxtError with all that is wrong with a solver's own fields."""
    complaints = list(rules.refusals(source.solver))
    if source.solver.iter_size < 1:
        found = source.solver.iter_size
        complaints.append(("iter_size", f"iter_size must be at least 1, found {found}"))
    problems = [
        Problem(message, source.path, source.line(name), severity=Severity.ERROR)
        for name, message in complaints
    ]
    raise_if_any(PrototxtError, (*source.problems, *problems))


def _listed(names: Iterable[str]) -> list[str]:
    """The files of the field `weights`, in which commas part names too."""
    return [part for name in names for each in name.split(",") if (part := each.strip())]


def chosen_seed(param: SolverParameter, processes: Processes, device: str) -> int:
    """random_seed, or if that is negative any number, the same in all processes."""
    if param.random_seed >= 0:
        return param.random_seed
    drawn = torch.tensor(int(np.random.SeedSequence().generate_state(1)[0]), device=device)
    processes.share([drawn])
    return int(drawn)


def _weights_beside(state: Path, name: str) -> Path:
    """The weights that a state names, or those of that name beside it."""
    beside = state.parent / Path(name).name
    return beside if not Path(name).exists() and beside.exists() else Path(name)
