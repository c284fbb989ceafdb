"""What every verb shares: errors as lines, outputs whole or not at all, NET arguments."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from fcnproto.errors import FcnprotoError, Problem, printable
from fcnproto.files import replacing
from fcnproto.words import columns

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera
    from fcnproto.runtime.segmenter import Segmenter
    from fcnproto.runtime.session import Session

Function = TypeVar("Function", bound=Callable[..., Any])


def refine_option(function: Function) -> Function:
    """--refine: what scores are refined by."""
    return click.option(
        "--refine",
        metavar="none|crf[:PRESET]",
        help="Refine scores by a dense CRF, a preset or FILE.toml; by default as the model says.",
    )(function)


def tell_refining(segmenter: Segmenter) -> None:
    """Say it where the model's own mean field is applied, or left out."""
    for what in segmenter.runner.refining.said(segmenter.metadata):
        echo(what, err=True)


class Terminated(BaseException):
    """SIGTERM came: what is under way cleans up, as after Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated, so that temporary files are removed."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Verb(click.Command):
    """A command that says what is wrong with its input in lines, and exits with 1."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_remember_debug,
                help="Show the traceback of an error.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a user's mistake becomes lines on stderr, not a traceback."""
        try:
            with terminable():
                return super().invoke(ctx)
        except Terminated:
            ctx.exit(128 + signal.SIGTERM)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            # Whoever read our output has seen enough; stdout must not be flushed into it again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except MemoryError as error:
            if ctx.meta.get(_DEBUG):
                raise
            tell([Problem(f"there is not enough memory: {error}".removesuffix(": "))])
            ctx.exit(1)
        except (FcnprotoError, OSError) as error:
            if ctx.meta.get(_DEBUG):
                raise
            tell(error.problems if isinstance(error, FcnprotoError) else [_problem(error)])
            ctx.exit(getattr(error, "exit_code", 1))


_DEBUG = "fcnproto.debug"


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


def _problem(error: OSError) -> Problem:
    name = None if error.filename is None else os.fsdecode(error.filename)
    return Problem(error.strerror or str(error), name)


def echo(
    text: str = "", *, nl: bool = True, err: bool = False, file: IO[str] | None = None
) -> None:
    """Print text without control characters but line ends and tabs."""
    click.echo(printable(text, kept="\n\t"), nl=nl, err=err, file=file)


def tell(problems: Iterable[Problem]) -> None:
    """Write problems to stderr, a line each."""
    for problem in problems:
        echo(str(problem), err=True)


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A height and a width, written 375x500."""

    name = "HxW"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """As it is written; click would print it in capitals."""
        return self.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(height, width), both at least 1."""
        if isinstance(value, tuple):
            return value
        height, _, width = value.partition("x")
        if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
            self.fail(f"'{value}' is not a size: write height x width, as in 375x500", param, ctx)
        if not (int(height) and int(width)):
            self.fail(f"'{value}' is empty: both height and width must be at least 1", param, ctx)
        return int(height), int(width)


class CameraType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Focal lengths and principal point in pixels, written 518.9,519.5,325.6,253.7."""

    name = "fx,fy,cx,cy"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """As it is written; click would print it in capitals."""
        return self.name

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Camera:
        """The camera."""
        from fcnproto.datasets.hha import Camera
        from fcnproto.errors import DataError

        if isinstance(value, Camera):
            return value
        try:
            fx, fy, cx, cy = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not a camera: write fx,fy,cx,cy in pixels", param, ctx)
        try:
            return Camera(fx, fy, cx, cy)
        except DataError as error:
            self.fail(f"'{value}': {error.problems[0].message}", param, ctx)


unit_option = click.option(
    "--unit",
    type=click.Choice(["m", "mm"]),
    help="Of the depth; by default mm for whole numbers, m for others.",
)


def output_option(what: str, default: str | None = None) -> Callable[[Function], Function]:
    """The -o/--output and --force options of a verb that writes one file."""

    def decorate(function: Function) -> Function:
        function = click.option(
            "-o",
            "--output",
            metavar="FILE",
            default=default,
            help=f"Where {what} goes; - is standard output.",
        )(function)
        return click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")(function)

    return decorate


def device_options(function: Function) -> Function:
    """The options of a verb that runs models: --device, --fast, --no-cache."""
    options: list[Callable[[Function], Function]] = [
        click.option(
            "--device",
            default="auto",
            show_default=True,
            metavar="D",
            is_eager=True,
            callback=_listed_devices,
            help="auto, cpu, cuda[:i], openvino[:cpu|:gpu|:npu], tensorrt, webgpu, or another that"
            " `--device list` names.",
        ),
        click.option(
            "--fast",
            is_flag=True,
            help="Let the device compute in less than float32: TF32, fp16 or bf16.",
        ),
        click.option(
            "--no-cache", is_flag=True, help="Keep nothing of what an engine compiles of the model."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def cluster_options(function: Function) -> Function:
    """The options of a verb that can run on many machines: --cluster, --workers and their GPUs."""
    options: list[Callable[[Function], Function]] = [
        click.option(
            "--cluster",
            metavar="auto|ADDRESS",
            help="Run on a cluster of Ray; auto is this machine's, or a new one.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            metavar="N",
            help="So many workers share its cores; by default one for each machine.",
        ),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(0),
            default=0,
            metavar="G",
            help="GPUs of each worker; 0.5 lets two share one.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _listed_devices(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value != "list" or ctx.resilient_parsing:
        return value
    from fcnproto.runtime.devices import listed

    echo("\n".join(columns(list(listed()))))
    raise click.exceptions.Exit


def opened(model: Path, device: str, fast: bool, no_cache: bool) -> Session:
    """A model on a device; says on stderr which auto chose, and what --fast came to."""
    from fcnproto.runtime.session import Session

    session = Session(model, device, fast=fast, cache=not no_cache)
    if device == "auto" or fast:
        precision = f", {session.precision}" if fast else ""
        echo(f"device: {session.device}{precision}", err=True)
    return session


def check_output(output: str | None, force: bool) -> None:
    """Refuse a file that exists, before any work is done; devices and pipes are written to."""
    if output not in (None, "-") and not force and Path(str(output)).is_file():
        raise FcnprotoError(Problem("it exists; --force overwrites it", output))


def write_output(output: str | None, content: bytes, force: bool) -> None:
    """Write a file whole or not at all; None and - are standard output."""
    if output in (None, "-"):
        click.echo(content, nl=False)
        return
    check_output(output, force)
    with replacing(Path(str(output)), force=force) as temporary:
        temporary.write_bytes(content)
