"""A net trained in stages, each from the weights of the one before: 32s, 16s, 8s.

So the FCNs of the paper were trained (Long, Shelhamer and Darrell 2015, section 4.2). Each earlier
stage is a run of its own in the folder of the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.files import replacing
from fcnproto.runs.job import Begin, Job
from fcnproto.training.processes import in_company

NETS = ("fcn32s", "fcn16s", "fcn8s")
"""In the order in which they are trained."""

_FILE = "stages.json"


@dataclass(frozen=True)
class Stages:
    """What the last stage is asked for, and the folder in which the others lie."""

    path: Path
    last: Begin

    @classmethod
    def of(cls, path: Path, data: Path) -> Stages | None:
        """Stages that were begun and have not come to the last; None if there are none."""
        file = path / _FILE
        if not file.is_file() or Job.is_here(path):
            return None
        try:
            said = json.loads(file.read_text("utf-8"))
            last = Begin(**{**said, "data": Path(said["data"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = "there is no run here that can be resumed"
            raise FcnprotoError(Problem(message, str(file))) from error
        if last.data != data.resolve():
            message = f"this run was begun on {last.data}, which is not {data.resolve()}"
            raise FcnprotoError(Problem(message, str(file)))
        return cls(path, last)

    def save(self) -> None:
        """Write what `of` reads."""
        said = asdict(self.last)
        said |= {"data": str(self.last.data.resolve())}
        said |= {"weights": None if self.last.weights is None else str(self.last.weights)}
        with replacing(self.path / _FILE) as temporary:
            temporary.write_text(json.dumps(said, indent=2) + "\n", "utf-8")

    def before(self) -> Iterator[Begin]:
        """What each earlier stage is asked for, but for the weights of the one before it."""
        nets = NETS[: NETS.index(self.last.net)]
        for net in nets:
            yield replace(self.share(), net=net)

    def share(self) -> Begin:
        """A stage's part of the time."""
        count = NETS.index(self.last.net) + 1
        minutes, iterations = self.last.minutes, self.last.iterations
        return replace(
            self.last,
            minutes=None if minutes is None else minutes / count,
            iterations=None if iterations is None else max(1, iterations // count),
        )

    def folder(self, net: str) -> Path:
        """Where an earlier stage is, or is to be; one that was killed as it began is left."""
        begun = [path for path in sorted(self.path.glob(f"{net}*")) if Job.is_here(path)]
        return begun[0] if begun else self.path / net


def check(net: str, weights: object) -> None:
    """Raise FcnprotoError where there is nothing to do in stages."""
    if net not in NETS[1:]:
        message = f"stages lead to {' or '.join(NETS[1:])}, found {net}"
        raise FcnprotoError(message)
    if in_company():
        raise FcnprotoError("stages are trained by one process: give each to torchrun by itself")
    if weights is None:
        raise FcnprotoError(
            "stages are for fine-tuning: give the weights of a classifier or an FCN to start from"
        )
