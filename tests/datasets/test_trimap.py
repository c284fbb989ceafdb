"""The trimap: which pixels count, one by one, and what score prints."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.datasets.score import near_boundaries


def by_hand(truth, width, ignore=255):
    """Each pixel whose square of `width` pixels around has a boundary's side, walked."""
    height, columns = truth.shape
    sides = set()
    for y in range(height):
        for x in range(columns):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < height and other[1] < columns:
                    pair = truth[y, x], truth[other]
                    if pair[0] != pair[1] and ignore not in pair:
                        sides |= {(y, x), other}
    return np.array(
        [
            [
                truth[y, x]
                if any(max(abs(y - a), abs(x - b)) < width for a, b in sides)
                else ignore
                for x in range(columns)
            ]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("width", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", range(4))
def test_which_pixels_count(width, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 1, 2, 255], (3, 4)).astype(np.uint8)
    truth = coarse.repeat(5, 0).repeat(4, 1)[1:]
    np.testing.assert_array_equal(near_boundaries(truth, width), by_hand(truth, width))


def test_a_truth_of_one_class_and_none_at_all():
    truth = np.ones((4, 5), np.uint8)
    assert (near_boundaries(truth, 3) == 255).all()
    assert near_boundaries(truth, None) is truth


def test_score_counts_near_boundaries_only(tmp_path):
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:] = 1
    wrong = truth.copy()
    wrong[0, 0] = 1  # far from the boundary
    wrong[:, 10] = 0
    for name, labels in (("truth", truth), ("pred", wrong)):
        (tmp_path / name).mkdir()
        Image.fromarray(labels).save(tmp_path / name / "a.png")
    places = ["--pred", str(tmp_path / "pred"), "--truth", str(tmp_path / "truth")]
    found = {}
    for more in ((), ("--trimap", "3")):
        done = CliRunner().invoke(main, ["score", *places, *more, "--json"])
        assert done.exit_code == 0, done.output
        found[more] = json.loads(done.stdout)
    assert found[()]["pixel_accuracy"] == pytest.approx(1 - 21 / 400)
    near = found[("--trimap", "3")]
    assert near["pixel_accuracy"] == pytest.approx(1 - 20 / 120)
    assert [each["pixels"] for each in near["per_class"]] == [60, 60]
    assert near["per_class"][0]["iu"] == pytest.approx(60 / 80)


def test_refine_is_of_a_model(tmp_path):
    done = CliRunner().invoke(main, ["score", "--pred", "a", "--truth", "b", "--refine", "crf"])
    assert done.exit_code == 2 and "--refine goes with --model" in done.output
