"""What a data layer reads from files, and what it makes of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Form(Enum):
    """In which form data lie."""

    DATABASE = "database"
    """Pairs of an array and a number."""
    DATABASES = "databases"
    """Arrays in one, label maps in another, in the same order."""
    TABLES = "tables"
    """A list of HDF5 files, with a data set for each top."""
    NUMBERS = "numbers"
    """A list of images, each with a number."""
    IMAGES = "images"
    """A list of images."""
    PAIRS = "pairs"
    """A list of images, each with a label map; or two lists."""


@dataclass(frozen=True)
class Transform:
    """What is done to an image on its way to the net (data_transformer.cpp), in this order."""

    size: tuple[int, int] | None = None
    """To which height and width it is resized, bilinearly."""
    scales: tuple[float, ...] = ()
    """By one of which it is resized, at random."""
    between: tuple[float, float] | None = None
    """Between which it is resized at random."""
    crop: tuple[int, int] | None = None
    """The height and width of what is cut out: at random in training, else the middle."""
    crop_bottom: bool = False
    """Whether what is cut out stands at the bottom (SegNet)."""
    random: bool = False
    pad: str = ""
    """What is put around images that are smaller than the crop: mean, zero or reflect."""
    mirror: bool = False
    mean_file: str = ""
    mean: tuple[float, ...] = ()
    """For each channel, or one for all."""
    scale: float = 1.0
    colour: bool | None = None
    """Whether images have three channels, or one; None: as they are stored."""


@dataclass(frozen=True)
class LabelMap:
    """What is done to a label map beyond what is done to its image."""

    divide: float = 1.0
    """By what its height and width are divided."""
    greys: bool = False
    """Whether it is a picture of greys, not one of classes."""
    halves: bool = False
    """Whether numbers from 128 on are 1, and those below 0."""
    ignored: int = 255
    """What stands where there is no image."""
    offset: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dim: tuple[int, int] | None = None
    """Which labels are learned: from `offset` on every stride-th, so many; None: all."""


@dataclass(frozen=True)
class Reading:
    """What a data layer reads, and what it makes of it."""

    form: Form
    source: str
    batch: int
    transform: Transform = Transform()
    labels: str = ""
    """The list or database of label maps, where it is another."""
    roots: tuple[str, str] = ("", "")
    """What stands before the names of images, and of label maps."""
    shuffle: bool = False
    skip: int = 0
    """Up to how many items are skipped at the beginning."""
    label_map: LabelMap = LabelMap()
