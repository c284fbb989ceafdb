"""What a user says of a model that it does not say itself: values, or files of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index
from os import PathLike
from pathlib import Path
from reprlib import repr

from fcnproto.errors import FcnprotoError, Problem
from fcnproto.files import read_lines
from fcnproto.types import Colour
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import DatasetSpec
from fcnproto.zoo.legend import ClassesLike, Legend, colour_of
from fcnproto.zoo.strict import colour

Mean = tuple[float, ...]
"""A number for each channel of an image."""
LARGEST_SCALE = 16
"""By so much images may be enlarged to be run at several scales."""


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
        () if mean is None else _mean(mean),
        legend.names,
        _palette(palette) or legend.palette,
    )


def _mean(mean: Mean) -> Mean:
    try:
        found = () if isinstance(mean, str) else tuple(map(float, mean))
    except (TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise FcnprotoError(f"a mean is a number for each channel, B, G, R; found {repr(mean)}")
    return found


def _palette(palette: Sequence[Colour] | str | PathLike[str] | None) -> tuple[Colour, ...]:
    if palette is None:
        return ()
    if isinstance(palette, str | PathLike):
        return tuple(_colours(Path(palette)))
    try:
        return tuple(colour([index(part) for part in each]) for each in palette)
    except (TypeError, ValueError):
        message = "a palette is a colour for each class, three numbers up to 255"
        raise FcnprotoError(f"{message}; found {repr(palette)}") from None


def _colours(path: Path) -> Iterator[Colour]:
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise FcnprotoError(Problem("it is empty: expected a colour in each line", str(path)))
    for number, line in enumerate(lines, 1):
        try:
            yield colour_of(line)
        except ValueError as error:
            message = f"expected a colour as R G B or #rrggbb, found '{line}'"
            raise FcnprotoError(Problem(message, str(path), number)) from error
