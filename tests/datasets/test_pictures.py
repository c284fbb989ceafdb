from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
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


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".gif", ".webp"])
def test_label_pictures_of_unfit_kinds_are_named_once(tmp_path, ending):
    """Wherever label maps are looked for: one line for each, and none that follows from it."""
    for place, suffix in (("images", ".png"), ("labels", ending)):
        (tmp_path / place).mkdir()
        Image.new("L", (8, 6)).save(tmp_path / place / f"a{suffix}")
    (tmp_path / "train.txt").write_text("a\n")
    labels = tmp_path / "labels"
    verbs = [
        ["dataset", "check", tmp_path],
        ["dataset", "convert", tmp_path, "-o", tmp_path / "out"],
        ["score", "--pred", labels, "--truth", labels],
        ["train", tmp_path, "-o", tmp_path / "run"],
    ]
    for verb in verbs:
        result = CliRunner().invoke(main, [*map(str, verb)])
        errors = [line for line in result.output.splitlines() if " error: " in line]
        assert result.exit_code == 1
        assert len(errors) == 1, result.output
        assert f"a{ending}" in errors[0] and "save label maps as PNG" in errors[0]
