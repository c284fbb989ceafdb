"""Dense CRFs by name: models/crf.toml, and files of users that have the same form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcnproto.crf.dense_crf import CLIP, Bilateral, DenseCRF, Gaussian, Term
from fcnproto.crf.kernels import Normalization
from fcnproto.errors import CrfError, Problem, ZooError, nearest
from fcnproto.zoo.specs import MODELS
from fcnproto.zoo.toml_table import Table

DEFAULT = "default"
_NORMALIZATIONS = tuple(map(str, Normalization))


def preset(name: str = "", models: Path = MODELS) -> DenseCRF:
    """The dense CRF of that name, or the default one; or one of a TOML file.

    `name` is a preset's, or a file's, FILE.toml or FILE.toml:PRESET. A file has a table for each
    preset, as models/crf.toml has, and needs no `default` where there is one only. Raises ZooError
    or CrfError for a name that is not there, and for a file that makes no field.
    """
    file, _, part = name.partition(".toml")
    if part or name.endswith(".toml"):
        return _named(Path(file + ".toml"), part.removeprefix(":"))
    return _named(models / "crf.toml", name)


def names(models: Path = MODELS) -> tuple[str, ...]:
    """The presets that can be named."""
    return tuple(name for name in Table.load(models / "crf.toml") if name != DEFAULT)


def _named(path: Path, name: str) -> DenseCRF:
    file = Table.load(path)
    known = [key for key in file if key != DEFAULT]
    if not name:
        name = file.text(DEFAULT, known[0] if len(known) == 1 else "")
    if name not in known:
        listed = ", ".join(known) or "none"
        message = (
            f"there is no CRF '{name}', only {listed}{nearest(name, known)}"
            if name
            else f"it has several CRFs: name one, as {path}:{known[0]}, of {listed}"
            if known
            else "there is no CRF in it"
        )
        raise ZooError(Problem(message, str(path)))
    table = file.table(name)
    terms = [
        (kind, part, _numbers(part, "sxy"), _compat(part))
        for kind in ("gaussian", "bilateral")
        if kind in table
        for part in [table.table(kind)]
    ]
    colours = {kind: _numbers(part, "srgb") for kind, part, *_ in terms if kind == "bilateral"}
    rule = (
        table.choice("normalization", _NORMALIZATIONS)
        if "normalization" in table
        else Normalization.SYMMETRIC
    )
    iterations = table.integer("iterations", 10)
    clip = table.number("clip") if "clip" in table else CLIP
    if not terms:
        table.complain("it has neither 'gaussian' nor 'bilateral'")
    table.finish()
    try:
        made: list[Term] = [
            Gaussian(sxy, compat, rule)
            if kind == "gaussian"
            else Bilateral(sxy, colours[kind], compat, rule)
            for kind, _, sxy, compat in terms
        ]
        return DenseCRF(made, iterations, clip)
    except CrfError as error:
        raise CrfError(Problem(f"{name}: {error.problems[0].message}", str(path))) from error


def _numbers(table: Table, key: str) -> Any:
    """A number, or a list of them."""
    return table.numbers(key) if table.is_list(key) else table.number(key)


def _compat(table: Table) -> Any:
    """A number, a list of them, or a matrix row by row."""
    return table.rows("compat") if table.is_list("compat", list) else _numbers(table, "compat")
