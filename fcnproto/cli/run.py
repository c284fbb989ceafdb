"""The verbs of models: export-onnx, verify, segment."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fcnproto.cli.common import (
    CameraType,
    Function,
    Verb,
    check_output,
    device_options,
    echo,
    opened,
    refine_option,
    tell,
    tell_refining,
    unit_option,
)
from fcnproto.errors import FcnprotoError, Problem, Severity, printable
from fcnproto.model.metadata import DEPTH, HHA, Mean

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera
    from fcnproto.runtime.segment_files import Segmented

# What these verbs do needs onnx or onnxruntime, which are imported where they are needed: a small
# image is segmented faster than onnx is imported.

DEFAULT_NET = "net.prototxt"


class MeanType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number for each channel, written 104.007,116.669,122.679."""

    name = "B,G,R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Mean:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            mean = tuple(float(part) for part in value.split(","))
        except ValueError:
            mean = ()
        if not mean or not all(map(math.isfinite, mean)):
            self.fail(
                f"'{value}' is not a mean: write a number for each channel, B,G,R", param, ctx
            )
        return mean


def about_options(function: Function) -> Function:
    """What a model may not say of itself: --dataset, --mean, --classes, --palette."""
    options: list[Callable[[Function], Function]] = [
        click.option("--dataset", metavar="D", help="What the net is trained on; see list."),
        click.option("--mean", type=MeanType(), help="What is subtracted from each image."),
        click.option(
            "--classes",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Class names, one in each line, from class 0 on.",
        ),
        click.option(
            "--palette",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Their colours, one in each line, as R G B or #rrggbb.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command("export-onnx", cls=Verb)
@click.argument("net", default=DEFAULT_NET)
@click.option("--weights", metavar="W", help="By default those beside NET under its stem.")
@click.option(
    "-o", "--output", metavar="FILE", help="Where the model goes; by default NET's stem and .onnx."
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
    classes: Path | None,
    palette: Path | None,
    image_input: bool,
    init: bool,
    optimize: Literal["none", "exact", "fast"],
) -> None:
    """Write NET with its weights as an ONNX model that holds for every N, H and W."""
    from fcnproto.api.model import export, weights_beside
    from fcnproto.api.net import load_net

    check_output(output, force)
    source = load_net(net)
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
@click.option("--net", metavar="NET", help="Compare with the plain model of this net.")
@click.option("--weights", metavar="W", help="Its weights; by default those beside NET.")
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
    from fcnproto.api.measures import verify as verify_model
    from fcnproto.api.model import weights_beside
    from fcnproto.api.net import load_net
    from fcnproto.insight import verify as verifying

    chosen = sum(each is not None for each in (other, reference, net))
    if chosen > 1 or bool(chosen) == (device != "auto"):
        raise click.UsageError(
            "give one of --reference FILE, --net NET, a second model, and --device D"
        )
    if weights is not None and net is None:
        raise click.UsageError("--weights goes with --net")
    if rtol is None:
        rtol = verifying.FAST_RTOL if fast else verifying.RTOL
    if device != "auto":
        on = verifying.On(device, fast, not no_cache)
        comparison = verifying.with_itself(model, verifying.Tolerance(rtol, atol), on)
    elif net is not None:
        found = weights or weights_beside(net)
        if found is None:
            raise FcnprotoError(Problem("no weights lie beside it: --weights W", net))
        comparison = verify_model(model, load_net(net), found, rtol=rtol, atol=atol)
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
    type=click.Path(path_type=Path),
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
    type=click.FloatRange(0, min_open=True, max=16),
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
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image.")
@click.pass_context
def segment(
    ctx: click.Context,
    arguments: tuple[str, ...],
    model: Path,
    folder: Path,
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
    classes: Path | None,
    palette: Path | None,
    as_json: bool,
) -> None:
    """Write a label map and an overlay for each IMAGE, and print the share of each class.

    IMAGE is a file, a folder, a glob, a list of paths (.txt), or - for standard input. With --depth
    a net that takes HHA is given the HHA of the depth maps.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    from fcnproto.runtime import images
    from fcnproto.runtime.segment_files import Segmented
    from fcnproto.runtime.segment_files import segment as segment_images
    from fcnproto.runtime.segmenter import Segmenter

    sources = images.find(arguments)
    segmenter = Segmenter(
        opened(model, device, fast, no_cache),
        tile=tile,
        scales=scales or (1.0,),
        flip=flip,
        refine=refine,
        dataset=dataset,
        mean=mean,
        classes=classes,
        palette=palette,
        scores=False,
    )
    tell_refining(segmenter)
    tell(segmenter.warnings)
    readers = {}
    if (
        depth is not None
        and hha is None
        and HHA in segmenter.kinds
        and DEPTH not in segmenter.kinds
    ):
        from fcnproto.datasets.hha import companion

        hha, depth, readers = depth, None, {HHA: companion(camera, unit)}
    elif camera is not None or unit is not None:
        option = "--camera" if unit is None else "--unit"
        raise click.UsageError(f"{option} goes with --depth and a net that takes HHA")
    companions = {kind: path for kind, path in (("hha", hha), ("depth", depth)) if path is not None}
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    with tqdm(total=len(sources), unit="image", disable=None, file=sys.stderr) as bar:
        for outcome in segment_images(segmenter, sources, folder, companions, readers):
            bar.clear()
            if isinstance(outcome, Segmented):
                echo(_as_json(outcome) if as_json else _as_text(outcome))
            else:
                tell([outcome])
                failed = failed or outcome.severity is Severity.ERROR
            if isinstance(outcome, Segmented) or outcome.severity is Severity.ERROR:
                bar.update()
            bar.refresh()
    if failed:
        ctx.exit(1)


def _as_text(done: Segmented) -> str:
    return "\n".join(
        printable(
            f"{done.labels[blob]}: "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        )
        for blob, shares in done.shares.items()
    )


def _as_json(done: Segmented) -> str:
    return json.dumps(
        {
            "image": str(done.source.path),
            "labels": {blob: str(path) for blob, path in done.labels.items()},
            "overlay": str(done.overlay),
            "shares": done.shares,
        },
        ensure_ascii=False,
    )
