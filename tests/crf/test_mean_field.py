"""CRF-RNN's arithmetic, on what the layers' own C++ computed (golden/crfrnn)."""

import re

import numpy as np
import pytest
from paths import GOLDEN

from fcnproto.crf.mean_field import MeanField, Weights
from fcnproto.errors import CrfError

# Those whose scores are fed in; the others run through the verbs (tests/exporting/test_mean_field).
CASES = ("crfrnn_voc_init_it10", "crfrnn_c21_it5_raw", "crfrnn_2015_batch2")


def case(name):
    with np.load(GOLDEN / "crfrnn" / f"{name}.npz") as file:
        arrays = dict(file)
    text = (GOLDEN / "crfrnn" / f"{name}.prototxt").read_text()
    said = {
        field: float(re.search(rf"{field}: (\S+)", text)[1])
        for field in ("theta_alpha", "theta_beta", "theta_gamma", "num_iterations")
    }
    field = MeanField(*list(said.values())[:3], int(said["num_iterations"]))
    weights = Weights(*(arrays[f"param/inference1/{i}"][0, 0] for i in range(3)))
    return arrays, field, weights


@pytest.mark.parametrize("name", CASES)
def test_forward_is_the_originals(name):
    arrays, field, weights = case(name)
    for unary, start, image, expected in zip(
        arrays["in/unary"], arrays["in/Q0"], arrays["in/data"], arrays["out/pred"], strict=True
    ):
        found = field(unary, start, image, weights)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        assert (found.argmax(0) == expected.argmax(0)).all()


@pytest.mark.parametrize("name", CASES[1:])
def test_backward_is_the_originals(name):
    arrays, field, weights = case(name)
    total = [0, 0, 0]
    for index, (unary, start, image) in enumerate(
        zip(arrays["in/unary"], arrays["in/Q0"], arrays["in/data"], strict=True)
    ):
        _, passed = field.forward(unary, start, image, weights)
        found = field.backward(arrays["topdiff/pred"][index], passed, weights)
        assert_near(found.unary, arrays["diff/unary"][index])
        assert_near(found.q0, arrays["diff/Q0"][index])
        own = found.weights.spatial, found.weights.bilateral, found.weights.compatibility
        total = [one + other for one, other in zip(total, own, strict=True)]
    for index, gradient in enumerate(total):
        assert_near(gradient, arrays[f"paramdiff/inference1/{index}"][0, 0])


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


UNARY = np.random.default_rng(0).standard_normal((3, 6, 7)).astype(np.float32)
IMAGE = np.random.default_rng(1).uniform(-100, 100, (3, 6, 7)).astype(np.float32)
EYE = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MeanField(160, 3, 3, 1), "num_iterations must be greater than 1, found 1"),
        (lambda: MeanField(0, 3, 3, 5), "theta_alpha must be a number greater than 0, found 0"),
        (lambda: MeanField(1, float("nan"), 3, 5), "theta_beta .* found nan"),
        (lambda: Weights(EYE, EYE, np.eye(4)), "C × C, found 3×3, 4×4"),
        (lambda: run(UNARY[:, :5]), "6×7 pixels, but its scores 5×7"),
        (lambda: run(UNARY[:2]), "unary has 2 classes"),
        (lambda: run(UNARY[:1]), "at least two classes"),
        (lambda: run(UNARY, IMAGE * 1e6), "16-bit range"),
    ],
)
def test_what_makes_no_field_is_refused(make, match):
    with pytest.raises(CrfError, match=match):
        make()


def run(unary, image=IMAGE):
    return MeanField(160, 3, 3, 5)(unary, unary, image, Weights(EYE, EYE, -EYE))
