"""Models as values: exported from a net and its weights, saved, described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from fcnproto.api.net import NetLike, as_net
from fcnproto.api.weights import WeightsLike, source_of
from fcnproto.errors import Problem
from fcnproto.exporting import export as exporting
from fcnproto.exporting.cost import Cost
from fcnproto.exporting.cutting import Asked
from fcnproto.exporting.rewrite import Optimize
from fcnproto.exporting.write import DEFAULT_OPSET, Result
from fcnproto.model import file
from fcnproto.model.given import Mean, said
from fcnproto.model.metadata import Metadata
from fcnproto.types import Colour, Shown, chosen, show, whole, words_of
from fcnproto.words import columns
from fcnproto.zoo.legend import ClassesLike


@dataclass(frozen=True, repr=False)
class Costs(Shown):
    """What a model costs as the net stands, and as it was rewritten."""

    plain: Cost
    rewritten: Cost
    optimize: str = "exact"

    def __str__(self) -> str:
        images = " and ".join(map(show, self.plain.images))
        rows = [("", "nodes", f"multiply-adds at {images}", "size")]
        for name, cost in {"none": self.plain, self.optimize: self.rewritten}.items():
            adds, size = f"{cost.multiply_adds / 1e9:.4g} G", f"{cost.bytes / 1e6:.1f} MB"
            rows.append((name, str(cost.nodes), adds, size))
        return "\n".join(columns(rows, right={1, 2, 3}))


@dataclass(frozen=True, repr=False)
class Model(file.Model, Shown):
    """An ONNX model that says what it is, what there is to say of it, and what it costs."""

    notes: tuple[Problem, ...] = ()
    cost: Costs | None = None
    """None where the model comes from a file."""

    @property
    def metadata(self) -> Metadata:
        """What it says of itself: net, dataset, mean, classes, palette."""
        return Metadata.from_props({each.key: each.value for each in self.proto.metadata_props})

    __repr__ = Shown.__repr__  # that of the file's model would show each node

    def __str__(self) -> str:
        values = [*self.proto.graph.input, *self.proto.graph.output]
        lines = [f"model: {self.metadata.net or '(no name)'}, {self.size() / 1e6:.1f} MB"]
        lines += [f"  {value.name} {_shape(value)}" for value in values]
        if self.cost is not None:
            lines.append(str(self.cost))
        return "\n".join([*lines, *map(str, self.notes)])


def _shape(value: object) -> str:
    dims = value.type.tensor_type.shape.dim  # type: ignore[attr-defined]
    return "×".join(str(dim.dim_param or dim.dim_value) for dim in dims)


def export(
    net: NetLike,
    weights: WeightsLike | None = None,
    *,
    optimize: Literal["none", "exact", "fast"] = "exact",
    result: Literal["score", "labels", "both"] = "score",
    image_input: bool = False,
    init: bool = False,
    opset: int = DEFAULT_OPSET,
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    palette: Sequence[Colour] | str | PathLike[str] | None = None,
    identity: Sequence[str] = (),
    samples: int | None = None,
) -> Model:
    """An ONNX model of a net and its weights, which holds for every N, H and W.

    `optimize` exact reorders sums, fast rounds a little more. `result` is the score of each class,
    the class with the highest as uint8 (labels), or both. With `image_input`, the model takes
    N×H×W×3 uint8 RGB, and the mean is built in. `init` fills layers that have no weights.
    `dataset`, `mean` (for each channel, B, G, R), `classes` (names, or a file of them) and
    `palette` (colours, or a file) say what the net's name does not. The layers named in `identity`
    hand on their bottom. Of what Bayesian SegNet draws at random, `samples` are averaged; by
    default it is what they are on average.

    Raises NetError or WeightsError with everything that keeps it from being made.
    """
    loaded = as_net(net)
    found = exporting.export(
        loaded.source,
        None if weights is None else source_of(weights),
        name=loaded.zoo_name,
        init=init,
        opset=whole(opset, "opset", 1),
        result=Result(chosen(result, "result", (each.value for each in Result))),
        image_input=image_input,
        optimize=Optimize(chosen(optimize, "optimize", (each.value for each in Optimize))),
        given=said(dataset, mean, classes, palette),
        asked=Asked(
            loaded.size,
            words_of(identity),
            None if samples is None else whole(samples, "samples", 1),
        ),
    )
    costs = Costs(found.before, found.after, optimize)
    return Model(found.model.proto, found.model.tensors, found.notes, costs)


def weights_beside(net: str | PathLike[str]) -> Path | None:
    """The weight file that lies beside a prototxt under its stem, or in . for a net of the zoo."""
    return exporting.weights_beside(str(net))
