"""The verbs that look at nets: summary, draw, explain, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fcnproto.api.net import Net, load_net
from fcnproto.cli.arguments import (
    FILE,
    NET,
    WEIGHTS,
    Function,
    Pixel,
    Size,
    dataset_option,
    state_options,
)
from fcnproto.cli.common import (
    Verb,
    Verbs,
    check_output,
    echo,
    output_option,
    tell,
    write_output,
)
from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.insight import draw as drawing
from fcnproto.insight import summary as summarizing

if TYPE_CHECKING:
    from fcnproto.runtime.images import ImageSource


def _net_options(function: Function) -> Function:
    """NET, and what it is built for."""
    options = (
        click.argument("net", type=NET),
        click.option("--size", type=Size(), help="Of images; by default the net's own."),
        state_options,
    )
    for option in reversed(options):
        function = option(function)
    return function


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _loaded(
    net: str, size: tuple[int, int] | None, phase: str, level: int, stages: tuple[str, ...]
) -> Net:
    return load_net(net, phase=phase, level=level, stages=stages, size=size)


@click.command(cls=Verb)
@_net_options
@_json_option
@click.option("--markdown", is_flag=True, help="Print a table of Markdown.")
def summary(as_json: bool, markdown: bool, **net: Any) -> None:
    """Print each layer's shape, parameters, multiply-adds, memory and receptive field.

    The shape in H and W, the image's height and width, stands where it is short. Stride, field and
    offset are the receptive field's in pixels of the image: how far the next pixel's lies, how
    large it is, and where that of the first pixel begins.
    """
    found = _loaded(**net).summary()
    if as_json:
        echo(json.dumps(summarizing.as_json(found), indent=2))
    else:
        echo(summarizing.table(found, markdown=markdown), nl=False)


@click.command(cls=Verb)
@_net_options
@output_option("the picture")
def draw(output: str | None, force: bool, **net: Any) -> None:
    """Draw a net.

    FILE's ending says how: .dot, or through Graphviz .svg, .png, .pdf, and .html for a page to look
    around in, which needs neither network nor server.
    """
    if output is None:
        raise click.UsageError("say where the picture goes: -o FILE")
    check_output(output, force)
    suffix = drawing.suffix_of(output)
    if suffix not in drawing.FORMATS:
        raise click.BadParameter(
            f"'{output}' should end in one of {', '.join(drawing.FORMATS)}", param_hint="--output"
        )
    write_output(output, _loaded(**net).draw().content(suffix), force)


@click.group(cls=Verbs)
def explain() -> None:
    """Say why an offset is what it is, what a pad is for, what a pixel sees, what blobs hold."""


@explain.command("crop", cls=Verb)
@_net_options
@click.argument("blob", required=False)
@_json_option
@click.pass_context
def explain_crop(ctx: click.Context, /, blob: str | None, as_json: bool, **net: Any) -> None:
    """Say how the offset of each Crop of NET, or of the one that makes BLOB, comes about."""
    found = _loaded(**net).explain_crop(blob)
    if as_json:
        echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    elif found.accounts:
        echo(str(found))
    tell(found.problems)
    if found.problems:
        ctx.exit(1)


@explain.command("pad", cls=Verb)
@_net_options
@_json_option
def explain_pad(as_json: bool, **net: Any) -> None:
    """Say which image sizes the pad of NET's first layer lets survive, and what it costs."""
    found = _loaded(**net).explain_pad()
    echo(json.dumps(found.as_json(), indent=2) if as_json else str(found))


def _one_image(path: str) -> ImageSource:
    from fcnproto.runtime import images  # numpy is heavy

    sources = images.find([path])
    if len(sources) != 1:
        raise FcnprotoError(Problem(f"expected one image, found {len(sources)}", path))
    return sources[0]


@explain.command("field", cls=Verb)
@_net_options
@click.argument("blob")
@click.option("--pixel", type=Pixel(), help="Whose field; by default the middle one's.")
@click.option(
    "--image", type=FILE, metavar="FILE", help="To draw the field on; NET then has its size."
)
@output_option("a picture of the field (PNG)")
@_json_option
def explain_field(
    blob: str,
    pixel: tuple[int, int] | None,
    image: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
    **net: Any,
) -> None:
    """Say which pixels of the image a pixel of BLOB is computed from, and draw them."""
    check_output(output, force, binary=True)
    if image is not None and output is None:
        raise click.UsageError("--image needs -o, where the picture goes")
    photo = None if image is None else _one_image(image)
    found = _loaded(**net).explain_field(blob, pixel, photo)
    if output is not None:
        from fcnproto.runtime.images import png_of

        write_output(output, png_of(found.picture()), force)
    if as_json:
        echo(json.dumps(found.as_json(), indent=2))
    elif output != "-":
        echo(str(found))


@explain.command("maps", cls=Verb)
@click.argument("net", type=NET)
@click.option("--weights", type=WEIGHTS, required=True, metavar="W", help="NET's weights.")
@click.option(
    "--image", type=FILE, required=True, metavar="FILE", help="What NET computes the maps of."
)
@click.option(
    "--blob",
    "blobs",
    multiple=True,
    metavar="B",
    help="A blob to show, several if repeated; by default all.",
)
@dataset_option
@output_option("a page (.html) or a picture (.png)")
@_json_option
def explain_maps(
    net: str,
    weights: str,
    image: str,
    blobs: tuple[str, ...],
    dataset: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show each step of NET as maps over an image: what every blob holds, and where it lies.

    A page has up to eight maps of each blob, a picture five; of many those that vary most.
    """
    from fcnproto.api.seen import explain_maps as explained

    check_output(output, force)
    suffix = Path(output).suffix.lower() if output is not None else ""
    if output is not None and suffix not in (".html", ".png"):
        raise click.BadParameter(f"'{output}' should end in .html or .png", param_hint="--output")
    found = explained(load_net(net), weights, _one_image(image), blobs, dataset=dataset)
    if output is not None:
        write_output(output, found.content(suffix), force)
        echo(f"wrote {output}", err=True)
    if as_json:
        echo(json.dumps(found.as_json(), indent=2))
    else:
        echo(str(found))


@click.command(cls=Verb)
@_net_options
@click.argument("weights", type=WEIGHTS)
@click.argument("image", required=False, type=FILE)
@_json_option
@click.pass_context
def doctor(
    ctx: click.Context, /, weights: str, image: str | None, as_json: bool, **net: Any
) -> None:
    """Look for what is wrong with WEIGHTS in NET and, with IMAGE, with what they make of it.

    Exits with 1 if something is.
    """
    from fcnproto.api.doctor import doctor as examine
    from fcnproto.insight import doctor as examining
    from fcnproto.runtime import images

    photos = [] if image is None else images.find([image])
    findings = examine(_loaded(**net), weights, *photos)
    if as_json:
        echo(json.dumps(list(map(examining.as_json, findings)), indent=2))
    else:
        echo(str(findings))
    if any(finding.severity is not Severity.NOTE for finding in findings):
        ctx.exit(1)
