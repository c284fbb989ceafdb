"""The learning rate of an iteration (sgd_solver.cpp, GetLearningRate)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcnproto.proto.caffe_pb2 import SolverParameter


def rate(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    """The learning rate of an iteration, and how many steps it has taken by then.

    `step` is how many it had taken before. The rate may be NaN or negative, as in Caffe, where
    poly goes past max_iter. Raises KeyError for a policy that fcnproto.net.solver_rules refuses.
    """
    factor, step = _POLICIES[solver.lr_policy](solver, iteration, step)
    with np.errstate(all="ignore"):
        return float(np.float32(solver.base_lr * factor)), step


def _fixed(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    return 1.0, step


def _step(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    step = iteration // solver.stepsize
    return _power(solver.gamma, step), step


def _exp(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    return _power(solver.gamma, iteration), step


def _inv(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    return _power(1 + solver.gamma * iteration, -solver.power), step


def _multistep(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    """At most one step in an iteration, so that equal or falling stepvalues lag."""
    if step < len(solver.stepvalue) and iteration >= solver.stepvalue[step]:
        step += 1
    return _power(solver.gamma, step), step


def _poly(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    with np.errstate(all="ignore"):
        left = float(1 - np.float32(iteration) / np.float32(solver.max_iter))
    return _power(left, solver.power), step


def _sigmoid(solver: SolverParameter, iteration: int, step: int) -> tuple[float, int]:
    with np.errstate(all="ignore"):
        past = np.exp(np.float64(-solver.gamma * (iteration - solver.stepsize)))
    return float(1 / (1 + past)), step


def _power(base: float, exponent: float) -> float:
    """C's pow: NaN and infinity where there is no number."""
    with np.errstate(all="ignore"):
        return float(np.float_power(base, exponent))


Policy = Callable[[SolverParameter, int, int], tuple[float, int]]

_POLICIES: dict[str, Policy] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
}
