"""A model run on tiles in two stages: maps are put together between them, band by band."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fcnproto.model.tiles import Kept, Span, Stages, Tiling, first_stage, of_map, second_stage
from fcnproto.runtime.session import Session, Value
from fcnproto.types import Array

Cut = Callable[[Span, Span], Mapping[str, Array]]
"""What the model takes of a part [first, last) of the image's rows and columns."""

Run = Callable[[Session, Mapping[str, Array], Sequence[str]], dict[str, Array]]
"""Runs a session on its inputs, and gives those outputs."""

SECOND = 2
"""How many tiles of the first stage lie along one of the second, which takes less memory."""


@dataclass(frozen=True)
class Staged:
    """The two stages of a model as sessions, and how they are tiled."""

    first: Session
    second: Session
    tiling: Tiling
    run: Run

    @classmethod
    def of(cls, session: Session, tiling: Tiling, stages: Stages, run: Run) -> Staged:
        """A model in its stages; FcnprotoError if it has no such blobs."""
        first, second = session.split([kept.blob for kept in stages.kept])
        return cls(first, second, tiling, run)

    def tiles(
        self, cut: Cut, height: int, width: int, tile: int, wanted: Sequence[str]
    ) -> Iterator[tuple[Span, Span, dict[str, Array]]]:
        """The wanted outputs of the second stage's tiles, each for [first, last) of the image.

        No more of the kept maps is held than a row of tiles is run on.
        """
        assert self.tiling.stages is not None
        kept = self.tiling.stages.kept
        maps = {each.blob: _Band() for each in kept}
        bands = self._bands(cut, height, width, tile)
        across = list(second_stage(width, SECOND * tile, self.tiling, 1))
        for rows in second_stage(height, SECOND * tile, self.tiling, 0):
            parts = {each.blob: of_map(each, 0, rows, height) for each in kept}
            while any(maps[blob].lacks(end) for blob, (_, end) in parts.items()):
                band = next(bands, None)
                if band is None:
                    break
                for blob, array in band.items():
                    maps[blob].append(array)
            for blob, (start, _) in parts.items():
                maps[blob].forget(start)
            for columns in across:
                feeds = {
                    each.blob: maps[each.blob].part(
                        parts[each.blob], of_map(each, 1, columns, width)
                    )
                    for each in kept
                }
                count = len(next(iter(feeds.values())))
                for value in self.second.inputs:
                    if value.name not in feeds:
                        feeds[value.name] = _of_size(value, count, rows, columns)
                yield rows, columns, self.run(self.second, feeds, wanted)

    def _bands(self, cut: Cut, height: int, width: int, tile: int) -> Iterator[dict[str, Array]]:
        """The kept maps in bands of whole rows, from above: what rows of the first's tiles give."""
        assert self.tiling.stages is not None
        kept = self.tiling.stages.kept
        names = [each.blob for each in kept]
        across = list(first_stage(width, tile, self.tiling, 1))
        down = list(first_stage(height, tile, self.tiling, 0))
        for rows in down:
            parts: dict[str, list[Array]] = {name: [] for name in names}
            for columns in across:
                outputs = self.run(self.first, cut(rows, columns), names)
                for each in kept:
                    place = (
                        _own(each, 0, rows, is_last=rows is down[-1]),
                        _own(each, 1, columns, is_last=columns is across[-1]),
                    )
                    parts[each.blob].append(outputs[each.blob][(..., *place)].copy())
            yield {name: np.concatenate(arrays, axis=3) for name, arrays in parts.items()}


@dataclass
class _Band:
    """Rows of a map from `start` on."""

    start: int = 0
    rows: list[Array] = field(default_factory=list)

    @property
    def end(self) -> int:
        rows: int = sum(array.shape[2] for array in self.rows)
        return self.start + rows

    def lacks(self, end: int | None) -> bool:
        """Whether rows before `end` are not there yet; None is the map's end."""
        return end is None or self.end < end

    def append(self, array: Array) -> None:
        self.rows.append(array)

    def forget(self, start: int) -> None:
        """Let go of what lies above a row."""
        while self.rows and self.start + self.rows[0].shape[2] <= start:
            self.start += self.rows.pop(0).shape[2]

    def part(self, rows: tuple[int, int | None], columns: tuple[int, int | None]) -> Array:
        """A rectangle of the map, in one piece."""
        start, end = rows
        found: list[Array] = []
        above = self.start
        for array in self.rows:
            first = max(start - above, 0)
            last = array.shape[2] if end is None else max(end - above, 0)
            found.append(array[:, :, first:last, slice(*columns)])
            above += array.shape[2]
        return np.concatenate(found, axis=2)


def _own(kept: Kept, axis: int, span: Span, *, is_last: bool) -> slice:
    """Where the pixels of a kept map that a first stage's tile is to give lie in what it gives."""
    stride = kept.stride[axis]
    end = None if is_last else (span.end - span.first) // stride
    return slice((span.start - span.first) // stride, end)


def _of_size(value: Value, count: int, rows: Span, columns: Span) -> Array:
    """An image of which only the size is read."""
    size = rows.last - rows.first, columns.last - columns.first
    if value.dtype == np.uint8:
        return np.zeros((count, *size, 3), np.uint8)
    channels = value.sizes[1]
    assert isinstance(channels, int)
    return np.zeros((count, channels, *size), value.dtype)
