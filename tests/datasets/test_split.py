"""Shares of images, with classes in proportion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnproto.datasets.split import share_out
from fcnproto.errors import DataError


def image(*classes):
    pixels = np.zeros(256, np.int64)
    pixels[[*classes, 255]] = 9
    return pixels


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 6), max_size=4), min_size=2, max_size=60),
    st.floats(0.05, 0.6),
    st.integers(0, 99),
)
def test_every_image_once_and_as_many_as_asked_for(images, share, seed):
    maps = {f"n{number}": image(*classes) for number, classes in enumerate(images)}
    found = share_out(maps, share, seed)
    assert sorted(found.train + found.val) == sorted(maps)
    assert len(found.val) == min(max(1, round(share * len(maps))), len(maps) - 1)
    assert found == share_out(maps, share, seed)


def test_one_image_at_least_is_left_to_train_on():
    found = share_out({"a": image(0), "b": image(1)}, 0.9)
    assert len(found.train) == len(found.val) == 1


def test_classes_are_kept_in_proportion():
    maps = {f"a{n}": image(0) for n in range(60)}
    maps |= {f"b{n}": image(0, 1) for n in range(30)}
    maps |= {f"c{n}": image(0, 2) for n in range(10)}
    for seed in range(5):
        found = share_out(maps, 0.2, seed)
        assert [sum(name[0] == kind for name in found.val) for kind in "abc"] == [12, 6, 2]


def test_a_class_of_one_image_is_trained():
    maps = {f"n{n}": image(0) for n in range(9)} | {"rare": image(0, 5)}
    assert all("rare" in share_out(maps, 0.2, seed).train for seed in range(20))


def test_one_image_cannot_be_split():
    with pytest.raises(DataError, match="1 image has a label map: to train"):
        share_out({"a": image(0)})
