"""A solver's own rules, and the nets that it trains and tests (solver.cpp, sgd_solver.cpp)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fcnproto.errors import nearest
from fcnproto.net.graph import State
from fcnproto.proto.caffe_pb2 import TEST, TRAIN, NetState, SolverParameter
from fcnproto.proto.schema import readable
from fcnproto.proto.source import NetSource, SolverSource, read_net

_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")


Complaint = tuple[str, str]
"""The field of a solver that a message is about, and the message."""


def refusals(solver: SolverParameter) -> Iterator[Complaint]:
    """What Caffe's solver refuses in its own fields, at once or at the first iteration."""
    if solver.type not in _TYPES:
        yield (
            "type",
            (
                f"unknown solver type '{solver.type}'{nearest(solver.type, _TYPES)};"
                f" Caffe has {', '.join(_TYPES)}"
            ),
        )
    if solver.type in ("AdaGrad", "RMSProp") and solver.momentum != 0:
        yield "momentum", f"{solver.type} takes no momentum, found {solver.momentum:g}"
    if solver.type == "RMSProp" and not 0 <= solver.rms_decay < 1:
        yield "rms_decay", f"rms_decay must be at least 0 and below 1, found {solver.rms_decay:g}"
    if solver.average_loss < 1:
        yield "average_loss", f"average_loss must be at least 1, found {solver.average_loss}"
    if solver.weight_decay and solver.regularization_type not in ("L1", "L2"):
        found = solver.regularization_type
        yield "regularization_type", f"regularization_type must be L1 or L2, found '{found}'"
    yield from _policy_refusals(solver)
    yield from _net_refusals(solver)


def _policy_refusals(solver: SolverParameter) -> Iterator[Complaint]:
    policy = solver.lr_policy
    if not solver.HasField("lr_policy"):
        message = "there is no lr_policy, such as fixed: Caffe stops at the first iteration"
        yield "lr_policy", message
    elif policy not in _POLICIES:
        yield (
            "lr_policy",
            (
                f"unknown lr_policy '{policy}'{nearest(policy, _POLICIES)};"
                f" Caffe has {', '.join(_POLICIES)}"
            ),
        )
    if policy in ("step", "sigmoid") and solver.stepsize <= 0:
        message = f"lr_policy {policy} needs a stepsize above 0, found {solver.stepsize}"
        yield "stepsize", message
    if policy in ("step", "exp", "inv", "multistep", "sigmoid") and solver.gamma < 0:
        message = f"lr_policy {policy} needs a gamma of at least 0, found {solver.gamma:g}"
        yield "gamma", message


_TRAIN_NETS = ("net", "net_param", "train_net", "train_net_param")


def _net_refusals(solver: SolverParameter) -> Iterator[Complaint]:
    given = [field for field in _TRAIN_NETS if solver.HasField(field)]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        yield "net", f"give one of {', '.join(_TRAIN_NETS)}, found {found}"
    for field in given:
        if getattr(solver, field) == "":
            yield field, f"{field} names no file"
    if "" in solver.test_net:
        yield "test_net", "test_net names no file"
    tests = len(solver.test_net) + len(solver.test_net_param)
    generic = solver.HasField("net") + solver.HasField("net_param")
    iterations = len(solver.test_iter)
    if iterations < tests or (iterations > tests and not generic):
        message = f"test_iter must be given once for each of {tests} test nets, found {iterations}"
        yield "test_iter", message
        return
    if solver.test_state and len(solver.test_state) != iterations:
        yield (
            "test_state",
            (
                "test_state must be given once for each test net, or not at all:"
                f" {iterations} nets, found {len(solver.test_state)}"
            ),
        )
    if iterations and solver.test_interval <= 0:
        message = f"test_interval must be above 0 to test, found {solver.test_interval}"
        yield "test_interval", message


def oddities(solver: SolverParameter) -> Iterator[Complaint]:
    """What Caffe accepts in a solver though no training comes of it."""
    policy = solver.lr_policy
    if not solver.HasField("base_lr"):
        yield "base_lr", "there is no base_lr: the learning rate is 0"
    elif solver.base_lr <= 0:
        yield "base_lr", f"base_lr is {solver.base_lr:g}: nothing is learned"
    if policy in ("step", "multistep", "exp") and not solver.HasField("gamma"):
        yield "lr_policy", f"lr_policy {policy} without gamma: the learning rate falls to 0"
    if policy == "multistep" and not solver.stepvalue:
        yield "lr_policy", "lr_policy multistep without stepvalue: the learning rate never changes"
    if policy == "poly" and solver.max_iter <= 0:
        yield "lr_policy", "lr_policy poly without max_iter: the learning rate is not a number"
    if policy == "poly" and not solver.HasField("power"):
        yield "lr_policy", "lr_policy poly without power: the learning rate never changes"
    if solver.regularization_type not in ("L1", "L2") and not solver.weight_decay:
        message = f"regularization_type '{solver.regularization_type}' is neither L1 nor L2"
        yield "regularization_type", message
    if solver.iter_size < 1:
        yield "iter_size", f"iter_size is {solver.iter_size}: gradients are divided by it"
    if solver.HasField("clip_gradients") and solver.clip_gradients == 0:
        yield "clip_gradients", "clip_gradients 0 sets every gradient to 0"


def missing_folder(solver: SolverParameter) -> Iterator[Complaint]:
    """The folder of snapshots, if it is not there: Caffe stops at once, our training makes it."""
    folder = Path(solver.snapshot_prefix).parent
    if solver.snapshot and solver.HasField("snapshot_prefix") and not folder.is_dir():
        message = (
            f"there is no directory '{folder}' for snapshots: Caffe stops at once without it;"
            " make it, or train with fcnproto train, which does"
        )
        yield "snapshot_prefix", message


@dataclass(frozen=True)
class SolverNet:
    """One net of a solver, and the state that the solver builds it in."""

    source: NetSource
    state: State


def train_net(solver: SolverSource) -> SolverNet:
    """The net that is trained, of a solver without `refusals`.

    Raises PrototxtError if its file cannot be read.
    """
    param = solver.solver
    for name in ("net_param", "train_net_param"):
        if param.HasField(name):
            return _in_state(solver.embedded(name), TRAIN, param.train_state)
    net = read_net(located(solver, param.train_net or param.net))
    return _in_state(net, TRAIN, param.train_state)


def located(solver: SolverSource, name: str | bytes) -> str:
    """Where a file lies that a solver names.

    That is relative to the working directory, as in Caffe; if there is none, beside the solver.
    """
    text = readable(name)  # which may be bytes that are no UTF-8
    beside = Path(solver.path).parent / text
    return str(beside) if not Path(text).exists() and beside.exists() else text


def test_nets(solver: SolverSource) -> list[SolverNet]:
    """The nets that are tested, in Caffe's order.

    Those of test_net_param, then of test_net, then the generic net for every test_iter left.
    Raises PrototxtError if a file cannot be read.
    """
    param = solver.solver
    nets = [solver.embedded("test_net_param", i) for i in range(len(param.test_net_param))]
    nets += [read_net(located(solver, path)) for path in param.test_net]
    left = len(param.test_iter) - len(nets)
    if left > 0:
        generic = (
            solver.embedded("net_param")
            if param.HasField("net_param")
            else read_net(located(solver, param.net))
        )
        nets += [generic] * left
    states = [*param.test_state, *[NetState()] * len(nets)]
    return [_in_state(net, TEST, state) for net, state in zip(nets, states, strict=False)]


def _in_state(net: NetSource, phase: int, given: NetState) -> SolverNet:
    """The solver's phase, overridden by the net's own state, then by the one given for it."""
    merged = NetState(phase=phase)  # type: ignore[arg-type]
    merged.MergeFrom(net.net.state)
    merged.MergeFrom(given)
    return SolverNet(net, State.from_proto(merged))
