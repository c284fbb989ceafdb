"""What a net is fed while it trains: its data layers' readers, or a dataset's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcnproto import datasets
from fcnproto.datasets import Reader
from fcnproto.datasets.base import Draw
from fcnproto.errors import DataError, FcnprotoError, LayerError, Problem
from fcnproto.layers.base import Layer
from fcnproto.layers.input import Input
from fcnproto.layers.python import Python
from fcnproto.net.graph import Graph, Node
from fcnproto.parallel import ahead
from fcnproto.training.net import Feed

Draws = tuple[tuple[Draw, ...], ...]
"""The images of one pass, for each source."""


@dataclass(frozen=True)
class Source:
    """A reader, and which blob of the net takes each of its tops."""

    reader: Reader
    blobs: Mapping[str, str]

    def feed(self, draws: Sequence[Draw]) -> dict[str, npt.NDArray[Any]]:
        """What images of the split feed: a batch for each blob."""
        arrays = self.reader.feed(draws)
        return {blob: arrays[top] for top, blob in self.blobs.items()}


@dataclass(frozen=True)
class Data:
    """All that a net is fed."""

    sources: tuple[Source, ...]

    @classmethod
    def of(cls, graph: Graph, data: Path | None, *, split: str, seed: int) -> Data:
        """The readers of a net's data layers, sought in the folder `data` if it is given.

        Input layers are fed from the dataset that lies in `data`, its given split. `seed` decides
        the order of images where a layer does not. Raises DataError with all that is wrong.
        """
        sources: list[Source] = []
        problems: list[Problem] = []
        loose: list[Node] = []
        for node in graph.nodes:
            layer = node.layer
            if node.bottoms or not layer.feeds or type(layer).torch is not Layer.torch:
                continue
            if isinstance(layer, Input):
                loose.append(node)
                continue
            try:
                sources.append(_source(node, data, seed))
            except (DataError, LayerError) as error:
                problems += [
                    p if p.path else graph.problem(node, p.message) for p in error.problems
                ]
        if loose:
            try:
                sources.append(_found(graph, loose, data, split))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(*problems)
        return cls(tuple(sources))

    def draws(self) -> Iterator[Draws]:
        """The images that each source reads, pass by pass, without end."""
        if not self.sources:
            return repeat(())
        return zip(*(source.reader.draws() for source in self.sources), strict=True)

    def read(self, draws: Draws) -> Feed:
        """One pass's feed."""
        feed: dict[str, npt.NDArray[Any]] = {}
        for source, own in zip(self.sources, draws, strict=True):
            feed |= source.feed(own)
        return feed

    def first(self) -> Feed:
        """The feed of the first images, by which the net's shapes are known."""
        return self.read(tuple(((0, 0),) * source.reader.batch for source in self.sources))

    def feeds(self, passes: range, *, skip: int, of: int) -> Iterator[list[Feed]]:
        """The feeds of each iteration, read ahead: those of `passes` out of `of` in each.

        `skip` iterations have been done already.
        """
        draws = islice(self.draws(), skip * of, None)

        def chosen() -> Iterator[list[Draws]]:
            while True:
                yield list(islice(draws, of))[passes.start : passes.stop]

        return ahead(lambda group: [self.read(each) for each in group], chosen())


def _source(node: Node, data: Path | None, seed: int) -> Source:
    """The reader that a Python layer stands for."""
    layer = node.layer
    if not isinstance(layer, Python):
        raise DataError(
            f"data of type {layer.type} are not read here: use a Python layer such as"
            " FolderSegDataLayer, or Input layers and --data"
        )
    if not layer.is_published:
        raise DataError(
            f"the Python layer '{layer.param.layer}' of module '{layer.param.module}' is not known,"
            " and no code of a net is run: give its data as a folder to FolderSegDataLayer, or by"
            " Input layers and --data"
        )
    settings = {"seed": seed, **layer.settings_dict()}
    reader = datasets.reader(layer.param.layer, settings, data)
    return Source(reader, dict(zip(reader.tops, layer.proto.top, strict=True)))


def _found(graph: Graph, nodes: list[Node], data: Path | None, split: str) -> Source:
    """The reader of the dataset in a folder, for Input layers with the names of its tops."""
    blobs = [graph.blobs[top] for node in nodes for top in node.tops]
    if data is None:
        names = ", ".join(blobs)
        raise DataError(Problem(f"nothing feeds {names}: name a dataset with --data", graph.path))
    reader = datasets.find(data, split)
    unknown = [blob for blob in blobs if blob not in reader.tops]
    if unknown:
        message = f"the dataset feeds {', '.join(reader.tops)}, the net takes {', '.join(unknown)}"
        raise DataError(Problem(message, str(data)))
    return Source(reader, {blob: blob for blob in blobs})


def label_problem(
    source: Source, index: int, wrong: Callable[[Feed], Iterator[Problem]]
) -> Problem | None:
    """What is wrong with the labels of an image, `wrong` saying so of what is fed, and its file."""
    for top in source.reader.label_tops:
        if top not in source.blobs:
            continue
        path = source.reader.place(top, index)
        try:
            labels = source.reader.label(top, index)[np.newaxis, np.newaxis]
        except FcnprotoError as error:
            return error.problems[0]
        for problem in wrong({source.blobs[top]: labels}):
            return Problem(f"{problem.message} ({problem.layer})", path)
    return None
