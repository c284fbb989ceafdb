"""Annotations as LabelMe, COCO and CVAT write them, read into drawings."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fcnproto.datasets.base import IGNORE
from fcnproto.datasets.drawing import (
    Area,
    Drawing,
    box,
    ellipse,
    points,
    run_lengths,
    unpacked_lengths,
)
from fcnproto.datasets.folder import IMAGE_FOLDERS
from fcnproto.datasets.pictures import IMAGES, read_mask, read_stored
from fcnproto.errors import DataError, Problem, Severity, reason
from fcnproto.types import Array, Colour, show
from fcnproto.words import quoted, some
from fcnproto.zoo import specs
from fcnproto.zoo.legend import VOID, Legend, LegendClass

BACKGROUND = "background"
_GROUNDS = (BACKGROUND, "_background_", "__background__")
_VOIDS = (VOID, "ignore", "_ignore_", "__ignore__")
LARGEST_FILE = 2**30
"""So many bytes a file of annotations has at most."""


@dataclass(frozen=True)
class Drawings:
    """The drawings of a folder with the images that they belong to, by name."""

    drawings: Mapping[str, Drawing]
    images: Mapping[str, Path]
    legend: tuple[LegendClass, ...]
    numbers: Mapping[str, int]
    """The class of each label."""
    ground: int
    """The class of what nobody drew."""
    notes: tuple[Problem, ...]

    def draw(self, name: str) -> Array:
        """The label map of an image, in its size, upright."""
        size = read_stored(self.images[name]).upright
        return self.drawings[name].paint(size, self.numbers, self.ground)


def find_drawings(folder: Path, legend: Legend) -> Drawings | None:
    """What annotations in a folder and below it say; None if there are none.

    Classes are those of the legend, else the background and then the annotations' own, in the
    order of COCO's and CVAT's lists, LabelMe's by name. Raises DataError, with all of them, for
    files that cannot be read, images that are not there, and labels that the legend does not name.
    """
    problems: list[Problem] = []
    drawings: list[Drawing] = []
    labels: dict[str, Colour | None] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".json", ".xml") and path.is_file():
            try:
                found = _read(path)
            except DataError as error:
                problems += [Problem(each.message, str(path)) for each in error.problems]
                continue
            drawings += found.drawings
            labels |= {
                label: colour for label, colour in found.labels.items() if label not in labels
            }
    if problems:
        raise DataError(*problems)
    if not drawings:
        return None
    return _joined(folder, drawings, labels, legend)


@dataclass(frozen=True)
class _File:
    """What a file of annotations holds: drawings, and its labels in order with their colours."""

    drawings: Sequence[Drawing] = ()
    labels: Mapping[str, Colour | None] = field(default_factory=dict)


def _joined(
    folder: Path, drawings: Sequence[Drawing], labels: Mapping[str, Colour | None], legend: Legend
) -> Drawings:
    """Drawings with their images and classes. Raises DataError."""
    known = _Images(folder)
    problems: list[Problem] = []
    images: dict[str, Path] = {}
    by_name: dict[str, Drawing] = {}
    for drawing in drawings:
        try:
            name, image = known.find(drawing)
            if name in by_name:
                raise DataError(
                    Problem(f"'{name}' is also in {by_name[name].source.name}", str(drawing.source))
                )
        except DataError as error:
            problems += error.problems
            continue
        images[name], by_name[name] = image, drawing
    used = {area.label for drawing in drawings for area in drawing.areas}
    entries, numbers = _numbered(used, labels, legend)
    unknown = sorted(used - numbers.keys())
    if unknown:
        listed = some(quoted(unknown), 8)
        problems.append(Problem(f"does not name the annotations' {listed}", str(legend.path)))
    if len(entries) > IGNORE:
        message = f"there are {len(entries)} labels, and a label map has room for {IGNORE} classes"
        problems.append(Problem(message, str(folder)))
    if problems:
        raise DataError(*problems)
    first = next(entry.name for entry in entries if entry.name != VOID)
    ground = IGNORE if first in used and first not in _GROUNDS else 0
    notes = list(_skipped(drawings))
    if ground == IGNORE:
        message = f"class 0 is {first}, no background: what nobody drew is {IGNORE}, ignored"
        notes.append(Problem(message, str(legend.path), severity=Severity.WARNING))
    return Drawings(by_name, images, entries, numbers, ground, tuple(notes))


def _numbered(
    used: set[str], labels: Mapping[str, Colour | None], legend: Legend
) -> tuple[tuple[LegendClass, ...], dict[str, int]]:
    """The classes of labels: as the legend has them, or the background and then the labels."""
    if legend.names:
        entries = legend.entries
    else:
        ordered = [label for label in labels if label not in (*_GROUNDS, *_VOIDS)]
        palette = specs.voc_palette()
        entries = (
            LegendClass(BACKGROUND, (0, 0, 0)),
            *(
                LegendClass(label, labels[label] or palette[min(number, IGNORE)])
                for number, label in enumerate(ordered, 1)
            ),
        )
    classes = [entry.name for entry in entries if entry.name != VOID]
    numbers = {name: number for number, name in enumerate(classes)}
    for label in used - numbers.keys():
        if label in _GROUNDS and classes[0] in _GROUNDS:
            numbers[label] = 0
        elif label in _VOIDS:
            numbers[label] = IGNORE
    return entries, numbers


def _skipped(drawings: Sequence[Drawing]) -> Iterator[Problem]:
    for drawing in drawings:
        if drawing.skipped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in drawing.skipped.items())
            message = f"what has no area is left out of '{drawing.image}': {kinds}"
            yield Problem(message, str(drawing.source), severity=Severity.WARNING)


class _Images:
    """The images in a folder, found by whatever path annotations have for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in IMAGES and not path.name.startswith(".")
        )
        self._places = {path.relative_to(folder).as_posix(): path for path in self._files}

    def find(self, drawing: Drawing) -> tuple[str, Path]:
        """The name and file of a drawing's image. Raises DataError."""
        path = self._file(drawing)
        size = read_stored(path).upright
        if drawing.size is not None and drawing.size != size:
            drawn, there = map(show, (drawing.size, size))
            message = f"is drawn over {drawn} pixels, and the image {path} is {there}"
            raise DataError(Problem(message, str(drawing.source)))
        place = path.relative_to(self._folder)
        if place.parts[0] in IMAGE_FOLDERS:
            place = place.relative_to(place.parts[0])
        return place.with_suffix("").as_posix(), path

    def _file(self, drawing: Drawing) -> Path:
        parts = [part for part in drawing.image.replace("\\", "/").split("/") if part != ""]
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for place in ("", *(f"{name}/" for name in IMAGE_FOLDERS)):
                if place + tail in self._places:
                    return self._places[place + tail]
        same = [path for path in self._files if parts and path.name == parts[-1]]
        if len(same) == 1:
            return same[0]
        many = f"there are {len(same)} images" if same else "there is no image"
        raise DataError(Problem(f"{many} '{drawing.image}' in the folder", str(drawing.source)))


# Files ------------------------------------------------------------------------------------------


def _read(path: Path) -> _File:
    """The drawings in a file; none if it holds something else. Raises DataError."""
    if path.stat().st_size > LARGEST_FILE:
        raise DataError("is larger than any file of annotations")
    content = path.read_bytes()
    faults = _Faults()
    found = _File()
    with faults.of():
        found = _read_xml(path, content) if path.suffix.lower() == ".xml" else _json(path, content)
    faults.settle(_MOST_FAULTS)
    return found


_MOST_FAULTS = 20


class _Faults:
    """What is wrong with the parts of a file, which are all read before it is said."""

    def __init__(self) -> None:
        self._told: list[str] = []

    @contextmanager
    def of(self, part: str = "") -> Iterator[None]:
        """Within the block, what is wrong is that of a part."""
        start = f"{part}: " if part else ""
        try:
            yield
        except DataError as error:
            self._told += [start + problem.message for problem in error.problems]
        except (ValueError, RecursionError, ElementTree.ParseError) as error:
            self._told.append(f"{start}cannot be read: {reason(error)}")
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            # LookupError is that of an XML in an encoding that is none, too.
            lacking = "it has no " if isinstance(error, KeyError) else ""
            self._told.append(f"{start}is not as annotations are: {lacking}{reason(error)}")

    def settle(self, most: int | None = None) -> None:
        """Raise DataError with all of it, or with the first of it and how much more there is."""
        if self._told:
            rest = len(self._told[most:]) if most is not None else 0
            raise DataError(*self._told[:most], *[f"and {rest} more like these"] * (rest > 0))


def _json(path: Path, content: bytes) -> _File:
    value = json.loads(content)
    if isinstance(value, dict) and isinstance(value.get("shapes"), list):
        return _labelme(path, value)
    if isinstance(value, dict) and isinstance(value.get("annotations"), list) and "images" in value:
        return _coco(path, value)
    return _File()


def _read_xml(path: Path, content: bytes) -> _File:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DataError("declares a document type of its own, which annotations never do")
    root = ElementTree.fromstring(content)
    return _cvat(path, root) if root.tag == "annotations" else _File()


def _label(value: object) -> str:
    """A label on one line, as classes.txt has it. Raises DataError for none."""
    label = " ".join(str(value).split())
    if not label or not label.isprintable():
        raise DataError(f"has the label {str(value)!r}: expected a name that can be printed")
    return label


# LabelMe ----------------------------------------------------------------------------------------

_NO_AREA = ("point", "points", "line", "linestrip", "polyline", "cuboid", "skeleton", "tag")


def _labelme(path: Path, value: dict[str, Any]) -> _File:
    """One image; shapes are polygons, rectangles, circles and masks, the later over the earlier."""
    areas: list[Area] = []
    skipped: Counter[str] = Counter()
    faults = _Faults()
    for number, shape in enumerate(value["shapes"]):
        with faults.of(f"shape {number}"):
            kind = shape.get("shape_type") or "polygon"
            if kind in _NO_AREA:
                skipped[kind] += 1
            else:
                areas.append(_labelme_area(kind, shape))
    faults.settle()
    size = (value.get("imageHeight"), value.get("imageWidth"))
    known = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    image = str(value.get("imagePath") or path.with_suffix(".jpg").name)
    drawing = Drawing(path, image, known, tuple(areas), skipped)
    return _File([drawing], dict.fromkeys(sorted({area.label for area in areas})))


def _labelme_area(kind: str, shape: dict[str, Any]) -> Area:
    label, corners = _label(shape["label"]), points(shape["points"])
    if kind == "mask":
        mask = read_mask(base64.b64decode(shape["mask"], validate=True))
        (left, top), _ = corners
        return Area(label, mask=mask, corner=(round(top), round(left)))
    if kind == "polygon":
        return Area(label, (corners,))
    if kind == "rectangle":
        return Area(label, (_between(*corners),))
    if kind == "circle":
        (x, y), rim = corners
        radius = math.dist((x, y), rim)
        return Area(label, (ellipse(x, y, radius, radius),))
    raise DataError(f"is of the kind '{kind}', which is not known")


def _between(one: tuple[float, float], other: tuple[float, float]) -> Any:
    return box(one[0], one[1], other[0], other[1])


# COCO -------------------------------------------------------------------------------------------


def _coco(path: Path, value: dict[str, Any]) -> _File:
    """Polygons and run lengths of many images; smaller areas lie over larger ones."""
    categories = sorted(value.get("categories", ()), key=lambda each: int(each["id"]))
    names = {each["id"]: _label(each["name"]) for each in categories}
    images = {each["id"]: each for each in value["images"]}
    areas: dict[Any, list[Area]] = {key: [] for key in images}
    skipped: dict[Any, Counter[str]] = {key: Counter() for key in images}
    faults = _Faults()
    for number, each in enumerate(value["annotations"]):
        with faults.of(f"annotation {number}"):
            place = each["image_id"]
            if "segments_info" in each:
                raise DataError("is panoptic: COCO's panopticapi makes label maps of it")
            if place not in images or each.get("category_id") not in names:
                raise DataError("is of an image or a category that is not listed")
            if each.get("segmentation"):
                areas[place].append(_coco_area(each, names[each["category_id"]], images[place]))
            else:
                skipped[place]["box without an outline"] += 1
    drawings = []
    for number, (key, image) in enumerate(images.items()):
        with faults.of(f"image {number}"):
            size = int(image["height"]), int(image["width"])
            drawn = tuple(areas[key])
            drawings.append(Drawing(path, str(image["file_name"]), size, drawn, skipped[key]))
    faults.settle()
    return _File(drawings, dict.fromkeys(names.values()))


def _coco_area(each: dict[str, Any], label: str, image: dict[str, Any]) -> Area:
    drawn, order = each["segmentation"], -float(each.get("area") or 0)
    if isinstance(drawn, dict):
        size = int(image["height"]), int(image["width"])
        return Area(label, mask=_coco_mask(drawn, size), order=order)
    return Area(label, tuple(points(polygon) for polygon in drawn), order=order)


def _coco_mask(drawn: dict[str, Any], size: tuple[int, int]) -> Array:
    """A mask of run lengths, which go down the columns."""
    height, width = (int(each) for each in drawn["size"])
    if (height, width) != size:
        found, expected = (f"{each[0]}×{each[1]}" for each in ((height, width), size))
        raise DataError(f"has a mask of {found} for an image of {expected}")
    counts = drawn["counts"]
    lengths = unpacked_lengths(counts) if isinstance(counts, str) else [int(c) for c in counts]
    return run_lengths(lengths, height * width).reshape((height, width), order="F")


# CVAT -------------------------------------------------------------------------------------------


def _cvat(path: Path, root: ElementTree.Element) -> _File:
    """CVAT for images 1.1: polygons, boxes, ellipses and masks; those of larger z_order on top."""
    labels: dict[str, Colour | None] = {}
    for each in root.iterfind("meta//labels/label"):
        labels[_label(each.findtext("name", ""))] = _colour(each.findtext("color", ""))
    if root.find("track") is not None:
        raise DataError("holds tracks of a video: export as 'CVAT for images'")
    drawings, faults = [], _Faults()
    for number, image in enumerate(root.iterfind("image")):
        title = f"image {number}"
        areas: list[Area] = []
        skipped: Counter[str] = Counter()
        for place, each in enumerate(image):
            if each.tag in _NO_AREA:
                skipped[each.tag] += 1
                continue
            with faults.of(f"{title}, shape {place}"):
                areas.append(_cvat_area(each))
        with faults.of(title):
            size = int(image.attrib["height"]), int(image.attrib["width"])
            drawings.append(Drawing(path, image.attrib["name"], size, tuple(areas), skipped))
    faults.settle()
    labels |= {a.label: None for d in drawings for a in d.areas if a.label not in labels}
    return _File(drawings, labels)


def _cvat_area(each: ElementTree.Element) -> Area:
    found = each.attrib
    label, order = _label(found["label"]), float(found.get("z_order", 0))
    turn = float(found.get("rotation", 0))

    def number(*keys: str) -> list[float]:
        return [float(found[key]) for key in keys]

    if each.tag == "polygon":
        pairs = [pair.split(",") for pair in found["points"].split(";")]
        return Area(label, (points(pairs),), order=order)
    if each.tag == "box":
        left, top, right, bottom = number("xtl", "ytl", "xbr", "ybr")
        return Area(label, (box(left, top, right, bottom, turn),), order=order)
    if each.tag == "ellipse":
        x, y, across, down = number("cx", "cy", "rx", "ry")
        return Area(label, (ellipse(x, y, across, down, turn),), order=order)
    if each.tag == "mask":
        column, row, width, height = (int(found[key]) for key in ("left", "top", "width", "height"))
        lengths = [int(part) for part in found["rle"].split(",")]
        mask = run_lengths(lengths, height * width).reshape(height, width)
        return Area(label, mask=mask, corner=(row, column), order=order)
    raise DataError(f"is of the kind '{each.tag}', which is not known")


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = binascii.unhexlify(text.removeprefix("#"))
    except (binascii.Error, ValueError):
        return None
    return red, green, blue
