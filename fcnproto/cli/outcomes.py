"""What `segment` prints, on one machine or many, and images that belong to those it is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from fcnproto.cli.common import echo, tell
from fcnproto.errors import Problem, Severity, printable
from fcnproto.model.metadata import DEPTH, HHA

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera
    from fcnproto.runtime.segment_files import Reading, Segmented

Row = Mapping[str, Any]
"""An image that is done: `image`, `overlay`, and by score blob `labels` and `shares`."""


def row_of(done: Segmented) -> Row:
    """An image's row."""
    return {
        "image": str(done.source.path),
        "labels": {blob: str(path) for blob, path in done.labels.items()},
        "overlay": str(done.overlay),
        "shares": done.shares,
    }


def show(
    outcomes: Iterable[Row | Problem],
    total: int | None,
    as_json: bool,
    out: IO[str] | None = None,
) -> bool:
    """Print what becomes of images, with a bar on a terminal; whether all could be segmented."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    whole = True
    with tqdm(total=total, unit="image", disable=None, file=sys.stderr) as bar:
        for outcome in outcomes:
            bar.clear()
            if not isinstance(outcome, Problem):
                text = json.dumps(outcome, ensure_ascii=False) if as_json else _text(outcome)
                echo(text, file=out)
            else:
                tell([outcome])
            if not isinstance(outcome, Problem) or outcome.severity is Severity.ERROR:
                bar.update()
                whole = whole and not isinstance(outcome, Problem)
            bar.refresh()
    return whole


def _text(row: Row) -> str:
    return "\n".join(
        printable(
            f"{row['labels'][blob]}: "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        )
        for blob, shares in row["shares"].items()
    )


def companions_of(
    kinds: Sequence[str],
    hha: Path | None,
    depth: Path | None,
    camera: Camera | None,
    unit: str | None,
) -> tuple[dict[str, Path], dict[str, Reading]]:
    """The folders of images that a model of such kinds takes besides, and how they are read."""
    readers: dict[str, Reading] = {}
    if depth is not None and hha is None and HHA in kinds and DEPTH not in kinds:
        from fcnproto.datasets.hha import companion

        hha, depth, readers = depth, None, {HHA: companion(camera, unit)}
    elif camera is not None or unit is not None:
        option = "--camera" if unit is None else "--unit"
        raise click.UsageError(f"{option} goes with --depth and a net that takes HHA")
    folders = ((HHA, hha), (DEPTH, depth))
    return {kind: path for kind, path in folders if path is not None}, readers
