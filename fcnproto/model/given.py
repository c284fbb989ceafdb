"""What a user says of a model that it does not say itself: values, or files of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.files import read_lines
from fcnproto.types import Colour
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec
from fcnproto.zoo.legend import ClassesLike, Legend
from fcnproto.zoo.strict import colour

Mean = tuple[float, ...]
"""A number for each channel of an image."""


@dataclass(frozen=True)
class Given:
    """What a user says of a model."""

    dataset: DatasetSpec | None = None
    mean: Mean = ()
    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()


def said(
    dataset: str | None = None,
    mean: Mean | None = None,
    classes: ClassesLike | None = None,
    palette: Sequence[Colour] | str | PathLike[str] | None = None,
) -> Given:
    """What a user says of a model: classes and palette as values, or by files.

    Raises ZooError or FcnprotoError if there is no such dataset, or if a file is not what it is
    said to be: for classes a name in each line, with a colour or without, as `Legend` reads it; for
    the palette a colour in each line as R G B or #rrggbb.
    """
    legend = Legend.given(classes)
    return Given(
        None if dataset is None else specs.dataset(dataset),
        mean or (),
        legend.names,
        tuple(_colours(Path(palette)) if isinstance(palette, str | PathLike) else palette or ())
        or legend.palette,
    )


def _colours(path: Path) -> Iterator[Colour]:
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise FcnprotoError(Problem("it is empty: expected a colour in each line", str(path)))
    for number, line in enumerate(lines, 1):
        text = line.removeprefix("#")
        try:
            if text != line or len(text.replace(",", " ").split()) == 1:
                values = list(bytes.fromhex(text))
            else:
                values = [int(word) for word in text.replace(",", " ").split()]
            yield colour(values)
        except ValueError as error:
            message = f"expected a colour as R G B or #rrggbb, found '{line}'"
            raise FcnprotoError(Problem(message, str(path), number)) from error
