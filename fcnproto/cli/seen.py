"""The verbs that show the paper: heatmap, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fcnproto.cli.arguments import (
    FILE,
    NET,
    WEIGHTS,
    MeanType,
    Size,
    classes_option,
    dataset_option,
)
from fcnproto.cli.common import (
    Verb,
    check_output,
    device_options,
    echo,
    tell,
    write_output,
)
from fcnproto.cli.score import progress
from fcnproto.errors import FcnprotoError, Problem

if TYPE_CHECKING:
    from fcnproto.model.given import Mean


@click.command(cls=Verb)
@click.argument("arguments", metavar="IMAGE…", nargs=-1, required=True)
@click.option(
    "--net",
    type=NET,
    required=True,
    metavar="N",
    help="A classifier, or its convolutional form.",
)
@click.option("--weights", type=WEIGHTS, required=True, metavar="W", help="Its weights.")
@click.option(
    "--class",
    "shown",
    multiple=True,
    metavar="C",
    help="A class to show, by number or name, several if repeated; by default the three with the"
    " highest values.",
)
@click.option("--size", type=Size(), help="Make each image this large first.")
@click.option(
    "--windows",
    is_flag=True,
    help="Compute the same window by window, and compare numbers and time.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    default=".",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the pictures go, <name>.heatmap.png; by default here.",
)
@device_options
@dataset_option
@click.option(
    "--mean", type=MeanType(), help="What is subtracted from each image; by default ImageNet's."
)
@classes_option("by default as the dataset says")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image.")
@click.pass_context
def heatmap(
    ctx: click.Context,
    arguments: tuple[str, ...],
    net: str,
    weights: str,
    shown: tuple[str, ...],
    size: tuple[int, int] | None,
    windows: bool,
    folder: Path,
    device: str,
    fast: bool,
    no_cache: bool,
    dataset: str | None,
    mean: Mean | None,
    classes: int | Path | None,
    as_json: bool,
) -> None:
    """Draw what a classifier, made convolutional, makes of every place of each IMAGE.

    One pass gives a score for each class at each place: 6×6 of them for CaffeNet on an image of
    384×384. With --windows the classifier is also run on each window alone, one by one and in
    batches, and its maps are drawn below; exits with 1 if the numbers do not agree. IMAGE is as for
    segment.
    """
    from fcnproto.api.seen import slide, sliding
    from fcnproto.files import replacing
    from fcnproto.insight.verify import On
    from fcnproto.insight.windows import check_windows
    from fcnproto.insight.windows import picture as two_rows
    from fcnproto.runtime import images

    sources = images.find(arguments)
    _check_names([source.stem for source in sources], [str(each.path) for each in sources])
    on = On(device, fast, not no_cache)
    slider = sliding(net, weights, dataset=dataset, mean=mean, classes=classes, on=on)
    echo(f"device: {slider.eye.session.device}", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for source in sources:
        try:
            found = slide(slider, source, size)
            chosen = found.chosen(shown)
            checked = None
            if windows:
                with progress("window") as advance:
                    checked = check_windows(slider, found, advance)
        except FcnprotoError as error:
            tell(error.problems)
            failed = True
            continue
        path = folder / f"{source.stem}.heatmap.png"
        with replacing(path) as temporary:
            drawn = found.picture(chosen) if checked is None else two_rows(found, checked, chosen)
            drawn.save(temporary, "PNG")
        if as_json:
            extra = {} if checked is None else {"windows": checked.as_json()}
            echo(json.dumps({**found.as_json(chosen), "picture": str(path), **extra}))
        else:
            echo("\n".join(found.lines(chosen)))
            if checked is not None:
                echo(str(checked))
            echo(f"wrote {path}", err=True)
        failed = failed or (checked is not None and not checked.agrees)
    if failed:
        ctx.exit(1)


def _check_names(stems: list[str], paths: list[str]) -> None:
    """FcnprotoError where pictures of two images would be one file."""
    first: dict[str, str] = {}
    problems = []
    for stem, path in zip(stems, paths, strict=True):
        other = first.setdefault(stem, path)
        if other != path:
            problems.append(Problem(f"its picture would be that of {other}", path))
    if problems:
        raise FcnprotoError(*problems)


@click.command(cls=Verb)
@click.argument("arguments", metavar="MODEL MODEL… IMAGE…", nargs=-1, required=True)
@click.option(
    "--truth",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Label maps that are the truth, by the images' names; or a file, for one image.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    default="compare.png",
    show_default=True,
    metavar="FILE",
    help="Where the picture goes, as PNG.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def compare(
    ctx: click.Context,
    arguments: tuple[str, ...],
    truth: Path | None,
    output: str,
    force: bool,
    device: str,
    fast: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Draw the label maps of several models side by side, and print the score of each.

    MODEL is an ONNX file, or a net of the zoo whose weights come with fcnproto or were fetched;
    IMAGE is as for segment. With --truth the truth stands beside, and all images are scored; the
    first six are drawn.
    """
    from fcnproto.api import seen
    from fcnproto.insight.verify import On
    from fcnproto.runtime import images
    from fcnproto.runtime.images import png_of

    models = [argument for argument in arguments if seen.is_model(argument)]
    others = [argument for argument in arguments if not seen.is_model(argument)]
    if len(models) < 2:
        found = f"found {models[0]}" if models else "found none"
        raise click.UsageError(
            f"at least two models are compared, {found}: name ONNX files, or nets of the zoo"
        )
    if not others:
        raise click.UsageError("name images to compare the models on")
    check_output(output, force or output == "compare.png", binary=True)
    sources = images.find(others)
    on = On(device, fast, not no_cache)
    segmenters = [seen.segmenter(model, on) for model in models]
    echo(f"device: {segmenters[0].device}", err=True)
    done = seen.compare(segmenters, sources, truth=truth)
    tell(done.problems)
    write_output(output, png_of(done.picture()), force or output == "compare.png")
    if as_json:
        echo(json.dumps(done.as_json(), indent=2))
    elif output != "-":
        echo(str(done))
    if output != "-":
        echo(f"wrote {output}", err=True)
    if done.problems:
        ctx.exit(1)
