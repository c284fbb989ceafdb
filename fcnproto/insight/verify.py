"""How far one model is from another, or from arrays that Caffe computed: blob by blob."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from fcnproto.crf.mean_field import OnScores
from fcnproto.errors import FcnprotoError, Problem, Severity, printable, reason
from fcnproto.model.builder import NAMELESS
from fcnproto.model.file import LARGEST_MODEL
from fcnproto.model.metadata import Metadata
from fcnproto.runtime.session import Session, Value
from fcnproto.types import Array, Shape, Shown, show
from fcnproto.weights import npz
from fcnproto.weights.arrays import Arrays
from fcnproto.words import columns, quoted, some

OPEN_SIZES = (2, 3, 224, 288)
"""What open dimensions N, C, H and W are set to for seeded inputs."""


RTOL = 1e-4
"""What float32 may differ by."""

FAST_RTOL = 0.05
"""What fp16, TF32 and bf16 may: with its 8 bits a deep net's scores move by a hundredth or two."""


@dataclass(frozen=True)
class On:
    """Where the model that is verified runs: on which device, how precisely, cached or not."""

    device: str = "cpu"
    fast: bool = False
    cache: bool = True

    def session(self, model: Path | bytes) -> Session:
        """The model there."""
        return Session(model, self.device, fast=self.fast, cache=self.cache)


@dataclass(frozen=True)
class Tolerance:
    """A difference is allowed up to atol + rtol · the largest magnitude in its blob.

    Not of the number itself: scores near zero are sums of large terms, and no more exact than
    those.
    """

    rtol: float = RTOL
    atol: float = 1e-6


@dataclass(frozen=True)
class Difference:
    """How one blob compares: its shape, and the differences, or what is wrong with it."""

    blob: str
    shape: Shape
    absolute: float = 0.0
    """The largest difference; infinite where one side is NaN and the other is not."""
    relative: float = 0.0
    """The same over the largest magnitude in the reference."""
    agreement: float | None = None
    """The share of positions with the same best class on axis 1; None without such an axis."""
    agrees: bool = True
    note: str = ""


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """All rows, and what could not be compared."""

    rows: tuple[Difference, ...]
    notes: tuple[Problem, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every blob is within the tolerance."""
        return all(row.agrees for row in self.rows)

    def __str__(self) -> str:
        return "\n".join(table(self))


def with_arrays(
    model: Path | ModelProto,
    reference: Path | Mapping[str, Array],
    tolerance: Tolerance = Tolerance(),
) -> Comparison:
    """Compare a model with arrays `in/<blob>` and `out/<blob>`, of a file or in memory.

    Raises FcnprotoError if an input of the model is missing there, or has another shape, or if
    nothing can be compared.
    """
    given = _arrays(reference) if isinstance(reference, Path) else reference
    source = str(reference) if isinstance(reference, Path) else None
    feeds, wanted = (
        {
            key.removeprefix(start) or NAMELESS: array
            for key, array in given.items()
            if key.startswith(start)
        }
        for start in ("in/", "out/")
    )
    if not wanted:
        raise FcnprotoError(Problem("it has no arrays out/<blob> to compare with", source))
    found = run_exposed(model, feeds, list(wanted), source)
    fields = _mean_fields(model)
    scores = run_exposed(model, feeds, _read_by(fields), source) if fields else {}
    found = {**_after(fields, scores, feeds), **found}
    return _compared(found, wanted, _title(model), tolerance)


def with_model(
    model: Path | ModelProto,
    other: Path | ModelProto,
    tolerance: Tolerance = Tolerance(),
    *,
    every_blob: bool = False,
) -> Comparison:
    """Compare a model with another one, the reference, on seeded inputs.

    With `every_blob`, all outputs of the reference are looked for inside the model too.
    Raises FcnprotoError if their inputs differ, or if they have no output in common.
    """
    theirs = Session(other, "cpu") if isinstance(other, Path) else _session(other, "the reference")
    ours = Session(model, "cpu") if isinstance(model, Path) else _session(model, _title(model))
    feeds = seeded(ours, theirs)
    wanted = theirs.run(feeds)
    names = list(wanted)
    found = run_exposed(model, feeds, names, theirs.path) if every_blob else ours.run(feeds)
    wanted |= _after(_fields_of(theirs), wanted, feeds)
    found |= _after(_fields_of(ours), found, feeds)
    return _compared(found, wanted, _title(model), tolerance)


def _fields_of(session: Session) -> Mapping[str, OnScores]:
    return Metadata.from_props(session.metadata, session.path).mean_fields


def _mean_fields(model: Path | ModelProto) -> Mapping[str, OnScores]:
    proto = onnx_model(model) if isinstance(model, Path) else model
    props = {each.key: each.value for each in proto.metadata_props}
    return Metadata.from_props(props, _title(model)).mean_fields


def _read_by(fields: Mapping[str, OnScores]) -> list[str]:
    return list(dict.fromkeys(name for blob, on in fields.items() for name in (blob, on.start)))


@np.errstate(all="ignore")
def _after(
    fields: Mapping[str, OnScores], scores: Mapping[str, Array], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """What mean fields make of scores (N × C × H × W), by the names that the net has for it.

    Left out are those whose image a model takes as bytes, before its mean is subtracted.
    """
    return {
        on.top: np.stack(
            [
                on.field(*each, on.weights)
                for each in zip(scores[blob], scores[on.start], feeds[on.image], strict=True)
            ]
        )
        for blob, on in fields.items()
        if blob in scores and on.start in scores and feeds[on.image].dtype != np.uint8
    }


def with_itself(model: Path, tolerance: Tolerance = Tolerance(), on: On = On()) -> Comparison:
    """Compare a model on a device with the same on onnxruntime's own kernels, in float32.

    On seeded inputs; every blob that the model computes is looked at.
    """
    plain = Session(model, "cpu")
    feeds = seeded(plain, plain)
    blobs = list(_blobs(onnx_model(model)))
    wanted = run_exposed(model, feeds, blobs, str(model))
    found = run_exposed(model, feeds, blobs, str(model), on)
    return _compared(found, wanted, str(model), tolerance)


def _blobs(model: ModelProto) -> Iterator[str]:
    """The values that layers make, without those that they make on the way."""
    for node in model.graph.node:
        for output in node.output:
            if output and not re.search(rf"/{node.op_type}(_\d+)?$", output):
                yield output


def onnx_model(path: Path) -> ModelProto:
    """A model from a file, external data included; FcnprotoError if it is none."""
    try:
        return onnx.load(str(path))
    except OSError as error:
        raise FcnprotoError(Problem(f"cannot be read: {reason(error)}", str(path))) from error
    except Exception as error:  # protobuf's and onnx's errors have no other common base
        raise FcnprotoError(Problem("is no ONNX model", str(path))) from error


def seeded(model: Session, reference: Session, seed: int = 0) -> dict[str, Array]:
    """Random inputs that two models take: bytes 0-255, or floats within ±128."""
    theirs = {value.name: value for value in reference.inputs}
    problems = [
        Problem(
            f"its inputs are {_listed(model.inputs)}, but those of {reference.path or 'the other'}"
            f" are {_listed(reference.inputs)}",
            model.path,
        )
    ]
    if set(theirs) != {value.name for value in model.inputs}:
        raise FcnprotoError(*problems)
    rng = np.random.default_rng(seed)
    open_sizes: dict[str, int] = {}
    feeds: dict[str, Array] = {}
    for ours in model.inputs:
        other = theirs[ours.name]
        if ours.dtype != other.dtype or len(ours.sizes) != len(other.sizes):
            raise FcnprotoError(*problems)
        is_image = ours.dtype == np.uint8
        defaults = _open_sizes(len(ours.sizes), is_image)
        shape = []
        for first, second, default in zip(ours.sizes, other.sizes, defaults, strict=True):
            fixed = [size for size in (first, second) if isinstance(size, int) and size > 0]
            if len(set(fixed)) > 1:
                raise FcnprotoError(*problems)
            named = open_sizes.setdefault(str(first), default) if first else default
            shape.append(fixed[0] if fixed else named)
        if is_image:
            feeds[ours.name] = rng.integers(0, 256, shape, np.uint8)
        else:
            feeds[ours.name] = rng.uniform(-128, 128, shape).astype(ours.dtype)
    return feeds


def _open_sizes(rank: int, is_image: bool) -> Sequence[int]:
    num, channels, height, width = OPEN_SIZES
    if is_image and rank == 4:
        return num, height, width, channels
    return (*OPEN_SIZES[:rank], *[channels] * (rank - 4))


def _title(model: Path | ModelProto) -> str:
    return str(model) if isinstance(model, Path) else "the model"


def run_exposed(
    given: Path | ModelProto,
    feeds: Mapping[str, Array],
    blobs: Sequence[str],
    source: str | None,
    on: On = On(),
) -> dict[str, Array]:
    """Run a model and give those of `blobs` that are values in it, outputs or not.

    `source` is where the feeds come from. Raises FcnprotoError if one is missing there.
    """
    model, title = ModelProto(), _title(given)
    model.CopyFrom(onnx_model(given) if isinstance(given, Path) else given)
    made = {output for node in model.graph.node for output in node.output}
    outputs = {value.name for value in model.graph.output}
    for blob in blobs:
        if blob in made and blob not in outputs:
            model.graph.output.add(name=blob)
    session = _session(model, title, on)
    missing = [value.name for value in session.inputs if value.name not in feeds]
    if missing:
        raise FcnprotoError(
            *(
                Problem(f"it has no array in/{name}, which {title} takes", source)
                for name in missing
            )
        )
    typed = {
        value.name: np.asarray(feeds[value.name]).astype(value.dtype) for value in session.inputs
    }
    return session.run(typed, [blob for blob in blobs if blob in made])


def _session(model: ModelProto, path: str, on: On = On()) -> Session:
    if model.ByteSize() > LARGEST_MODEL:
        raise FcnprotoError(
            Problem("it is larger than 2 GB: only the outputs of two files can be compared", path)
        )
    session = on.session(model.SerializeToString())
    session.path = path
    return session


def _compared(
    found: Mapping[str, Array], wanted: Mapping[str, Array], path: str, tolerance: Tolerance
) -> Comparison:
    common = [blob for blob in wanted if blob in found]
    if not common:
        raise FcnprotoError(Problem(f"it has none of the blobs {some(quoted(wanted))}", path))
    rows = tuple(compare(blob, found[blob], wanted[blob], tolerance) for blob in common)
    notes = []
    unsound = [
        blob for blob in common if not (_is_finite(found[blob]) and _is_finite(wanted[blob]))
    ]
    if unsound:
        message = f"values of {some(quoted(unsound))} are NaN or infinite"
        notes.append(Problem(message, path, severity=Severity.WARNING))
    missing = quoted(blob for blob in wanted if blob not in found)
    if missing:
        message = (
            f"it has no {some(missing)}, not compared; --optimize none writes models with all blobs"
        )
        notes.append(Problem(message, path, severity=Severity.WARNING))
    return Comparison(rows, tuple(notes))


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


@np.errstate(all="ignore")  # what is not finite is judged, wherever it came from
def compare(blob: str, found: Array, wanted: Array, tolerance: Tolerance) -> Difference:
    """How far a blob is from what it should be."""
    if found.shape != wanted.shape:
        note = f"expected {show(wanted.shape)}"
        infinite = float("inf")
        return Difference(blob, found.shape, infinite, infinite, None, agrees=False, note=note)
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    difference = np.abs(ours - theirs)
    alike = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))  # equal infinities too
    difference = np.where(alike, 0, np.where(np.isnan(difference), np.inf, difference))
    absolute = float(difference.max(initial=0))
    magnitude = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0))
    relative = absolute / magnitude if magnitude else (0.0 if not absolute else float("inf"))
    agrees = absolute <= tolerance.atol + tolerance.rtol * magnitude
    return Difference(blob, found.shape, absolute, relative, _agreement(found, wanted), agrees)


def _agreement(found: Array, wanted: Array) -> float | None:
    if wanted.dtype.kind in "ui":
        return float((found == wanted).mean()) if wanted.size else None
    if wanted.ndim < 2 or wanted.shape[1] < 2 or not wanted.size:
        return None
    return float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())


def _arrays(path: Path) -> Arrays:
    if not path.is_file():
        raise FcnprotoError(Problem("there is no such file", str(path)))
    return npz.read(path)


def _listed(values: Sequence[Value]) -> str:
    return ", ".join(f"'{value.name}' {value.dtype} {show(value.sizes)}" for value in values)


def table(comparison: Comparison) -> list[str]:
    """The rows as lines of text, in columns."""
    cells = [("blob", "shape", "absolute", "relative", "labels", "")]
    for row in comparison.rows:
        labels = "" if row.agreement is None else f"{row.agreement:.6%}"
        verdict = row.note if row.note else ("" if row.agrees else "too far")
        cells.append(
            (
                printable(row.blob),
                show(row.shape),
                f"{row.absolute:.3g}",
                f"{row.relative:.3g}",
                labels,
                verdict,
            )
        )
    return columns(cells)


def as_json(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows as JSON has them; a difference without bound is null."""
    return [
        {
            "blob": row.blob,
            "shape": row.shape,
            "absolute": row.absolute if np.isfinite(row.absolute) else None,
            "relative": row.relative if np.isfinite(row.relative) else None,
            "agreement": row.agreement,
            "agrees": row.agrees,
            **({"note": row.note} if row.note else {}),
        }
        for row in comparison.rows
    ]
