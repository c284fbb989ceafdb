"""The layouts in which weights are found in the wild, and the way from each to Caffe's.

A file of arrays says by its keys which array is which, and by its shapes how each lies in memory.
Where both together leave no doubt the layout is found; where they do not, the caller must say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from fcnproto.errors import Problem, Severity, WeightsError
from fcnproto.surgery.naming import NUMBERED, Layout, NamedWeights
from fcnproto.types import Array, Shape, show
from fcnproto.weights import Weights
from fcnproto.zoo import specs

TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_DEVIATION = (0.229, 0.224, 0.225)
"""RGB, of images scaled to 0-1 (torchvision's documentation of its pretrained models)."""


def detect(named: NamedWeights) -> Layout:
    """The layout, where keys and shapes leave no doubt; else WeightsError names the flag.

    A layer's biases count its outputs, so that weights show on which axis these lie unless both
    ends are of one size.
    """
    if named.caffes_own:
        return Layout.CAFFE
    first, last = _outputs_first_or_last(named.weights)
    certain = {
        Layout.CAFFE: not last,
        Layout.CHAINER: bool(first) and not last,
        Layout.TENSORFLOW: bool(last) and not first,
        # PyTorch's keys are torchvision's only where layers are numbered as torchvision does it.
        Layout.TORCHVISION: not last and _are_numbered(named),
    }
    if named.keys_say is not None and certain[named.keys_say]:
        return named.keys_say
    if first and last:
        seen = f"'{first[0]}' has its outputs first and '{last[0]}' last"
    elif first or last:
        layer = (first or last)[0]
        shape = show(named.weights[layer][0].shape)
        seen = f"'{layer}', {shape}, has its outputs {'first' if first else 'last'}"
    else:
        seen = "no shape shows whether outputs come first or last"
    style = "no known" if named.keys_say is None else f"{named.keys_say.value}'s"
    raise WeightsError(
        Problem(
            f"its layout is not certain: its keys are in {style} style, and {seen};"
            f" say --layout {'|'.join(layout.value for layout in Layout)}",
            named.path,
        )
    )


def _are_numbered(named: NamedWeights) -> bool:
    origins = (named.origins.get(layer, layer) for layer in named.weights)
    return any(NUMBERED.fullmatch(origin) for origin in origins)


def _outputs_first_or_last(weights: Weights) -> tuple[list[str], list[str]]:
    """The layers whose outputs surely lie on the first axis, and those on the last."""
    first: list[str] = []
    last: list[str] = []
    for layer, arrays in weights.items():
        if len(arrays) < 2 or arrays[1].ndim != 1 or arrays[0].ndim not in (2, 4):
            continue
        shape, outputs = arrays[0].shape, arrays[1].size
        # Square kernels, so that a Deconvolution's I×O×k×k with k = O is no H×W×I×O.
        could_be_first = shape[0] == outputs and (len(shape) == 2 or shape[2] == shape[3])
        could_be_last = shape[-1] == outputs and (len(shape) == 2 or shape[0] == shape[1])
        if could_be_first != could_be_last:
            (first if could_be_first else last).append(layer)
    return first, last


def image_mean(net_names: Sequence[str], suffix: str = "") -> tuple[float, ...]:
    """What is subtracted from the image that a net reads, BGR: its dataset's mean, or else VOC's.

    A branch of the net whose layers have a suffix reads the image of that name, if there is one.
    """
    found = (specs.identify(name) for name in net_names)
    means = next((dataset for dataset in found if dataset is not None), specs.dataset("voc")).mean
    colored = {image: mean for image, mean in means.items() if len(mean) == 3}
    return colored.get(suffix) or next(iter(colored.values()))


@dataclass(frozen=True)
class Destination:
    """What conversion needs to know of the layer that weights go to."""

    inputs: Shape
    """The axes that its inputs are flattened from: channels, height, width."""
    sees_image: bool
    """Whether it reads the image itself."""
    transposed: bool = False
    """Whether it keeps its matrix as I×O."""


@dataclass(frozen=True)
class Conversion:
    """Weights in Caffe's layout, what was done to each layer, and what there is to know."""

    weights: Weights
    changes: Mapping[str, str] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()
    """The layers whose axes were brought into another order."""
    notes: tuple[Problem, ...] = ()


def to_caffe(
    named: NamedWeights,
    destinations: Mapping[str, Destination],
    mean: Sequence[float],
    layout: Layout | None = None,
    input_order: str | None = None,
) -> Conversion:
    """Bring weights into Caffe's layout, for a net whose image is BGR 0-255 less `mean` (BGR).

    Axes are brought into order, inputs that were flattened H, W, C into that of C, H, W, the first
    convolution's channels into BGR, and torchvision's scaling of the image is folded into the first
    convolution. `layout` and `input_order` ("rgb" or "bgr") are found where they are None.

    Raises WeightsError where the layout is not certain, or where weights do not fit it.
    """
    layout = layout or detect(named)
    change = _Change(layout, (input_order or layout.input_order) == "rgb", tuple(mean))
    weights: Weights = {}
    changes: dict[str, str] = {}
    problems: list[Problem] = []
    notes: list[Problem] = []
    transposed: set[str] = set()
    colored = False
    for layer, arrays in named.weights.items():
        try:
            changed = change(arrays, destinations.get(layer))
        except WeightsError as error:
            problems += [
                Problem(problem.message, named.path, layer=layer) for problem in error.problems
            ]
            continue
        weights[layer] = changed.arrays
        if changed.what:
            changes[layer] = ", ".join(changed.what)
        if changed.note is not None:
            notes.append(Problem(changed.note, layer=layer, severity=Severity.NOTE))
        if changed.transposed:
            transposed.add(layer)
        colored = colored or changed.colored
    if input_order == "rgb" and not colored:
        problems.append(
            Problem("--input-order rgb: no layer of three channels reads the image", named.path)
        )
    if problems:
        raise WeightsError(*problems)
    return Conversion(weights, changes, frozenset(transposed), tuple(notes))


@dataclass(frozen=True)
class _Changed:
    arrays: list[Array]
    what: tuple[str, ...]
    note: str | None
    transposed: bool
    colored: bool
    """Whether the layer reads an image of three channels."""


@dataclass(frozen=True)
class _Change:
    """What is done to each layer."""

    layout: Layout
    swaps: bool
    mean: tuple[float, ...]

    def __call__(self, arrays: list[Array], destination: Destination | None) -> _Changed:
        what: list[str] = []
        note = None
        if self.layout.outputs_last and arrays and arrays[0].ndim > 1:
            kernel = _outputs_first(arrays[0], destination)
            what.append(f"{show(arrays[0].shape)} → {show(kernel.shape)}")
            arrays = [kernel, *arrays[1:]]
        if self._turns(arrays, destination):
            what.append("O×I → I×O, as the layer keeps it")
            arrays = [np.ascontiguousarray(arrays[0].T), *arrays[1:]]
        transposed = bool(what)
        colored = destination is not None and destination.sees_image and _has_colors(arrays)
        if colored and self.swaps:
            what.append("RGB → BGR")
            arrays = [np.ascontiguousarray(arrays[0][:, ::-1]), *arrays[1:]]
        if colored and self.layout is Layout.TORCHVISION:
            what.append("scaling folded in")
            arrays, note = _unscaled(arrays, self.mean)
        return _Changed(arrays, tuple(what), note, transposed, colored)

    def _turns(self, arrays: Sequence[Array], destination: Destination | None) -> bool:
        """Whether a matrix is O×I now, as only Caffe's own files hold I×O for such a layer.

        Fitting could not tell where the matrix is square.
        """
        turns = destination is not None and destination.transposed
        return turns and self.layout is not Layout.CAFFE and bool(arrays) and arrays[0].ndim == 2


def _has_colors(arrays: Sequence[Array]) -> bool:
    return bool(arrays) and arrays[0].ndim == 4 and arrays[0].shape[1] == 3


def _outputs_first(array: Array, destination: Destination | None) -> Array:
    """From H×W×I×O or I×O, with I flattened H, W, C, to O×I×H×W or O×I with I flattened C, H, W."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if array.ndim != 2:
        return array
    inputs, outputs = array.shape
    channels, *plane = destination.inputs if destination is not None else (inputs,)
    if not plane or prod(plane) == 1 or channels * prod(plane) != inputs:
        return np.ascontiguousarray(array.T)  # if the inputs do not fit the net, fitting says so
    spread = array.reshape(*plane, channels, outputs)
    axes = (len(plane) + 1, len(plane), *range(len(plane)))
    return np.ascontiguousarray(spread.transpose(axes)).reshape(outputs, inputs)


def _unscaled(arrays: Sequence[Array], mean: Sequence[float]) -> tuple[list[Array], str]:
    """Fold (x / 255 − mean') / deviation' of an image x into weights that then read x − mean.

    W·((x/255 − m')/d') + b = (W / 255d')·(x − mean) + b + ΣW·((mean/255 − m')/d'), where every tap
    of the kernel lies on the image. Where it lies on padding, zero now stands for `mean`, and stood
    for m' before.
    """
    if len(arrays) < 2:
        raise WeightsError("torchvision's scaling needs biases to be folded into, found none")
    kernel, bias = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
    own_mean = np.array(TORCHVISION_MEAN[::-1])
    deviation = np.array(TORCHVISION_DEVIATION[::-1])
    shift = (np.array(mean) / 255 - own_mean) / deviation
    taps = kernel.sum(axis=(2, 3))
    scaled = kernel / (255 * deviation[None, :, None, None])
    off_image = np.abs(kernel).sum(axis=(2, 3)).dot(np.abs(shift)).max()
    note = (
        "torchvision's scaling of the image is folded in, for BGR 0-255 less"
        f" {', '.join(f'{value:g}' for value in mean)}: exact where the kernel lies on the image;"
        f" where it lies on zero padding, its output differs by at most {off_image:.2g}"
    )
    return [scaled.astype(np.float32), (bias + taps @ shift).astype(np.float32)], note
