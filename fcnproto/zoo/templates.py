"""Fill the templates that nets and solvers are written from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from fcnproto.errors import Problem, ZooError
from fcnproto.zoo import specs

TEMPLATES = specs.folder("templates")


def from_template(template: str, /, folder: Path = TEMPLATES, **context: Any) -> str:
    """The text of a template; ZooError names its file and line if something in it is wrong."""
    try:
        return _environment(folder).get_template(template).render(context)
    except jinja2.TemplateNotFound as error:
        raise ZooError(f"there is no template '{error.name}' in {folder}") from error
    except jinja2.TemplateSyntaxError as error:
        raise ZooError(Problem(str(error.message), error.filename, error.lineno)) from error
    except jinja2.TemplateError as error:
        raise ZooError(Problem(str(error), *_template_place(error))) from error


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = _quoted
    return environment


def _template_place(error: jinja2.TemplateError) -> tuple[str | None, int | None]:
    """The file and line of the template that an error came from: Jinja puts them in the trace."""
    place: tuple[str | None, int | None] = (None, None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(".j2"):
            place = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return place


def _quoted(text: str) -> str:
    """A string as prototxt writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(map(_printed, escaped))}"'


def _printed(character: str) -> str:
    """A character as it stands in a string: one that cannot be printed as its bytes."""
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode())
