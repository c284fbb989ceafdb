"""Net surgery: weights of one net made to fit another, and a report of what became of each layer.

Layers are matched by name. An array is copied where its shape is the net's; it is reshaped only
where both shapes mean the same numbers in the same places; it grows only where the published nets
have grown it. Everything else is refused with both shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np

from fcnproto.errors import NetError, Problem, Severity, WeightsError, raise_if_any
from fcnproto.graph import Graph, Node
from fcnproto.layers import fillers
from fcnproto.layers.base import Layer, Pointwise, Shape, Weight, show
from fcnproto.layers.deconvolution import Deconvolution
from fcnproto.layers.flatten import Flatten
from fcnproto.layers.inner_product import InnerProduct
from fcnproto.layers.reshape import Reshape
from fcnproto.layouts import Converted, Destination
from fcnproto.proto.caffe_pb2 import FillerParameter, NetParameter, Phase
from fcnproto.shapes import Place, Shapes
from fcnproto.weights import Array, Weights


class Action(Enum):
    """What became of a layer; of several things that did, the one that changed it most."""

    COPIED = "copied"
    SUFFIXED = "suffixed"
    TRANSPOSED = "transposed"
    RESHAPED = "reshaped"
    WIDENED = "widened"
    GENERATED = "generated"
    FILLER = "left at its filler"
    DROPPED = "dropped"


_WEIGHT = {action: weight for weight, action in enumerate(Action)}


@dataclass(frozen=True)
class Entry:
    """A layer, and what became of it."""

    layer: str
    action: Action
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.layer}: {self.action.value}{', ' if self.detail else ''}{self.detail}"


@dataclass(frozen=True)
class Source:
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
    report: tuple[Entry, ...]
    notes: tuple[Problem, ...]


ClassesMap = Mapping[int, int]
"""For each class of the net that an old one becomes, the old one; both count from 0."""


def fit(
    sources: Sequence[Source],
    graph: Graph,
    shapes: Shapes,
    classes_map: ClassesMap | None = None,
    seed: int = 0,
) -> Fitted:
    """Weights for a net, from sources of which a later one goes before an earlier one.

    What no source has is filled: bilinear kernels where a Deconvolution's filler would leave them
    zero or mix channels, else what the net's fillers say, with random numbers that depend on the
    seed and on the layer's name alone.

    Raises WeightsError with every layer that does not fit, or if none does.
    """
    return _Surgery(sources, graph, shapes, classes_map, seed).fit()


def strict_problems(report: Iterable[Entry]) -> tuple[Problem, ...]:
    """What --strict refuses: layers that were dropped, or left at their filler."""
    return tuple(
        Problem(f"{entry.action.value}, and --strict was given", layer=entry.layer)
        for entry in report
        if entry.action in (Action.DROPPED, Action.FILLER)
    )


def destinations(graph: Graph, shapes: Shapes) -> dict[str, Destination]:
    """For each layer with weights, by name: what its inputs are, and whether it reads the image."""
    return {
        target.name: Destination(_inputs(graph, shapes, target.node), target.sees_image)
        for target in _targets(graph, shapes)
    }


@dataclass(frozen=True)
class _Target:
    """A layer of the net that has weights."""

    index: int
    node: Node
    weights: tuple[Weight, ...]
    sees_image: bool
    """Whether no layer before it has weights."""
    scores: bool
    """Whether its channels are the net's classes: no later layer with weights has others."""

    @property
    def name(self) -> str:
        return self.node.layer.name

    @property
    def layer(self) -> Layer:
        return self.node.layer

    @property
    def upsamples(self) -> bool:
        """Whether it can hold one kernel for each channel and none between channels."""
        layer = self.layer
        if not isinstance(layer, Deconvolution) or len(self.weights[0].shape) != 4:
            return False
        inputs, outputs, height, width = self.weights[0].shape
        group = layer.param.group
        return inputs == outputs * group and group in (1, inputs) and height == width

    @property
    def fixed(self) -> bool:
        """Whether training leaves its weights as they are."""
        params = self.layer.proto.param
        return bool(params) and all(param.lr_mult == 0 for param in params)


def _targets(graph: Graph, shapes: Shapes) -> Iterator[_Target]:
    weighted = {id(graph.nodes[index]) for index, arrays in shapes.weights.items() if arrays}
    for index, arrays in shapes.weights.items():
        node = graph.nodes[index]
        if arrays:
            before = (each for blob in node.bottoms for each, _ in graph.upstream(blob))
            sees_image = not any(id(each) in weighted for each in before)
            yield _Target(index, node, arrays, sees_image, _scores(graph, shapes, node, weighted))


def _scores(graph: Graph, shapes: Shapes, node: Node, weighted: set[int]) -> bool:
    """Whether all that comes after `node` with weights has as many channels as it."""

    def channels(each: Node) -> int | None:
        shape = shapes.blobs.get(each.tops[0])
        return shape[1] if shape is not None and len(shape) > 1 else None

    waiting, seen = list(node.tops), set(node.tops)
    while waiting:
        for reader in graph.readers.get(waiting.pop(), []):
            if id(reader) in weighted and channels(reader) != channels(node):
                return False
            waiting += [top for top in reader.tops if top not in seen]
            seen.update(reader.tops)
    return True


def _inputs(graph: Graph, shapes: Shapes, node: Node) -> Shape:
    """The axes that a layer's weights read: channels, height, width.

    Those of a fully connected layer are what was flattened before it, by itself or another layer.
    """
    if isinstance(node.layer, InnerProduct):
        shape = flattened(graph, shapes, node.bottoms[0])
        return shape[1:]
    return tuple(shapes.weights[_index(graph, node)][0].shape[1:])


def flattened(graph: Graph, shapes: Shapes, blob: str) -> Shape:
    """The shape that a blob had before layers that only reshape it, or change it in its place."""
    shape = shapes.blobs[blob] or ()
    while len(shape) == 2 and blob in graph.producers:
        producer = graph.producers[blob]
        if not isinstance(producer.layer, Flatten | Reshape | Pointwise) or not producer.bottoms:
            break
        blob = producer.bottoms[0]
        before = shapes.blobs[blob] or ()
        if prod(before[1:]) != prod(shape[1:]):
            break
        shape = before
    return shape


def _index(graph: Graph, node: Node) -> int:
    return next(index for index, each in enumerate(graph.nodes) if each is node)


@dataclass(frozen=True)
class _Piece:
    """An array that fits, and what was done to it."""

    array: Array
    action: Action = Action.COPIED
    detail: str = ""


@dataclass(frozen=True)
class _Part:
    """What a source has for a layer; `order` is its place among all that sources have."""

    source: Source
    arrays: list[Array]
    order: int


@dataclass
class _Surgery:
    sources: Sequence[Source]
    graph: Graph
    shapes: Shapes
    classes_map: ClassesMap | None
    seed: int

    def fit(self) -> Fitted:
        targets = tuple(_targets(self.graph, self.shapes))
        raise_if_any(NetError, self._unclear(targets))
        parts, notes = self._merged()
        pieces: dict[Place, tuple[int, _Piece]] = {}
        problems: list[Problem] = []
        for target in targets:
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
        problems += self._weightless(targets, parts)
        if problems:
            raise WeightsError(*problems)
        if not pieces:
            names = ", ".join(f"'{name}'" for name in list(parts)[:4]) or "none"
            raise WeightsError(
                f"no layer of the net is in the weights, whose layers are {names}, …;"
                " --rename OLD=NEW gives them the net's names"
            )
        chosen = self._shared(pieces)
        problems += self._missing(targets, parts, chosen)
        if problems:
            raise WeightsError(*problems)
        return self._finished(targets, parts, pieces, chosen, notes)

    def _unclear(self, targets: Sequence[_Target]) -> Iterator[Problem]:
        """Caffe gives weights to one of several layers of a name, and which depends on the file."""
        seen: set[str] = set()
        for target in targets:
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

    def _pieces(self, target: _Target, arrays: list[Array]) -> Iterator[tuple[Place, _Piece]]:
        places = [Place(target.index, number) for number in range(len(target.weights))]
        left_out = places[len(arrays) :]
        if len(arrays) > len(places) or not all(map(self._is_shared, left_out)):
            wanted = ", ".join(show(weight.shape) for weight in target.weights)
            found = ", ".join(show(array.shape) for array in arrays) or "none"
            raise WeightsError(f"the net has {len(places)} arrays for it, {wanted}; found {found}")
        problems: list[Problem] = []
        for place, array in zip(places, arrays, strict=False):
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

    def _piece(self, array: Array, target: _Target, place: Place) -> _Piece | None:
        """The first rule by which an array fits."""
        fresh = lambda: self._fresh(target, place.index).array  # noqa: E731
        shape = target.weights[place.index].shape
        if self.classes_map is not None and target.scores:
            remapped = _rescored(array, shape, target, place.index, self.classes_map, fresh)
            if remapped is not None:
                return remapped
        return (
            _same(array, shape)
            or _reshaped(array, shape)
            or (_turned(array, shape) if _is_transposed(target.layer) else None)
            or (_with_depth(array, shape) if target.sees_image else None)
            or (_regrouped(array, shape) if target.upsamples else None)
            or (_widened(array, shape, target, place.index, fresh) if target.scores else None)
            or (self._regenerated(array, target, place) if target.fixed else None)
        )

    def _regenerated(self, array: Array, target: _Target, place: Place) -> _Piece | None:
        """A fixed upsampling kernel of another size is no knowledge that would be lost."""
        if place.index or not target.upsamples:
            return None
        fresh = self._fresh(target, place.index)
        return _Piece(fresh.array, fresh.action, f"{fresh.detail}, in place of {show(array.shape)}")

    def _weightless(
        self, targets: Sequence[_Target], parts: Mapping[str, _Part]
    ) -> Iterator[Problem]:
        """Layers that have arrays in a source, and in the net are there but have none."""
        known = {target.name for target in targets}
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

    def _shared(self, pieces: Mapping[Place, tuple[int, _Piece]]) -> dict[Place, _Piece]:
        """For each owner of an array, what the last of the layers that share it was given."""
        chosen: dict[Place, tuple[int, _Piece]] = {}
        for place, (order, piece) in pieces.items():
            owner = self.shapes.owners[place]
            if owner not in chosen or order > chosen[owner][0]:
                chosen[owner] = order, piece
        return {owner: piece for owner, (_, piece) in chosen.items()}

    def _missing(
        self,
        targets: Sequence[_Target],
        parts: Mapping[str, _Part],
        chosen: Mapping[Place, _Piece],
    ) -> Iterator[Problem]:
        """Layers that a source lists, but has nothing for that another layer would share."""
        for target in targets:
            part = parts.get(target.name)
            owners = [
                self.shapes.owners[Place(target.index, i)] for i in range(len(target.weights))
            ]
            if part is not None and any(owner not in chosen for owner in owners):
                yield Problem(
                    f"the net has {len(owners)} arrays for it; found {len(part.arrays)}",
                    part.source.title,
                    layer=target.name,
                )

    def _finished(
        self,
        targets: Sequence[_Target],
        parts: Mapping[str, _Part],
        pieces: Mapping[Place, tuple[int, _Piece]],
        chosen: dict[Place, _Piece],
        notes: list[Problem],
    ) -> Fitted:
        weights: Weights = {}
        report: list[Entry] = []
        for target in targets:
            own: list[_Piece] = []
            for number, weight in enumerate(target.weights):
                place = Place(target.index, number)
                owner = self.shapes.owners[place]
                if owner not in chosen:
                    chosen[owner] = self._fresh(target, number)
                given = pieces[place][1] if place in pieces else chosen[owner]
                array = chosen[owner].array
                if array.shape != weight.shape:  # shared permissively, by count alone
                    array = array.reshape(weight.shape)
                own.append(_Piece(array, given.action, given.detail))
            weights[target.name] = [piece.array for piece in own]
            report.append(self._entry(target, own, parts.get(target.name)))
        names = set(weights)
        report += [
            Entry(layer, Action.DROPPED, f"from {part.source.title}: the net has no such layer")
            for layer, part in parts.items()
            if part.arrays and layer not in names
        ]
        return Fitted(weights, tuple(report), (*notes, *_left_at_zero(weights, report)))

    def _entry(self, target: _Target, pieces: Sequence[_Piece], part: _Part | None) -> Entry:
        details = list(dict.fromkeys(piece.detail for piece in pieces if piece.detail))
        action = max((piece.action for piece in pieces), key=_WEIGHT.__getitem__)
        if part is None or not part.arrays:
            owner = self.shapes.owners[Place(target.index, 0)]
            if owner.node != target.index:
                details = [f"shared with '{self.graph.nodes[owner.node].title}'"]
            return Entry(target.name, action, "; ".join(details))
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
        return Entry(target.name, action, "; ".join(details))

    def _fresh(self, target: _Target, number: int) -> _Piece:
        """A new array for what no source gives."""
        weight = target.weights[number]
        if target.layer.proto.blobs:
            return _Piece(_embedded(target, number), Action.COPIED, "from the net's own blobs")
        filler = weight.filler
        if number == 0 and target.upsamples and _useless_for_upsampling(filler):
            kernel = fillers.bilinear_kernel(weight.shape[-1])
            array = np.zeros(weight.shape, np.float32)
            channels = np.arange(weight.shape[0])
            array[channels, channels if weight.shape[1] > 1 else 0] = kernel
            size = show(weight.shape[2:])
            return _Piece(array, Action.GENERATED, f"bilinear kernels of {size}")
        rng = np.random.default_rng([self.seed, crc32(target.name.encode()), number])
        array = fillers.fill(filler, weight.shape, rng)
        return _Piece(array, Action.FILLER, _describe(filler))


def _useless_for_upsampling(filler: FillerParameter) -> bool:
    """A filler that leaves zeros, or (bilinear, in a dense kernel) mixes the channels."""
    return filler.type == "bilinear" or (filler.type == "constant" and not filler.value)


def _embedded(target: _Target, number: int) -> Array:
    """An array that the prototxt itself holds, of the shape that the layer wants (layer.hpp)."""
    blob = target.layer.proto.blobs[number : number + 1]
    wanted = target.weights[number].shape
    values = [np.asarray(each.double_data or each.data, np.float32) for each in blob]
    shapes = [tuple(each.shape.dim) for each in blob]
    if shapes != [wanted] or values[0].size != prod(wanted):
        raise WeightsError(
            Problem(f"the net's own blob {number} is no array of {show(wanted)}", layer=target.name)
        )
    return values[0].reshape(wanted)


def _describe(filler: FillerParameter) -> str:
    if filler.type == "constant" and not filler.value:
        return "zero"
    settings = [
        f"{descriptor.name} {value:g}"
        for descriptor, value in filler.ListFields()
        if isinstance(value, float)
    ]
    return " ".join([filler.type, *settings])


def _same(array: Array, shape: Shape) -> _Piece | None:
    return _Piece(array) if array.shape == shape else None


def _reshaped(array: Array, shape: Shape) -> _Piece | None:
    """O×I·kh·kw ↔ O×I×kh×kw, and axes of 1 in front: the same numbers in the same order."""
    legal = (
        _without_ones(array.shape) == _without_ones(shape)
        or _flattens(shape, array.shape)
        or _flattens(array.shape, shape)
    )
    if not legal:
        return None
    return _Piece(array.reshape(shape), Action.RESHAPED, f"{show(array.shape)} → {show(shape)}")


def _without_ones(shape: Shape) -> Shape:
    """A shape without the axes of 1 that old files and other tools put in front of it."""
    start = next((index for index, size in enumerate(shape) if size != 1), len(shape))
    return shape[start:]


def _flattens(kernel: Shape, matrix: Shape) -> bool:
    """Whether a matrix O×I·kh·kw, or 1×1×O×I·kh·kw as old files have it, is a kernel flattened."""
    if len(matrix) == 4 and matrix[:2] == (1, 1):
        matrix = matrix[2:]
    return (
        (len(kernel), len(matrix)) == (4, 2)
        and kernel[0] == matrix[0]
        and prod(kernel) == prod(matrix)
    )


def _is_transposed(layer: Layer) -> bool:
    return isinstance(layer, InnerProduct) and layer.param.transpose


def _turned(array: Array, shape: Shape) -> _Piece | None:
    """O×I for a layer that keeps its matrix as I×O."""
    if array.shape != shape[::-1] or len(shape) != 2:
        return None
    detail = f"{show(array.shape)} → {show(shape)}"
    return _Piece(np.ascontiguousarray(array.T), Action.TRANSPOSED, detail)


def _with_depth(array: Array, shape: Shape) -> _Piece | None:
    """Color weights for color and depth: the fourth channel takes the mean of the three."""
    if len(shape) != 4 or array.shape != (shape[0], 3, *shape[2:]) or shape[1] != 4:
        return None
    depth = array.mean(axis=1, keepdims=True, dtype=np.float32)
    detail = f"{show(array.shape)} → {show(shape)}, channel 3 is the mean of the others"
    return _Piece(np.concatenate([array, depth], axis=1), Action.WIDENED, detail)


def _regrouped(array: Array, shape: Shape) -> _Piece | None:
    """C×C×k×k without anything between channels ↔ C×1×k×k, one group for each channel."""
    channels, _, *kernel = shape
    regrouped: Array | None
    if array.shape == (channels, 1, *kernel):
        regrouped = _spread(array)
    elif array.shape == (channels, channels, *kernel):
        regrouped = _diagonal(array)
        if regrouped is None:
            raise WeightsError(
                f"its weights {show(array.shape)} connect different channels,"
                f" which {show(shape)} in groups cannot"
            )
    else:
        return None
    return _Piece(regrouped, Action.RESHAPED, f"{show(array.shape)} → {show(shape)}")


def _spread(array: Array) -> Array:
    channels = np.arange(array.shape[0])
    dense = np.zeros((array.shape[0], array.shape[0], *array.shape[2:]), np.float32)
    dense[channels, channels] = array[:, 0]
    return dense


def _diagonal(array: Array) -> Array | None:
    channels = np.arange(array.shape[0])
    kernels = array[channels, channels]
    if np.count_nonzero(array) != np.count_nonzero(kernels):
        return None
    return kernels[:, np.newaxis]


def _widened(
    array: Array, shape: Shape, target: _Target, number: int, fresh: Callable[[], Array]
) -> _Piece | None:
    """More classes: the old ones come first."""
    if not array.shape or not shape or array.shape[0] >= shape[0]:
        return None
    keep = {old: old for old in range(array.shape[0])}
    return _rescored(array, shape, target, number, keep, fresh)


def _rescored(
    array: Array,
    shape: Shape,
    target: _Target,
    number: int,
    classes: ClassesMap,
    fresh: Callable[[], Array],
) -> _Piece | None:
    """A score layer's array for other classes; those that no old one becomes are filled anew."""
    if not array.shape or not shape:
        return None
    new, old = list(classes), list(classes.values())
    if max(new) >= shape[0] or max(old) >= array.shape[0]:
        return None
    detail = f"{show(array.shape)} → {show(shape)}"
    if number == 0 and target.upsamples:
        rearranged = _rescored_upsampling(array, shape, new, old, fresh)
        if rearranged is None:
            return None
    elif array.shape[1:] == shape[1:]:
        rearranged = fresh()
        rearranged[new] = array[old]
    else:
        return None
    if list(classes) == list(range(array.shape[0])) == old:
        return _Piece(rearranged, Action.WIDENED, f"{detail}, old classes first")
    return _Piece(rearranged, Action.WIDENED, f"{detail}, classes mapped")


def _rescored_upsampling(
    array: Array, shape: Shape, new: list[int], old: list[int], fresh: Callable[[], Array]
) -> Array | None:
    if array.ndim != 4 or array.shape[2:] != shape[2:]:
        return None
    dense = _spread(array) if array.shape[1] == 1 else array
    if dense.shape[0] != dense.shape[1]:
        return None
    result = fresh()
    if shape[1] > 1:
        result[np.ix_(new, new)] = dense[np.ix_(old, old)]
        return result
    kernels = _diagonal(dense)
    if kernels is None:
        return None
    result[new] = kernels[old]
    return result


def _misfit(found: Shape, target: _Target, number: int) -> str:
    wanted = target.weights[number].shape
    hint = ""
    if target.scores and found[:1] > wanted[:1] and found[1:] == wanted[1:]:
        hint = "; --classes-map says which classes to keep"
    elif prod(found) == prod(wanted):
        hint = ", and as many numbers do not mean the same"
    return f"array {number} is {show(found)}, the net has {show(wanted)}{hint}"


def _left_at_zero(weights: Weights, report: Iterable[Entry]) -> Iterator[Problem]:
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


def read_classes_map(path: Path) -> dict[int, int]:
    """A file of lines NEW OLD: which class of the net an old one becomes, both counted from 0.

    Text after # is left out. Raises WeightsError with every line that is none.
    """
    classes: dict[int, int] = {}
    problems: list[Problem] = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(Problem(f"cannot be read: {error}", str(path))) from error
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
            problems.append(Problem(f"expected NEW OLD, found '{line.strip()}'", str(path), number))
        elif int(words[0]) in classes:
            problems.append(Problem(f"class {words[0]} is given twice", str(path), number))
        else:
            classes[int(words[0])] = int(words[1])
    if not classes and not problems:
        problems.append(Problem("it maps no class: expected lines NEW OLD", str(path)))
    if problems:
        raise WeightsError(*problems)
    return classes


def source_of(converted: Converted, title: str, origins: Mapping[str, str], suffix: str) -> Source:
    """Converted weights as a source."""
    return Source(
        title, converted.weights, converted.changes, converted.transposed, origins, suffix
    )


def as_net(graph: Graph) -> NetParameter:
    """A graph's net as Caffe would save it: its layers, each with its phase."""
    net = NetParameter(name=graph.name) if graph.name else NetParameter()
    for node in graph.nodes:
        layer = net.layer.add()
        layer.CopyFrom(node.layer.proto)
        layer.ClearField("blobs")
        layer.phase = cast(Phase, node.layer.phase)
    return net
