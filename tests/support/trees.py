"""Tiny datasets in the layouts in which they are published, and the arrays that are in them."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIFT = "spatial_envelope_256x256_static_8outdoorcategories"


def colours(seed: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def labels(seed: int, highest: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed + 1000).integers(0, highest + 1, size, np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    """An image file; a palette PNG of indices where the mode is P."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":
        image.putpalette(np.random.default_rng(7).integers(0, 256, 768, np.uint8).tobytes())
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def split(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def mat(path: Path, **variables: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def voc(folder: Path, names: list[str], name: str = "train") -> dict[str, np.ndarray]:
    split(folder / "ImageSets" / "Segmentation" / f"{name}.txt", names)
    truth = {}
    for seed, each in enumerate(names):
        save(folder / "JPEGImages" / f"{each}.jpg", colours(seed))
        array = labels(seed, 20)
        array[0] = 255
        save(folder / "SegmentationClass" / f"{each}.png", array, "P")
        truth[each] = array
    return truth


def sbdd(folder: Path, names: list[str], name: str = "train") -> dict[str, np.ndarray]:
    split(folder / f"{name}.txt", names)
    truth = {}
    kind = [("Segmentation", "O"), ("Boundaries", "O")]
    for seed, each in enumerate(names):
        save(folder / "img" / f"{each}.jpg", colours(seed))
        truth[each] = labels(seed, 20)
        structure = np.zeros((1, 1), kind)
        structure[0, 0] = (truth[each], np.zeros(3))
        mat(folder / "cls" / f"{each}.mat", GTcls=structure)
    return truth


def nyud(folder: Path, names: list[str], name: str = "trainval") -> dict[str, np.ndarray]:
    split(folder / f"{name}.txt", names)
    raw = {}
    for seed, each in enumerate(names):
        save(folder / "data" / "images" / f"img_{each}.png", colours(seed))
        save(folder / "data" / "hha" / f"img_{each}.png", colours(seed + 50))
        depth = np.random.default_rng(seed).integers(800, 9000, (6, 8)).astype(np.uint16)
        save(folder / "data" / "depth" / f"img_{each}.png", depth)
        raw[each] = labels(seed, 40)
        raw[each][0, 0] = 0
        mat(folder / "segmentation" / f"img_{each}.mat", segmentation=raw[each])
    return raw


def siftflow(folder: Path, names: list[str], name: str = "trainval") -> dict[str, np.ndarray]:
    split(folder / f"{name}.txt", names)
    raw = {}
    for seed, each in enumerate(names):
        save(folder / "Images" / SIFT / f"{each}.jpg", colours(seed))
        raw[each] = labels(seed, 33)
        raw[each][0, 0] = 0
        mat(folder / "SemanticLabels" / SIFT / f"{each}.mat", S=raw[each])
        geometric = labels(seed, 4).astype(np.int16) - 1
        mat(folder / "GeoLabels" / SIFT / f"{each}.mat", S=geometric)
        raw[f"{each} geo"] = geometric
    return raw


def context(folder: Path, names: list[str], name: str = "train") -> dict[str, np.ndarray]:
    """`folder` is the one in which all datasets lie."""
    voc_dir = folder / "pascal" / "VOC2010"
    split(voc_dir / "ImageSets" / "Main" / f"{name}.txt", names)
    raw = {}
    for seed, each in enumerate(names):
        save(voc_dir / "JPEGImages" / f"{each}.jpg", colours(seed))
        raw[each] = np.random.default_rng(seed).integers(1, 460, (6, 8)).astype(np.uint16)
        mat(folder / "pascal-context" / "trainval" / f"{each}.mat", LabelMap=raw[each])
    return raw


def plain(folder: Path, names: list[str], classes: int = 3) -> dict[str, np.ndarray]:
    """A folder with images/, labels/, train.txt and val.txt, which name the same images."""
    split(folder / "train.txt", names)
    split(folder / "val.txt", names)
    truth = {}
    for seed, each in enumerate(names):
        save(folder / "images" / f"{each}.jpg", colours(seed))
        truth[each] = labels(seed, classes - 1)
        truth[each].flat[:classes] = range(classes)
        save(folder / "labels" / f"{each}.png", truth[each])
    return truth
