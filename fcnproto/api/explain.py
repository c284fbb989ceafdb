"""Why a net is as it is: the offsets of crops, the pad of the first layer, what a pixel sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fcnproto.errors import Problem
from fcnproto.insight import explain_crop as crops
from fcnproto.insight import explain_field as fields
from fcnproto.insight import explain_pad as pads
from fcnproto.net.graph import Graph
from fcnproto.types import Array, Shown

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, repr=False)
class CropExplanation(Shown):
    """How the offset of each Crop comes about, and those that cannot be accounted for."""

    graph: Graph
    accounts: tuple[crops.CropAccount, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(
        cls, graph: Graph, accounts: Iterable[crops.CropAccount], problems: Iterable[Problem]
    ) -> CropExplanation:
        """From what the account of a net's crops gives."""
        return cls(graph, tuple(accounts), tuple(problems))

    def as_json(self) -> list[dict[str, Any]]:
        """The accounts as JSON has them."""
        return [crops.crop_json(self.graph, account) for account in self.accounts]

    def __str__(self) -> str:
        texts = [crops.crop_text(self.graph, account) for account in self.accounts]
        return "\n".join(texts).rstrip("\n")


@dataclass(frozen=True, repr=False)
class PadExplanation(Shown):
    """Which image sizes the pad of the first layer lets survive, and what it costs."""

    account: pads.PadAccount

    def as_json(self) -> dict[str, Any]:
        """The account as JSON has it."""
        return pads.pad_json(self.account)

    def __str__(self) -> str:
        return pads.pad_text(self.account).rstrip("\n")


@dataclass(frozen=True, repr=False)
class FieldExplanation(Shown):
    """Which pixels of each input a pixel of a blob is computed from."""

    accounts: tuple[fields.Account, ...]
    image: Array | None = None
    """What the field is drawn on, H×W×3 uint8 RGB; plain grey without."""

    def as_json(self) -> list[dict[str, Any]]:
        """The accounts as JSON has them."""
        return list(map(fields.as_json, self.accounts))

    def picture(self) -> Image.Image:
        """The field in the first input; NetError if the pixel sees nothing of it."""
        return fields.picture(self.accounts[0], self.image)

    def __str__(self) -> str:
        return "".join(map(fields.text, self.accounts)).rstrip("\n")

    def _repr_png_(self) -> bytes:
        from fcnproto.runtime.images import png_of

        return png_of(self.picture())
