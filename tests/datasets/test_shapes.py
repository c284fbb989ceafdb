"""datasets/shapes.py: the same images everywhere, none in two splits, each class in its shape."""

import hashlib
import math
from itertools import islice

import numpy as np
import pytest

from fcnproto import datasets
from fcnproto.datasets import shapes
from fcnproto.errors import DataError
from fcnproto.layers.python import read_param_str
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.zoo import specs

CLASSES = ("background", "disc", "bar", "triangle", "ring")


def reader(split="val", **settings):
    return datasets.reader("ShapesSegDataLayer", {"split": split, **settings})


def test_images_are_the_same_on_every_machine():
    """Nothing but whole numbers and a stream that NumPy guarantees: bytes can be asked for."""
    found = hashlib.sha256()
    for split in ("train", "val"):
        for index in range(20):
            found.update(shapes.draw(split, index).tobytes())
            found.update(shapes.label_map(split, index).tobytes())
    assert found.hexdigest() == DIGEST


DIGEST = "82a985feca9690872099dda380c8c399440bb8e5f0a97b327c289c5c52029f3b"


def test_what_a_net_is_fed():
    data = reader(mean=(10, 20, 30))
    arrays = data.read(3)
    image, labels = data.picture("data", 3), data.label("label", 3)
    assert image.dtype == labels.dtype == np.uint8
    assert arrays["data"].dtype == np.float32
    np.testing.assert_array_equal(arrays["data"][0], image[:, :, 2] - np.float32(10))
    np.testing.assert_array_equal(arrays["data"][2], image[:, :, 0] - np.float32(30))
    np.testing.assert_array_equal(arrays["label"][0], labels)
    assert data.classes("label") == CLASSES == specs.dataset("shapes").classes


def test_no_image_is_in_both_splits():
    drawn = [
        shapes.draw(split, index).tobytes() for split in ("train", "val") for index in range(150)
    ]
    assert len(set(drawn)) == len(drawn)


def test_an_image_does_not_depend_on_the_count():
    few, many = reader(count=5), reader(count=50)
    assert (len(few), len(many), len(reader()), len(reader("train"))) == (5, 50, 200, 2000)
    np.testing.assert_array_equal(few.picture("data", 4), many.picture("data", 4))
    assert few.names == many.names[:5]


def test_no_size_is_a_multiple_of_the_largest_stride():
    sizes = {shapes.label_map("train", index).shape for index in range(300)}
    lengths = {length for size in sizes for length in size}
    assert lengths == set(range(112, 169, 7))
    assert len(sizes) > 60
    assert all(length % 32 for length in lengths)


def test_every_class_is_there_and_some_of_it_is_small():
    maps = [shapes.label_map("train", index) for index in range(200)]
    counts = np.array([np.bincount(each.ravel(), minlength=5) for each in maps])
    assert counts.shape[1] == 5
    shares = counts.sum(axis=0) / counts.sum()
    assert (shares > 0.04).all() and 0.5 < shares[0] < 0.8
    for number in range(1, 5):
        there = counts[counts[:, number] > 0, number]
        assert there.min() < 16**2 < there.max()


def test_the_mean_is_that_of_the_images():
    drawn = [shapes.draw("train", index).reshape(-1, 3) for index in range(200)]
    mean = np.concatenate(drawn).mean(axis=0)[::-1]
    np.testing.assert_allclose(specs.dataset("shapes").mean["color"], mean, atol=2)


class Fixed(shapes.Dice):
    """Dice that show what they are told, and then the least."""

    def __init__(self, *numbers):
        self._numbers = list(numbers)

    def between(self, low, high):
        number = self._numbers.pop(0) if self._numbers else low
        assert low <= number <= high
        return number


def grid(reach):
    line = np.arange(-reach, reach + 1)
    return line[:, np.newaxis], line[np.newaxis]


@pytest.mark.parametrize(
    ("kind", "numbers", "area"),
    [
        (shapes._disc, (30,), math.pi * 30**2),
        (shapes._bar, (40, 8, 3, 1), 80 * 16),
        (shapes._triangle, (40, 5, 2), 3 * math.sqrt(3) / 4 * 40**2),
        (shapes._ring, (36, 10), math.pi * (36**2 - 26**2)),
    ],
)
def test_shapes_have_their_areas_and_lie_in_their_reach(kind, numbers, area):
    reach, inside = kind(Fixed(*numbers))
    within, beyond = inside(*grid(reach)), inside(*grid(reach + 20))
    assert within.sum() == beyond.sum() == pytest.approx(area, rel=0.06)


def test_dice_are_fair():
    dice = shapes.Dice(1, 2, 3)
    thrown = np.bincount([dice.between(1, 6) for _ in range(6000)], minlength=7)
    assert thrown[0] == 0
    np.testing.assert_allclose(thrown[1:], 1000, atol=150)
    drawn = dice.bytes(100, 101)
    assert drawn.shape == (100, 101) and drawn.dtype == np.uint8
    assert drawn.mean() == pytest.approx(127.5, abs=3)


def test_the_order_is_that_of_the_seed():
    first, again, other = (
        list(islice(reader("train", seed=seed).order(), 30)) for seed in (7, 7, 8)
    )
    assert first == again != other
    assert list(islice(reader(count=3).order(), 5)) == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "test"}, "has the splits train and val, found 'test'"),
        ({"split": "val", "count": 0}, "'count' must be a whole number from 1 to 999999, found 0"),
        ({"split": "val", "count": "9"}, "'count' must be a whole number from 1 to 999999"),
        ({"split": "val", "data_dir": "x"}, "has no setting 'data_dir'"),
        ({}, "needs the setting 'split', a text; found none"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(DataError) as caught:
        datasets.reader("ShapesSegDataLayer", settings)
    assert message in str(caught.value)


def test_rendered_nets_name_it():
    for phase in ("train", "val"):
        layer = parse_net(render("shapes-fcn8s", phase=phase)).net.layer[0]
        param = layer.python_param
        assert param.module == "fcnproto.caffe_layers.shapes_layers"
        found = datasets.reader(param.layer, read_param_str(param.param_str))
        assert found.split == phase
        np.testing.assert_allclose(found.mean("color"), specs.dataset("shapes").mean["color"])


def test_a_dataset_that_needs_no_files_is_found_by_its_name():
    assert datasets.generated("shapes").split == "val"
    assert datasets.generated("shapes", "train").split == "train"
    with pytest.raises(DataError, match="dataset 'voc' lies in files: --data DIR says where"):
        datasets.generated("voc")
    # Where data are sought in a folder, it is not among them.
    assert datasets.reader("ShapesSegDataLayer", {"split": "val"}, data=None).names
