"""Images from files to label maps in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.model.metadata import COLOR, DEPTH
from fcnproto.runtime import images
from fcnproto.runtime.images import ImageError, Source
from fcnproto.runtime.segmenter import BATCH_PIXELS, Picture, Segmenter
from fcnproto.types import Array


@dataclass(frozen=True)
class Segmented:
    """An image that is done: its label maps' files, its overlay, the share of each class found."""

    source: Source
    labels: Mapping[str, Path]
    overlay: Path
    shares: Mapping[str, Mapping[str, float]]
    """For each label map the classes found, the largest first, with their shares of the pixels."""


Outcome = Segmented | Problem

Reading = Callable[[Source], tuple[Array, Sequence[Problem]]]
"""Reads an image H×W×3 uint8 from a file, with warnings. Raises ImageError."""


def segment(
    segmenter: Segmenter,
    sources: Iterable[Source],
    folder: Path,
    companions: Mapping[str, Path],
    readers: Mapping[str, Reading] = MappingProxyType({}),
) -> Iterator[Outcome]:
    """Segment images into a folder, `<name>.png` and `<name>.overlay.jpg` for each.

    Further label maps of a model are `<name>.<blob>.png`. `companions` has the folder of each kind
    of image (hha, depth) that a model takes besides color, and `readers` how a kind is read where
    its files are no pictures of it. Images of one size are run together. An
    image that cannot be segmented gives a Problem, and the rest go on; a warning goes with its
    image. Raises FcnprotoError if results cannot be written.
    """
    _check_companions(segmenter, companions)
    work = _Work(segmenter, folder, companions, readers)
    waiting: dict[tuple[int, ...], list[tuple[Source, Picture]]] = {}
    for source in sources:
        try:
            picture, warnings = work.read(source)
        except ImageError as error:
            yield from error.problems
            continue
        yield from warnings
        shape = next(iter(picture.values())).shape[:2]
        waiting.setdefault(shape, []).append((source, picture))
        if len(waiting[shape]) >= work.batch(shape):
            yield from work.finish(waiting.pop(shape))
        elif sum(rows * columns * len(items) for (rows, columns), items in waiting.items()) > _KEPT:
            yield from work.finish(waiting.pop(next(iter(waiting))))
    for items in waiting.values():
        yield from work.finish(items)


def _check_companions(segmenter: Segmenter, companions: Mapping[str, Path]) -> None:
    """FcnprotoError unless each input has its images: those named, or of a kind with a folder."""
    path = segmenter.session.path
    kinds = [segmenter.metadata.kind(blob) for blob in segmenter.inputs]
    named = [kind for kind in kinds if kind not in companions]
    problems = [
        Problem(f"the model takes no {kind}, only {' and '.join(kinds)}: leave out --{kind}", path)
        for kind in companions
        if kind not in kinds
    ]
    if len(named) > 1:
        flags = " ".join(f"--{kind} DIR" for kind in named if kind != COLOR)
        problems.append(
            Problem(f"the model takes {' and '.join(kinds)} of each scene: {flags}".rstrip(), path)
        )
    elif not named and not problems:
        problems.append(Problem("one kind of image must be named itself, not by a folder", path))
    if problems:
        raise FcnprotoError(*problems)


_KEPT = 2**25  # so many pixels, 100 MB, wait for others of their size


@dataclass
class _Work:
    segmenter: Segmenter
    folder: Path
    companions: Mapping[str, Path]
    readers: Mapping[str, Reading]
    written: dict[str, Path] = field(default_factory=dict)

    def batch(self, shape: tuple[int, ...]) -> int:
        """How many images of a size are run at once."""
        largest = max(1, BATCH_PIXELS // (shape[0] * shape[1]))
        return largest if self.segmenter.batch is None else self.segmenter.batch

    def read(self, source: Source) -> tuple[Picture, list[Problem]]:
        """An image with those that belong to it, by the model's inputs, and warnings."""
        self._claim(source)
        large = self.segmenter.plan.tile is not None
        picture: dict[str, Array] = {}
        warnings: list[Problem] = []
        for blob in self.segmenter.inputs:
            kind = self.segmenter.metadata.kind(blob)
            file = _companion(self.companions[kind], source) if kind in self.companions else source
            if kind in self.readers:
                picture[blob], said = self.readers[kind](file)
                warnings += said
            elif kind == DEPTH:
                picture[blob] = images.read_depth(file, large=large)
                if images.is_eight_bit(file):
                    message = "its depth has 8 bits, up to 255 of an unknown unit: millimetres are"
                    message += " expected, as 16-bit PNG"
                    warnings.append(Problem(message, str(file.path), severity=Severity.WARNING))
                unknown = int((picture[blob] <= 0).sum())
                if unknown:
                    message = f"{unknown} of its pixels have no depth: they are taken as the mean"
                    warnings.append(Problem(message, str(file.path), severity=Severity.WARNING))
            else:
                picture[blob] = images.read(file, large=large)
        sizes = {array.shape[:2] for array in picture.values()}
        if len(sizes) > 1:
            found = ", ".join(
                f"'{blob}' {array.shape[0]}×{array.shape[1]}" for blob, array in picture.items()
            )
            raise ImageError(
                Problem(f"its images are of different size: {found}", str(source.path))
            )
        return picture, warnings

    def finish(self, items: Sequence[tuple[Source, Picture]]) -> Iterator[Outcome]:
        """Run a batch and write its results; if it cannot be run, one problem for each image."""
        try:
            found = self.segmenter.label([picture for _, picture in items])
        except FcnprotoError as error:
            yield from (
                Problem(problem.message, str(source.path))
                for source, _ in items
                for problem in error.problems
            )
            return
        for index, (source, picture) in enumerate(items):
            labels = {blob: array[index] for blob, array in found.items()}
            yield self._write(source, picture, labels)

    def _write(self, source: Source, picture: Picture, labels: Mapping[str, Array]) -> Segmented:
        palette = self.segmenter.palette
        files: dict[str, Path] = {}
        for number, (blob, array) in enumerate(labels.items()):
            name = f"{source.stem}.{blob}.png" if number else f"{source.stem}.png"
            files[blob] = self.folder / name
            images.write_labels(files[blob], array, palette)
        overlay = self.folder / f"{source.stem}.overlay.jpg"
        rgb = next((array for array in picture.values() if array.ndim == 3), None)
        first = next(iter(labels.values()))
        if rgb is None:
            rgb = np.zeros((*first.shape, 3), np.uint8)
        images.write_overlay(overlay, rgb, first, palette)
        shares = {
            each.blob: _shares(labels[each.blob], self.segmenter.names(each))
            for each in self.segmenter.maps
        }
        return Segmented(source, files, overlay, shares)

    def _claim(self, source: Source) -> None:
        """ImageError if a result would replace another's, or the image itself."""
        other = self.written.setdefault(source.stem, source.path)
        target = self.folder / f"{source.stem}.png"
        if other != source.path:
            message = f"its result would be {target}, which is that of {other}"
            raise ImageError(Problem(message, str(source.path)))
        if target.exists() and source.path.exists() and target.samefile(source.path):
            message = f"its result would be {target}, the image itself: choose another -o DIR"
            raise ImageError(Problem(message, str(source.path)))


def _companion(folder: Path, source: Source) -> Source:
    """The file in a folder that belongs to an image: the one that is called the same."""
    named = sorted(path for path in folder.glob(f"{escape(source.stem)}.*") if path.is_file())
    exact = [path for path in named if path.stem == source.stem]
    if not exact:
        raise ImageError(Problem(f"there is no {folder / source.stem}.* for it", str(source.path)))
    return Source(exact[0])


def _shares(labels: Array, names: Sequence[str]) -> dict[str, float]:
    counts = np.zeros(2**16, np.int64)
    for row in labels:  # row by row, because bincount makes 8 bytes of each number
        counts += np.bincount(row, minlength=len(counts))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: -counts[index])
    return {names[index]: float(counts[index]) / labels.size for index in order}
