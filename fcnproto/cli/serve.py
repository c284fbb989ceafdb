"""The verb that puts a model on a page."""

from __future__ import annotations

from pathlib import Path

import click

from fcnproto.cli.arguments import about_options
from fcnproto.cli.common import Verb, device_options, opened, tell
from fcnproto.errors import FcnprotoError
from fcnproto.model.given import Mean


@click.command(cls=Verb)
@click.option("--model", required=True, metavar="M", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to serve at; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 is any that is free.",
)
@device_options
@about_options
def serve(
    model: Path,
    host: str,
    port: int,
    device: str,
    fast: bool,
    no_cache: bool,
    dataset: str | None,
    mean: Mean | None,
    classes: int | Path | None,
    palette: Path | None,
) -> None:
    """Serve a page on which to drop an image, and an HTTP interface, until Ctrl-C.

    The page shows the label map over the image. POST /segment gives label PNG, overlay or JSON;
    /docs.html says how.
    """
    try:
        from fcnproto.serving.server import serve as run
    except ModuleNotFoundError as error:
        raise FcnprotoError(
            f"serve needs {error.name}: pip install 'fcnproto[serve]' brings it"
        ) from error
    from fcnproto.runtime.segmenter import Segmenter

    segmenter = Segmenter(
        opened(model, device, fast, no_cache),
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
    )
    tell(segmenter.warnings)
    run(segmenter, host, port, lambda url: click.echo(f"{url} — Ctrl-C ends it", err=True))
