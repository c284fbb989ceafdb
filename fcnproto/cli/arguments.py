"""What the verbs' arguments and options can be, each in one place, so that it is the same in all.

Each reads what is typed, and completes it in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from fcnproto.errors import DataError

if TYPE_CHECKING:
    from fcnproto.datasets.hha import Camera
    from fcnproto.model.given import Mean

Function = TypeVar("Function", bound=Callable[..., Any])


class Shown(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A type that is shown as it is written; click would print it in capitals."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Its name."""
        return str(self.name)


class Size(Shown):
    """A height and a width, written 375x500."""

    name = "HxW"

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


class Pixel(Shown):
    """A place in an image, written row,column."""

    name = "ROW,COLUMN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """(row, column)."""
        row, _, column = str(value).partition(",")
        if not (row.isascii() and row.isdigit() and column.isascii() and column.isdigit()):
            self.fail(f"'{value}' is not a pixel: write row,column, as in 12,30", param, ctx)
        return int(row), int(column)


class CameraType(Shown):
    """Focal lengths and principal point in pixels, written 518.9,519.5,325.6,253.7."""

    name = "fx,fy,cx,cy"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Camera:
        """The camera."""
        from fcnproto.datasets.hha import Camera

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


class MeanType(Shown):
    """A number for each channel, written 104.007,116.669,122.679."""

    name = "B,G,R"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Mean:
        """The numbers."""
        import math

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


class Classes(Shown):
    """How many classes there are, or a file that names them: told apart by what is given."""

    name = "N|FILE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Path:
        """The number, or the file's path."""
        if isinstance(value, int | Path):
            return value
        return int(value) if re.fullmatch(r"[-+]?\d{1,9}", value, re.ASCII) else Path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Files, which the shell knows."""
        return [CompletionItem(incomplete, type="file")]


class Named(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """One of names that are known, or where `files` a path: text that whoever reads it checks."""

    def __init__(self, name: str, known: Callable[[], Iterable[str]], *, files: bool) -> None:
        self.name, self._known, self._files = name, known, files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so, and what files the shell finds."""
        found = [CompletionItem(name) for name in self._known() if name.startswith(incomplete)]
        # bash completes files where nothing else fits, so what is said of them comes first.
        return [CompletionItem(incomplete, type="file"), *found] if self._files else found


class Folder(click.Path):
    """A folder's name, that may not be there; shells complete folders."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Folders, which the shell knows."""
        return [CompletionItem(incomplete, type="dir")]


class Phase(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """What a net is for. Caffe's names are taken as well: TRAIN, and TEST for deploy."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """deploy, train or val."""
        return str(super().convert("deploy" if str(value).upper() == "TEST" else value, param, ctx))


def _nets() -> Iterable[str]:
    from fcnproto.zoo import specs

    return specs.nets()


def _datasets() -> Iterable[str]:
    from fcnproto.zoo import specs

    return specs.datasets()


def _backbones() -> Iterable[str]:
    from fcnproto.zoo import specs

    return specs.backbones()


def _weights() -> Iterable[str]:
    from fcnproto.weights import fetch

    return fetch.available()


def _devices() -> Iterable[str]:
    from fcnproto.runtime.devices import listed

    return ["auto", *(name for name, _ in listed())]


NET = Named("NET", _nets, files=True)
ZOO_NET = Named("NET", _nets, files=False)
WEIGHTS = Named("WEIGHTS", _weights, files=True)
FETCHED = Named("NET", _weights, files=False)
DATASET = Named("D", _datasets, files=False)
BACKBONE = Named("B", _backbones, files=False)
DEVICE = Named("D", _devices, files=False)
FILE = click.Path()
"""Where something is written; - is standard output."""
FOLDER = Folder()
PHASE = Phase(["deploy", "train", "val"], case_sensitive=False)


def classes_option(default: str) -> Callable[[Function], Function]:
    """--classes: how many there are, or what they are called."""
    text = f"How many, or a file with a name in each line, and R G B after it; {default}."
    return click.option("--classes", type=Classes(), help=text)


def dataset_option(function: Function) -> Function:
    """--dataset: a name of the zoo's list."""
    return click.option(
        "--dataset", type=DATASET, metavar="D", help="What it is trained on; see fcnproto list."
    )(function)


def about_options(function: Function) -> Function:
    """What a model may not say of itself: --dataset, --mean, --classes, --palette."""
    options: list[Callable[[Function], Function]] = [
        dataset_option,
        click.option("--mean", type=MeanType(), help="What is subtracted from each image."),
        classes_option("by default as the model says"),
        click.option(
            "--palette",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The classes' colours, one in each line, as R G B or #rrggbb.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


phase_option = click.option(
    "--phase",
    type=PHASE,
    default="deploy",
    show_default=True,
    help="What a net is for: to infer, to learn or to be measured. Of a file, train keeps the"
    " layers of Caffe's TRAIN, deploy and val those of TEST.",
)


def state_options(function: Function) -> Function:
    """What a net is built for: --phase, --level, --stage."""
    options: list[Callable[[Function], Function]] = [
        phase_option,
        click.option(
            "--level",
            type=int,
            default=0,
            show_default=True,
            help="The level for which the net's rules keep layers or leave them out.",
        ),
        click.option(
            "--stage",
            "stages",
            metavar="S",
            multiple=True,
            help="A stage for which they do; repeat it for several.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


unit_option = click.option(
    "--unit",
    type=click.Choice(["m", "mm"]),
    help="Of the depth; by default mm for whole numbers, m for others.",
)
