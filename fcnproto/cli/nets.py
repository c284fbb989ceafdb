"""The verbs of prototxt: list, render, check, diff, upgrade."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from fcnproto.api.zoo import nets
from fcnproto.api.zoo import render as render_net
from fcnproto.cli.arguments import (
    BACKBONE,
    FOLDER,
    NET,
    ZOO_NET,
    Size,
    classes_option,
    dataset_option,
    phase_option,
    state_options,
)
from fcnproto.cli.common import Verb, check_output, echo, output_option, tell, write_output
from fcnproto.errors import Severity
from fcnproto.words import counted

# What the other verbs need is imported where it is needed, so that each starts fast.


@click.command("list", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_names(as_json: bool) -> None:
    """The nets, datasets and backbones that can be named."""
    found = nets()
    echo(json.dumps(asdict(found), indent=2) if as_json else str(found))


@click.command(cls=Verb)
@click.argument("net", type=ZOO_NET)
@phase_option
@click.option("--solver", is_flag=True, help="The solver that trains the net, instead.")
@click.option(
    "--recipe",
    type=click.Choice(["heavy", "batch", "scratch", "finetune"]),
    help="Train as the papers do, by single images (heavy) or by 20 (batch), or by Adam: from"
    " nothing (scratch) or from weights (finetune). By default heavy; on a folder scratch for"
    " small nets, else finetune.",
)
@dataset_option
@click.option(
    "--data-dir",
    type=FOLDER,
    metavar="DIR",
    help="Where the dataset lies; of a folder of your own the classes are read.",
)
@click.option("--backbone", type=BACKBONE, metavar="B", help="By default vgg16; see fcnproto list.")
@classes_option("by default as the dataset says")
@click.option("--pad", type=int, metavar="P", help="How far the first layer pads the image.")
@click.option("--size", type=Size(), help="The input size of the net that infers.")
@output_option("the prototxt")
def render(
    net: str,
    phase: str,
    solver: bool,
    recipe: str | None,
    dataset: str | None,
    data_dir: str | None,
    backbone: str | None,
    classes: int | Path | None,
    pad: int | None,
    size: tuple[int, int] | None,
    output: str | None,
    force: bool,
) -> None:
    """Print a net of the papers as Caffe prototxt.

    NET is a name that `fcnproto list` shows.
    """
    if solver and size is not None:
        raise click.UsageError("--size is for deploy nets; a solver has none")
    check_output(output, force)
    text = render_net(
        net,
        phase=phase,
        solver=solver,
        recipe=recipe,
        dataset=dataset,
        data_dir=data_dir,
        backbone=backbone,
        classes=classes,
        pad=pad,
        size=size,
    )
    write_output(output, text.encode(), force)


@click.command(cls=Verb)
@click.argument("net", metavar="NET|SOLVER", type=NET)
@state_options
@click.option("--size", type=Size(), help="Of images, where the net does not say; else 500x500.")
@click.option("--lenient", is_flag=True, help="Skip unknown fields with a warning.")
@click.pass_context
def check(
    ctx: click.Context,
    net: str,
    phase: str,
    level: int,
    stages: tuple[str, ...],
    size: tuple[int, int] | None,
    lenient: bool,
) -> None:
    """Print every problem of a net or solver at once, with file and line.

    A solver's nets are built as the solver says. Exits with 1 if Caffe would refuse it.
    """
    from fcnproto.api import checks

    problems = checks.check(
        net, phase=phase, level=level, stages=stages, size=size, lenient=lenient
    )
    for problem in problems:
        echo(str(problem))
    counts = Counter(problem.severity for problem in problems)
    summary = [counted(counts[kind], kind.value) for kind in Severity]
    echo(f"{net}: {', '.join(summary)}", err=True)
    if counts[Severity.ERROR]:
        ctx.exit(1)


@click.command(cls=Verb)
@click.argument("first", metavar="A", type=NET)
@click.argument("second", metavar="B", type=NET)
@click.pass_context
def diff(ctx: click.Context, first: str, second: str) -> None:
    """Print what differs in meaning between two nets or solvers, not in spelling.

    Prints nothing and exits with 0 if they mean the same; exits with 1 if they do not.
    """
    from fcnproto.api import checks

    lines = checks.diff(first, second)
    for line in lines:
        echo(line)
    if lines:
        ctx.exit(1)


@click.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@output_option("the upgraded file")
def upgrade(file: Path, output: str | None, force: bool) -> None:
    """Bring an old prototxt, solver or caffemodel (V0, V1, old fields) to the current form.

    What Caffe complains of while it upgrades is a warning.
    """
    from fcnproto.net.graph import with_offsets
    from fcnproto.proto.source import upgrade_file

    check_output(output, force)
    upgraded = upgrade_file(file, complete=with_offsets)
    tell(upgraded.problems)
    write_output(output, upgraded.content, force)
