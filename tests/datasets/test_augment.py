"""Images and label maps that are changed at random, together."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnproto import datasets
from fcnproto.datasets.augment import Augmentation, Change
from fcnproto.datasets.base import IGNORE
from fcnproto.errors import DataError

MEAN = (104.00699, 116.66877, 122.67892)
COLOURS = np.array([(10, 20, 30), (240, 60, 60), (60, 220, 90), (90, 60, 230)], np.uint8)


def drawn(height: int, width: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares of classes, and the image in which each class has its colour."""
    rows, columns = np.indices((height, width)) // block
    labels = ((2 * rows + columns + rows * columns) % 4).astype(np.uint8)
    return COLOURS[labels], labels


def classes_of(picture: np.ndarray) -> np.ndarray:
    """The class whose colour is nearest, pixel by pixel."""
    distances = np.abs(picture[..., None, :].astype(int) - COLOURS.astype(int)).sum(-1)
    return distances.argmin(-1).astype(np.uint8)


def whole(size, **values) -> Change:
    """A change that leaves everything as it is, but for what is given."""
    usual = {"scaled": size, "start": (0, 0), "cut": values.get("scaled", size)}
    return Change(size, **({**usual, "mirrored": False, "factors": ()} | values))


def both(change: Change, picture: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a change makes of an image, with −1 where it has ended, and of its label map."""
    shown = change.picture(picture).astype(np.int64).transpose(2, 0, 1)
    return change.placed(shown, -1).transpose(1, 2, 0), change.labels(labels, IGNORE)


def test_left_and_right_are_exchanged():
    picture, labels = drawn(12, 20, 3)
    image, maps = both(whole((12, 20), mirrored=True), picture, labels)
    np.testing.assert_array_equal(image, picture[:, ::-1])
    np.testing.assert_array_equal(maps, labels[:, ::-1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_window_inside(mirrored):
    picture, labels = drawn(12, 20, 3)
    change = whole((12, 20), start=(2, 5), cut=(7, 9), mirrored=mirrored)
    image, maps = both(change, picture, labels)
    step = -1 if mirrored else 1
    np.testing.assert_array_equal(image, picture[2:9, 5:14][:, ::step])
    np.testing.assert_array_equal(maps, labels[2:9, 5:14][:, ::step])


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_window_around(mirrored):
    picture, labels = drawn(6, 8, 2)
    change = whole((6, 8), start=(-2, -3), cut=(10, 15), mirrored=mirrored)
    image, maps = both(change, picture, labels)
    expected = np.full((10, 15), IGNORE)
    expected[2:8, 3:11] = labels
    expected = expected[:, ::-1] if mirrored else expected
    np.testing.assert_array_equal(maps, expected)
    np.testing.assert_array_equal((image == -1).all(-1), expected == IGNORE)
    np.testing.assert_array_equal(image[expected != IGNORE], COLOURS[expected[expected != IGNORE]])


@pytest.mark.parametrize("factor", [2, 3, 0.5])
def test_scaled_by_a_whole_number(factor):
    """Blocks of one class stay blocks; half of them is exact, since 4 pixels of one class meet."""
    picture, labels = drawn(12, 24, 4)
    size = int(12 * factor), int(24 * factor)
    image, maps = both(whole((12, 24), scaled=size), picture, labels)
    np.testing.assert_array_equal(maps, drawn(*size, int(4 * factor))[1])
    assert image.shape[:2] == maps.shape == size
    inside = maps == classes_of(image)
    assert inside.mean() > 0.7, "away from the blocks' borders colours say the class"
    middles = (np.arange(0, size[0], int(4 * factor)) + int(2 * factor)).astype(int)
    columns = (np.arange(0, size[1], int(4 * factor)) + int(2 * factor)).astype(int)
    assert inside[np.ix_(middles, columns)].all()


SIZES = st.tuples(st.integers(24, 60), st.integers(24, 60))


@settings(deadline=None)
@given(
    size=SIZES,
    crop=SIZES | st.none(),
    scale=st.sampled_from([None, (0.5, 2), (0.8, 1.25), (1.5, 1.5)]),
    seed=st.integers(0, 10**6),
)
def test_image_and_label_map_stay_together(size, crop, scale, seed):
    """Where no border of a block is near, the colour of a pixel says the class that its label has,
    and where the label is ignored there is no image, however it was changed."""
    picture, labels = drawn(*size, 12)
    augmentation = Augmentation(mirror=True, scale=scale, crop=crop)
    change = augmentation.drawn(size, random.Random(seed))
    image, maps = both(change, picture, labels)
    assert image.shape[:2] == maps.shape == (crop or change.scaled)
    np.testing.assert_array_equal((image == -1).all(-1), maps == IGNORE)
    middle = np.zeros(maps.shape, bool)
    middle[2:-2, 2:-2] = True
    for down in range(-2, 3):
        for right in range(-2, 3):
            middle &= np.roll(maps, (down, right), (0, 1)) == maps
    counted = middle & (maps != IGNORE)
    np.testing.assert_array_equal(classes_of(image)[counted], maps[counted])


@settings(deadline=None)
@given(size=SIZES, scaled=SIZES, data=st.data())
def test_a_window_is_a_part_of_the_whole(size, scaled, data):
    """Label for label; colours but for what Pillow takes from beyond the window's border."""
    picture, labels = drawn(*size, 12)
    start = tuple(data.draw(st.integers(0, length - 8)) for length in scaled)
    image, maps = both(whole(size, scaled=scaled, start=start, cut=(8, 8)), picture, labels)
    all_of_it, all_maps = both(whole(size, scaled=scaled), picture, labels)
    part = np.s_[start[0] : start[0] + 8, start[1] : start[1] + 8]
    np.testing.assert_array_equal(maps, all_maps[part])
    np.testing.assert_allclose(image[3:-3, 3:-3], all_of_it[part][3:-3, 3:-3], rtol=0, atol=2)


def test_colours_alone_change():
    picture, labels = drawn(12, 20, 3)

    def coloured(*factors):
        change = whole((12, 20), factors=factors)
        np.testing.assert_array_equal(change.labels(labels, IGNORE), labels)
        np.testing.assert_array_equal(change.picture(picture), picture)
        return change.coloured(picture)

    def equal(found, expected):
        np.testing.assert_allclose(found, np.clip(expected, 0, 255), rtol=0, atol=1e-3)

    middle, grey = picture.mean(), picture.mean(-1, keepdims=True)
    equal(coloured(1, 1, 1, 0), picture)
    equal(coloured(1.2, 1, 1, 0), picture * 1.2)
    equal(coloured(1, 0.7, 1, 0), middle + 0.7 * (picture - middle))
    equal(coloured(1, 1, 0.5, 0), grey + 0.5 * (picture - grey))
    third = 2 * np.pi / 3
    equal(coloured(1, 1, 1, third), picture[:, :, [2, 0, 1]])
    order = 1.1 * (middle + 0.7 * (grey + 0.5 * (picture - grey) - middle))
    equal(coloured(1.1, 0.7, 0.5, 0), order)


def test_chance_reaches_all_that_is_asked():
    augmentation = Augmentation(True, (0.5, 2.0), (8, 40), 0.3)
    changes = [augmentation.drawn((20, 20), random.Random(number)) for number in range(2000)]
    assert 900 < sum(change.mirrored for change in changes) < 1100
    heights = Counter(change.scaled[0] for change in changes)
    assert min(heights) == 10 and max(heights) == 40
    below = sum(count for height, count in heights.items() if height < 20)
    assert 900 < below < 1100, "as often smaller as larger"
    for change in changes:
        for start, length, wanted in zip(change.start, change.scaled, change.cut, strict=True):
            assert min(0, length - wanted) <= start <= max(0, length - wanted)
        *factors, angle = change.factors
        assert all(0.7 <= factor <= 1.3 for factor in factors) and abs(angle) <= 0.3
    tall = [change.start[0] for change in changes if change.scaled[0] == 40]
    assert min(tall) < 4 and max(tall) > 28


# Readers --------------------------------------------------------------------------------------


def reader(folder: Path, **more):
    usual = {"data_dir": str(folder), "split": "train", "seed": 7, "mean": MEAN}
    return datasets.reader("FolderSegDataLayer", usual | more)


@pytest.fixture
def data(tmp_path):
    """A folder with images of two sizes in which colours say the class."""
    for number, size in enumerate([(24, 36), (36, 24), (24, 36)]):
        picture, labels = drawn(*size, 12)
        for part, array in (("images", picture), ("labels", labels)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / part / f"{number}.png")
    for split in ("train", "val"):
        trees.split(tmp_path / f"{split}.txt", ["0", "1", "2"])
    return tmp_path


ALL = {"mirror": True, "scale": (0.5, 1.5), "crop": (20, 28), "colour": 0.1}


def test_what_is_fed(data):
    """BGR less the mean, which is what is fed where the image has ended; uint8 labels."""
    own = reader(data, **ALL)
    seen = set()
    for draws, _ in zip(own.draws(), range(40), strict=False):
        fed = own.feed(draws)
        assert fed["data"].shape == (1, 3, 20, 28) and fed["data"].dtype == np.float32
        assert fed["label"].shape == (1, 1, 20, 28) and fed["label"].dtype == np.uint8
        labels = fed["label"][0, 0]
        seen |= set(np.unique(labels).tolist())
        np.testing.assert_array_equal(fed["data"][0][:, labels == IGNORE], 0)
        rgb = (fed["data"][0].transpose(1, 2, 0) + np.array(MEAN))[:, :, ::-1]
        share = (classes_of(rgb) == labels)[labels != IGNORE].mean()
        assert share > 0.7, "all but the blocks' borders"
    assert seen == {0, 1, 2, 3, IGNORE}


def test_chance_hangs_on_the_seed_and_the_number_alone(data):
    first, again, other = reader(data, **ALL), reader(data, **ALL), reader(data, **ALL, seed=8)
    draws = [draw for draw, _ in zip(first.draws(), range(6), strict=False)]
    fed = [first.feed(draw)["data"] for draw in draws]
    for draw, arrays in reversed(list(zip(draws, fed, strict=True))):
        np.testing.assert_array_equal(again.feed(draw)["data"], arrays)
    assert not np.array_equal(other.feed(draws[0])["data"], fed[0])
    same = [first.feed([(number, 0)])["data"] for number in range(6)]
    assert len({arrays.tobytes() for arrays in same}) == 6, "an image comes in many forms"


def test_without_settings_nothing_changes(data):
    own = reader(data, split="val")
    assert own.augmentation is None
    for draws, _ in zip(own.draws(), range(3), strict=False):
        ((number, index),) = draws
        assert number == index
        for top, array in own.feed(draws).items():
            np.testing.assert_array_equal(array[0], own.read(index)[top])


def test_batches(data):
    single, batched = reader(data, **ALL), reader(data, **ALL, batch=3)
    draws = batched.draws()
    singles = single.draws()
    for _ in range(3):
        fed = batched.feed(next(draws))
        assert fed["data"].shape == (3, 3, 20, 28)
        for number in range(3):
            expected = single.feed(next(singles))
            for top in ("data", "label"):
                np.testing.assert_array_equal(fed[top][number], expected[top][0])
    loose = reader(data, batch=3)
    with pytest.raises(DataError, match="must have one size: give 'crop' too"):
        loose.feed(next(loose.draws()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mirror": "yes"}, "'mirror' must be True or False"),
        ({"scale": 2}, "'scale' must be the least and the most factor"),
        ({"scale": (2, 1)}, "'scale' must be the least"),
        ({"scale": (0, 1)}, "'scale' must be the least"),
        ({"scale": (1, 10**9)}, "'scale' must be the least"),
        ({"scale": (1, float("nan"))}, "'scale' must be the least"),
        ({"crop": 40}, "'crop' must be a height and a width"),
        ({"crop": (40.0, 40)}, "'crop' must be a height and a width"),
        ({"crop": (0, 40)}, "'crop' must be a height and a width"),
        ({"crop": (10**9, 40)}, "'crop' must be a height and a width"),
        ({"colour": 1.5}, "'colour' must be a number from 0 to 1"),
        ({"colour": True}, "'colour' must be a number from 0 to 1"),
        ({"batch": 0}, "'batch' must be 1 to"),
        ({"batch": 2.0}, "'batch' must be 1 to"),
        ({"mirrored": True}, "has no setting 'mirrored'; did you mean 'mirror'"),
    ],
)
def test_bad_settings(data, given, message):
    with pytest.raises(DataError, match=message):
        reader(data, **given)
