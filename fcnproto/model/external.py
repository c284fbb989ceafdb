"""The files in which a model's arrays lie, where they are not in the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onnx import GraphProto, ModelProto, TensorProto

from fcnproto.errors import FcnprotoError, Problem


def array_files(model: ModelProto, path: Path) -> list[PurePosixPath]:
    """The files that the arrays of the model at `path` lie in, relative to its folder.

    ONNX's TensorProto.external_data names them. Raises FcnprotoError for one outside of the folder,
    and for one that is not there.
    """
    found = dict.fromkeys(
        PurePosixPath(entry.value)
        for tensor in _arrays(model.graph)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    )
    folder = path.resolve().parent
    for name in found:
        file = (folder / name).resolve()
        if name.is_absolute() or not file.is_relative_to(folder):
            raise FcnprotoError(
                Problem(f"its arrays lie outside of its folder: '{name}'", str(path))
            )
        if not file.is_file():
            raise FcnprotoError(
                Problem(f"its arrays lie in '{name}', which is not there", str(path))
            )
    return list(found)


def _arrays(graph: GraphProto) -> Iterator[TensorProto]:
    """The arrays of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _arrays(inner)
