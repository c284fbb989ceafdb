"""The lattice filter, against one that walks its vertices one by one, and as a linear map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnproto.crf.permutohedral import Lattice
from fcnproto.errors import CrfError


def walked(features, values):
    """K applied to values (C × N), vertex by vertex in dictionaries (Adams et al. 2010)."""
    count, d = features.shape
    points = np.vstack([features, np.zeros((-count % 4, d))])
    shares = []
    for point in points:
        scaled = [
            point[k] * np.sqrt(2 / 3) * (d + 1) / np.sqrt((k + 1) * (k + 2)) for k in range(d)
        ]
        e = [sum(scaled)] + [sum(scaled[j:]) - j * scaled[j - 1] for j in range(1, d + 1)]
        r = [(d + 1) * int(np.rint(x / (d + 1))) for x in e]
        excess = sum(r) // (d + 1)
        off = [x - y for x, y in zip(e, r, strict=True)]
        rank = [
            sum(off[k] > off[j] or (off[k] == off[j] and k < j) for k in range(d + 1) if k != j)
            + excess
            for j in range(d + 1)
        ]
        for j in range(d + 1):
            turn = (d + 1) * (int(rank[j] < 0) - int(rank[j] > d))
            rank[j], r[j] = rank[j] + turn, r[j] + turn
        weights = np.zeros(d + 2)
        for j in range(d + 1):
            t = (e[j] - r[j]) / (d + 1)
            weights[d - rank[j]] += t
            weights[d - rank[j] + 1] -= t
        weights[0] += 1 + weights[d + 1]
        keys = [
            tuple(r[j] + m - (d + 1) * (rank[j] > d - m) for j in range(d)) for m in range(d + 1)
        ]
        shares.append(list(zip(keys, weights, strict=False)))
    lattice = {key: np.zeros(len(values)) for share in shares for key, _ in share}
    for share, value in zip(shares, values.T, strict=False):
        for key, weight in share:
            lattice[key] += weight * value
    for axis in range(d + 1):
        step = tuple(d if j == axis else -1 for j in range(d))

        def at(key, sign, old=lattice, step=step):
            near = tuple(k + sign * s for k, s in zip(key, step, strict=True))
            return old.get(near, 0)

        lattice = {key: old + (at(key, 1) + at(key, -1)) / 2 for key, old in lattice.items()}
    gathered = [sum(weight * lattice[key] for key, weight in share) for share in shares[:count]]
    return np.array(gathered).T / (1 + 2.0**-d)


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 6),
    count=st.integers(1, 40),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 2**20),
)
def test_it_is_the_filter_that_walks(d, count, spread, seed):
    rng = np.random.default_rng(seed)
    features = (rng.standard_normal((count, d)) * spread).astype(np.float32)
    values = rng.random((3, count), np.float32)
    expected = walked(features.astype(np.float64), values)
    found = Lattice.of(features).filter(values)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_identical_points_and_ties():
    features = np.repeat(np.float32([[0, 0], [1.5, -1.5]]), 5, axis=0)
    values = np.arange(10, dtype=np.float32)[np.newaxis]
    expected = walked(features.astype(np.float64), values)
    np.testing.assert_allclose(Lattice.of(features).filter(values), expected, rtol=1e-5)


@given(seed=st.integers(0, 2**20), d=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_transpose_is_one(seed, d):
    rng = np.random.default_rng(seed)
    lattice = Lattice.of(rng.standard_normal((50, d)).astype(np.float32) * 2)
    x, y = rng.random((2, 1, 50), np.float32)
    assert (lattice.filter(x) * y).sum() == pytest.approx(
        (x * lattice.filter_transposed(y)).sum(), rel=1e-5
    )


def test_many_channels_are_as_many_filters():
    rng = np.random.default_rng(0)
    lattice = Lattice.of(rng.standard_normal((5000, 3)).astype(np.float32))
    values = rng.random((45, 5000), np.float32)
    together = lattice.filter(values)
    for channel in (0, 16, 44):
        alone = lattice.filter(values[channel : channel + 1])
        np.testing.assert_array_equal(together[channel : channel + 1], alone)


def test_keys_of_16_bits_beyond_one_number():
    """Five coordinates that take 80 bits: no two vertices may be taken for one."""
    rng = np.random.default_rng(1)
    features = (rng.uniform(-4000, 4000, (200, 5))).astype(np.float32)
    found = Lattice.of(features).filter(np.ones((1, 200), np.float32))
    np.testing.assert_allclose(found, walked(features.astype(np.float64), np.ones((1, 200))), 0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e4, 1e30])
def test_features_beyond_the_range_are_refused(value):
    features = np.zeros((8, 5), np.float32)
    features[3, 2] = value
    with pytest.raises(CrfError, match="16-bit range"):
        Lattice.of(features)
