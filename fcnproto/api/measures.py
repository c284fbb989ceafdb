"""How good a model is, how exact, and what is wrong: score, verify, doctor, check, diff."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from fcnproto.api import sources
from fcnproto.api.lines import Differences, Findings, Problems
from fcnproto.api.model import Model
from fcnproto.api.net import Net, NetLike, as_net, checked_phase
from fcnproto.api.sources import Named
from fcnproto.api.weights import WeightsLike, load_weights, source_of
from fcnproto.api.zoo import Prototxt
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.exporting.export import every_blob
from fcnproto.insight import doctor as examining
from fcnproto.insight import verify as verifying
from fcnproto.insight.doctor_scores import examine_image
from fcnproto.insight.verify import Comparison, Tolerance
from fcnproto.net import check as checking
from fcnproto.net import diff as differing
from fcnproto.net.graph import State
from fcnproto.proto import printer
from fcnproto.proto.source import NetSource, SolverSource
from fcnproto.runtime.segmenter import ImageLike, image_of
from fcnproto.types import Array

ModelLike = Model | str | PathLike[str]
"""A model, or the path of one."""


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
    found = sources.any_source(source, name, lenient=lenient)
    if isinstance(found, SolverSource):
        return Problems(checking.check_solver(found, size))
    state = State(caffes, level, tuple(stages))
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


def doctor(
    net: NetLike,
    weights: WeightsLike,
    *photos: ImageLike,
) -> Findings:
    """What is wrong with weights in a net and, with photos, with what they make of these.

    Raises NetError if Caffe would refuse the net, ImageError if an image cannot be read.
    """
    loaded, arrays = as_net(net), load_weights(weights).by_layer
    findings = examining.examine(loaded.graph, arrays, loaded.zoo_name)
    for photo in photos:
        rgb = image_of(photo)
        findings += examine_image(loaded.graph, arrays, rgb, loaded.zoo_name)
    return Findings(findings)


def verify(
    model: ModelLike,
    reference: NetLike | Model | Mapping[str, Array],
    weights: WeightsLike | None = None,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> Comparison:
    """Compare a model blob by blob with a reference, up to atol + rtol · its largest magnitude.

    The reference is a net with its weights, whose plain model is made; another model, or the path
    of one (.onnx); or arrays in/<blob> and out/<blob>, or the path of such (.npz). Raises
    FcnprotoError if nothing can be compared.
    """
    ours = model.to_proto() if isinstance(model, Model) else Path(model)
    tolerance = Tolerance(rtol, atol)
    if isinstance(reference, Mapping):
        return verifying.with_arrays(ours, reference, tolerance)
    if isinstance(reference, Model):
        return verifying.with_model(ours, reference.to_proto(), tolerance)
    if weights is not None or isinstance(reference, Net):
        if weights is None:
            raise FcnprotoError("a net is compared with its weights: give them too")
        plain = every_blob(as_net(reference).source, source_of(weights)).to_proto()
        return verifying.with_model(ours, plain, tolerance, every_blob=True)
    path = Path(reference)
    if path.suffix.lower() == ".npz":
        return verifying.with_arrays(ours, path, tolerance)
    return verifying.with_model(ours, path, tolerance)
