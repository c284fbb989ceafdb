"""Text files with several things in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fcnproto.errors import DataError, Problem
from fcnproto.files import read_lines


def read_columns(path: Path, columns: int) -> list[tuple[str, ...]]:
    """Lines of so many columns, which tabs or spaces part; the first may have spaces in it.

    Empty lines are passed over. Raises DataError, with all of them, for lines with fewer columns,
    and for lines with more of which it cannot be told where a name ends.
    """
    found: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for number, line in enumerate(read_lines(path), 1):
        parts = next(_parted(line, columns), None)
        if parts is not None:
            found.append(parts)
        elif line:
            message = f"expected {columns} columns, found {len(line.split())}"
            problems.append(Problem(message, str(path), number))
    if problems:
        raise DataError(*problems[:_MOST])
    if not found:
        raise DataError(Problem("names nothing: expected something in each line", str(path)))
    return found


_MOST = 20


def _parted(line: str, columns: int) -> Iterator[tuple[str, ...]]:
    """Ways to part a line, the likeliest first."""
    for parts in (line.split("\t"), line.split(), line.rsplit(maxsplit=columns - 1)):
        stripped = tuple(part.strip() for part in parts)
        if len(stripped) == columns and all(stripped):
            yield stripped
