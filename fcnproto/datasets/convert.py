"""Make class maps of label pictures: of colours, of masks of 0 and 255, or of annotations."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fcnproto.datasets.annotations import Drawings, find_drawings
from fcnproto.datasets.base import IGNORE, layout, located
from fcnproto.datasets.blends import pack, soft_edges, unpack
from fcnproto.datasets.folder import IMAGE_FOLDERS, LABEL_FOLDERS, LISTS, FolderSegDataLayer
from fcnproto.datasets.labelled import check_all_are_labels
from fcnproto.datasets.numbering import Numbering, Progress, Rule, look, number_them, raise_sorted
from fcnproto.datasets.pictures import (
    IMAGES,
    LABELS,
    LOSSY,
    UNFIT,
    by_name,
    holds,
    read_colours,
    read_labels,
    read_mode,
    read_palette,
    read_stored,
    resized,
    turned,
    unfit,
)
from fcnproto.errors import DataError, Problem, Severity
from fcnproto.files import replacing
from fcnproto.parallel import spread
from fcnproto.runtime.images import write_labels
from fcnproto.types import Array, Colour, show
from fcnproto.words import some
from fcnproto.zoo import specs
from fcnproto.zoo.legend import LABEL_MAP, LEGEND, VOID, Legend, LegendClass, write_legend


@dataclass(frozen=True)
class Converted:
    """What was done: how numbers were found, the legend, and how many label maps there are."""

    rule: Rule
    legend: tuple[LegendClass, ...]
    labels: int
    notes: tuple[Problem, ...] = ()
    """Warnings of what was changed on the way."""


def convert(
    folder: Path,
    output: Path,
    *,
    nearest: bool = False,
    resize: bool = False,
    progress: Progress = lambda: None,
) -> Converted:
    """Write the label maps of a folder as class maps into another, with the images and splits.

    The labels are in labels/, masks/, annotations/ or SegmentationClass/, or in the folder itself.
    If one of them has colours, or palettes differ, all are pictures: classes.txt says which colour
    is which class; without it they are PASCAL VOC's if all are, or are numbered in order, black
    first. Masks of 0 and 255 become classes 0 and 1. Where there are annotations of LabelMe, COCO
    or CVAT and no label pictures, those are drawn.

    `nearest` gives colours of no class, as smooth edges have, to the nearest class beside them;
    `resize` brings label maps to their images' size, or turns them as their images are.

    Raises DataError, before anything is written, for files that cannot be read, colours that are no
    class, and more colours than there can be classes.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", str(folder)))
    place = _label_folder(folder)
    if output.resolve().is_relative_to(place.resolve()) or output.resolve() == folder.resolve():
        raise DataError(Problem("the labels are here: choose another folder for -o", str(output)))
    legend = Legend.of(folder)
    labels = by_name(place, (*_PICTURES, *LOSSY) if nearest and legend.names else _PICTURES)
    if place == folder or not labels:
        drawings = find_drawings(folder, legend)
        if drawings is not None:
            return _draw(drawings, folder, output, progress)
    if not labels:
        published = located(folder)
        if published is not None and published[0] is not FolderSegDataLayer:
            message = (
                f"{layout(published[0])}, whose label maps are read as they are: there is nothing"
                " to convert"
            )
            raise DataError(Problem(message, str(folder)))
        if by_name(place, (".npy",)):
            message = "the labels are .npy arrays, which are read as they are: nothing to convert"
            raise DataError(Problem(message, str(place)))
        lossy = [unfit(path) for path in by_name(place, UNFIT).values()] if place != folder else []
        raise DataError(*lossy or [Problem(_no_labels(folder, place), str(place))])
    if place == folder:
        check_all_are_labels(folder, labels)
    numbering = number_them(look(tuple(labels.values()), progress), legend, folder, nearest)
    whole = place != folder
    work = _Work(numbering, labels, output / "labels" if whole else output, nearest)
    if resize:
        work.images |= _images(folder)
    if numbering.by_colour:
        work.check()
    done = work.write(progress)
    if whole:
        _copy_rest(folder, place, output, work.images)
    write_legend(output / LEGEND, numbering.legend)
    notes = (*_of_greys(numbering, place), *done)
    return Converted(numbering.rule, numbering.legend, len(labels), notes)


def _of_greys(numbering: Numbering, place: Path) -> Iterator[Problem]:
    """A warning where greys in three channels are numbered anew: they may be classes already.

    Black and white, though, are a mask.
    """
    colours = [entry.colour or (0, 0, 0) for entry in numbering.legend]
    greys = [red for red, green, blue in colours if red == green == blue]
    kept = [*range(len(greys))], [0, IGNORE]
    if numbering.rule is Rule.NEW and len(greys) == len(colours) and greys not in kept:
        message = (
            f"the colours are greys, {some(greys, 8)}, and were numbered in order; if these are"
            " classes, save the label maps with one channel"
        )
        yield Problem(message, str(place), severity=Severity.WARNING)


def _no_labels(folder: Path, place: Path) -> str:
    """That there are none, and which annotations lie there that are not read."""
    others = [*folder.rglob("*.json"), *folder.rglob("*.xml")]
    if place != folder:
        others += place.rglob("*.txt")  # as YOLO has them; in the folder itself they are splits
    message = "there are no label pictures, .png"
    if not others:
        return message
    names = some(sorted(path.name for path in others), 3)
    read = "outlines and masks of LabelMe, COCO and CVAT for images are read, no boxes"
    return f"{message}; {names}: of annotations, {read}"


_PICTURES = tuple(ending for ending in LABELS if ending != ".npy")


def _label_folder(folder: Path) -> Path:
    """The first of the usual folders with label pictures in it; the folder itself if none is."""
    found = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
    full = (each for each in found if holds(each, (*LABELS, *UNFIT)))
    return next(full, found[0] if found else folder)


def _images(folder: Path) -> dict[str, Path]:
    place = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    if place is None:
        expected = " or ".join(f"{name}/" for name in IMAGE_FOLDERS)
        raise DataError(Problem(f"there are no images: expected {expected}", str(folder)))
    return by_name(place, IMAGES)


# Writing ----------------------------------------------------------------------------------------


@dataclass
class _Work:
    """The label pictures of a folder on their way into another."""

    numbering: Numbering
    labels: Mapping[str, Path]
    target: Path
    nearest: bool
    images: dict[str, Path] = field(default_factory=dict)
    """The images by name, where label maps are brought to their size."""

    def check(self) -> None:
        """DataError with each picture that has colours of no class, or numbers without a colour."""

        def work(share: Iterator[Path]) -> list[Problem]:
            return [problem for path in share for problem in self._problems(path)]

        shares = spread(work, tuple(self.labels.values()))
        raise_sorted([problem for share in shares for problem in share])

    def _problems(self, path: Path) -> Iterator[Problem]:
        if read_mode(path) == "P":
            yield from _palette_problems(path)
        if self.nearest:
            return
        colours, counts = np.unique(pack(read_colours(path)), return_counts=True)
        pairs = zip(counts.tolist(), colours.tolist(), strict=True)
        odd = sorted(
            (pair for pair in pairs if pair[1] not in self.numbering.numbers), reverse=True
        )
        if odd:
            shown = some([" ".join(map(str, unpack(colour))) for _, colour in odd], 1)
            has = f"has the colour {shown} ({sum(count for count, _ in odd)} pixels)"
            hint = "; --nearest gives each to the nearest class" if len(odd) > 1 else ""
            yield Problem(f"{has}, which {LEGEND} does not name{hint}", str(path))

    def write(self, progress: Progress) -> tuple[Problem, ...]:
        """Write all class maps; warnings of what was changed."""
        palette = self.numbering.palette()

        def work(share: Iterator[str]) -> list[Problem]:
            notes: list[Problem] = []
            for name in share:
                path = self.target / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                classes, given = self.numbering.apply(self.labels[name], self.nearest)
                notes += self._soft(name, classes)
                fitted = self._fitted(name, classes)
                notes += self._notes(name, given, classes.shape, fitted.shape)
                write_labels(path, fitted, palette)
            return notes

        shares = spread(work, tuple(self.labels), progress=progress)
        notes = [problem for share in shares for problem in share]
        return tuple(sorted(notes, key=lambda problem: problem.path or ""))

    def _soft(self, name: str, classes: Array) -> Iterator[Problem]:
        """A warning where numbers that are no classes have been kept."""
        if not self.numbering.by_colour and (soft := soft_edges(classes)) is not None:
            message = f"{soft}; --nearest gives each to the nearest class beside it"
            yield Problem(message, str(self.labels[name]), severity=Severity.WARNING)

    def _fitted(self, name: str, classes: Array) -> Array:
        image = self.images.get(name)
        if image is None:
            return classes
        stored = read_stored(image)
        if classes.shape == stored.upright:
            return classes
        if classes.shape == stored.size:
            return turned(classes, stored.turn)
        return resized(classes, stored.upright)

    def _notes(
        self, name: str, given: int, old: tuple[int, ...], new: tuple[int, ...]
    ) -> Iterator[Problem]:
        path, warning = str(self.labels[name]), Severity.WARNING
        if given:
            message = f"{given} pixels of blended colours were given to the nearest class"
            yield Problem(message, path, severity=warning)
        if old != new:
            sizes = " to ".join(map(show, (old, new)))
            yield Problem(f"brought from {sizes}, as its image is", path, severity=Severity.NOTE)


def _palette_problems(path: Path) -> Iterator[Problem]:
    """Numbers that a palette leaves without a colour, and those that share one: each is a class of
    its own, and none must become another's."""
    palette = read_palette(path)
    first: dict[Colour, int] = {}
    for number in np.unique(read_labels(path)).tolist():
        if number >= len(palette):
            message = f"holds {number}, and its palette has colours for 0 to {len(palette) - 1}"
            yield Problem(message, str(path))
            continue
        other = first.setdefault(palette[number], number)
        if other != number:
            shown = " ".join(map(str, palette[number]))
            message = f"holds {other} and {number}, and its palette has {shown} for both"
            yield Problem(f"{message}: by colour they would become one class", str(path))


def _copy_rest(folder: Path, place: Path, output: Path, fitting: Mapping[str, Path]) -> None:
    """Images, splits, and the labels that are arrays."""
    for name in IMAGE_FOLDERS:
        if (folder / name).is_dir():
            files = (path for path in (folder / name).rglob("*") if path.is_file())
            for path in files:
                _copy(path, output / "images" / path.relative_to(folder / name))
            break
    for path in place.rglob("*.npy"):
        target = output / "labels" / path.relative_to(place)
        image = fitting.get(path.relative_to(place).with_suffix("").as_posix())
        if image is None:
            _copy(path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary, temporary.open("wb") as file:
                np.save(file, resized(read_labels(path), read_stored(image).upright))
    for lists in reversed(LISTS):
        for path in (folder / lists).glob("*.txt"):
            if path.name != LABEL_MAP:
                _copy(path, output / path.name)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


# Annotations ------------------------------------------------------------------------------------


def _draw(drawings: Drawings, folder: Path, output: Path, progress: Progress) -> Converted:
    """Write the class maps that annotations describe, their images, and the splits."""
    palette = list(specs.voc_palette())
    for number, entry in enumerate(each for each in drawings.legend if each.name != VOID):
        palette[number] = entry.colour or palette[number]

    def work(share: Iterator[str]) -> None:
        for name in share:
            path = output / "labels" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, drawings.draw(name), palette)
            image = drawings.images[name]
            _copy(image, output / "images" / f"{name}{image.suffix}")

    spread(work, tuple(drawings.images), progress=progress)
    for path in folder.glob("*.txt"):
        if path.name != LABEL_MAP:
            _copy(path, output / path.name)
    write_legend(output / LEGEND, drawings.legend)
    return Converted(Rule.DRAWN, drawings.legend, len(drawings.images), drawings.notes)
