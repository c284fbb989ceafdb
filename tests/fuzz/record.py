"""What runs came to, summed up for each target; the table in docs/fuzzing.md is made of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATH = Path(os.environ.get("FUZZ_RECORD", Path(__file__).parent / "record.tsv"))
PAGE = Path(__file__).parents[2] / "docs" / "fuzzing.md"
_BEGIN, _END = "<!-- table -->", "<!-- end of table -->"
_HEAD = "target\tinputs\tsince\tcpu\tkinds"


@dataclass(frozen=True)
class Row:
    """Of a target: inputs tried, those since it last failed, seconds, kinds of failures."""

    target: str
    inputs: int
    since: int
    cpu: int
    kinds: int


def rows() -> list[Row]:
    """Every target that was ever run."""
    lines = PATH.read_text("utf-8").splitlines()[1:] if PATH.exists() else []
    cells = (line.split("\t") for line in lines)
    return [Row(name, *map(int, numbers)) for name, *numbers in cells]


def add(name: str, inputs: int, since: int, cpu: float, kinds: int) -> None:
    """Add a run to what there is."""
    found = {row.target: row for row in rows()}
    old = found.get(name, Row(name, 0, 0, 0, 0))
    found[name] = Row(
        name,
        old.inputs + inputs,
        old.since + inputs if not kinds else since,
        old.cpu + round(cpu),
        old.kinds + kinds,
    )
    lines = ("\t".join(map(str, vars(row).values())) for row in found.values())
    PATH.write_text("\n".join([_HEAD, *lines, ""]), "utf-8")


def table() -> Iterator[str]:
    """The table of the docs, as Markdown."""
    yield "| target | inputs | since the last failure | processor seconds | kinds found |"
    yield "|---|---:|---:|---:|---:|"
    for row in sorted(rows(), key=lambda row: row.target):
        yield f"| {row.target} | {row.inputs:,} | {row.since:,} | {row.cpu:,} | {row.kinds} |"
    total = [sum(getattr(row, name) for row in rows()) for name in ("inputs", "cpu", "kinds")]
    yield f"| all | {total[0]:,} | | {total[1]:,} | {total[2]} |"


def write_page() -> None:
    """Put the table where the old one stands in the page."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    PAGE.write_text("\n".join([before + _BEGIN, "", *table(), "", _END + after]), "utf-8")


if __name__ == "__main__":
    write_page()
