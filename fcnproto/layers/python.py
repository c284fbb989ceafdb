"""Python."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fcnproto.errors import LayerError
from fcnproto.layers.base import BOXES, InPlace, Layer, at_least, require
from fcnproto.layers.spatial import IDENTITY, CoordMap
from fcnproto.proto.caffe_pb2 import TEST, PythonParameter
from fcnproto.types import Shape

if TYPE_CHECKING:
    from fcnproto.model.builder import Builder

DEFAULT_SIZE = 500, 500  # no image of PASCAL VOC is larger

# The data layers published with the FCNs: the channels of each top.
PUBLISHED: Mapping[str, Sequence[tuple[str, int]]] = {
    "VOCSegDataLayer": (("data", 3), ("label", 1)),
    "SBDDSegDataLayer": (("data", 3), ("label", 1)),
    "SIFTFlowSegDataLayer": (("data", 3), ("sem", 1), ("geo", 1)),
    "PASCALContextSegDataLayer": (("data", 3), ("label", 1)),
    "FolderSegDataLayer": (("data", 3), ("label", 1)),  # ours, for data of one's own
    "ShapesSegDataLayer": (("data", 3), ("label", 1)),  # ours, which draws its images
}
NYUD_LAYER = "NYUDSegDataLayer"
NYUD_CHANNELS = {"color": 3, "hha": 3, "depth": 1, "label": 1}


_OF_BOXES = ("rpn", "roi_data_layer")


class Python(Layer):
    """A layer that a user wrote in Python, of which only the published data layers are known.

    Nothing of it is ever run. Their settings stand in param_str, the literal of a dictionary.
    """

    type = "Python"
    settings = "python_param"
    bottoms = at_least(0)
    tops = at_least(0)
    in_place = InPlace.WORKS  # who knows

    param: PythonParameter

    @property
    def feeds(self) -> bool:
        """Whether it reads nothing, as data layers do."""
        return not self.proto.bottom

    @property
    def title(self) -> str:
        """Its class and module."""
        return f"Python '{self.param.layer}' of module '{self.param.module}'"

    @property
    def is_identity(self) -> bool:
        """Whether it hands on its bottom where a net infers: ENet's spatial dropout does.

        That drops whole channels in training (TimoSaemann/ENet, spatial_dropout.py).
        """
        return self.param.module == "spatial_dropout" and self.phase == TEST

    @property
    def detects(self) -> bool:  # type: ignore[override]
        """Whether it is one of Faster R-CNN's or DetectNet's layers."""
        return self.param.module.split(".")[0] in _OF_BOXES or "detectnet" in self.param.module

    def coord_map(self) -> CoordMap:
        """The identity, where it does nothing."""
        return IDENTITY if self.is_identity else super().coord_map()

    def obstacle(self) -> str | None:
        """Code that is not run: no more is known of it than its name."""
        if self.is_identity:
            return None
        if self.detects:
            return BOXES
        return (
            "no code of a net is run, so its Python layers have no ONNX form; --identity NAME says"
            " that one does nothing where the net infers"
        )

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Its bottom, where it does nothing."""
        return bottoms

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """N × C × H × W for the published data layers, N 1 unless said; for others as given."""
        tops = self._published_tops()
        if self.is_identity:
            return bottoms
        if tops is None:
            images = (1, 3, *self.context.size) if self.feeds and self.context.size else None
            return [images, *[None] * len(self.proto.top)][: len(self.proto.top)]
        require(not bottoms, f"{self.param.layer} takes no bottoms, found {len(bottoms)}")
        names = ", ".join(name for name, _ in tops)
        require(
            len(tops) == len(self.proto.top),
            f"{self.param.layer} has {len(tops)} tops ({names}), found {len(self.proto.top)}",
        )
        batch, size = self._fed()
        return [(batch, channels, *size) for _, channels in tops]

    def _fed(self) -> tuple[int, Sequence[int]]:
        """How many images come at a time, and their size where param_str says it."""
        settings = self.settings_dict()
        batch, size = settings.get("batch", 1), settings.get("crop", self.context.size)
        if size is None:
            size = DEFAULT_SIZE
        require(
            isinstance(batch, int) and batch > 0,
            f"batch must be a positive number, found {batch!r}",
        )
        pair = isinstance(size, tuple | list) and len(size) == 2
        require(
            pair and all(isinstance(length, int) and length > 0 for length in size),
            f"crop must be a height and a width, found {size!r}",
        )
        return batch, size

    @property
    def is_published(self) -> bool:
        """Whether it is one of the data layers published with the FCNs, or of ours."""
        return self.param.layer in PUBLISHED or self.param.layer == NYUD_LAYER

    def subtracts_mean(self) -> bool | None:
        """Whether it is a published data layer: those that are not told a mean have one inside."""
        return None if self._published_tops() is None else True

    def settings_dict(self) -> dict[str, Any]:
        """What param_str says; LayerError unless it is the literal of a dictionary."""
        return read_param_str(self.param.param_str)

    def _published_tops(self) -> Sequence[tuple[str, int]] | None:
        """The name and the channels of each top of a published data layer."""
        name = self.param.layer
        if not self.is_published:
            return None
        settings = self.settings_dict()
        if name in PUBLISHED:
            return PUBLISHED[name]
        tops = settings.get("tops", ())
        known = isinstance(tops, list | tuple) and all(
            isinstance(top, str) and top in NYUD_CHANNELS for top in tops
        )
        require(
            known and len(tops) > 0,
            f"param_str's tops must be a list of {', '.join(NYUD_CHANNELS)}, found {tops!r}",
        )
        return [(top, NYUD_CHANNELS[top]) for top in tops]


def read_param_str(text: str) -> dict[str, Any]:
    """The settings in a param_str, which is read, never run.

    LayerError unless it is the literal of a dictionary.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise LayerError(f"param_str must be the literal of a dict, found {text!r}") from error
    require(isinstance(value, dict), f"param_str must be the literal of a dict, found {text!r}")
    settings: dict[str, Any] = value
    return settings
