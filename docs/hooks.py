"""What the site has that nobody types: a page for each verb, and the table of layer types.

MkDocs calls the `on_…` functions; the tests call the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

VERB_PAGE = re.compile(r"cli/(?P<verb>[a-z-]+)\.md")
LAYER_TABLE = "<!-- layer table -->"


def verbs() -> dict[str, click.Command]:
    """The commands of `fcnproto`, by name."""
    from fcnproto.cli import main

    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def usage(name: str, command: click.Command) -> str:
    """What click says of a verb and of the verbs below it, in Markdown."""
    return "\n\n".join(["## Usage", *_usage(f"fcnproto {name}", command)]) + "\n"


def _usage(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path, max_content_width=100)
    yield f"```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield f"### {path} {name}"
            yield from _usage(f"{path} {name}", below)


def layer_table() -> str:
    """Every layer type: whose it is, and what can be done with it."""
    from fcnproto.layers import layer_types
    from fcnproto.layers.base import Layer

    lines = ["| type | of | in ONNX | in training | |", "|---|---|---|---|---|"]
    for name, layer in sorted(layer_types().items()):
        cells = [
            f"`{name}`",
            layer.fork or "Caffe",
            _mark(layer.onnx is not Layer.onnx),
            _mark(layer.torch is not Layer.torch),
            (layer.__doc__ or "").splitlines()[0].replace("|", r"\|"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mark(holds: bool) -> str:
    return "yes" if holds else "–"


def on_config(config: Any) -> None:
    """Put a page for each verb into the navigation."""
    (section,) = (entry["Commands"] for entry in config.nav if "Commands" in entry)
    section += [{name: f"cli/{name}.md"} for name in verbs()]


def on_files(files: Any, config: Any) -> None:
    """Make a page for each verb that has no examples in docs/cli."""
    from mkdocs.structure.files import File

    for name in verbs():
        path = f"cli/{name}.md"
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, content=f"# {name}\n"))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add what click says to a verb's page, and the layers to theirs."""
    if match := VERB_PAGE.fullmatch(page.file.src_uri):
        return f"{markdown}\n{usage(match['verb'], verbs()[match['verb']])}"
    if page.file.src_uri == "cli.md":
        return re.sub(r"^\| `([a-z-]+)` \|", r"| [`\1`](cli/\1.md) |", markdown, flags=re.M)
    return markdown.replace(LAYER_TABLE, layer_table())
