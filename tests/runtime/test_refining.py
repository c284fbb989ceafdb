"""--refine: what it takes, what it brings to shapes, and tiles."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.crf.dense_crf import DenseCRF, Gaussian
from fcnproto.datasets import generated
from fcnproto.datasets.score import score_model
from fcnproto.errors import FcnprotoError
from fcnproto.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "shapes-fcn8s.onnx"
    done = CliRunner().invoke(
        main, ["export-onnx", "shapes-fcn8s", "--weights", "shapes-fcn8s", "-o", str(path)]
    )
    assert done.exit_code == 0, done.output
    return path


def labels(model, picture, **plan):
    return Segmenter(model, device="cpu", **plan)(picture).labels


@pytest.mark.slow
def test_a_crf_brings_shapes_more_than_three_points(model):
    reader = generated("shapes", "val")
    found = []
    for refine in (None, "crf"):
        segmenter = Segmenter(model, device="cpu", refine=refine)
        (score,) = score_model(segmenter.runner, Few(reader, 20)).values()
        found.append(score.mean_iu)
    assert found[1] > found[0] + 0.03


class Few:
    """The first images of a reader."""

    def __init__(self, reader, count):
        self.reader, self.count = reader, count

    def __getattr__(self, name):
        return getattr(self.reader, name)

    def __len__(self):
        return self.count

    @property
    def names(self):
        return self.reader.names[: self.count]


def test_tiles_give_what_the_whole_gives(model):
    picture = generated("shapes", "val").picture("data", 3)
    whole, tiled = (
        labels(model, picture, tile=tile, refine="crf:deconvnet") for tile in (None, 64)
    )
    np.testing.assert_array_equal(whole, tiled)


def test_images_of_a_batch_are_refined_each_by_its_own(model):
    reader = generated("shapes", "val")
    size = (slice(0, 112), slice(0, 112))
    pictures = [reader.picture("data", index)[size] for index in range(3)]
    segmenter = Segmenter(model, device="cpu", refine="crf", flip=True)
    for together, picture in zip(segmenter(pictures), pictures, strict=True):
        np.testing.assert_array_equal(together.labels, segmenter(picture).labels)


def test_a_crf_of_ones_own(model):
    picture = generated("shapes", "val").picture("data", 3)
    plain, none, strong = (
        labels(model, picture, refine=each)
        for each in (None, DenseCRF([], 5), DenseCRF([Gaussian(20, 50)], 5))
    )
    np.testing.assert_array_equal(plain, none)
    assert (plain != strong).mean() > 0.05


@pytest.mark.parametrize(
    ("refine", "message"),
    [
        ("crf:deeplap", "did you mean 'deeplab'"),
        ("smooth", "--refine is none, crf, crf:PRESET or crf:FILE.toml, found 'smooth'"),
        ("crf:none.toml", "none.toml: error: cannot be read"),
    ],
)
def test_what_cannot_refine(model, tmp_path, refine, message):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    args = ["segment", str(tmp_path / "a.png"), "--model", str(model), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*args, "--refine", refine])
    assert done.exit_code == 1 and message in done.output
    with pytest.raises(FcnprotoError):
        Segmenter(model, device="cpu", refine=refine)


def test_one_pixel_is_said_of_its_image(model, tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    args = ["segment", str(tmp_path / "a.png"), "--model", str(model), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*args, "--refine", "crf"])
    assert done.exit_code == 1
    assert "a.png: error: a random field needs at least two pixels, found 1×1" in done.output
