"""What Caffe's data layers do to an image, and to its label map, before a net sees them."""

from __future__ import annotations

import numpy as np

from fcnproto.datasets.pictures import resized
from fcnproto.errors import DataError
from fcnproto.layers.reading import LabelMap, Transform
from fcnproto.types import Array, Floats, show


def transformed(
    image: Array,
    labels: Array | None,
    transform: Transform,
    label_map: LabelMap,
    mean: Array | None,
    rng: np.random.Generator,
) -> tuple[Floats, Array | None]:
    """An image C × H × W and its label map H × W, resized, padded, cut, mirrored (all at random as
    `rng` says), the image less the mean and scaled (data_transformer.cpp).

    `mean` is C × H × W as the image was before it was cut, or C × 1 × 1. Raises DataError where
    sizes do not go together.
    """
    size = _size(image, transform, rng)
    if size != image.shape[1:]:
        image = bilinear(image, size)
    if labels is not None:
        divided = int(size[0] / label_map.divide), int(size[1] / label_map.divide)
        if transform.size or transform.scales or transform.between:
            labels = resized(labels, divided)
        if label_map.divide == 1 and labels.shape != size:
            found = f"{show(size)} and {show(labels.shape)}"
            raise DataError(f"image and label map must have one size, found {found}")
    if mean is not None and mean.shape[1:] not in ((1, 1), size):
        found = f"{show(mean.shape[1:])} and {show(size)}"
        raise DataError(f"mean and image must have one size, found {found}")
    image = image.astype(np.float32)
    if mean is not None:
        image -= mean.astype(np.float32)
    if transform.pad:
        image, labels = _padded(image, labels, transform, label_map, mean)
    if transform.crop is not None:
        image, labels = _cut(image, labels, transform, rng)
    if transform.mirror and rng.integers(2):
        image = image[:, :, ::-1]
        labels = None if labels is None else labels[:, ::-1]
    labels = None if labels is None else _sliced(labels, label_map)
    return np.ascontiguousarray(image) * np.float32(transform.scale), labels


def bilinear(image: Array, size: tuple[int, int]) -> Array:
    """C × H × W at another height and width, each pixel between the four nearest (cv::resize)."""
    found = image.astype(np.float32)
    for axis, new in zip((1, 2), size, strict=True):
        old = image.shape[axis]
        places = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
        before = places.astype(np.int64)
        after = np.minimum(before + 1, old - 1)
        share = (places - before).astype(np.float32)
        share = share[:, np.newaxis] if axis == 1 else share
        found = found.take(before, axis) * (1 - share) + found.take(after, axis) * share
    if image.dtype == np.uint8:
        return np.rint(found).astype(np.uint8)
    return found


def _size(image: Array, transform: Transform, rng: np.random.Generator) -> tuple[int, int]:
    """The height and width at which an image is taken."""
    size = transform.size or (image.shape[1], image.shape[2])
    factor = 1.0
    if transform.scales:
        factor = float(rng.choice(transform.scales))
    elif transform.between:
        factor = float(rng.uniform(*transform.between))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _padded(
    image: Array,
    labels: Array | None,
    transform: Transform,
    label_map: LabelMap,
    mean: Array | None,
) -> tuple[Array, Array | None]:
    """An image less its mean, and its labels, made as large as the crop: at the bottom and right
    with the mean, or all round, with as much around it as no label is learned of.
    """
    height, width = transform.crop or image.shape[1:]
    around = label_map.offset if transform.pad != "mean" else (0, 0)
    pads = []
    for size, wanted, margin in zip(image.shape[1:], (height, width), around, strict=True):
        missing = max(0, wanted - size - 2 * margin)
        before = 0 if transform.pad == "mean" else missing // 2
        pads.append((margin + before, margin + missing - before))
    if not any(map(any, pads)):
        return image, labels
    if labels is not None:
        labels = np.pad(labels, pads, constant_values=label_map.ignored)
    if transform.pad == "reflect":
        return np.pad(image, [(0, 0), *pads], mode="reflect"), labels
    black = 0 if transform.pad == "mean" or mean is None else -mean.mean((1, 2), keepdims=True)
    inside = np.pad(np.ones(image.shape[1:], bool), pads)
    return np.where(inside, np.pad(image, [(0, 0), *pads]), np.float32(black)), labels


def _cut(
    image: Array, labels: Array | None, transform: Transform, rng: np.random.Generator
) -> tuple[Array, Array | None]:
    """The part of an image, and of its labels, that a crop takes."""
    assert transform.crop is not None
    (height, width), own = transform.crop, image.shape[1:]
    if height > own[0] or width > own[1]:
        raise DataError(f"a crop of {height}×{width} does not fit an image of {show(own)}")
    spare = own[0] - height, own[1] - width
    top, left = (int(rng.integers(each + 1)) if transform.random else each // 2 for each in spare)
    top = spare[0] if transform.crop_bottom else top
    rows, columns = slice(top, top + height), slice(left, left + width)
    return image[:, rows, columns], None if labels is None else labels[rows, columns]


def _sliced(labels: Array, label_map: LabelMap) -> Array:
    """The labels that are learned."""
    if label_map.halves:
        labels = (labels >= 128).astype(np.uint8)
    if label_map.dim is None:
        return labels
    parts = []
    for start, step, count, size in zip(
        label_map.offset, label_map.stride, label_map.dim, labels.shape, strict=True
    ):
        if start < 0 or step < 1 or count < 1 or start + step * (count - 1) >= size:
            raise DataError(f"label_slice reaches beyond labels of {show(labels.shape)}")
        parts.append(slice(start, start + step * (count - 1) + 1, step))
    return labels[tuple(parts)]
