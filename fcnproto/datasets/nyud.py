"""NYUDv2: rooms in colour and depth, 40 classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from fcnproto.datasets.base import FileReader, from_one
from fcnproto.datasets.mat import read_mat
from fcnproto.errors import Problem
from fcnproto.types import Array

_FOLDERS = {"color": "images", "hha": "hha", "depth": "depth"}
LABEL = "label"


class NYUDSegDataLayer(FileReader):
    """NYUDv2 as Gupta et al. prepared it; `tops` says which of color, hha, depth, label are fed.

    Depth is the logarithm of what the file holds, less its mean. HHA is fed in the order of its
    file's channels.
    """

    dataset = "nyud"
    directories: ClassVar = {"nyud_dir": ("data/images", "segmentation")}
    options = ("tops",)
    splits = ("trainval", "test")
    images: ClassVar = {kind: kind for kind in _FOLDERS}

    @property
    def tops(self) -> tuple[str, ...]:
        """Those that the settings name, in their order."""
        return tuple(self.settings["tops"])

    @property
    def label_tops(self) -> tuple[str, ...]:
        """The label, if it is fed."""
        return tuple(top for top in self.tops if top == LABEL)

    @classmethod
    def found_settings(cls, directories: Mapping[str, str]) -> dict[str, Any]:
        """All kinds of image that are there, and the label."""
        folder = Path(directories["nyud_dir"]) / "data"
        kinds = [kind for kind, place in _FOLDERS.items() if (folder / place).is_dir()]
        return {"tops": (*kinds, LABEL)}

    def split_file(self) -> Path:
        """SPLIT.txt."""
        return self.folders["nyud_dir"] / f"{self.split}.txt"

    def file(self, top: str, name: str) -> Path:
        """data/{images,hha,depth}/img_NAME.png or segmentation/img_NAME.mat."""
        folder = self.folders["nyud_dir"]
        if top in self.images:
            return folder / "data" / _FOLDERS[top] / f"img_{name}.png"
        return folder / "segmentation" / f"img_{name}.mat"

    def read_label(self, top: str, path: Path) -> Array:
        """The variable segmentation: 0 is void, 1 to 40 are the classes."""
        return from_one(path, read_mat(path, "segmentation"))

    def _setting_problems(self) -> Iterator[Problem]:
        yield from super()._setting_problems()
        tops = self.settings.get("tops")
        known = (*_FOLDERS, LABEL)
        if not isinstance(tops, list | tuple) or not tops or not set(map(str, tops)) <= set(known):
            found = "none" if "tops" not in self.settings else repr(tops)
            yield Problem(
                f"{type(self).__name__} needs the setting 'tops', a list of {', '.join(known)};"
                f" found {found}"
            )
