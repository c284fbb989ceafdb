"""What may be asked of a net that is rendered."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from fcnproto.errors import ZooError
from fcnproto.types import INT_MAX
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import BackboneSpec, ClassifierSpec, DatasetSpec, RecipeSpec
from fcnproto.zoo.specs import NetSpec

PHASES = ("deploy", "train", "val")


@dataclass(frozen=True)
class Options:
    """What a caller asks of a net, each None unless asked."""

    recipe: str | RecipeSpec | None = None
    dataset: str | DatasetSpec | None = None
    data_dir: str | None = None
    backbone: str | BackboneSpec | None = None
    classes: int | None = None
    pad: int | None = None
    size: tuple[int, int] | None = None

    def given(self) -> dict[str, str | int]:
        """What was asked, by the option's name on the command line."""
        values = {
            "--recipe": _name(self.recipe),
            "--dataset": _name(self.dataset),
            "--data-dir": self.data_dir,
            "--backbone": _name(self.backbone),
            "--classes": self.classes,
            "--pad": self.pad,
            "--size": None if self.size is None else f"{self.size[0]}x{self.size[1]}",
        }
        return {option: value for option, value in values.items() if value is not None}

    def command(self, spec: NetSpec, *words: str) -> str:
        """The words that ask for the same on the command line."""
        given = [str(word) for option in self.given().items() for word in option]
        return shlex.join(["fcnproto", "render", spec.name, *words, *given])

    def check(self, spec: NetSpec, phase: str) -> None:
        """Raise ZooError with all that the net cannot take."""
        problems = [*self._nonsense(phase), *self._refused(spec, phase)]
        if problems:
            raise ZooError(*problems)

    def _nonsense(self, phase: str) -> Iterator[str]:
        if phase not in PHASES:
            yield f"the phase must be one of {', '.join(PHASES)}, found '{phase}'"
        if self.classes is not None and not 1 <= self.classes <= INT_MAX:
            yield f"--classes must be at least 1 and fit Caffe's int, found {self.classes}"
        if self.pad is not None and not 0 <= self.pad <= INT_MAX:
            yield f"--pad must be at least 0 and fit Caffe's int, found {self.pad}"
        if self.size is not None and not all(1 <= length <= INT_MAX for length in self.size):
            yield f"--size must be at least 1x1 and fit Caffe's int, found {by(self.size)}"
        if self.data_dir is not None and not (self.data_dir and self.data_dir.isprintable()):
            yield f"--data-dir must be a name that can be printed, found {self.data_dir!r}"

    def _refused(self, spec: NetSpec, phase: str) -> Iterator[str]:
        given = self.given()
        if phase != "deploy":
            if isinstance(spec, ClassifierSpec):
                yield f"{spec.name} has no phase {phase}: the zoo has classifiers to deploy only"
            elif self.size is not None:
                yield f"--size is for deploy nets: in phase {phase} the data have their own sizes"
        fixed = _fixed(spec) if given else {}
        for option, value in given.items():
            own = fixed.get(option, value)
            if own is None:
                yield f"{spec.name} takes no {option}"
            elif own != value:
                yield f"{spec.name} has {option} {own}, which {option} {value} cannot change"


def _fixed(spec: NetSpec) -> dict[str, str | int | None]:
    """The options that a net cannot take, with what it is itself if that has a name."""
    if isinstance(spec, ClassifierSpec):
        fixed: dict[str, str | int | None] = dict.fromkeys(
            ("--recipe", "--dataset", "--data-dir", "--pad")
        )
        fixed["--backbone"] = spec.backbone
        if spec.published:
            fixed["--classes"] = spec.classes
        return fixed
    if spec.training is None:
        return {}
    return {
        "--recipe": spec.training.recipe,
        "--dataset": spec.dataset,
        "--backbone": spec.backbone,
        "--classes": len(specs.dataset(spec.dataset).classes),
        "--pad": specs.backbone(spec.backbone).fcn_pad,
    }


def _name(given: str | DatasetSpec | BackboneSpec | RecipeSpec | None) -> str | None:
    return given if given is None or isinstance(given, str) else given.name


def by(size: tuple[int, int]) -> str:
    """A size as options have it: 500x375."""
    return f"{size[0]}x{size[1]}"
