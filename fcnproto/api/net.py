"""A net as a value: its layers, shapes, problems and picture, and why it is as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from reprlib import repr
from typing import TYPE_CHECKING

from fcnproto.api import sources
from fcnproto.api.lines import Problems
from fcnproto.api.sources import Named
from fcnproto.api.zoo import Prototxt
from fcnproto.errors import FcnprotoError
from fcnproto.files import replacing
from fcnproto.net import check as checking
from fcnproto.net.graph import Graph, State, build
from fcnproto.net.shapes import infer
from fcnproto.proto import printer
from fcnproto.proto.caffe_pb2 import Phase
from fcnproto.proto.source import NetSource
from fcnproto.types import INT_MAX, Shape, Shown, size_of, whole, words_of

if TYPE_CHECKING:
    from fcnproto.api.explain import CropExplanation, FieldExplanation, PadExplanation
    from fcnproto.insight.summary import LayerRow, Summary
    from fcnproto.runtime.segmenter import ImageLike

# What explains, draws and sums up is imported where it is asked for: few who load a net do.


class Net(Shown):
    """A net in a state (phase, level, stages), for images of a size.

    What asks for layers, shapes or a picture raises NetError where Caffe would refuse the net;
    `problems` says what is wrong.
    """

    def __init__(
        self,
        source: NetSource,
        state: State = State(),
        size: tuple[int, int] | None = None,
        zoo_name: str = "",
    ) -> None:
        self.source, self.state, self.size = source, state, size_of(size)
        self.zoo_name = zoo_name
        """What the zoo calls it; empty if it is none of the zoo's."""

    @property
    def name(self) -> str:
        """The name in its text."""
        return str(self.source.net.name)

    @cached_property
    def graph(self) -> Graph:
        """The net as a graph: what the functions of this package's wings take."""
        return build(self.source, self.state, self.size)

    @property
    def prototxt(self) -> Prototxt:
        """Its text in the current form."""
        return Prototxt(printer.format(self.source.net))

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """Its layers in order: name, type, tops, parameters, multiply-adds, receptive field."""
        return self._summary.rows

    @cached_property
    def shapes(self) -> Mapping[str, Shape | None]:
        """The shape of each blob, N×C×H×W for images; None where it is not known."""
        return infer(self.graph).blobs

    @cached_property
    def problems(self) -> Problems:
        """Everything that is wrong with it."""
        return Problems(checking.check_net(self.source, self.state, self.size))

    @cached_property
    def _summary(self) -> Summary:
        from fcnproto.insight.summary import summarize

        return summarize(self.graph)

    def summary(self) -> Summary:
        """A table of its layers and what they cost."""
        return self._summary

    def draw(self) -> Drawing:
        """Its picture; Graphviz lays it out when it is shown or saved."""
        return Drawing(self.graph)

    def explain_crop(self, blob: str | None = None) -> CropExplanation:
        """How the offset of each Crop, or of the one that makes `blob`, comes about."""
        from fcnproto.api.explain import CropExplanation
        from fcnproto.insight.explain_crop import crops

        return CropExplanation.of(self.graph, *crops(self.graph, blob))

    def explain_pad(self) -> PadExplanation:
        """Which image sizes the pad of the first layer lets survive, and what it costs."""
        from fcnproto.api.explain import PadExplanation
        from fcnproto.insight.explain_pad import pad

        return PadExplanation(pad(self.graph))

    def explain_field(
        self,
        blob: str,
        pixel: tuple[int, int] | None = None,
        image: ImageLike | None = None,
    ) -> FieldExplanation:
        """Which pixels of the image a pixel (row, column) of `blob` is computed from.

        By default that is the middle one. With an image the net has its size, and the picture
        shows it.
        """
        from fcnproto.api.explain import FieldExplanation
        from fcnproto.insight.explain_field import account

        if pixel is not None:
            pixel = _pixel(pixel)
        photo = None
        if image is not None:
            from fcnproto.runtime.segmenter import image_of  # numpy is heavy

            photo = image_of(image)
        graph = self.graph
        if photo is not None:
            graph = build(self.source, self.state, (photo.shape[0], photo.shape[1]))
        return FieldExplanation(tuple(account(graph, blob, pixel)), photo)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write its text; FcnprotoError if it cannot be written."""
        return self.prototxt.save(path)

    def __str__(self) -> str:
        try:
            return str(self._summary)
        except FcnprotoError:
            return f"net: {self.name or '(no name)'}, {self.state}\n{self.problems}"

    def _repr_html_(self) -> str:
        table = super()._repr_html_()
        try:
            picture = self.draw()._repr_svg_()
        except FcnprotoError:
            return table  # Graphviz is not there, or Caffe would refuse the net
        return f"{table}<div>{picture[picture.index('<svg') :]}</div>"  # without XML's head


def _pixel(pixel: tuple[int, int]) -> tuple[int, int]:
    """A pixel's row and column; FcnprotoError if it is something else."""
    try:
        row, column = pixel
    except (TypeError, ValueError):
        raise FcnprotoError(f"a pixel is (row, column), found {repr(pixel)}") from None
    return whole(row, "a row", -INT_MAX), whole(column, "a column", -INT_MAX)


class Drawing:
    """The picture of a net, made when it is shown or saved."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def content(self, suffix: str) -> bytes:
        """The picture as a file of this suffix holds it: .dot, .svg, .png, .pdf, .html.

        Raises FcnprotoError for any other, and where Graphviz is needed and missing.
        """
        from fcnproto.insight.draw import draw

        return draw(self._graph, suffix)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it in the format that the name's ending says; raises as `content`."""
        from fcnproto.insight.draw import suffix_of

        file = Path(path)
        content = self.content(suffix_of(str(path)))
        with replacing(file) as temporary:
            temporary.write_bytes(content)
        return file

    def __repr__(self) -> str:
        return f"<Drawing of {self._graph.name or 'a net'}: {len(self._graph.nodes)} layers>"

    def _repr_svg_(self) -> str:
        return self.content(".svg").decode()


NetLike = Net | Named
"""A net, or what names one: a name of the zoo, a path, or the text of a prototxt."""


def load_net(
    net: NetLike,
    *,
    phase: str = "deploy",
    level: int = 0,
    stages: Iterable[str] = (),
    size: tuple[int, int] | None = None,
    lenient: bool = False,
) -> Net:
    """A net by a name of the zoo, by the path of a prototxt, or from its text.

    It is built for a phase (deploy, train or val), level and stages, as Caffe does: of a file train
    keeps the layers of Caffe's TRAIN, deploy and val those of TEST; `size` (height, width)
    stands in for that of its images. With `lenient`, unknown fields are warnings. Raises
    PrototxtError where it cannot be read, and ZooError where there is no such net.
    """
    which, caffes = checked_phase(phase)
    state = State(caffes, whole(level, "a level", -INT_MAX), words_of(stages))
    if isinstance(net, Net):
        return Net(net.source, state, net.size if size is None else size, net.zoo_name)
    source = sources.net_source(net, which, lenient=lenient)
    return Net(source, state, size, sources.zoo_name(net))


def checked_phase(phase: str) -> tuple[str, int]:
    """What the zoo calls a phase, and Caffe; Caffe's own names are taken as well.

    FcnprotoError if there is no such phase.
    """
    phase = phase if isinstance(phase, str) else repr(phase)
    if phase.upper() == "TRAIN":
        return "train", Phase.Value("TRAIN")
    if phase in ("deploy", "val") or phase.upper() == "TEST":
        return "val" if phase == "val" else "deploy", Phase.Value("TEST")
    raise FcnprotoError(f"there is no phase '{phase}': expected deploy, train or val")


def as_net(net: NetLike) -> Net:
    """A net as it is, or loaded."""
    return net if isinstance(net, Net) else load_net(net)


def explain_crop(net: NetLike, blob: str | None = None) -> CropExplanation:
    """How the offset of each Crop of a net, or of the one that makes `blob`, comes about."""
    return as_net(net).explain_crop(blob)


def explain_pad(net: NetLike) -> PadExplanation:
    """Which image sizes the pad of a net's first layer lets survive, and what it costs."""
    return as_net(net).explain_pad()


def explain_field(
    net: NetLike,
    blob: str,
    pixel: tuple[int, int] | None = None,
    image: ImageLike | None = None,
) -> FieldExplanation:
    """Which pixels of the image a pixel (row, column) of a net's `blob` is computed from."""
    return as_net(net).explain_field(blob, pixel, image)
