"""Weights as values: loaded, fitted to a net, saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from reprlib import repr
from typing import Any

import numpy as np

from fcnproto import weights as files
from fcnproto.api.net import Net, NetLike, as_net
from fcnproto.errors import FcnprotoError, Problem, Severity, WeightsError
from fcnproto.net.graph import as_net as as_saved
from fcnproto.proto import printer
from fcnproto.proto.source import parse_net
from fcnproto.surgery import convert as converting
from fcnproto.surgery import fit as fitting
from fcnproto.surgery.classes_map import read_classes_map
from fcnproto.surgery.convolutionize import convolutionize as convolutionize_graph
from fcnproto.surgery.fit import LayerFit, WeightSource
from fcnproto.surgery.naming import Layout, Rename
from fcnproto.types import Array, Shown, chosen, show, whole, words_of
from fcnproto.weights import Loaded
from fcnproto.weights import fetch as fetching
from fcnproto.weights.arrays import as_float32, by_layer
from fcnproto.words import columns


class Weights(Shown, Mapping[str, Sequence[Array]]):
    """A mapping from layers to their arrays in Caffe's order: kernels, then biases.

    Of a file whose keys are not Caffe's, such as a state dict of PyTorch's, each key maps to its
    one array until `convert` has made them a net's.
    """

    def __init__(
        self,
        weights: Mapping[str, Sequence[Array]] | Mapping[str, Array] | Loaded,
        net: Net | None = None,
        title: str = "weights",
    ) -> None:
        """From arrays by layer, of any kind of numbers, PyTorch's too; they are kept as float32.

        With an array for each key they are as in a file of such keys: a state dict of PyTorch's,
        say. `net` is the one that they fit, which some formats hold too. Raises WeightsError for
        what is no array of numbers.
        """
        self.net, self.title = net, title
        self.loaded = weights if isinstance(weights, Loaded) else _loaded(weights, title)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What there is to say of the file."""
        return self.loaded.notes

    @property
    def by_layer(self) -> files.Weights:
        """The same as a dict; WeightsError where the keys are not Caffe's."""
        return files.by_caffes_layers(self.loaded)

    def __getitem__(self, layer: str) -> Sequence[Array]:
        if self.loaded.foreign:
            return (self.loaded.foreign[layer],)
        return self.loaded.weights[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaded.foreign or self.loaded.weights)

    def __len__(self) -> int:
        return len(self.loaded.foreign or self.loaded.weights)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write them in the format that the name's ending says, whole or not at all.

        Endings are .npz, .caffemodel, .h5, .hdf5 and .safetensors. Raises WeightsError if the
        format cannot hold them.
        """
        net = None if self.net is None else as_saved(self.net.graph)
        files.write(path, self.by_layer, net)
        return Path(path)

    def __str__(self) -> str:
        lines = columns(
            [
                (name, ", ".join(show(array.shape) for array in arrays))
                for name, arrays in self.items()
            ]
        )
        count = sum(array.size for arrays in self.values() for array in arrays)
        return "\n".join([*lines, f"{len(self)} layers, {count:,} parameters"])


def _loaded(weights: Mapping[str, Any], title: str) -> Loaded:
    """Arrays by layer, or by key, as a file of them would be loaded."""
    path = Path(title)
    for name in weights:
        if not isinstance(name, str):
            raise WeightsError(Problem(f"expected a layer's name, found {repr(name)}", title))
    if weights and all(hasattr(each, "__array__") for each in weights.values()):
        keyed = {key: _float32(array, key, title) for key, array in weights.items()}
        found = by_layer(path, keyed)
        return Loaded(path, foreign=keyed) if found is None else Loaded(path, found)
    by_name = {}
    for name, arrays in weights.items():
        if not isinstance(arrays, Iterable) or isinstance(arrays, str) or hasattr(arrays, "shape"):
            raise _no_array(arrays, name, title, "a list of arrays")
        by_name[name] = [_float32(array, name, title) for array in arrays]
    return Loaded(path, by_name)


def _float32(array: Any, layer: str, title: str) -> Array:
    if hasattr(array, "detach"):  # PyTorch's, which may need a gradient, or be bfloat16 on a GPU
        array = array.detach().cpu().float()
    try:
        found = np.asarray(array)
    except (ValueError, TypeError) as error:
        raise _no_array(array, layer, title) from error
    if found.dtype.kind not in "fiub":
        raise _no_array(array, layer, title)
    return as_float32(found)


def _no_array(
    found: object, layer: str, title: str, expected: str = "arrays of numbers"
) -> WeightsError:
    what = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
    return WeightsError(Problem(f"expected {expected}, found {what}", title, layer=layer))


WeightsLike = Weights | Mapping[str, Sequence[Array]] | Mapping[str, Array] | str | PathLike[str]
"""Weights, arrays by layer or by key, a path, or a name of the zoo whose weights are shipped or
fetched."""


def load_weights(weights: WeightsLike) -> Weights:
    """Weights from a file of any format, or of a net of the zoo that are shipped or fetched.

    The format is found from the content: .npz, .npy, .caffemodel, HDF5, safetensors, PyTorch's.
    Raises WeightsError if it is none, is not whole, or would unfold beyond measure.
    """
    if isinstance(weights, Weights):
        return weights
    if isinstance(weights, Mapping):
        return Weights(weights)
    if not isinstance(weights, str | PathLike):
        expected = "a path, a name of the zoo, or arrays by layer"
        raise WeightsError(f"expected weights: {expected}; found {type(weights).__name__}")
    path = fetching.locate(str(weights))
    return Weights(files.load(path), title=str(weights))


def source_of(weights: WeightsLike) -> WeightSource:
    """Weights whose layers are Caffe's, with what they are called; WeightsError if they are not."""
    loaded = load_weights(weights)
    return WeightSource(loaded.title, loaded.by_layer)


@dataclass(frozen=True, repr=False)
class Fitted(Shown):
    """Weights that fit a net, and what became of each layer."""

    weights: Weights
    report: tuple[LayerFit, ...]
    notes: tuple[Problem, ...]

    @property
    def refused(self) -> tuple[Problem, ...]:
        """What `strict` refuses: layers that were dropped, or left at their filler."""
        return fitting.strict_problems(self.report)

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.report, *self.notes)))


def convert(
    weights: WeightsLike | Sequence[WeightsLike],
    net: NetLike,
    *,
    layout: str | None = None,
    input_order: str | None = None,
    renames: Mapping[str, str] | Sequence[str] = (),
    suffixes: Sequence[str] = (),
    classes_map: Mapping[int, int] | str | PathLike[str] | None = None,
    strict: bool = False,
) -> Fitted:
    """Fit the weights of a classifier or of an older stage to a net, and report on each layer.

    Of several sources a later one takes precedence. `layout` says how their arrays lie (caffe,
    pytorch, …), where that is not certain; `input_order` (rgb, bgr) which channels they expect.
    `renames` has another name for a layer or key, as a mapping or as OLD=NEW; a * on both sides
    stands for the same text.
    `suffixes` are added to the layers' names, one for each source. `classes_map` says which old
    class each of the net's becomes, or names a file of lines NEW OLD. With `strict`, what is
    dropped or left at its filler is an error.

    Raises WeightsError with every layer that does not fit, or if none does.
    """
    many, suffixes = _listed(weights), words_of(suffixes)
    if not many:
        raise WeightsError("there are no weights to convert")
    if suffixes and len(suffixes) != len(many):
        raise FcnprotoError(f"there are {len(suffixes)} suffixes for {len(many)} sources")
    target = as_net(net)
    loaded = [load_weights(each) for each in many]
    fitted = converting.convert(
        [
            converting.Given(each.title, each.loaded, suffix)
            for each, suffix in zip(loaded, suffixes or [""] * len(loaded), strict=True)
        ],
        target.graph,
        net=target.zoo_name or target.source.path,
        layout=None
        if layout is None
        else Layout(chosen(layout, "layout", (each.value for each in Layout))),
        input_order=None
        if input_order is None
        else chosen(input_order, "input_order", ("rgb", "bgr")),
        renames=[Rename.parse(text) for text in _written(renames)],
        classes_map=_classes_map(classes_map),
        strict=strict,
    )
    return Fitted(Weights(fitted.weights, target, target.name), fitted.report, fitted.notes)


def _classes_map(given: Mapping[int, int] | str | PathLike[str] | None) -> dict[int, int] | None:
    if given is None or isinstance(given, str | PathLike):
        return None if given is None else read_classes_map(Path(given))
    if not isinstance(given, Mapping):
        raise WeightsError(f"expected a mapping of new classes to old ones, found {repr(given)}")
    what = "a class of classes_map"
    return {whole(new, what): whole(old, what) for new, old in given.items()}


def _written(renames: Mapping[str, str] | Sequence[str]) -> Sequence[str]:
    if isinstance(renames, Mapping):
        return [f"{old}={new}" for old, new in renames.items()]
    return words_of(renames)


def _listed(weights: WeightsLike | Sequence[WeightsLike]) -> Sequence[WeightsLike]:
    if isinstance(weights, Mapping | str | PathLike) or not isinstance(weights, Iterable):
        return [weights]
    return list(weights)


@dataclass(frozen=True, repr=False)
class Convolutionized(Shown):
    """A classifier made fully convolutional: its net, its weights, what became of each layer."""

    net: Net
    weights: Weights
    report: tuple[LayerFit, ...]
    notes: tuple[Problem, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.report, *self.notes)))


def convolutionize(net: NetLike, weights: WeightsLike) -> Convolutionized:
    """Make a classifier fully convolutional.

    Raises NetError for a net that cannot be, WeightsError for weights that do not fit it.
    """
    found = convolutionize_graph(as_net(net).graph, [source_of(weights)])
    source = parse_net(printer.format(found.net), as_net(net).source.path)
    made = Net(source)
    notes = (*found.notes, *files.not_finite(found.weights))
    return Convolutionized(made, Weights(found.weights, title=made.name), found.report, notes)


def fetch(net: str, url: str | None = None) -> Weights:
    """Fetch a net's published weights into the user's cache, unless they are there, and load them.

    Their licence is among their notes. `url` is a mirror: the folder that holds the file, or the
    file. Raises WeightsError for a net without published weights, and where the file cannot be
    fetched or is not what it should be.
    """
    fetched = fetching.fetch(net, url)
    loaded = files.load(fetched.path)
    licence = Problem(f"licence: {fetched.licence}", net, severity=Severity.NOTE)
    return Weights(replace(loaded, notes=(licence, *fetched.notes, *loaded.notes)), title=net)
