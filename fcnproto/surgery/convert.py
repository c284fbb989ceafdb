"""Weights of any origin made to fit a net: named, laid out as Caffe's, fitted, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fcnproto.errors import Problem, WeightsError
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import infer
from fcnproto.surgery import fit as fitting
from fcnproto.surgery import layouts, naming, targets
from fcnproto.surgery.fit import ClassesMap, Fitted, WeightSource
from fcnproto.surgery.naming import Layout, Rename
from fcnproto.weights import Loaded, not_finite


@dataclass(frozen=True)
class Given:
    """A source of weights: what it is called, what it holds, what its layers' names end in."""

    title: str
    loaded: Loaded
    suffix: str = ""


def convert(
    sources: Sequence[Given],
    graph: Graph,
    *,
    net: str = "",
    layout: Layout | None = None,
    input_order: str | None = None,
    renames: Sequence[Rename] = (),
    classes_map: ClassesMap | None = None,
    strict: bool = False,
) -> Fitted:
    """Weights for every layer of a net, from sources of which a later one takes precedence.

    `net` is what the zoo calls it. `layout` says how the sources' arrays lie, where that is not
    certain; `input_order` (rgb, bgr) which channels they expect, by default their layout's own.
    `classes_map` says which class of the net an old one becomes. With `strict`, what is dropped or
    left at its filler is an error.

    Raises WeightsError with every layer that does not fit, or if none does.
    """
    shapes = infer(graph)
    destinations = targets.destinations(graph, shapes)
    named = [naming.name(each.loaded, renames, each.suffix) for each in sources]
    naming.check_used(renames, named)
    notes: list[Problem] = [note for each in sources for note in each.loaded.notes]
    converted: list[WeightSource] = []
    for each, file in zip(sources, named, strict=True):
        mean = layouts.image_mean((net, graph.name), each.suffix)
        found = layouts.to_caffe(file, destinations, mean, layout, input_order)
        notes += found.notes
        converted.append(fitting.source_of(found, each.title, file.origins, each.suffix))
    fitted = fitting.fit(converted, graph, shapes, classes_map)
    if strict and (problems := fitting.strict_problems(fitted.report)):
        raise WeightsError(*problems)
    return replace(fitted, notes=(*notes, *fitted.notes, *not_finite(fitted.weights)))
