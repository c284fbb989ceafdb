"""What other frameworks call layers and arrays, and which of Caffe's they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from fcnproto.errors import Problem, WeightsError, raise_if_any
from fcnproto.types import Array, Shape
from fcnproto.weights import Loaded, Weights, keyed
from fcnproto.weights.arrays import split_key
from fcnproto.words import quoted, some


class Layout(Enum):
    """How arrays lie, and what image they were trained to see."""

    CAFFE = "caffe"
    """O×I×H×W, fully connected O×I with I flattened C, H, W; BGR 0-255 less the mean."""
    CHAINER = "chainer"
    """As Caffe's."""
    TENSORFLOW = "tensorflow"
    """H×W×I×O, fully connected I×O with I flattened H, W, C; RGB 0-255 less the mean."""
    TORCHVISION = "torchvision"
    """As Caffe's, but for RGB 0-1 less a mean, over a deviation."""

    @property
    def outputs_last(self) -> bool:
        """Whether kernels are H×W×I×O and matrices I×O."""
        return self is Layout.TENSORFLOW

    @property
    def input_order(self) -> str:
        """The order of the image's channels that such weights expect."""
        return "rgb" if self in (Layout.TENSORFLOW, Layout.TORCHVISION) else "bgr"


@dataclass(frozen=True)
class _Style:
    """A way to write keys: which layout it belongs to, and how the layer's name is found."""

    layout: Layout
    pattern: re.Pattern[str]
    parts: Mapping[str, int]
    """The number of the array that each ending means."""


_STYLES = (
    _Style(Layout.CHAINER, re.compile(r"(.+)/([Wb])"), {"W": 0, "b": 1}),
    _Style(Layout.TENSORFLOW, re.compile(r"(.+)_([Wb])"), {"W": 0, "b": 1}),
    _Style(
        Layout.TENSORFLOW,
        re.compile(r"(.+)/(weights|biases|kernel|bias)(?::0)?"),
        {"weights": 0, "kernel": 0, "biases": 1, "bias": 1},
    ),
    _Style(Layout.TORCHVISION, re.compile(r"(.+)\.(weight|bias)"), {"weight": 0, "bias": 1}),
)
_CAFFE2 = _Style(Layout.CAFFE, re.compile(r"(.+)_([wsb])"), {"w": 0, "s": 0, "b": 1})
"""Caffe2's: weights, scale and bias. A name that ends in _b is one of another style's, too."""


@dataclass(frozen=True)
class Rename:
    """`old` becomes `new`; a * in both stands for the same text."""

    old: str
    new: str

    @classmethod
    def parse(cls, text: str) -> Rename:
        """From OLD=NEW; WeightsError if it is not that."""
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise WeightsError(f"--rename '{text}': expected OLD=NEW")
        if old.count("*") > 1 or new.count("*") > old.count("*"):
            raise WeightsError(f"--rename '{text}': OLD may hold one *, and NEW one if OLD does")
        return cls(old, new)

    def __call__(self, name: str) -> str | None:
        """The new name, or None if the old one is another."""
        before, star, after = self.old.partition("*")
        if not star:
            return self.new if name == self.old else None
        middle = name[len(before) : len(name) - len(after)]
        if len(name) < len(before) + len(after) or name != before + middle + after:
            return None
        return self.new.replace("*", middle)

    def __str__(self) -> str:
        return f"{self.old}={self.new}"


@dataclass(frozen=True)
class NamedWeights:
    """A file's arrays by layer, however they lie, and what its keys say of their layout."""

    path: str
    weights: Weights
    keys_say: Layout | None
    """The layout whose style the keys have; None if their style means nothing."""
    caffes_own: bool = False
    """Whether the file's format is one of Caffe's own, which has no other layout."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """What the file calls each layer that has another name here."""
    used: frozenset[Rename] = frozenset()
    """The renames that applied to something."""


def name(loaded: Loaded, renames: Sequence[Rename] = (), suffix: str = "") -> NamedWeights:
    """Say which array belongs to which layer: by renames, by the keys' style, and with a suffix.

    A rename applies to a whole key or to a layer's name. Layers of torchvision's VGG nets, which
    have only numbers, get the names that Caffe's have. Raises WeightsError for keys of no known
    style.
    """
    path = str(loaded.path)
    found: dict[str, dict[int, Array]] = {}
    layouts: Counter[Layout | None] = Counter()
    unknown: list[str] = []
    used: set[Rename] = set()
    originals: dict[str, str] = {}
    keys = [key for key, _ in _entries(loaded)]
    styles = (_CAFFE2, *_STYLES) if any(key.endswith(("_w", "_s")) for key in keys) else _STYLES
    parsed = [(key, array, *_place(key, styles)) for key, array in _entries(loaded)]
    numbered = _vgg_names({layer: array.shape for _, array, layer, index, _ in parsed if not index})
    for key, array, layer, index, layout in parsed:
        new_layer, new_index, rename = _renamed(key, layer, index, numbered, renames)
        if rename is not None:
            used.add(rename)
        if new_layer is None or new_index is None:
            unknown.append(key)
            continue
        layouts[layout] += 1
        new_layer += suffix
        originals.setdefault(new_layer, key if layer is None else layer)
        if new_index in found.setdefault(new_layer, {}):
            raise WeightsError(
                Problem(f"two arrays would be number {new_index} of it", path, layer=new_layer)
            )
        found[new_layer][new_index] = array
    if unknown:
        idle = [
            f"; --rename {rename} applies to nothing" for rename in renames if rename not in used
        ]
        raise WeightsError(
            Problem(
                f"keys of no known style, {_some(unknown)}: say what they are by"
                " --rename OLD=<layer>/<i> (0 for weights, 1 for biases)" + "".join(idle),
                path,
            )
        )
    weights = _in_order(path, found)
    weights.update({layer + suffix: [] for layer, arrays in loaded.weights.items() if not arrays})
    origins = {new: old for new, old in originals.items() if new != old}
    only = _only(path, layouts)
    return NamedWeights(path, weights, only, loaded.caffes_own, origins, frozenset(used))


def check_used(renames: Sequence[Rename], files: Sequence[NamedWeights]) -> None:
    """Raise WeightsError with every rename that applies to nothing in any of the files."""
    layers = {file.origins.get(layer, layer): None for file in files for layer in file.weights}
    raise_if_any(
        WeightsError,
        (
            Problem(f"--rename {rename} applies to nothing; layers are {_some(layers)}")
            for rename in renames
            if not any(rename in file.used for file in files)
        ),
    )


def _entries(loaded: Loaded) -> Iterator[tuple[str, Array]]:
    yield from loaded.foreign.items()
    yield from keyed(loaded.weights)


def _some(names: Collection[str]) -> str:
    return some(quoted(names), 4)


def _place(key: str, styles: Sequence[_Style] = _STYLES) -> tuple[str | None, int, Layout | None]:
    """The layer and number that a key means, and the layout that its style belongs to."""
    ours = split_key(key)
    if ours is not None:
        return *ours, Layout.CAFFE
    for style in styles:
        match = style.pattern.fullmatch(key)
        if match:
            return match[1], style.parts[match[2]], style.layout
    return None, 0, None


def _renamed(
    key: str,
    layer: str | None,
    index: int,
    numbered: Mapping[str, str],
    renames: Sequence[Rename],
) -> tuple[str | None, int | None, Rename | None]:
    """The first rename that applies, to the key or to its layer, decides."""
    for rename in renames:
        whole = rename(key)
        if whole is not None:
            new_layer, new_index, _ = _place(whole)
            return new_layer, new_index, rename
        if layer is not None and (new := rename(layer)) is not None:
            return new, index, rename
    if layer is None:
        return None, None, None
    return numbered.get(layer, layer), index, None


# DataParallel puts "module." before all names.
NUMBERED = re.compile(r"(?:module\.)?(features|classifier)\.(\d+)")


def _vgg_names(shapes: Mapping[str | None, Shape]) -> dict[str, str]:
    """Caffe's names for the layers of torchvision's VGG nets.

    Convolutions are numbered with the ReLU after each and the pooling after each block, so that a
    step of 2 stays in a block and one of 3 begins the next.
    """
    found = {
        (match[1], int(match[2])): layer
        for layer in shapes
        if layer is not None and (match := NUMBERED.fullmatch(layer))
    }
    features = sorted(number for kind, number in found if kind == "features")
    linear = sorted(number for kind, number in found if kind == "classifier")
    steps = {b - a for a, b in pairwise(features)}
    if not features or steps - {2, 3}:
        return {}
    names = {}
    block, place, last = 1, 0, features[0]
    for number in features:
        block, place = (block + 1, 1) if number - last == 3 else (block, place + 1)
        last = number
        names[found["features", number]] = f"conv{block}_{place}"
    if block != 5 or len(linear) > 3:
        return {}
    names.update(
        {found["classifier", number]: f"fc{6 + index}" for index, number in enumerate(linear)}
    )
    return names


def _in_order(path: str, found: Mapping[str, Mapping[int, Array]]) -> Weights:
    problems = [
        Problem(f"expected arrays 0, 1, …, found {sorted(arrays)}", path, layer=layer)
        for layer, arrays in found.items()
        if sorted(arrays) != list(range(len(arrays)))
    ]
    if problems:
        raise WeightsError(*problems)
    return {layer: [arrays[i] for i in range(len(arrays))] for layer, arrays in found.items()}


def _only(path: str, layouts: Counter[Layout | None]) -> Layout | None:
    """The one layout whose style the keys have; keys that were renamed as a whole say nothing."""
    known = [layout for layout in layouts if layout is not None]
    if len(known) > 1:
        names = " and ".join(layout.value for layout in known)
        raise WeightsError(
            Problem(f"its keys are of two styles, {names}; --rename can make them one", path)
        )
    return known[0] if known else None
