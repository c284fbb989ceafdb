"""The verbs of a dataset: check, convert, split, weights, hha."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fcnproto.cli.arguments import CameraType, classes_option, unit_option
from fcnproto.cli.common import Verb, Verbs, check_output, echo, tell, write_output
from fcnproto.cli.score import progress
from fcnproto.errors import Severity, condensed
from fcnproto.words import columns, counted

if TYPE_CHECKING:
    from fcnproto.datasets.balance import Balance
    from fcnproto.datasets.hha import Camera

_FOLDER = click.Path(path_type=Path)


@click.group(cls=Verbs)
def dataset() -> None:
    """Check, mend, split and weigh a folder of images and label maps."""


@dataset.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@classes_option("by default as classes.txt or the dataset says")
@click.pass_context
def check(ctx: click.Context, folder: Path, classes: int | Path | None) -> None:
    """Read all label maps in DIR, and print every problem with what would mend it.

    DIR has images and label maps (images/ or JPEGImages/; labels/, masks/, annotations/ or
    SegmentationClass/), or is a dataset as it is distributed, or holds label maps only.
    """
    from fcnproto.datasets.check import check as check_dataset

    with progress("label") as advance:
        report = check_dataset(folder, classes, progress=advance)
    for problem in condensed(report.problems):
        echo(str(problem))
    used = [label for label in report.used if label != 255]
    ignored = report.pixels[255] / max(1, report.pixels.sum())
    shown = f"{used[0]} to {used[-1]}" if used else "none"
    errors = sum(problem.severity is Severity.ERROR for problem in report.problems)
    warnings = len(report.problems) - errors
    echo(
        f"{folder}: {report.labels} label maps, classes {shown} ({len(used)}), {ignored:.1%} of"
        f" pixels ignored; {counted(errors, 'error')}, {counted(warnings, 'warning')}",
        err=True,
    )
    if errors:
        ctx.exit(1)


@dataset.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=_FOLDER,
    help="Where class maps go; not DIR itself.",
)
@click.option(
    "--nearest", is_flag=True, help="Give a colour of no class to the nearest class beside it."
)
@click.option(
    "--resize", is_flag=True, help="Bring label maps to the size of their images, without mixing."
)
def convert(folder: Path, output: Path, nearest: bool, resize: bool) -> None:
    """Turn the label pictures or annotations in DIR into class maps, with images and splits.

    Pictures are RGB masks, palettes of any order, and masks of 0 and 255. classes.txt in DIR says
    which colour is which class, one line NAME R G B for each, and void for what is ignored.
    Annotations are polygons and masks that LabelMe (.json), COCO (.json) or CVAT (.xml) wrote;
    what nobody drew is class 0, the background.
    """
    from fcnproto.datasets.convert import convert as convert_dataset

    with progress("file") as advance:
        done = convert_dataset(folder, output, nearest=nearest, resize=resize, progress=advance)
    tell(done.notes)
    echo(f"{output}: {done.labels} class maps, {done.rule.value}", err=True)
    number = 0
    for entry in done.legend:
        title = "255" if entry.name == "void" else str(number)
        number += entry.name != "void"
        colour = " ".join(map(str, entry.colour or ()))
        echo(f"  {title:>3} {entry.name} {colour}".rstrip(), err=True)


@dataset.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=_FOLDER,
    help="Where train.txt and val.txt go.",
)
@click.option(
    "--val",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Of the images, to measure on.",
)
@click.option("--seed", type=int, default=1337, show_default=True)
@click.option("--force", is_flag=True, help="Overwrite the lists if they exist.")
def split(folder: Path, output: Path, val: float, seed: int, force: bool) -> None:
    """Share the images of DIR out to train.txt and val.txt, each class in proportion.

    The same seed gives the same lists. Nothing is written into DIR unless -o names it.
    """
    from fcnproto.datasets.split import split_folder

    with progress("label") as advance:
        found = split_folder(folder, val, seed, progress=advance)
    train, measured = found.write(output, force=force)
    echo(f"{train}: {counted(len(found.train), 'image')}", err=True)
    echo(f"{measured}: {counted(len(found.val), 'image')}", err=True)


@dataset.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--split", metavar="S", help="Count the label maps of this split; all by default.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write the matrix for InfogainLoss, a binary BlobProto."
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def weights(
    folder: Path, split: str | None, output: str | None, force: bool, as_json: bool
) -> None:
    """Print a weight for each class of DIR, by median frequency: rare classes count more.

    FILE is what infogain_loss_param's source names: a matrix with the weights on its diagonal.
    """
    from fcnproto.datasets.balance import balance_folder

    check_output(output, force, binary=True)
    with progress("label") as advance:
        found, problems = balance_folder(folder, split, progress=advance)
    tell(problems)
    if output != "-":
        echo(_as_json(found) if as_json else _as_table(found))
    if output is not None:
        write_output(output, found.blob(), force)


def _rows(found: Balance) -> list[tuple[str, int, float, float]]:
    columns = found.pixels.tolist(), found.shares.tolist(), found.weights.tolist()
    return list(zip(found.names, *columns, strict=True))


def _as_table(found: Balance) -> str:
    rows = [
        (name, str(pixels), f"{share:.2%}", f"{weight:.4f}")
        for name, pixels, share, weight in _rows(found)
    ]
    return "\n".join(columns([("class", "pixels", "share", "weight"), *rows], right={1, 2, 3}))


def _as_json(found: Balance) -> str:
    rows = [
        {"class": number, "name": name, "pixels": pixels, "share": share, "weight": weight}
        for number, (name, pixels, share, weight) in enumerate(_rows(found))
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


@dataset.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "-o", "--output", required=True, metavar="DIR", type=_FOLDER, help="Where the PNGs go."
)
@click.option("--camera", type=CameraType(), help="In pixels; NYUDv2's by default.")
@unit_option
@click.option("--force", is_flag=True, help="Overwrite PNGs that exist.")
@click.pass_context
def hha(
    ctx: click.Context,
    folder: Path,
    output: Path,
    camera: Camera | None,
    unit: str | None,
    force: bool,
) -> None:
    """Turn the depth maps in DIR into HHA, which nets of NYUDv2 take, as NAME.png.

    Depth maps are PNG or TIFF of 16 bits in millimetres, or TIFF or .npy of floats in metres; 0 is
    a hole. Red is horizontal disparity, green the height above ground in centimetres, blue the
    angle with gravity. Each line has the direction of gravity and the floor that were found.
    """
    from fcnproto.datasets.hha import encode_folder

    failed = False
    with progress("depth map") as advance:
        for outcome in encode_folder(folder, output, camera, unit, force=force):
            tell(outcome.problems)
            if outcome.found is None:
                failed = True
            else:
                down = " ".join(f"{each:.3f}" for each in outcome.found.gravity)
                echo(
                    f"{outcome.path}: down {down}, floor {outcome.found.floor:.2f} m under the"
                    f" camera, {outcome.found.holes:.1%} holes"
                )
            advance()
    if failed:
        ctx.exit(1)
