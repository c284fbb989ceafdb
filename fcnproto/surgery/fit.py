"""Net surgery: weights of one net made to fit another, and a report of what became of each layer.

Layers are matched by name. An array is copied where its shape is the net's; it is reshaped only
where both shapes mean the same numbers in the same places; it grows only where the published nets
have grown it. Everything else is refused with both shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from fcnproto.errors import NetError, Problem, Severity, WeightsError, printable, raise_if_any
from fcnproto.net.graph import Graph
from fcnproto.net.shapes import Place, Shapes
from fcnproto.surgery.fresh import check_size, fresh_piece
from fcnproto.surgery.layouts import Conversion
from fcnproto.surgery.rules import (
    Action,
    ClassesMap,
    Piece,
    maps,
    regrouped,
    rescored,
    reshaped,
    same,
    turned,
    widened,
    with_depth,
    without_colour,
)
from fcnproto.surgery.targets import Target, targets
from fcnproto.types import Array, Shape, show
from fcnproto.weights import Weights
from fcnproto.words import quoted, some

__all__ = [
    "Action",
    "ClassesMap",
    "Fitted",
    "LayerFit",
    "WeightSource",
    "fit",
    "source_of",
    "strict_problems",
]

_WEIGHT = {action: weight for weight, action in enumerate(Action)}


@dataclass(frozen=True)
class LayerFit:
    """A layer, and what became of it."""

    layer: str
    action: Action
    detail: str = ""

    def __str__(self) -> str:
        detail = f", {self.detail}" if self.detail else ""
        return printable(f"{self.layer}: {self.action.value}{detail}")


@dataclass(frozen=True)
class WeightSource:
    """Weights in Caffe's layout, and where they come from."""

    title: str
    weights: Weights
    changes: Mapping[str, str] = field(default_factory=dict)
    """What their conversion did to a layer."""
    transposed: frozenset[str] = frozenset()
    """The layers whose axes it brought into another order."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """What the file calls a layer that has another name here."""
    suffix: str = ""
    """What was added to the names of all layers."""


@dataclass(frozen=True)
class Fitted:
    """Weights for every layer of a net that has any, a report, and warnings."""

    weights: Weights
    report: tuple[LayerFit, ...]
    notes: tuple[Problem, ...]


def fit(
    sources: Sequence[WeightSource],
    graph: Graph,
    shapes: Shapes,
    classes_map: ClassesMap | None = None,
    seed: int = 0,
) -> Fitted:
    """Weights for a net, from sources of which a later one takes precedence over an earlier one.

    What no source has is filled: bilinear kernels where a Deconvolution's filler would leave them
    zero or mix channels, else what the net's fillers say, with random numbers that depend on the
    seed and on the layer's name alone.

    Raises WeightsError with every layer that does not fit, or if none does.
    """
    return _Surgery(sources, graph, shapes, tuple(targets(graph, shapes)), classes_map, seed).fit()


def strict_problems(report: Iterable[LayerFit]) -> tuple[Problem, ...]:
    """What --strict refuses: layers that were dropped, or left at their filler."""
    return tuple(
        Problem(f"{entry.action.value}, and --strict was given", layer=entry.layer)
        for entry in report
        if entry.action in (Action.DROPPED, Action.FILLER)
    )


@dataclass(frozen=True)
class _Part:
    """What a source has for a layer; `order` is its place among all that sources have."""

    source: WeightSource
    arrays: list[Array]
    order: int


@dataclass
class _Surgery:
    sources: Sequence[WeightSource]
    graph: Graph
    shapes: Shapes
    targets: tuple[Target, ...]
    classes_map: ClassesMap | None
    seed: int

    def fit(self) -> Fitted:
        raise_if_any(NetError, self._unclear())
        parts, notes = self._merged()
        pieces: dict[Place, tuple[int, Piece]] = {}
        problems: list[Problem] = []
        for target in self.targets:
            if target.name not in parts:
                continue
            try:
                for place, piece in self._pieces(target, parts[target.name].arrays):
                    pieces[place] = parts[target.name].order, piece
            except WeightsError as error:
                path = parts[target.name].source.title
                problems += [
                    Problem(each.message, path, layer=target.name) for each in error.problems
                ]
        problems += self._weightless(parts)
        problems += self._unmapped(parts)
        if problems:
            raise WeightsError(*problems)
        if not pieces and self.sources:
            names = some(quoted(parts), 4) or "none"
            raise WeightsError(
                f"no layer of the net is in the weights, whose layers are {names}, …;"
                " --rename OLD=NEW gives them the net's names"
            )
        chosen = self._shared(pieces)
        problems += self._missing(parts, chosen)
        if problems:
            raise WeightsError(*problems)
        return self._finished(parts, pieces, chosen, notes)

    def _unclear(self) -> Iterator[Problem]:
        """Caffe gives weights to one of several layers of a name, and which depends on the file."""
        seen: set[str] = set()
        for target in self.targets:
            if target.name in seen:
                yield self.graph.problem(
                    target.node, "another layer with weights has its name: give it its own"
                )
            seen.add(target.name)

    def _merged(self) -> tuple[dict[str, _Part], list[Problem]]:
        parts: dict[str, _Part] = {}
        notes: list[Problem] = []
        order = 0
        for source in self.sources:
            for layer, arrays in source.weights.items():
                former = parts.get(layer)
                if former is not None and former.arrays and arrays:
                    notes.append(
                        Problem(
                            f"it is in {former.source.title} too, which gives way",
                            source.title,
                            layer=layer,
                            severity=Severity.NOTE,
                        )
                    )
                if former is None or arrays:
                    parts[layer] = _Part(source, arrays, order)
                order += 1
        return parts, notes

    def _pieces(self, target: Target, arrays: list[Array]) -> Iterator[tuple[Place, Piece]]:
        arrays = list(target.node.layer.arranged(arrays))
        places = [Place(target.index, number) for number in range(len(target.weights))]
        given = {place: array for place, array in zip(places, arrays, strict=False) if array.size}
        left_out = (place for place in places if place not in given)
        if len(arrays) > len(places) or not all(map(self._is_shared, left_out)):
            wanted = ", ".join(show(weight.shape) for weight in target.weights)
            found = ", ".join(show(array.shape) for array in arrays) or "none"
            raise WeightsError(f"the net has {len(places)} arrays for it, {wanted}; found {found}")
        problems: list[Problem] = []
        for place, array in given.items():
            piece = self._piece(array, target, place)
            if piece is None:
                problems.append(Problem(_misfit(array.shape, target, place.index)))
            else:
                yield place, piece
        if problems:
            raise WeightsError(*problems)

    def _is_shared(self, place: Place) -> bool:
        owner = self.shapes.owners[place]
        return owner != place or list(self.shapes.owners.values()).count(place) > 1

    def _piece(self, array: Array, target: Target, place: Place) -> Piece | None:
        """The first rule by which an array fits."""
        fresh = lambda: fresh_piece(target, place.index, self.seed).array  # noqa: E731
        shape = target.weights[place.index].shape
        upsamples = target.upsamples and place.index == 0
        if self.classes_map is not None and target.scores:
            remapped = rescored(array, shape, upsamples, self.classes_map, fresh)
            if remapped is not None:
                return remapped
        return (
            same(array, shape)
            or reshaped(array, shape)
            or (turned(array, shape) if target.transposed else None)
            or (with_depth(array, shape) if target.sees_image else None)
            or (without_colour(array, shape) if target.sees_image else None)
            or (regrouped(array, shape) if upsamples else None)
            or (widened(array, shape, upsamples, fresh) if target.scores else None)
            or (self._regenerated(array, target, place) if target.fixed else None)
        )

    def _regenerated(self, array: Array, target: Target, place: Place) -> Piece | None:
        """A fixed upsampling kernel of another size is no knowledge that would be lost."""
        if place.index or not target.upsamples:
            return None
        fresh = fresh_piece(target, place.index, self.seed)
        return Piece(fresh.array, fresh.action, f"{fresh.detail}, in place of {show(array.shape)}")

    def _weightless(self, parts: Mapping[str, _Part]) -> Iterator[Problem]:
        """Layers that have arrays in a source, and in the net are there but have none."""
        known = {target.name for target in self.targets}
        for node in self.graph.nodes:
            part = parts.get(node.layer.name)
            if part is not None and part.arrays and node.layer.name not in known:
                found = ", ".join(show(array.shape) for array in part.arrays)
                yield Problem(
                    f"the net's layer of this name has no weights; found {found};"
                    " --rename gives them another name",
                    part.source.title,
                    layer=node.layer.name,
                )

    def _unmapped(self, parts: Mapping[str, _Part]) -> Iterator[Problem]:
        """A map of classes that no score layer has, which would be left aside."""
        found = [
            (parts[target.name].arrays[0].shape, target.weights[0].shape, target.name)
            for target in self.targets
            if target.scores and target.name in parts and parts[target.name].arrays
        ]
        classes = self.classes_map
        if classes is None or any(maps(classes, old, new) for old, new, _ in found if old and new):
            return
        layers = ", ".join(f"'{name}' {show(old)} → {show(new)}" for old, new, name in found)
        yield Problem(
            f"--classes-map makes class {max(classes)} and takes class {max(classes.values())},"
            f" counted from 0; the score layers have {layers or 'no weights'}"
        )

    def _shared(self, pieces: Mapping[Place, tuple[int, Piece]]) -> dict[Place, Piece]:
        """For each owner of an array, what the last of the layers that share it was given."""
        chosen: dict[Place, tuple[int, Piece]] = {}
        for place, (order, piece) in pieces.items():
            owner = self.shapes.owners[place]
            if owner not in chosen or order > chosen[owner][0]:
                chosen[owner] = order, piece
        return {owner: piece for owner, (_, piece) in chosen.items()}

    def _missing(
        self,
        parts: Mapping[str, _Part],
        chosen: Mapping[Place, Piece],
    ) -> Iterator[Problem]:
        """Layers that a source lists, but has nothing for that another layer would share."""
        for target in self.targets:
            part = parts.get(target.name)
            owners = [
                self.shapes.owners[Place(target.index, i)] for i in range(len(target.weights))
            ]
            if part is not None and any(owner not in chosen for owner in owners):
                found = sum(bool(array.size) for array in part.arrays)
                yield Problem(
                    f"the net has {len(owners)} arrays for it; found {found}",
                    part.source.title,
                    layer=target.name,
                )

    def _finished(
        self,
        parts: Mapping[str, _Part],
        pieces: Mapping[Place, tuple[int, Piece]],
        chosen: dict[Place, Piece],
        notes: list[Problem],
    ) -> Fitted:
        check_size(
            {
                owner: (target, weight)
                for target in self.targets
                for number, weight in enumerate(target.weights)
                if (owner := self.shapes.owners[Place(target.index, number)]) not in chosen
            }.values(),
            self.graph.path,
        )
        weights: Weights = {}
        report: list[LayerFit] = []
        for target in self.targets:
            own: list[Piece] = []
            for number, weight in enumerate(target.weights):
                place = Place(target.index, number)
                owner = self.shapes.owners[place]
                if owner not in chosen:
                    chosen[owner] = fresh_piece(target, number, self.seed)
                given = pieces[place][1] if place in pieces else chosen[owner]
                array = chosen[owner].array
                if array.shape != weight.shape:  # shared permissively, by count alone
                    array = array.reshape(weight.shape)
                own.append(Piece(array, given.action, given.detail))
            weights[target.name] = [piece.array for piece in own]
            report.append(self._entry(target, own, parts.get(target.name)))
        names = set(weights)
        report += [
            LayerFit(layer, Action.DROPPED, f"from {part.source.title}: the net has no such layer")
            for layer, part in parts.items()
            if part.arrays and layer not in names
        ]
        return Fitted(weights, tuple(report), (*notes, *_left_at_zero(weights, report)))

    def _entry(self, target: Target, pieces: Sequence[Piece], part: _Part | None) -> LayerFit:
        details = list(dict.fromkeys(piece.detail for piece in pieces if piece.detail))
        action = max((piece.action for piece in pieces), key=_WEIGHT.__getitem__)
        if part is None or not part.arrays:
            owner = self.shapes.owners[Place(target.index, 0)]
            if owner.node != target.index:
                details = [f"shared with '{self.graph.nodes[owner.node].title}'"]
            return LayerFit(target.name, action, "; ".join(details))
        change = part.source.changes.get(target.name)
        origin = part.source.origins.get(target.name)
        if change is not None:
            details.insert(0, change)
        if target.name in part.source.transposed:
            action = max(action, Action.TRANSPOSED, key=_WEIGHT.__getitem__)
        if part.source.suffix:
            action = max(action, Action.SUFFIXED, key=_WEIGHT.__getitem__)
        if origin is not None:
            details.insert(0, f"from '{origin}'")
        return LayerFit(target.name, action, "; ".join(details))


def _misfit(found: Shape, target: Target, number: int) -> str:
    wanted = target.weights[number].shape
    hint = ""
    if target.scores and found[:1] > wanted[:1] and found[1:] == wanted[1:]:
        hint = "; --classes-map says which classes to keep"
    elif prod(found) == prod(wanted):
        hint = ", and as many numbers do not mean the same"
    return f"array {number} is {show(found)}, the net has {show(wanted)}{hint}"


def _left_at_zero(weights: Weights, report: Iterable[LayerFit]) -> Iterator[Problem]:
    names = [
        f"'{entry.layer}'"
        for entry in report
        if entry.action is Action.FILLER and not weights[entry.layer][0].any()
    ]
    if names:
        yield Problem(
            f"left at zero: {', '.join(names)}; they say nothing until they are trained",
            severity=Severity.WARNING,
        )


def source_of(
    converted: Conversion, title: str, origins: Mapping[str, str], suffix: str
) -> WeightSource:
    """Converted weights as a source."""
    return WeightSource(
        title, converted.weights, converted.changes, converted.transposed, origins, suffix
    )
