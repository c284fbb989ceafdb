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
from typing import IO, TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from fcnproto.cli.arguments import DEVICE, FILE, Function
from fcnproto.cli.examples import EXAMPLES
from fcnproto.errors import FcnprotoError, Problem, condensed, nearest, printable, reason
from fcnproto.files import replacing
from fcnproto.words import columns

if TYPE_CHECKING:
    from fcnproto.runtime.segmenter import Segmenter
    from fcnproto.runtime.session import Session


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


GRACE = 10.0
"""So many seconds cleaning up may take before the process is ended as it stands."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated, so that temporary files are removed.

    A thread that waits for a pipe or a file system that does not answer is not waited for.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # cleaning up is not stopped by another
        late = threading.Timer(GRACE, os._exit, (128 + number,))
        late.daemon = True
        late.start()  # not stopped: Python itself waits for threads at its end
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Unknown(click.UsageError):
    """A verb or an option that there is not, in one line with the one that may be meant."""

    def show(self, file: IO[Any] | None = None) -> None:
        """One line on stderr; click would put the usage around it."""
        tell([Problem(self.message)])

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str], ctx: click.Context) -> Unknown:
        """What is not known, and what is nearest to it or else where all are listed."""
        hint = nearest(name, known) or f"; {ctx.command_path} --help lists all"
        return cls(f"there is no {what} '{printable(name)}'{hint}", ctx)


class _Helpful(click.Command):
    """A command whose help ends with examples, and which knows what a misspelt option may mean."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but an unknown option raises Unknown."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [name for each in self.get_params(ctx) for name in each.opts]
            name = error.option_name
            options = [each for each in known if each.startswith("--") or len(name) == 2]
            raise Unknown.of("option", name, options, ctx) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, each on a line of its own however long it is."""
        _, _, words = ctx.command_path.partition(" ")
        if words in EXAMPLES:
            with formatter.section("Examples"):
                for example in EXAMPLES[words]:
                    formatter.write(f"  {example}\n")


class Verbs(_Helpful, click.Group):
    """Verbs under one name, each listed with the whole first sentence of its help."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown verb raises Unknown."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            raise Unknown.of("verb", name, known, ctx)
        return super().resolve_command(ctx, args)

    def sentences(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Each verb with its sentence."""
        verbs = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [
            (name, verb.help.partition("\n\n")[0].replace("\n", " "))
            for name, verb in verbs
            if verb is not None and verb.help is not None
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list of the verbs; click would cut their sentences short."""
        with formatter.section("Commands"):
            formatter.write_dl(self.sentences(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so; click would import each of them for its sentence."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        names = (name for name in self.list_commands(ctx) if name.startswith(incomplete))
        return [CompletionItem(name) for name in names]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; Ctrl-C before it has begun ends as it does later, by its code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)


class Verb(_Helpful):
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
    return Problem(reason(error), name)


def echo(
    text: str = "", *, nl: bool = True, err: bool = False, file: IO[str] | None = None
) -> None:
    """Print text without control characters but line ends and tabs."""
    click.echo(printable(text, kept="\n\t"), nl=nl, err=err, file=file)


def tell(problems: Iterable[Problem]) -> None:
    """Write problems to stderr, a line for each kind."""
    for problem in condensed(problems):
        echo(str(problem), err=True)


def output_option(what: str, default: str | None = None) -> Callable[[Function], Function]:
    """The -o/--output and --force options of a verb that writes one file."""

    def decorate(function: Function) -> Function:
        function = click.option(
            "-o",
            "--output",
            type=FILE,
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
            type=DEVICE,
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


def check_output(output: str | None, force: bool, *, binary: bool = False) -> None:
    """Refuse a file that exists, and a terminal for what is binary, before any work is done.

    Devices and pipes are written to.
    """
    if output == "-" and binary:
        _check_terminal()
    if output not in (None, "-") and not force and Path(str(output)).is_file():
        raise FcnprotoError(Problem("it exists; --force overwrites it", output))


def _check_terminal() -> None:
    if sys.stdout.isatty():
        message = "it is binary, which a terminal cannot show: -o FILE, or > FILE or | COMMAND"
        raise FcnprotoError(Problem(message, "standard output"))


def write_output(output: str | None, content: bytes, force: bool) -> None:
    """Write a file whole or not at all; None and - are standard output, for text a terminal."""
    if output in (None, "-"):
        if not _is_text(content):
            _check_terminal()
        click.echo(content, nl=False)
        return
    check_output(output, force)
    with replacing(Path(str(output)), force=force) as temporary:
        temporary.write_bytes(content)


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False
