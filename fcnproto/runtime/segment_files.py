"""Images from files to label maps in files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from types import MappingProxyType

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.model.metadata import COLOR
from fcnproto.parallel import ahead, cores
from fcnproto.runtime.images import ImageError, ImageSource
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.segmenter import ImageLike, Scene, Segmenter
from fcnproto.types import Array


@dataclass(frozen=True)
class Segmented:
    """An image that is done: its label maps' files, its overlay, the share of each class found."""

    source: ImageSource
    labels: Mapping[str, Path]
    overlay: Path
    shares: Mapping[str, Mapping[str, float]]
    """For each label map the classes found, the largest first, with their shares of the pixels."""


Outcome = Segmented | Problem

Reading = Callable[[ImageSource], tuple[Array, Sequence[Problem]]]
"""Reads an image H×W×3 uint8 from a file, with warnings. Raises ImageError."""


def segment(
    segmenter: Segmenter,
    sources: Iterable[ImageSource],
    folder: Path,
    companions: Mapping[str, Path],
    readers: Mapping[str, Reading] = MappingProxyType({}),
) -> Iterator[Outcome]:
    """Segment images into a folder, `<name>.png` and `<name>.overlay.jpg` for each, in their order.

    Further label maps of a model are `<name>.<blob>.png`. `companions` has the folder of each kind
    of image (hha, depth) that are found by an image's name, which all of a model's may be, and
    `readers` how a kind is read where its files are no pictures of it. Results are written while
    the model runs on the next images. An image that cannot be segmented gives a Problem, and the
    rest go on; a warning goes with its image. Raises FcnprotoError if results cannot be written.
    """
    work = _Work(folder, Scenes.of(segmenter, companions, readers))
    on_the_way: deque[ImageSource] = deque()

    def scenes() -> Iterator[Scene | FcnprotoError]:
        for source in sources:
            on_the_way.append(source)
            yield work.scene(source)

    def results() -> Iterator[tuple[ImageSource, Segmentation]]:
        for result in segmenter.stream(scenes()):
            yield on_the_way.popleft(), result

    for outcomes in ahead(work.write, results(), workers=cores(), most=2 * cores()):
        yield from outcomes


@dataclass
class Scenes:
    """Images with those that belong to them: each of another kind, called the same, in a folder."""

    named: str | None
    """The kind of image that is named itself, if not all are found in folders by its name."""
    companions: Mapping[str, Path]
    readers: Mapping[str, Reading]
    _notes: dict[Path, list[Problem]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        segmenter: Segmenter,
        companions: Mapping[str, Path],
        readers: Mapping[str, Reading] = MappingProxyType({}),
    ) -> Scenes:
        """Raises FcnprotoError unless each input of the model has its images."""
        return cls(named_kind(segmenter.kinds, companions, segmenter.path), companions, readers)

    def scene(self, source: ImageSource) -> Scene:
        """An image with those that belong to it; ImageError if one is not there."""
        others = {kind: self._other(kind, source) for kind in self.companions}
        return others if self.named is None else {self.named: source, **others}

    def notes(self, source: ImageSource) -> Sequence[Problem]:
        """What was said of an image while those that belong to it were read; said once."""
        return self._notes.pop(source.path, ())

    def _other(self, kind: str, source: ImageSource) -> ImageLike:
        file = _companion(self.companions[kind], source)
        if kind not in self.readers:
            return file
        image, notes = self.readers[kind](file)
        self._notes.setdefault(source.path, []).extend(notes)
        return image


def named_kind(
    kinds: Sequence[str], companions: Mapping[str, Path], path: str | None
) -> str | None:
    """The kind of image that is named itself, if not all are found in folders by its name.

    Raises FcnprotoError unless each input of the model has its images.
    """
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
    if problems:
        raise FcnprotoError(*problems)
    return named[0] if named else None


@dataclass
class _Work:
    folder: Path
    scenes: Scenes
    written: dict[str, Path] = field(default_factory=dict)

    def scene(self, source: ImageSource) -> Scene | FcnprotoError:
        """An image with those that belong to it, or why it cannot be segmented."""
        try:
            self._claim(source)
            return self.scenes.scene(source)
        except ImageError as error:
            return error

    def write(self, done: tuple[ImageSource, Segmentation]) -> list[Outcome]:
        """Write a result; its warnings come first."""
        source, result = done
        if result.error is not None:
            return list(result.error.problems)
        *labels, overlay = result.save(self.folder / f"{source.stem}.png")
        files = dict(zip(result.label_maps, labels, strict=True))
        return [
            *self.scenes.notes(source),
            *result.notes,
            Segmented(source, files, overlay, result.all_shares),
        ]

    def _claim(self, source: ImageSource) -> None:
        """ImageError if a result would replace another's, or the image itself."""
        other = self.written.setdefault(source.stem, source.path)
        target = self.folder / f"{source.stem}.png"
        if other != source.path:
            raise ImageError(Problem(claimed(target, other), str(source.path)))
        if target.exists() and source.path.exists() and target.samefile(source.path):
            raise ImageError(Problem(itself(target), str(source.path)))


def claimed(target: object, other: object) -> str:
    """What is said of an image whose result another one has."""
    return f"its result would be {target}, which is that of {other}"


def itself(target: object) -> str:
    """What is said of an image that its own result would replace."""
    return f"its result would be {target}, the image itself: choose another -o DIR"


def _companion(folder: Path, source: ImageSource) -> ImageSource:
    """The file in a folder that belongs to an image: the one that is called the same."""
    named = sorted(path for path in folder.glob(f"{escape(source.stem)}.*") if path.is_file())
    exact = [path for path in named if path.stem == source.stem]
    if not exact:
        raise ImageError(Problem(f"there is no {folder / source.stem}.* for it", str(source.path)))
    return ImageSource(exact[0])
