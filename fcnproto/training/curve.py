"""The course of a training as a table (CSV) and as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path

from PIL import Image

from fcnproto.datasets.figures import figure, rendered
from fcnproto.errors import DataError, FcnprotoError, Problem, reason
from fcnproto.files import replacing


@dataclass(frozen=True)
class LogRow:
    """One iteration; a validation comes before the iteration whose number it has."""

    iteration: int
    loss: float | None = None
    smoothed_loss: float | None = None
    loss_per_label: float | None = None
    learning_rate: float | None = None
    images_per_second: float | None = None
    mean_iu: float | None = None


_COLUMNS = [field.name for field in fields(LogRow)]


class Log:
    """A CSV file that grows by a row at a time; rows of iterations from `start` on are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.rows = [row for row in read(path) if row.iteration < start] if start else []
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(map(_cells, self.rows))

    def add(self, row: LogRow) -> None:
        """Append a row, at once, so that whoever watches the file sees it.

        Raises FcnprotoError where it cannot be written.
        """
        self.rows.append(row)
        try:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(_cells(row))
        except OSError as error:
            message = f"cannot be written: {reason(error)}"
            raise FcnprotoError(Problem(message, str(self.path))) from error


def _cells(row: LogRow) -> list[str]:
    return ["" if value is None else f"{value:.7g}" for value in asdict(row).values()]


def read(path: Path) -> list[LogRow]:
    """The rows of such a file, none if there is no file; DataError if it is another's."""
    if not path.exists():
        return []
    text = path.read_text("utf-8", errors="replace")
    # A line without its end is one that a full disk or the end of a process cut short.
    whole = text[: text.rfind("\n") + 1]
    header, *lines = list(csv.reader(whole.splitlines())) or [[]]
    try:
        if header != _COLUMNS:
            raise ValueError
        return [
            LogRow(int(each[0]), *(float(v) if v else None for v in each[1:])) for each in lines
        ]
    except (ValueError, TypeError, IndexError) as error:
        message = "is no log of a training: move it away, or give another snapshot_prefix"
        raise DataError(Problem(message, str(path))) from error


# The picture ----------------------------------------------------------------------------------

_RAW, _SMOOTH, _IU = "#c9d7ea", "#1f5fa8", "#c0561b"
_WIDE = 20
"""The axis of the loss is logarithmic where its values span more than such a factor."""


def draw(rows: Sequence[LogRow], title: str) -> Image.Image:
    """The loss of each iteration, its running mean, and mean IU where it was measured.

    The loss is that of a label where that is known. Raises FcnprotoError if matplotlib is not
    installed.
    """
    per_label = any(row.loss_per_label is not None for row in rows)
    losses = [
        (row.iteration, value)
        for row in rows
        if (value := row.loss_per_label if per_label else row.loss) is not None
        and math.isfinite(value)
    ]
    measured = [(row.iteration, row.mean_iu) for row in rows if row.mean_iu is not None]
    drawn = figure(960, 540)
    axes = drawn.subplots()
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("iteration")
    axes.set_ylabel("loss per label" if per_label else "loss", color=_SMOOTH)
    axes.grid(alpha=0.3)
    if losses:
        iterations, values = zip(*losses, strict=True)
        axes.plot(iterations, values, color=_RAW, linewidth=1)
        axes.plot(iterations, _smoothed(values), color=_SMOOTH, linewidth=2.5)
        if 0 < _WIDE * min(values) < max(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=min(0.0, *values))
    if measured:
        shares = axes.twinx()
        shares.plot(*zip(*measured, strict=True), color=_IU, linewidth=2.5, marker="o")
        shares.set_ylim(0, 1)
        shares.set_ylabel("mean IU", color=_IU)
    return rendered(drawn)


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean over the last 5 % of the iterations at each."""
    window = max(1, len(values) // 20)
    sums = [0.0, *accumulate(values)]
    return [
        (sums[end] - sums[max(end - window, 0)]) / min(end, window) for end in range(1, len(sums))
    ]
