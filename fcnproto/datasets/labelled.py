"""The label maps of a folder, with the images, splits and classes that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fcnproto.datasets.base import IGNORE, FileReader, located
from fcnproto.datasets.folder import (
    IMAGE_FOLDERS,
    FolderSegDataLayer,
    Layout,
    drawn,
    no_layout,
    pair,
)
from fcnproto.datasets.pictures import (
    INDEXED,
    LABELS,
    UNFIT,
    LabelPicture,
    by_name,
    read_label_picture,
    read_mode,
    unfit,
)
from fcnproto.errors import DataError, Problem, Severity
from fcnproto.files import read_lines
from fcnproto.words import quoted, some
from fcnproto.zoo.legend import ClassesLike, Legend

SPLITS = ("train", "val", "trainval", "test")
"""What split files are usually called."""


@dataclass(frozen=True)
class LabelledSet:
    """Label maps with the images that they belong to, where there are images."""

    images: Mapping[str, Path] | None
    labels: Mapping[str, Path]
    read: Callable[[Path], LabelPicture]
    classes: int | None
    """How many there are, if that is known."""
    names: tuple[str, ...] = ()
    """What they are called, if that is known."""
    splits: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The names of the label maps in each split of a plain folder."""
    plain: bool = False
    """Whether it is a plain folder, where images are turned upright and palettes are anyone's."""


def labelled_sets(
    folder: Path, classes: ClassesLike | None, lists: Path | None, problems: list[Problem]
) -> Iterator[LabelledSet]:
    """The pairs in a folder, of each of its label maps; problems that keep one from being read."""
    found = located(folder)
    if found is None:
        if any((folder / name).is_dir() for name in IMAGE_FOLDERS):
            raise DataError(no_layout(folder))  # what is in there are images
        labels = by_name(folder, LABELS)
        if (not labels or any(map(_has_shapes, labels.values()))) and (mended := drawn(folder)):
            raise DataError(Problem(f"there are no label maps, {mended}", str(folder)))
        if not labels:
            lossy = [unfit(path) for path in by_name(folder, UNFIT).values()]
            message = "there are no label maps: expected images/ and labels/, or .png or .npy files"
            raise DataError(*(lossy or [Problem(message, str(folder))]))
        check_all_are_labels(folder, labels)
        yield LabelledSet(None, labels, read_label_picture, *_known(folder, classes))
        return
    kind, directories = found
    if kind is FolderSegDataLayer:
        yield _plain(folder, classes, lists, problems)
    else:
        yield from _published(kind, directories, problems)


def _has_shapes(path: Path) -> bool:
    """Whether what LabelMe drew lies beside a picture; other programs put other JSON there."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return False
    with beside.open("rb") as file:
        return b'"shapes"' in file.read(_START)


_START = 2**16
"""In so many bytes the shapes have begun; the image, which may be in there, comes after them."""


def check_all_are_labels(folder: Path, labels: Mapping[str, Path]) -> None:
    """DataError if there are folders of pictures in colours beside others of numbers: those are
    images, and nothing tells which is which but the folders' names."""
    first: dict[str, Path] = {}
    for path in labels.values():
        below = path.relative_to(folder).parts
        if len(below) > 1 and path.suffix.lower() != ".npy":
            first.setdefault(below[0], path)
    if len(first) < 2:
        return
    kinds = {name: read_mode(path) in INDEXED for name, path in first.items()}
    if len(set(kinds.values())) > 1:
        numbers, colours = (
            some([f"{name}/" for name, is_numbers in kinds.items() if is_numbers is wanted])
            for wanted in (True, False)
        )
        message = (
            f"{colours} holds pictures in colours and {numbers} label maps: call the folders"
            " images/ and labels/, with the same names in both or pairs IMAGE LABEL in train.txt"
        )
        raise DataError(Problem(message, str(folder)))


def _published(
    kind: type[FileReader], directories: Mapping[str, str], problems: list[Problem]
) -> Iterator[LabelledSet]:
    """Each label map once, though several splits may name it."""
    told: set[str | None] = set()
    given: set[Path] = set()
    for split in kind.splits:
        settings = {**directories, **kind.found_settings(directories), "split": split}
        try:
            reader = kind(settings)
        except DataError as error:
            problems += [each for each in error.problems if each.path not in told]
            told |= {each.path for each in error.problems}
            continue
        for top in reader.label_tops:
            found = _of_reader(reader, top, given)
            given |= set(found.labels.values())
            if found.labels:
                yield found


def _of_reader(reader: FileReader, top: str, given: set[Path]) -> LabelledSet:
    first = next(each for each in reader.tops if each in reader.images)
    names = reader.classes(top)
    labels = {name: reader.file(top, name) for name in reader.names}
    return LabelledSet(
        {name: reader.file(first, name) for name in reader.names},
        {name: path for name, path in labels.items() if path not in given},
        lambda path: LabelPicture(reader.read_label(top, path)),
        len(names),
        names,
    )


def _plain(
    folder: Path, classes: ClassesLike | None, lists: Path | None, problems: list[Problem]
) -> LabelledSet:
    layout = Layout.of(folder)
    assert layout is not None  # its reader was found by it
    images, labels = layout.image_files(), layout.label_files()
    lossy = layout.lossy_files()
    problems += [unfit(path) for name, path in lossy.items() if name not in labels]
    files = layout.lists if lists is None else {p.stem: p for p in sorted(lists.glob("*.txt"))}
    pairs, wrong = _listed(files, images, labels)
    if not pairs:
        message = (
            "there is no split: train.txt and val.txt name images, one in each line;"
            " `fcnproto dataset split` writes them"
        )
        wrong.append(Problem(message, str(folder), severity=Severity.WARNING))
    partner = {label: image for split in pairs.values() for image, label in split.items()}
    by_label = {
        label: images[image] for label in labels if (image := partner.get(label, label)) in images
    }
    paired = {partner.get(label, label) for label in by_label} | lossy.keys()
    mended = None if labels or lossy else drawn(folder)
    if mended is None:
        problems += _alone(images, images.keys() - paired, "label map")
    problems += _alone(labels, labels.keys() - by_label.keys(), "image")
    problems += wrong
    if not labels and not lossy:
        message = f"there are no label maps{', ' + mended if mended else ''}"
        problems.append(Problem(message, str(layout.labels)))
    if len(images) == 1:
        message = "there is one image: nothing is left to measure what it teaches"
        problems.append(Problem(message, str(layout.images), severity=Severity.WARNING))
    problems += _shared(pairs, files)
    splits = {title: frozenset(split.values()) for title, split in pairs.items()}
    return LabelledSet(by_label, labels, read_label_picture, *_known(folder, classes), splits, True)


def _alone(files: Mapping[str, Path], names: set[str], missing: str) -> Iterator[Problem]:
    """Files that nothing goes with."""
    hint = ""
    if len(names) == len(files):
        hint = "; a line of train.txt can name both, IMAGE LABEL, where their names differ"
    for name in sorted(names):
        message = f"there is no {missing} of the name '{name}' to go with it{hint}"
        yield Problem(message, str(files[name]))


def _shared(pairs: Mapping[str, Mapping[str, str]], files: Mapping[str, Path]) -> Iterator[Problem]:
    """A warning for images of val that are in train too.

    Lists that are alike are meant so: a net is tried on what it learns from.
    """
    train, val = (pairs.get(split, {}).keys() for split in ("train", "val"))
    both = sorted(train & val)
    if both and train != val:
        message = (
            f"{some(quoted(both))} in train.txt too: what was learned from is measured, so that the"
            " measures are better than on other images"
        )
        yield Problem(message, str(files["val"]), severity=Severity.WARNING)


def _known(folder: Path, classes: ClassesLike | None) -> tuple[int | None, tuple[str, ...]]:
    """How many classes there are, and their names: as the folder says, and as is given."""
    own, given = Legend.of(folder).names, Legend.given(classes).names
    if len(given) > IGNORE:
        raise DataError(f"there are at most {IGNORE} classes in a label map, found {len(given)}")
    if given and own and len(given) != len(own):
        message = f"names {len(own)} classes, and --classes says {len(given)}"
        raise DataError(Problem(message, str(Legend.of(folder).path)))
    return len(given or own) or None, own if isinstance(classes, int) else given or own


def _listed(
    files: Mapping[str, Path], images: Mapping[str, Path], labels: Mapping[str, Path]
) -> tuple[dict[str, dict[str, str]], list[Problem]]:
    """The label map of each image in each split, and what the splits name that is not there."""
    splits: dict[str, dict[str, str]] = {}
    problems = []
    for title, path in files.items():
        lines = read_lines(path)
        pairs = [pair(line, images, labels) for line in lines]
        # Any other text may lie here too; a split names at least one image.
        if title not in SPLITS and not any(image in images for image, _ in pairs):
            continue
        if not any(lines):
            problems.append(Problem("names no image: expected one in each line", str(path)))
        splits[title] = {image: label for image, label in pairs if image in images}
        for number, (image, label) in enumerate(pairs, 1):
            if lines[number - 1] and image not in images:
                problems.append(Problem(f"there is no image '{image}'", str(path), number))
            elif image != label and label not in labels:
                problems.append(Problem(f"there is no label map '{label}'", str(path), number))
    return splits, problems
