"""The verbs of weights: convert-weights, convolutionize, fetch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from fcnproto import weights
from fcnproto.api.net import load_net
from fcnproto.api.weights import convert
from fcnproto.api.weights import convolutionize as make_convolutional
from fcnproto.cli.arguments import FETCHED, FILE, NET, WEIGHTS
from fcnproto.cli.common import Verb, check_output, echo, tell
from fcnproto.errors import Problem, WeightsError
from fcnproto.surgery.fit import LayerFit
from fcnproto.surgery.naming import Layout
from fcnproto.weights import fetch as fetching

DEFAULT_NET = "net.prototxt"


@click.command(cls=Verb)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…", type=WEIGHTS)
@click.option(
    "--net",
    type=NET,
    default=DEFAULT_NET,
    show_default=True,
    metavar="NET",
    help="The net that the weights are for.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="Where they go, in the format that its name says; by default NET's stem and .npz.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option(
    "--layout",
    type=click.Choice([layout.value for layout in Layout]),
    help="How the sources' arrays lie; found where that is certain.",
)
@click.option(
    "--input-order",
    type=click.Choice(["rgb", "bgr"]),
    help="The channels that the sources expect; by default the layout's own.",
)
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD=NEW",
    help="Another name for a layer or a key of the sources; a * in both stands for the same text.",
)
@click.option(
    "--suffix",
    "suffixes",
    multiple=True,
    metavar="S",
    help="What is added to the layers' names; one for each source.",
)
@click.option(
    "--classes-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Lines NEW OLD: which class of NET an old one becomes, counted from 0.",
)
@click.option("--strict", is_flag=True, help="Refuse what is dropped or left at its filler.")
def convert_weights(
    sources: tuple[str, ...],
    net: str,
    output: str | None,
    force: bool,
    layout: str | None,
    input_order: str | None,
    renames: tuple[str, ...],
    suffixes: tuple[str, ...],
    classes_map: Path | None,
    strict: bool,
) -> None:
    """Fit a classifier's or an older stage's weights to NET, and report what became of each."""
    if suffixes and len(suffixes) != len(sources):
        raise click.UsageError(
            f"--suffix is given {len(suffixes)} times for {len(sources)} sources"
        )
    if output is None and net == "-":
        raise click.UsageError("with NET from standard input, -o must say where the weights go")
    if output is not None:
        check_output(output, force)
        weights.check_name(output)
    target = load_net(net)
    fitted = convert(
        list(sources),
        target,
        layout=layout,
        input_order=input_order,
        renames=renames,
        suffixes=suffixes,
        classes_map=classes_map,
    )
    _report(fitted.report, fitted.notes)
    if strict and fitted.refused:
        raise WeightsError(*fitted.refused)
    written = fitted.weights.save(output or f"{Path(net).stem}.npz")
    echo(f"wrote {written}", err=True)


def _report(report: Iterable[LayerFit], notes: Iterable[Problem]) -> None:
    for entry in report:
        echo(str(entry), err=True)
    tell(notes)


@click.command(cls=Verb)
@click.argument("net", type=NET)
@click.argument("source", metavar="WEIGHTS", type=WEIGHTS)
@click.option(
    "-o",
    "--output",
    "stem",
    type=FILE,
    required=True,
    metavar="STEM",
    help="STEM.prototxt and STEM.npz are written.",
)
@click.option("--force", is_flag=True, help="Overwrite them if they exist.")
def convolutionize(net: str, source: str, stem: str, force: bool) -> None:
    """Make a classifier fully convolutional: prototxt and weights."""
    paths = [f"{stem}.prototxt", f"{stem}.npz"]
    for path in paths:
        check_output(path, force)
    result = make_convolutional(load_net(net), source)
    _report(result.report, result.notes)
    result.weights.save(paths[1])
    result.net.save(paths[0])
    echo(f"wrote {' and '.join(paths)}", err=True)


@click.command(cls=Verb)
@click.argument("net", type=FETCHED)
@click.option("--url", metavar="URL", help="A mirror: the folder that holds the file, or the file.")
def fetch(net: str, url: str | None) -> None:
    """Fetch a net's published weights into the cache, and print where they lie."""
    fetched = fetching.fetch(net, url)
    tell(fetched.notes)
    echo(f"licence: {fetched.licence}", err=True)
    echo(str(fetched.path))
