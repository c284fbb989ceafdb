"""New arrays for what no source gives."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from zlib import crc32

import numpy as np

from fcnproto.errors import Problem, WeightsError
from fcnproto.layers import fillers
from fcnproto.layers.base import Weight
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.surgery.rules import Action, Piece
from fcnproto.surgery.targets import Target
from fcnproto.types import Array, show
from fcnproto.weights.caffemodel import LARGEST_MESSAGE

_FLOAT = 4


def check_size(missing: Collection[tuple[Target, Weight]], path: str | None) -> None:
    """WeightsError if the weights that no source gives are more than a .caffemodel holds."""
    counts = [(prod(weight.shape), target) for target, weight in missing]
    size = _FLOAT * sum(count for count, _ in counts)
    if size > LARGEST_MESSAGE:
        count, largest = max(counts, key=lambda each: each[0])
        raise WeightsError(
            Problem(
                f"no file gives its weights, {_FLOAT * count / 2**30:.1f} GiB: at most 2 GiB"
                f" are filled, and the net lacks {size / 2**30:.1f}",
                path,
                layer=largest.name,
            )
        )


def fresh_piece(target: Target, number: int, seed: int) -> Piece:
    """A new array for the weight of a layer, by number, that no source gives."""
    weight = target.weights[number]
    if target.layer.proto.blobs:
        return Piece(_embedded(target, number), Action.COPIED, "from the net's own blobs")
    filler = weight.filler
    if number == 0 and target.upsamples and _useless_for_upsampling(filler):
        kernel = fillers.bilinear_kernel(weight.shape[-1])
        array = np.zeros(weight.shape, np.float32)
        channels = np.arange(weight.shape[0])
        array[channels, channels if weight.shape[1] > 1 else 0] = kernel
        size = show(weight.shape[2:])
        return Piece(array, Action.GENERATED, f"bilinear kernels of {size}")
    rng = np.random.default_rng([seed, crc32(target.name.encode()), number])
    array = fillers.start(weight, rng)
    if weight.diagonal:
        least, most = min(weight.diagonal), max(weight.diagonal)
        values = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        return Piece(array, Action.GENERATED, f"a diagonal of {values}")
    return Piece(array, Action.FILLER, _describe(filler))


def _useless_for_upsampling(filler: FillerParameter) -> bool:
    """A filler that leaves zeros, or (bilinear, in a dense kernel) mixes the channels."""
    return filler.type == "bilinear" or (filler.type == "constant" and not filler.value)


def _embedded(target: Target, number: int) -> Array:
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
