"""The verbs of prototxt: list, render, check, diff, upgrade."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from fcnproto.api.zoo import nets
from fcnproto.api.zoo import render as render_net
from fcnproto.cli.common import Size, Verb, check_output, echo, output_option, tell, write_output
from fcnproto.errors import Severity

# What the other verbs need is imported where it is needed, so that each starts fast.


@click.command("list", cls=Verb)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_names(as_json: bool) -> None:
    """The nets, datasets and backbones that can be named."""
    found = nets()
    echo(json.dumps(asdict(found), indent=2) if as_json else str(found))


@click.command(cls=Verb)
@click.argument("net")
@click.option(
    "--phase",
    type=click.Choice(["deploy", "train", "val"]),
    default="deploy",
    show_default=True,
    help="The net that infers, trains or is evaluated.",
)
@click.option("--solver", is_flag=True, help="The solver that trains the net, instead.")
@click.option(
    "--recipe",
    type=click.Choice(["heavy", "batch", "scratch", "finetune"]),
    help="Train as the papers do, by single images (heavy) or by 20 (batch), or by Adam: from"
    " nothing (scratch) or from weights (finetune). By default heavy; on a folder scratch for"
    " small nets, else finetune.",
)
@click.option("--dataset", metavar="D", help="What it is trained on; see fcnproto list.")
@click.option("--data-dir", metavar="DIR", help="Where the dataset lies.")
@click.option("--backbone", metavar="B", help="By default vgg16; see fcnproto list.")
@click.option("--classes", type=int, metavar="N", help="By default as many as the dataset has.")
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
    classes: int | None,
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
@click.argument("net", metavar="NET|SOLVER")
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    default="TEST",
    show_default=True,
    help="What a net is built for; a solver's nets are built as the solver says.",
)
@click.option("--level", type=int, default=0, show_default=True)
@click.option("--stage", "stages", metavar="S", multiple=True, help="May be given several times.")
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

    Exits with 1 if Caffe would refuse it.
    """
    from fcnproto.api import checks

    problems = checks.check(
        net, phase=phase, level=level, stages=stages, size=size, lenient=lenient
    )
    for problem in problems:
        echo(str(problem))
    counts = Counter(problem.severity for problem in problems)
    summary = [f"{counts[kind]} {kind.value}{'s' * (counts[kind] != 1)}" for kind in Severity]
    echo(f"{net}: {', '.join(summary)}", err=True)
    if counts[Severity.ERROR]:
        ctx.exit(1)


@click.command(cls=Verb)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
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
