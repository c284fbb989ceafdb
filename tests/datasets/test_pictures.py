from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnproto.datasets.pictures import read_image, read_stored

ORIENTATION = 274


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_stored(tmp_path: Path, ending, turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    path = tmp_path / f"image.{ending}"
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path, exif=exif)
    stored = read_stored(path)
    assert stored.size == read_image(path).shape[:2]
    assert stored.upright == read_image(path, upright=True).shape[:2]
    assert stored.turn == (1 if ending == "tif" else turn)


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[start : start + 4], "big")
    chunk, rest = content[start : start + length], content[:start] + content[start + length :]
    path.write_bytes(rest[:-12] + chunk + rest[-12:])
    assert read_stored(path).upright == (6, 4) == read_image(path, upright=True).shape[:2]
