"""Which class of a net an old one becomes."""

from __future__ import annotations

from pathlib import Path

from fcnproto.errors import Problem, WeightsError, reason


def read_classes_map(path: Path) -> dict[int, int]:
    """A file of lines NEW OLD: which class of the net an old one becomes, both counted from 0.

    Text after # is left out. Raises WeightsError with every line that cannot be read.
    """
    classes: dict[int, int] = {}
    problems: list[Problem] = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(Problem(f"cannot be read: {reason(error)}", str(path))) from error
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not all(map(_is_class, words)):
            problems.append(Problem(f"expected NEW OLD, found '{line.strip()}'", str(path), number))
        elif int(words[0]) in classes:
            problems.append(Problem(f"class {words[0]} is given twice", str(path), number))
        else:
            classes[int(words[0])] = int(words[1])
    if not classes and not problems:
        problems.append(Problem("it maps no class: expected lines NEW OLD", str(path)))
    if problems:
        raise WeightsError(*problems)
    return classes


def _is_class(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10
