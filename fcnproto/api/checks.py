"""What is wrong with a net or solver, what differs between two, and their current form."""

from __future__ import annotations

from collections.abc import Iterable

from fcnproto.api import sources
from fcnproto.api.lines import Differences, Problems
from fcnproto.api.net import Net, NetLike, checked_phase
from fcnproto.api.sources import Named
from fcnproto.api.zoo import Prototxt
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.net import check as checking
from fcnproto.net import diff as differing
from fcnproto.net.graph import State
from fcnproto.proto import printer
from fcnproto.proto.source import NetSource, SolverSource
from fcnproto.types import INT_MAX, size_of, whole, words_of


def check(
    source: NetLike,
    *,
    phase: str = "deploy",
    level: int = 0,
    stages: Iterable[str] = (),
    size: tuple[int, int] | None = None,
    lenient: bool = False,
) -> Problems:
    """Every problem of a net or solver at once; `errors` are those for which Caffe refuses it.

    A net is built for the phase (deploy, train or val), level and stages; a solver's nets as it
    says. Raises PrototxtError where it cannot be read at all.
    """
    if isinstance(source, Net):
        return source.problems
    name, caffes = checked_phase(phase)
    size = size_of(size)
    found = sources.any_source(source, name, lenient=lenient)
    if isinstance(found, SolverSource):
        return Problems(checking.check_solver(found, size))
    state = State(caffes, whole(level, "a level", -INT_MAX), words_of(stages))
    return Problems(checking.check_net(found, state, size))


def diff(first: NetLike, second: NetLike) -> Differences:
    """What differs in meaning between two nets or two solvers, not in spelling.

    Raises PrototxtError where one has errors, FcnprotoError where one is a net and one a solver.
    """
    ours, theirs = (
        each.source if isinstance(each, Net) else sources.any_source(each)
        for each in (first, second)
    )
    problems = [p for p in (*ours.problems, *theirs.problems) if p.severity is Severity.ERROR]
    if problems:
        raise FcnprotoError(*problems)
    if isinstance(ours, NetSource) and isinstance(theirs, NetSource):
        return Differences(differing.net_differences(ours.net, theirs.net))
    if isinstance(ours, SolverSource) and isinstance(theirs, SolverSource):
        return Differences(differing.solver_differences(ours.solver, theirs.solver))
    raise FcnprotoError(Problem(f"one is a net and the other a solver: {ours.path}, {theirs.path}"))


def upgrade(source: Named) -> Prototxt:
    """An old net or solver (V0, V1, old fields) in the current form.

    Raises PrototxtError where it cannot be read or has errors, NetError where Caffe could not
    upgrade it. Weight files are upgraded by loading and saving them.
    """
    found = sources.any_source(source)
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    if errors:
        raise FcnprotoError(*errors)
    return Prototxt(printer.format(found.net if isinstance(found, NetSource) else found.solver))
