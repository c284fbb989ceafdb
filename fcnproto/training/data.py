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
from fcnproto.training.batches import Batches
from fcnproto.training.net import Feed

Draws = tuple[Any, ...]
"""What each source reads in one pass, as it says it itself."""


@dataclass(frozen=True)
class WiredReader:
    """A reader, and which blob of the net takes each of its tops."""

    reader: Reader
    blobs: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def first(self) -> tuple[Draw, ...]:
        """The first images, as they lie there."""
        return ((0, 0),) * self.reader.batch

    def draws(self) -> Iterator[tuple[Draw, ...]]:
        """The images of each pass, without end."""
        return self.reader.draws()

    def labels(self, index: int) -> Iterator[tuple[str, Feed]]:
        """Each label map of an image as its blob is fed, with the file that holds it."""
        for top in self.reader.label_tops:
            if top in self.blobs:
                labels = self.reader.label(top, index)[np.newaxis, np.newaxis]
                yield self.reader.place(top, index), {self.blobs[top]: labels}

    def feed(self, draws: Sequence[Draw]) -> dict[str, npt.NDArray[Any]]:
        """What images of the split feed: a batch for each blob."""
        arrays = self.reader.feed(draws)
        return {blob: arrays[top] for top, blob in self.blobs.items()}


@dataclass(frozen=True)
class Data:
    """All that a net is fed."""

    sources: tuple[WiredReader | Batches, ...]

    @classmethod
    def of(cls, graph: Graph, data: Path | None, *, split: str, seed: int) -> Data:
        """The readers of a net's data layers, sought in the folder `data` if it is given.

        Input layers are fed from the dataset that lies in `data`, its given split. `seed` decides
        the order of images where a layer does not. Raises DataError with all that is wrong.
        """
        sources: list[WiredReader | Batches] = []
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
                sources.append(_source(graph, node, data, seed))
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
        """What each source reads, pass by pass, without end."""
        if not self.sources:
            return repeat(())
        return zip(*(source.draws() for source in self.sources), strict=True)

    def read(self, draws: Draws) -> Feed:
        """One pass's feed."""
        feed: dict[str, npt.NDArray[Any]] = {}
        for source, own in zip(self.sources, draws, strict=True):
            feed |= source.feed(own)
        return feed

    def first(self) -> Feed:
        """The feed of the first images, by which the net's shapes are known."""
        return self.read(tuple(source.first for source in self.sources))

    def feeds(self, passes: range, *, skip: int, of: int) -> Iterator[list[Feed]]:
        """The feeds of each iteration, read ahead: those of `passes` out of `of` in each.

        `skip` iterations have been done already.
        """
        draws = islice(self.draws(), skip * of, None)

        def chosen() -> Iterator[list[Draws]]:
            while True:
                yield list(islice(draws, of))[passes.start : passes.stop]

        return ahead(lambda group: [self.read(each) for each in group], chosen())


def _source(graph: Graph, node: Node, data: Path | None, seed: int) -> WiredReader | Batches:
    """The reader that a Python layer stands for, or what a layer of Caffe's own reads."""
    layer = node.layer
    if not isinstance(layer, Python):
        return Batches(graph, node, data, seed)
    if not layer.is_published:
        raise DataError(
            f"the Python layer '{layer.param.layer}' of module '{layer.param.module}' is not known,"
            " and no code of a net is run: give its data as a folder to FolderSegDataLayer, or by"
            " Input layers and --data"
        )
    settings = {"seed": seed, **layer.settings_dict()}
    reader = datasets.reader(layer.param.layer, settings, data)
    return WiredReader(reader, dict(zip(reader.tops, layer.proto.top, strict=True)))


def _found(graph: Graph, nodes: list[Node], data: Path | None, split: str) -> WiredReader:
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
    return WiredReader(reader, {blob: blob for blob in blobs})


def label_problem(
    source: WiredReader | Batches, index: int, wrong: Callable[[Feed], Iterator[Problem]]
) -> Problem | None:
    """What is wrong with the labels of an image, `wrong` saying so of what is fed, and its file."""
    try:
        for path, feed in source.labels(index):
            for problem in wrong(feed):
                return Problem(f"{problem.message} ({problem.layer})", path)
    except FcnprotoError as error:
        return error.problems[0]
    return None
