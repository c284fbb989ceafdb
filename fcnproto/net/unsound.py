"""Settings that are infinite or not a number, which nothing sound is computed with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf.message import Message

from fcnproto.errors import Problem, Severity
from fcnproto.net.graph import Graph
from fcnproto.proto.schema import set_fields

_BOUNDS = ("min", "max")
"""Fields in which an infinite number says that there is no bound."""


def unsound_settings(graph: Graph) -> Iterator[Problem]:
    """A warning for each such setting of each layer."""
    for node in graph.nodes:
        for name, value in _not_finite(node.layer.proto):
            message = f"{name} is {value:g}: what it computes is no number, or infinite"
            yield graph.problem(node, message, Severity.WARNING)


def _not_finite(message: Message, before: str = "") -> Iterator[tuple[str, float]]:
    for field, values in set_fields(message):
        if field.name == "blobs":
            continue  # weights have a rule of theirs
        for value in values:
            if isinstance(value, Message):
                yield from _not_finite(value, f"{before}{field.name}.")
            elif isinstance(value, float) and (
                math.isnan(value) or (math.isinf(value) and field.name not in _BOUNDS)
            ):
                yield f"{before}{field.name}", value
