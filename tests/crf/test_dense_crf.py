"""The dense CRF, on what pydensecrf and DeepLab's program computed (golden/crf)."""

import json

import numpy as np
import pytest
from paths import GOLDEN

from fcnproto.crf.dense_crf import (
    Bilateral,
    DenseCRF,
    Gaussian,
    unary_from_labels,
    unary_from_scores,
    unary_from_softmax,
)
from fcnproto.crf.kernels import Normalization
from fcnproto.errors import CrfError

CASES = json.loads((GOLDEN / "crf" / "index.json").read_text())


def plain(value):
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_marginals_are_the_originals(name):
    case = CASES[name]
    with np.load(GOLDEN / "crf" / f"{name}.npz") as file:
        arrays = dict(file)
    terms = []
    for term in case["terms"]:
        compat = arrays[term["compat"]] if isinstance(term["compat"], str) else term["compat"]
        rule, sxy = Normalization(term["normalization"]), plain(term["sxy"])
        if term["kind"] == "gaussian":
            terms.append(Gaussian(sxy, compat, rule))
        else:
            terms.append(Bilateral(sxy, plain(term["srgb"]), compat, rule))
    shape = case["classes"], case["height"], case["width"]
    for iterations in case["iterations"]:
        crf = DenseCRF(terms, iterations)
        found = crf.infer(arrays["unary"].reshape(shape), arrays["image"])
        expected = arrays[f"Q{iterations}"].reshape(shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        assert (found.argmax(0) == expected.argmax(0)).all()


CRF = DenseCRF([Gaussian(3, 3), Bilateral(80, 13, 10)], 2)
IMAGE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
SCORES = np.random.default_rng(1).standard_normal((4, 9, 12)).astype(np.float32)


def test_scores_become_energies():
    softmax = np.exp(SCORES) / np.exp(SCORES).sum(0)
    np.testing.assert_allclose(unary_from_scores(SCORES), -np.log(softmax), rtol=1e-5)
    np.testing.assert_allclose(unary_from_softmax(softmax), -np.log(softmax), rtol=1e-5)
    far = np.float32([[[0]], [[100]]])
    assert unary_from_scores(far)[0, 0, 0] == pytest.approx(-np.log(1e-5))
    assert unary_from_scores(far, 0)[0, 0, 0] == pytest.approx(100)
    assert CRF.refine(SCORES, IMAGE).sum(0) == pytest.approx(1)


def test_softmax_that_is_trusted_in_part():
    found = unary_from_softmax(np.float32([[1.0], [0.0]]), scale=0.5)
    np.testing.assert_allclose(found, -np.log([[0.75], [0.25]]), rtol=1e-6)


def test_labels_become_energies():
    labels = np.uint8([[0, 1], [2, 3]])
    found = unary_from_labels(labels, 3, 0.7)
    np.testing.assert_allclose(found[:, 0, 0], -np.log([1 / 3] * 3), rtol=1e-6)
    np.testing.assert_allclose(found[:, 1, 0], -np.log([0.15, 0.7, 0.15]), rtol=1e-6)
    sure = unary_from_labels(labels, 4, 0.7, zero_unsure=False)
    np.testing.assert_allclose(sure[:, 0, 0], -np.log([0.7, 0.1, 0.1, 0.1]), rtol=1e-6)


def test_a_matrix_counts_by_its_symmetric_part():
    matrix = np.random.default_rng(2).standard_normal((4, 4)).astype(np.float32)
    one, other = (
        DenseCRF([Gaussian(3, each)], 3).infer(SCORES, IMAGE)
        for each in (matrix, (matrix + matrix.T) / 2)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    potts, diagonal = (
        DenseCRF([Gaussian(3, each)], 3).infer(SCORES, IMAGE) for each in (3.0, np.full(4, -3.0))
    )
    np.testing.assert_allclose(potts, diagonal, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Gaussian(0, 3), "sxy of a Gaussian term must be a number greater than 0, found 0"),
        (lambda: Gaussian(float("nan"), 3), "found nan"),
        (lambda: Bilateral((80, -1), 13, 10), "found -1"),
        (lambda: Bilateral(80, 0, 10), "srgb of a bilateral term"),
        (lambda: Gaussian(3, float("nan")), "finite"),
        (lambda: Gaussian(3, np.zeros((2, 3))), "found 2×3"),
        (lambda: DenseCRF([], -1), "iterations must not be negative, found -1"),
        (lambda: DenseCRF([], 10**9), "iterations must be at most 1000, found 1000000000"),
        (lambda: DenseCRF([], clip=2), "clip must be a probability"),
        (lambda: CRF.refine(SCORES[:, :5], IMAGE), "9×12 pixels, but its scores 5×12"),
        (lambda: CRF.refine(SCORES[:1], IMAGE), "at least two classes, found 1"),
        (lambda: CRF.refine(SCORES[:, :1, :1], IMAGE[:1, :1]), "at least two pixels, found 1×1"),
        (lambda: CRF.refine(SCORES * np.nan, IMAGE), "not all finite"),
        (lambda: CRF.infer(SCORES.astype(float) * 1e39, IMAGE), "not all finite"),
        (lambda: CRF.refine(SCORES.astype(float) * 1e300, IMAGE), "not all finite"),
        (lambda: CRF.refine(SCORES.astype(complex), IMAGE), "must be numbers, found complex128"),
        (lambda: Gaussian(3, 3, "mean"), "one of none, before, after, symmetric, found 'mean'"),
        (lambda: Gaussian(3, [[1, 2], [3]]), "rows unlike"),
        (lambda: CRF.refine(SCORES[0], IMAGE), "classes × height × width, found 9×12"),
        (lambda: CRF.refine(SCORES, IMAGE[:, :, 0, None] * np.nan), "image's values are not all"),
        (lambda: DenseCRF([Gaussian(3, np.ones(5))]).refine(SCORES, IMAGE), "for 5 classes"),
        (lambda: DenseCRF([Gaussian(1e-5, 3)]).refine(SCORES, IMAGE), "16-bit range"),
        (lambda: DenseCRF([Bilateral(9, (1, 2), 3)]).refine(SCORES, IMAGE), "one .* or 3, found 2"),
        (lambda: unary_from_labels(np.zeros((9, 12), int), 10**12, 0.5), "GB of memory"),
        (lambda: unary_from_labels(np.full((2, 2), 9), 4, 0.5), "labels must be 0 to 4, found 9"),
        (lambda: unary_from_labels(np.zeros((2, 2), int), 4, 1.0), "between 0 and 1, found 1"),
        (lambda: unary_from_softmax(SCORES, scale=0), "scale must be more than 0"),
    ],
)
def test_what_makes_no_field_is_refused(make, match):
    with pytest.raises(CrfError, match=match):
        make()


@pytest.mark.parametrize("rule", Normalization)
def test_a_normalization_is_named_by_its_word(rule):
    by_word, by_value = (
        DenseCRF([Gaussian(3, 3, each), Bilateral(9, 20, 3, each)]).refine(SCORES, IMAGE)
        for each in (rule.value, rule)
    )
    np.testing.assert_array_equal(by_word, by_value)


def test_more_classes_than_memory_holds():
    unary = np.broadcast_to(np.float32(0), (10**11, 3, 4))
    with pytest.raises(CrfError, match=r"classes at 3×4 pixels take .* GB of memory"):
        DenseCRF([Gaussian(3, 3)]).infer(unary, np.zeros((3, 4, 3), np.uint8))


def test_every_iteration_count_from_none():
    unary = unary_from_scores(SCORES)
    np.testing.assert_allclose(
        DenseCRF([Gaussian(3, 3)], 0).infer(unary, IMAGE), np.exp(-unary), atol=1e-6
    )
