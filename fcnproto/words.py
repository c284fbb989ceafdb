"""Lists and tables as people read them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice


def some(things: Collection[object], most: int = 5) -> str:
    """The first things of a list, and how many more there are: a, b and 3 more."""
    shown = ", ".join(str(each) for each in islice(things, most))
    return f"{shown} and {len(things) - most} more" if len(things) > most else shown


def quoted(names: Iterable[object]) -> list[str]:
    """Names in quotation marks."""
    return [f"'{name}'" for name in names]


def counted(number: int, what: str) -> str:
    """A number of things: 1 image, 2 images."""
    return f"{number} {what}{'s' * (number != 1)}"


def columns(
    rows: Sequence[Sequence[str]], right: Collection[int] = (), *, rule: bool = False
) -> list[str]:
    """Rows of cells as lines in columns; those counted in `right` end below each other.

    With a rule a line is drawn below the first row.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if rule:
        rows = [rows[0], ["─" * width for width in widths], *rows[1:]]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
