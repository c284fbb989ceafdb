"""The verbs of weights: convert-weights, convolutionize, fetch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from fcnproto import weights
from fcnproto.cli.common import Verb, check_output, load_net, tell, write_output
from fcnproto.errors import Problem, WeightsError
from fcnproto.net.graph import as_net, build
from fcnproto.net.shapes import infer
from fcnproto.proto import printer
from fcnproto.surgery import fit, layouts, naming, targets
from fcnproto.surgery.classes_map import read_classes_map
from fcnproto.surgery.convolutionize import convolutionize as convolutionize_net
from fcnproto.surgery.fit import Entry, WeightSource
from fcnproto.surgery.naming import Layout, Rename
from fcnproto.weights import fetch as fetching

DEFAULT_NET = "net.prototxt"


@click.command(cls=Verb)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option(
    "--net",
    default=DEFAULT_NET,
    show_default=True,
    metavar="NET",
    help="The net that the weights are for.",
)
@click.option(
    "-o",
    "--output",
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
    graph = build(load_net(net))
    shapes = infer(graph)
    classes = None if classes_map is None else read_classes_map(classes_map)
    destinations = targets.destinations(graph, shapes)
    parsed = [Rename.parse(text) for text in renames]
    given = list(zip(sources, suffixes or [""] * len(sources), strict=True))
    names = (net, graph.name)
    converted = _converted(given, parsed, destinations, names, layout, input_order)
    fitted = fit.fit(converted, graph, shapes, classes)
    _report(fitted.report, fitted.notes)
    if strict and (problems := fit.strict_problems(fitted.report)):
        raise WeightsError(*problems)
    tell(weights.not_finite(fitted.weights))
    target = Path(output or f"{Path(net).stem}.npz")
    weights.write(target, fitted.weights, as_net(graph))
    click.echo(f"wrote {target}", err=True)


def _converted(
    given: Sequence[tuple[str, str]],
    renames: Sequence[Rename],
    destinations: dict[str, layouts.Destination],
    net_names: Sequence[str],
    layout: str | None,
    input_order: str | None,
) -> list[WeightSource]:
    """The sources, each given by its name and its suffix, in Caffe's layout."""
    named = []
    for source, suffix in given:
        loaded = weights.load(fetching.locate(source))
        tell(loaded.notes)
        named.append(naming.name(loaded, renames, suffix))
    naming.check_used(renames, named)
    sources = []
    for (source, suffix), file in zip(given, named, strict=True):
        converted = layouts.to_caffe(
            file,
            destinations,
            layouts.image_mean(net_names, suffix),
            None if layout is None else Layout(layout),
            input_order,
        )
        tell(converted.notes)
        sources.append(fit.source_of(converted, source, file.origins, suffix))
    return sources


def _report(report: Iterable[Entry], notes: Iterable[Problem]) -> None:
    for entry in report:
        click.echo(str(entry), err=True)
    tell(notes)


@click.command(cls=Verb)
@click.argument("net")
@click.argument("source", metavar="WEIGHTS")
@click.option(
    "-o",
    "--output",
    "stem",
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
    loaded = fetching.locate(source)
    result = convolutionize_net(build(load_net(net)), [WeightSource(source, weights.read(loaded))])
    _report(result.report, result.notes)
    tell(weights.not_finite(result.weights))
    weights.write(paths[1], result.weights)
    write_output(paths[0], printer.format(result.net).encode(), force)
    click.echo(f"wrote {' and '.join(paths)}", err=True)


@click.command(cls=Verb)
@click.argument("net")
@click.option("--url", metavar="URL", help="A mirror: the folder that holds the file, or the file.")
def fetch(net: str, url: str | None) -> None:
    """Fetch a net's published weights into the cache, and print where they lie."""
    fetched = fetching.fetch(net, url)
    tell(fetched.notes)
    click.echo(fetched.path)
