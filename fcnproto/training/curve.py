"""The course of a training as a table (CSV) and as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fcnproto.errors import DataError, Problem
from fcnproto.files import replacing


@dataclass(frozen=True)
class Row:
    """One iteration; a validation comes before the iteration whose number it has."""

    iteration: int
    loss: float | None = None
    smoothed_loss: float | None = None
    loss_per_label: float | None = None
    learning_rate: float | None = None
    images_per_second: float | None = None
    mean_iu: float | None = None


_COLUMNS = [field.name for field in fields(Row)]


class Log:
    """A CSV file that grows by a row at a time; rows of iterations from `start` on are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.rows = [row for row in read(path) if row.iteration < start] if start else []
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(map(_cells, self.rows))

    def add(self, row: Row) -> None:
        """Append a row, at once, so that whoever watches the file sees it."""
        self.rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(_cells(row))


def _cells(row: Row) -> list[str]:
    return ["" if value is None else f"{value:.7g}" for value in asdict(row).values()]


def read(path: Path) -> list[Row]:
    """The rows of such a file, none if there is no file; DataError if it is another's."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    try:
        if header != _COLUMNS:
            raise ValueError
        return [Row(int(each[0]), *(float(v) if v else None for v in each[1:])) for each in lines]
    except (ValueError, TypeError, IndexError) as error:
        message = "is no log of a training: move it away, or give another snapshot_prefix"
        raise DataError(Problem(message, str(path))) from error


# The picture ----------------------------------------------------------------------------------

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (960, 540), 90, 70, 40, 50
_INK, _GRID, _RAW, _SMOOTH, _IU = "#222222", "#e4e4e4", "#c9d7ea", "#1f5fa8", "#c0561b"
_MOST_POINTS = 2000


def draw(rows: Sequence[Row], title: str) -> Image.Image:
    """The loss of each iteration, its running mean, and mean IU where it was measured.

    The loss is that of a label where that is known. Its axis is logarithmic where it spans more
    than a factor of 20.
    """
    picture = Image.new("RGB", _SIZE, "white")
    canvas = ImageDraw.Draw(picture)
    per_label = any(row.loss_per_label is not None for row in rows)
    raw = [
        (row.iteration, value)
        for row in rows
        if (value := row.loss_per_label if per_label else row.loss) is not None
        and math.isfinite(value)
    ]
    measured = [(row.iteration, row.mean_iu) for row in rows if row.mean_iu is not None]
    last = max((row.iteration for row in rows), default=0)
    canvas.text((_SIZE[0] // 2, 20), title, _INK, ImageFont.load_default(16), "mm")
    axis = _Axis.over([value for _, value in raw])
    _frame(canvas, axis, last, "loss per label" if per_label else "loss")
    _line(canvas, _thinned(raw), last, axis, _RAW, 1)
    _line(canvas, _thinned(_smoothed(raw)), last, axis, _SMOOTH, 3)
    if measured:
        share = _Axis(0, 1, False)
        _line(canvas, measured, last, share, _IU, 3)
        for tick in share.ticks():
            place = (_SIZE[0] - _RIGHT + 8, share.y(tick))
            canvas.text(place, f"{tick:g}", _IU, ImageFont.load_default(13), "lm")
        canvas.text((_SIZE[0] - 12, 14), "mean IU", _IU, ImageFont.load_default(14), "rt")
    return picture


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float]) -> _Axis:
        """An axis that shows all values."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        if low > 0 and high > 20 * low:
            rounds = _round_values(low, high)
            return cls(rounds[0], rounds[-1], True)
        step = _round_step(high - min(low, 0.0))
        low, high = math.floor(min(low, 0.0) / step) * step, math.ceil(high / step) * step
        return cls(low, high if high > low else low + 1, False)

    def y(self, value: float) -> float:
        """The height at which a value is drawn."""
        if self.logarithmic:
            spans = math.log10(value / self.low), math.log10(self.high / self.low)
        else:
            spans = value - self.low, self.high - self.low
        return _SIZE[1] - _BOTTOM - spans[0] / spans[1] * (_SIZE[1] - _TOP - _BOTTOM)

    def ticks(self) -> Iterator[float]:
        """Round values on it."""
        if self.logarithmic:
            values = _round_values(self.low, self.high)
            powers = [value for value in values if math.log10(value).is_integer()]
            yield from values if len(values) <= _MOST_TICKS else powers
            return
        step = _round_step(self.high - self.low)
        for number in range(round((self.high - self.low) / step) + 1):
            yield round(self.low + number * step, 12)


_MOST_TICKS = 12


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last up to `low` to the first from `high` on."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [float(f"{part}e{power}") for power in range(first, last + 1) for part in (1, 2, 5)]
    below = max(index for index, value in enumerate(values) if value <= low)
    above = min(index for index, value in enumerate(values) if value >= high)
    return values[below : above + 1]


def _round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides a span into 5 to 10 parts or so."""
    if not span > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * part for part in (0.1, 0.2, 0.5, 1) if span / (power * part) <= 10)


def _x(iteration: float, last: int) -> float:
    return _LEFT + iteration / max(last, 1) * (_SIZE[0] - _LEFT - _RIGHT)


def _frame(canvas: ImageDraw.ImageDraw, axis: _Axis, last: int, label: str) -> None:
    font = ImageFont.load_default(13)
    right, floor = _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM
    for tick in axis.ticks():
        canvas.line((_LEFT, axis.y(tick), right, axis.y(tick)), _GRID)
        canvas.text((_LEFT - 8, axis.y(tick)), f"{tick:g}", _INK, font, "rm")
    step = max(1, round(_round_step(last)))
    for iteration in range(0, last + 1, step):
        x = _x(iteration, last)
        canvas.line((x, floor, x, floor + 5), _INK)
        canvas.text((x, floor + 8), str(iteration), _INK, font, "mt")
    canvas.line((_LEFT, _TOP, _LEFT, floor, right, floor), _INK)
    canvas.text((12, 14), label, _SMOOTH, ImageFont.load_default(14))
    canvas.text((right, _SIZE[1] - 8), "iteration", _INK, font, "rb")


def _line(
    canvas: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    last: int,
    axis: _Axis,
    colour: str,
    width: int,
) -> None:
    places = [(_x(iteration, last), axis.y(value)) for iteration, value in points]
    if len(places) > 1:
        canvas.line(places, colour, width, "curve")
    for x, y in places if len(places) < 40 else ():
        canvas.ellipse((x - width, y - width, x + width, y + width), colour)


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The mean over the last 5 % of the iterations at each."""
    window = max(1, len(points) // 20)
    means, total = [], 0.0
    for index, (iteration, value) in enumerate(points):
        total += value - (points[index - window][1] if index >= window else 0)
        means.append((iteration, total / min(index + 1, window)))
    return means


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """No more points than can be told apart."""
    return points[:: max(1, len(points) // _MOST_POINTS)]
