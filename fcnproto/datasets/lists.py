"""Text files with one thing in each line."""

from __future__ import annotations

from pathlib import Path

from fcnproto.errors import DataError, Problem


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, without the space around them; DataError if it is none."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(Problem(f"cannot be read: {reason}", str(path))) from error
