"""The verbs that serve a model: on a page, in a repository of Triton."""

from __future__ import annotations

from pathlib import Path

import click

from fcnproto.cli.arguments import FOLDER, about_options
from fcnproto.cli.common import (
    Verb,
    device_options,
    echo,
    opened,
    refine_option,
    tell,
    tell_refining,
)
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
@refine_option
@about_options
def serve(
    model: Path,
    host: str,
    port: int,
    device: str,
    fast: bool,
    no_cache: bool,
    refine: str | None,
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
        refine=refine,
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
    )
    tell(segmenter.warnings)
    tell_refining(segmenter)
    run(segmenter, host, port, lambda url: click.echo(f"{url} — Ctrl-C ends it", err=True))


@click.command(cls=Verb)
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "repository",
    required=True,
    metavar="REPOSITORY",
    type=FOLDER,
    help="The repository's folder; made if it is not there.",
)
@click.option("--name", metavar="NAME", help="What it is called there; by default MODEL's stem.")
@click.option(
    "--max-batch",
    type=click.IntRange(0, 2**31 - 1),
    default=8,
    show_default=True,
    metavar="N",
    help="Requests are put together to batches of up to so many images; 0 keeps them apart.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 2**31 - 1),
    default=1,
    show_default=True,
    metavar="N",
    help="So many are run at once on each device.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:i]",
    help="Where instances run; auto is the server's GPUs, or its CPU if it has none.",
)
@click.option("--force", is_flag=True, help="Overwrite a configuration that says something else.")
@about_options
def triton(
    model: Path,
    repository: Path,
    name: str | None,
    max_batch: int,
    instances: int,
    device: str,
    force: bool,
    dataset: str | None,
    mean: Mean | None,
    classes: int | Path | None,
    palette: Path | None,
) -> None:
    """Put MODEL into a repository of Triton Inference Server, as its next version.

    REPOSITORY/NAME gets config.pbtxt, files of class names, and 1/model.onnx; if 1 is there, 2.
    """
    from fcnproto.serving.triton import triton as put

    version = put(
        model,
        repository,
        name=name,
        max_batch=max_batch,
        instances=instances,
        device=device,
        force=force,
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
    )
    tell(version.notes)
    echo(f"wrote {version.path}", err=True)
