"""What is written about a run: a card that says what it came from and how good it is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fcnproto.datasets.measures import Score
from fcnproto.training.curve import LogRow
from fcnproto.version import __version__
from fcnproto.zoo.kinds import RecipeSpec


@dataclass(frozen=True)
class Card:
    """What there is to say of a run besides its measures."""

    data: Path
    images: tuple[int, int]
    """Of train and of val."""
    net: str
    recipe: RecipeSpec
    batch: int
    """How many images make a step."""
    start: str
    """What it started from, in words."""
    command: str


def text(card: Card, score: Score, rows: Sequence[LogRow]) -> str:
    """The card as Markdown; measures are those of the exported model on all of val."""
    recipe = card.recipe
    measured = [row for row in rows if row.mean_iu is not None]
    best = max(measured, key=lambda row: row.mean_iu or 0.0, default=None)
    when = "" if best is None else f", the best of {len(measured)} measured, at {best.iteration}"
    lines = [
        f"# {card.net}",
        "",
        f"- data: {card.data}, {card.images[0]} images to train on, {card.images[1]} to measure on",
        f"- classes: {', '.join(score.classes)}",
        f"- start: {card.start}",
        f"- recipe: {recipe.name} ({recipe.type}, base_lr {recipe.base_lr:g}, {recipe.lr_policy},"
        f" {card.batch} images a step, augmentation {recipe.augment}, {recipe.max_iter}"
        f" iterations{when})",
        f"- command: `{card.command}`",
        f"- versions: fcnproto {__version__}, PyTorch {torch.__version__}, Python"
        f" {platform.python_version()}",
        "",
        "## Measures",
        "",
        "Of model.onnx, on the images of val. The best iteration was chosen by these images too, so"
        " that images which nobody has seen may do a little worse.",
        "",
        "| mean IU | pixel accuracy | mean accuracy | frequency weighted IU |",
        "|---|---|---|---|",
        f"| {score.mean_iu:.4f} | {score.pixel_accuracy:.4f} | {score.mean_accuracy:.4f}"
        f" | {score.frequency_weighted_iu:.4f} |",
        "",
        "| class | IU | accuracy | pixels |",
        "|---|---|---|---|",
    ]
    measures = zip(score.classes, score.ius, score.accuracies, score.pixels, strict=True)
    for name, iu, accuracy, pixels in measures:
        shown = name.replace("|", "\\|")
        lines.append(f"| {shown} | {iu:.4f} | {accuracy:.4f} | {pixels} |")
    lines += ["", "![loss and mean IU](curves.png)", "", "![samples](samples.png)", ""]
    return "\n".join([*lines, "![confusion](confusion.png)", ""])
