"""Nets and solvers by whatever names them: a name of the zoo, a path, a text, a value."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from reprlib import repr

from fcnproto.errors import Problem, PrototxtError, ZooError, nearest
from fcnproto.proto.source import (
    NetSource,
    SolverSource,
    is_solver,
    parse_net,
    parse_solver,
    read_any,
)
from fcnproto.zoo import specs

Named = str | PathLike[str]
"""A name of the zoo, a path (- is standard input), or the text of a prototxt."""


def is_text(name: Named) -> bool:
    """Whether a string is a prototxt itself: it has a line break or a brace."""
    return isinstance(name, str) and ("\n" in name or "{" in name)


def zoo_name(name: object) -> str:
    """What the zoo calls it; nothing if it is none of the zoo's."""
    return name if isinstance(name, str) and name in specs.net_names() else ""


def any_source(
    name: Named, phase: str = "deploy", *, lenient: bool = False
) -> NetSource | SolverSource:
    """The net or solver that is named; `phase` is that of a net of the zoo: deploy, train, val.

    Raises ZooError where there is neither such a file nor such a net, PrototxtError where the file
    cannot be read.
    """
    if not isinstance(name, str | PathLike) or not str(name):
        expected = "a name of the zoo, a path, or the text of a prototxt"
        raise ZooError(f"expected a net: {expected}; found {repr(name)}")
    if is_text(name):
        text = str(name)
        return (parse_solver if is_solver(text) else parse_net)(text, lenient=lenient)
    if zoo_name(name):
        from fcnproto.rendering.fcn import render  # jinja2 is needed for nets of the zoo only

        return parse_net(render(str(name), phase=phase), str(name))
    if str(name) != "-" and not os.path.exists(name):  # noqa: PTH110 (Path's raises for long names)
        if not isinstance(name, str) and str(name) in specs.net_names():
            raise ZooError(f"there is no file '{name}': a net of the zoo is named by a str")
        raise ZooError(
            f"there is no file '{name}', and `fcnproto list` has no such net"
            f"{nearest(str(name), specs.net_names())}"
        )
    return read_any(name if isinstance(name, Path) else str(name), lenient=lenient)


def net_source(name: Named, phase: str = "deploy", *, lenient: bool = False) -> NetSource:
    """As `any_source`, but PrototxtError for a solver."""
    source = any_source(name, phase, lenient=lenient)
    if isinstance(source, NetSource):
        return source
    title = None if is_text(name) else str(name)
    raise PrototxtError(Problem("it is a solver; name the net that it trains", title))
