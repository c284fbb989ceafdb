"""The verb that shows everything."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fcnproto.cli.common import Verb, echo


@click.command(cls=Verb)
@click.option(
    "-o",
    "--output",
    "folder",
    default="demo",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where all of it goes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def demo(folder: Path, as_json: bool) -> None:
    """Do everything once, on images that are drawn and with weights that come with fcnproto.

    It renders a net, exports it, segments held-out images, scores 50 of them, and prints how good
    it is. Each step prints the command that does the same.
    """
    from fcnproto.runs import demo as demonstration

    done = demonstration.run(folder, lambda command: echo(command, err=True))
    echo(f"look at {done.picture}", err=True)
    echo(json.dumps(done.score.as_json(), indent=2) if as_json else str(done.score))
