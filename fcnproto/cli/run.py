"""The verbs of models: export-onnx, verify, segment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fcnproto.cli.arguments import FILE, NET, WEIGHTS, CameraType, Size, about_options, unit_option
from fcnproto.cli.common import (
    Verb,
    check_output,
    cluster_options,
    device_options,
    echo,
    opened,
    refine_option,
    tell,
    tell_refining,
)
from fcnproto.cli.outcomes import companions_of, row_of, show
from fcnproto.errors import FcnprotoError, Problem
from fcnproto.model.given import LARGEST_SCALE, Mean

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera

# What these verbs do needs onnx or onnxruntime, which are imported where they are needed: a small
# image is segmented faster than onnx is imported.

DEFAULT_NET = "net.prototxt"


identity_option = click.option(
    "--identity",
    multiple=True,
    metavar="NAME",
    help="A layer, such as one in Python, that hands on its bottom where the net infers.",
)


@click.command("export-onnx", cls=Verb)
@click.argument("net", default=DEFAULT_NET, type=NET)
@click.option(
    "--weights", type=WEIGHTS, metavar="W", help="By default those beside NET under its stem."
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="Where the model goes; by default NET's stem and .onnx.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option("--opset", type=click.IntRange(13, 26), default=21, show_default=True)
@click.option(
    "--result",
    type=click.Choice(["score", "labels", "both"]),
    default="score",
    show_default=True,
    help="The score of each class, or the class with the highest as uint8.",
)
@about_options
@click.option("--image-input", is_flag=True, help="Take N×H×W×3 uint8 RGB; the mean is built in.")
@click.option("--init", is_flag=True, help="Fill what has no weights as its fillers say.")
@click.option("--size", type=Size(), help="Of images, where the net does not say it.")
@identity_option
@click.option(
    "--samples",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Average N samples of what is drawn at random in TEST; by default its mean is taken.",
)
@click.option(
    "--optimize",
    type=click.Choice(["none", "exact", "fast"]),
    default="exact",
    show_default=True,
    help="Rewrite the net to one that is faster: exact reorders sums, fast rounds a little more.",
)
def export_onnx(
    net: str,
    weights: str | None,
    output: str | None,
    force: bool,
    opset: int,
    result: Literal["score", "labels", "both"],
    dataset: str | None,
    mean: Mean | None,
    classes: int | Path | None,
    palette: Path | None,
    image_input: bool,
    init: bool,
    size: tuple[int, int] | None,
    identity: tuple[str, ...],
    samples: int | None,
    optimize: Literal["none", "exact", "fast"],
) -> None:
    """Write NET with its weights as an ONNX model that holds for every N, H and W."""
    from fcnproto.api.model import export, weights_beside
    from fcnproto.api.net import load_net

    check_output(output or ("-" if net == "-" else None), force, binary=True)
    source = load_net(net, size=size)
    beside = weights_beside(net) if weights is None and net != "-" else None
    if beside is not None:
        echo(f"weights: {beside}", err=True)
    model = export(
        source,
        weights or beside,
        init=init,
        opset=opset,
        result=result,
        image_input=image_input,
        optimize=optimize,
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
        identity=identity,
        samples=samples,
    )
    tell(model.notes)
    echo(str(model.cost), err=True)
    if (output or net) == "-":
        model.write(sys.stdout.buffer)
        return
    files = model.save(Path(output) if output else Path(net).with_suffix(".onnx"))
    echo(f"wrote {' and '.join(map(str, files))}", err=True)


@click.command(cls=Verb)
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("other", metavar="[OTHER]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Arrays in/<blob> and out/<blob> that Caffe computed, as .npz.",
)
@click.option("--net", type=NET, metavar="NET", help="Compare with the plain model of this net.")
@click.option(
    "--weights", type=WEIGHTS, metavar="W", help="Its weights; by default those beside NET."
)
@click.option("--size", type=Size(), help="Of NET's images, where it does not say it.")
@identity_option
@device_options
@click.option(
    "--rtol",
    type=click.FloatRange(0),
    help="Of the largest magnitude in the blob; by default 1e-4, with --fast 0.05.",
)
@click.option("--atol", type=click.FloatRange(0), default=1e-6, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def verify(
    ctx: click.Context,
    model: Path,
    other: Path | None,
    reference: Path | None,
    net: str | None,
    weights: str | None,
    size: tuple[int, int] | None,
    identity: tuple[str, ...],
    device: str,
    fast: bool,
    no_cache: bool,
    rtol: float | None,
    atol: float,
    as_json: bool,
) -> None:
    """Compare MODEL blob by blob with arrays, with a net, or with the model OTHER.

    With --device alone: what it computes there with what onnxruntime computes in float32.

    Exits with 1 if a difference is larger than ATOL + RTOL × the largest magnitude in its blob.
    """
    from fcnproto.api.verify import verify as verify_model
    from fcnproto.insight import verify as verifying

    chosen = sum(each is not None for each in (other, reference, net))
    if chosen > 1 or bool(chosen) == (device != "auto"):
        raise click.UsageError(
            "give one of --reference FILE, --net NET, a second model, and --device D"
        )
    for option, given in (("--weights", weights), ("--size", size), ("--identity", identity)):
        if given and net is None:
            raise click.UsageError(f"{option} goes with --net")
    if rtol is None:
        rtol = verifying.FAST_RTOL if fast else verifying.RTOL
    if device != "auto":
        on = verifying.On(device, fast, not no_cache)
        comparison = verifying.with_itself(model, verifying.Tolerance(rtol, atol), on)
    elif net is not None:
        from fcnproto.api.model import weights_beside
        from fcnproto.api.net import load_net

        found = weights or weights_beside(net)
        if found is None:
            raise FcnprotoError(Problem("no weights lie beside it: --weights W", net))
        comparison = verify_model(
            model, load_net(net, size=size), found, rtol=rtol, atol=atol, identity=identity
        )
    elif reference is not None:
        comparison = verifying.with_arrays(model, reference, verifying.Tolerance(rtol, atol))
    elif other is not None:
        comparison = verify_model(model, other, rtol=rtol, atol=atol)
    tell(comparison.notes)
    if as_json:
        echo(json.dumps(verifying.as_json(comparison), indent=2))
    else:
        echo(str(comparison))
    if not comparison.agrees:
        ctx.exit(1)


@click.command(cls=Verb)
@click.argument("arguments", metavar="IMAGE…", nargs=-1, required=True)
@click.option("--model", required=True, metavar="M", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    default=".",
    metavar="DIR",
    help="Where the results go; by default here.",
)
@device_options
@click.option(
    "--tile",
    type=click.IntRange(1),
    metavar="N",
    help="Cut images into tiles of N pixels: the same result with less memory.",
)
@click.option(
    "--scale",
    "scales",
    type=click.FloatRange(0, min_open=True, max=LARGEST_SCALE),
    multiple=True,
    metavar="S",
    help="Run images at this scale; scores of several are averaged.",
)
@click.option("--flip", is_flag=True, help="Average with the scores of the mirror image.")
@refine_option
@click.option(
    "--hha", type=click.Path(path_type=Path), metavar="DIR", help="The images' HHA, by name."
)
@click.option(
    "--depth", type=click.Path(path_type=Path), metavar="DIR", help="The images' depth, by name."
)
@click.option(
    "--camera", type=CameraType(), help="Of depth for nets that take HHA; NYUDv2's by default."
)
@unit_option
@about_options
@cluster_options
@click.option("--resume", is_flag=True, help="Go on with a run on a cluster that was ended.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image.")
@click.pass_context
def segment(
    ctx: click.Context,
    arguments: tuple[str, ...],
    model: Path,
    folder: str,
    device: str,
    fast: bool,
    no_cache: bool,
    tile: int | None,
    scales: tuple[float, ...],
    flip: bool,
    refine: str | None,
    hha: Path | None,
    depth: Path | None,
    camera: Camera | None,
    unit: str | None,
    dataset: str | None,
    mean: Mean | None,
    classes: int | Path | None,
    palette: Path | None,
    cluster: str | None,
    workers: int | None,
    gpus_per_worker: float,
    resume: bool,
    as_json: bool,
) -> None:
    """Write a label map and an overlay for each IMAGE, and print the share of each class.

    IMAGE is a file, a folder, a glob, a list of paths (.txt), or - for standard input. With --depth
    a net that takes HHA is given the HHA of the depth maps. On a cluster IMAGE and DIR can lie on
    an object store, and DIR/manifest.parquet records what became of each image.
    """
    settings: dict[str, Any] = {
        "tile": tile,
        "scales": scales or (1.0,),
        "flip": flip,
        "refine": refine,
        "dataset": dataset,
        "mean": mean,
        "classes": classes,
        "palette": palette,
    }
    if cluster is not None:
        from fcnproto.cli.cluster import segment as on_cluster

        ctx.exit(
            on_cluster(
                arguments,
                model,
                address=cluster,
                workers=workers,
                gpus=gpus_per_worker,
                output=folder,
                hha=hha,
                depth=depth,
                camera=camera,
                unit=unit,
                resume=resume,
                as_json=as_json,
                device=device,
                fast=fast,
                cache=not no_cache,
                **settings,
            )
        )
    if resume or workers or gpus_per_worker:
        raise click.UsageError("--resume, --workers and --gpus-per-worker go with --cluster")
    from fcnproto.runtime import images
    from fcnproto.runtime.segment_files import Segmented
    from fcnproto.runtime.segment_files import segment as segment_images
    from fcnproto.runtime.segmenter import Segmenter

    sources = images.find(arguments)
    segmenter = Segmenter(opened(model, device, fast, no_cache), scores=False, **settings)
    tell_refining(segmenter)
    tell(segmenter.warnings)
    companions, readers = companions_of(segmenter.kinds, hha, depth, camera, unit)
    Path(folder).mkdir(parents=True, exist_ok=True)
    outcomes = segment_images(segmenter, sources, Path(folder), companions, readers)
    rows = (row_of(each) if isinstance(each, Segmented) else each for each in outcomes)
    if not show(rows, len(sources), as_json):
        ctx.exit(1)
