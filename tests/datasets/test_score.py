"""Measures against counts done pixel by pixel, and by hand."""

import math

import numpy as np
import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fcnproto import datasets
from fcnproto.datasets.confusion_picture import draw
from fcnproto.datasets.map_sets import Folder, Truth
from fcnproto.datasets.measures import Classes, Score
from fcnproto.datasets.score import (
    confusion,
    label_problems,
    score_maps,
    score_model,
)
from fcnproto.errors import DataError
from fcnproto.parallel import spread


def counted(truth, prediction, classes, ignore=255) -> np.ndarray:
    """The confusion matrix, pixel by pixel."""
    matrix = np.zeros((classes, classes), int)
    for place, true in np.ndenumerate(truth):
        if true != ignore:
            matrix[true, prediction[place]] += 1
    return matrix


def measured(matrix) -> tuple[float, float, float, float]:
    """The four measures, from their definitions, class by class."""
    classes = range(len(matrix))
    total = [sum(matrix[i][j] for j in classes) for i in classes]
    predicted = [sum(matrix[j][i] for j in classes) for i in classes]
    right = [matrix[i][i] for i in classes]
    union = [total[i] + predicted[i] - right[i] for i in classes]
    accuracies = [right[i] / total[i] for i in classes if total[i]]
    ius = {i: right[i] / union[i] for i in classes if union[i]}
    pixels = sum(total)
    return (
        sum(right) / pixels,
        sum(accuracies) / len(accuracies),
        sum(ius.values()) / len(ius),
        sum(total[i] * ius.get(i, 0) for i in classes) / pixels,
    )


def four(score: Score) -> tuple[float, float, float, float]:
    return (
        score.pixel_accuracy,
        score.mean_accuracy,
        score.mean_iu,
        score.frequency_weighted_iu,
    )


# Measures ---------------------------------------------------------------------------------------


def test_by_hand():
    """Two classes of 3 and 1 pixels; one pixel of class 0 is taken for class 1."""
    score = Score(np.array([[2, 1], [0, 1]]))
    assert score.pixel_accuracy == 3 / 4
    assert score.mean_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert score.mean_iu == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert score.frequency_weighted_iu == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 4)
    assert score.pixels.tolist() == [3, 1]


def test_a_class_that_is_predicted_but_not_there():
    """Class 1 has no accuracy, and the IU 0, which enters the mean; class 2 has neither."""
    score = Score(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert score.mean_accuracy == 3 / 4
    assert score.mean_iu == pytest.approx((3 / 4 + 0) / 2)
    assert math.isnan(score.accuracies[1]) and score.ius[1] == 0
    assert math.isnan(score.accuracies[2]) and math.isnan(score.ius[2])
    assert score.frequency_weighted_iu == 3 / 4


def test_nothing_to_measure():
    assert all(map(math.isnan, four(Score(np.zeros((3, 3), int)))))


def test_counts_past_32_bits():
    score = Score(np.array([[2**40, 2**40], [0, 2**41]]))
    assert score.pixel_accuracy == 3 / 4 and score.mean_iu == pytest.approx((1 / 2 + 2 / 3) / 2)


@st.composite
def pairs(draw):
    classes = draw(st.integers(1, 30))
    ignore = draw(st.sampled_from([255, 0, -1, 3]))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kind = draw(st.sampled_from([np.uint8, np.int64, np.uint16, np.int16]))
    values = st.integers(0, classes - 1)
    truth = draw(arrays(np.int64, shape, elements=st.one_of(values, st.just(ignore))))
    prediction = draw(arrays(np.uint8, shape, elements=values))
    fits = np.iinfo(kind).min <= truth.min()
    return truth.astype(kind if fits else np.int64), prediction, classes, ignore


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_any_pair_against_a_count(case):
    truth, prediction, classes, ignore = case
    expected = counted(truth, prediction, classes, ignore)
    found = confusion(truth, prediction, classes, ignore)
    np.testing.assert_array_equal(found, expected)
    if expected.sum():
        np.testing.assert_allclose(four(Score(found)), measured(expected), rtol=1e-12)


def test_hundreds_of_classes():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 460, (2, 40, 50)).astype(np.uint16)
    expected = counted(truth, prediction, 460, ignore=255)
    np.testing.assert_array_equal(confusion(truth, prediction, 460), expected)


def test_what_is_predicted_for_ignored_pixels_is_nobodys_concern():
    truth = np.array([[0, 255, 1]], np.uint8)
    assert confusion(truth, np.array([[0, 200, 1]], np.uint8), 2).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match="prediction: error: holds 200, and there are 2 classes"):
        confusion(truth, np.array([[0, 0, 200]], np.uint8), 2)
    with pytest.raises(DataError, match="truth: error: holds 7"):
        confusion(np.array([[7]], np.uint8), np.array([[0]], np.uint8), 2)
    with pytest.raises(DataError, match="truth: error: holds 300"):
        confusion(np.array([[300]]), np.array([[0]]), 2)
    with pytest.raises(DataError, match="prediction: error: holds -1"):
        confusion(np.array([[0]]), np.array([[-1]]), 2)
    with pytest.raises(DataError, match="prediction: error: is 1×2, and the truth truth is 2×1"):
        confusion(np.zeros((2, 1), int), np.zeros((1, 2), int), 2)


@pytest.mark.parametrize("count", [0, 5000])
def test_numbers_of_classes(count):
    with pytest.raises(DataError, match="there can be 1 to 4096 classes"):
        Classes(count)
    with pytest.raises(DataError, match="ignored label can be up to"):
        Classes(3, 10**9)


# Folders ------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Twelve pairs of maps of different sizes, PNG and .npy, in folders and below them."""
    truth, prediction = tmp_path / "truth", tmp_path / "pred"
    total = np.zeros((5, 5), int)
    for index in range(12):
        size = (5 + index, 7)
        true, guess = trees.labels(index, 4, size), trees.labels(index + 100, 4, size)
        true[0, 0] = 255
        total += counted(true, guess, 5)
        name = f"x/{index}" if index % 2 else f"{index}"
        trees.save(truth / f"{name}.png", true, "P" if index % 3 else None)
        if index % 4:
            trees.save(prediction / f"{name}.png", guess)
        else:
            prediction.mkdir(exist_ok=True)
            np.save(prediction / f"{name}.npy", guess.astype(np.int64))
    return truth, prediction, total


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_one_matrix_over_the_whole_set(folders, workers):
    truth, prediction, total = folders
    done = []
    score = score_maps(
        Folder(truth), Folder(prediction), workers=workers, progress=lambda: done.append(1)
    )
    np.testing.assert_array_equal(score.confusion, total)
    np.testing.assert_allclose(four(score), measured(total), rtol=1e-12)
    assert len(done) == 12


def test_it_is_not_an_average_over_images(tmp_path):
    """One image all right, a larger one all wrong: by hand, 1 of 10 pixels."""
    for name, true, guess in (("a", [[1]], [[1]]), ("b", [[1] * 9], [[0] * 9])):
        trees.save(tmp_path / "truth" / f"{name}.png", np.array(true, np.uint8))
        trees.save(tmp_path / "pred" / f"{name}.png", np.array(guess, np.uint8))
    score = score_maps(Folder(tmp_path / "truth"), Folder(tmp_path / "pred"))
    assert score.pixel_accuracy == score.mean_accuracy == 0.1
    assert score.mean_iu == pytest.approx((0 + 0.1) / 2)


def test_all_problems_at_once(folders):
    truth, prediction, _ = folders
    (prediction / "0.npy").unlink()
    trees.save(prediction / "odd.png", np.zeros((2, 2), np.uint8))
    trees.save(prediction / "2.png", np.zeros((2, 2), np.uint8))
    trees.save(prediction / "x" / "1.png", np.full((6, 7), 9, np.uint8))
    trees.save(truth / "x" / "3.png", np.full((8, 7), 5, np.uint8))
    trees.save(truth / "x" / "5.png", np.zeros((10, 7, 3), np.uint8))
    (prediction / "6.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    (truth / "6.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        score_maps(Folder(truth), Folder(prediction), Classes(5))
    lines = [str(problem) for problem in error.value.problems]
    parts = [
        "truth/0.png: error: there is no '0' in ",
        "pred/odd.png: error: there is no 'odd' in ",
        "pred/2.png: error: is 2×2, and the truth",
        "pred/x/1.png: error: holds 9, and there are 5 classes, 0 to 4",
        "truth/x/3.png: error: holds 5",
        "truth/x/5.png: error: is RGB, and a label map has one class number a pixel",
        "pred/6.png: error: cannot be read",
        "truth/6.png: error: cannot be read",
    ]
    assert len(lines) == len(parts)
    for part in parts:
        assert sum(part in line for line in lines) == 1, part


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 2)), "expected H×W whole numbers, found float64"),
        (np.zeros(3, int), "expected H×W whole numbers, found int64 3"),
        (np.array([["a"]]), "expected H×W whole numbers, found <U1"),
        (np.array([[None]]), "cannot be read"),
        (b"PK\x03\x04", "cannot be read"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, "
         b"'shape': (99999999, 99999999), }".ljust(127) + b"\n", "cannot be read"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_label_maps(tmp_path, content, message):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DataError, match=message):
        Folder(tmp_path).read("a")


def test_folders_without_label_maps(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Folder(tmp_path / "nowhere")
    (tmp_path / "._a.png").write_bytes(b"")  # what a Mac leaves behind
    with pytest.raises(DataError, match="there are no label maps"):
        Folder(tmp_path)


def test_a_dataset_as_truth(tmp_path):
    raw = trees.nyud(tmp_path / "nyud", ["a", "b"], "test")
    total = np.zeros((40, 40), int)
    for seed, (name, numbers) in enumerate(raw.items()):
        guess = trees.labels(seed + 100, 39)
        trees.save(tmp_path / "pred" / f"{name}.png", guess)
        total += counted(numbers.astype(int) - 1, guess, 40, ignore=-1)
    truth = Truth(datasets.find(tmp_path / "nyud"), "label")
    score = score_maps(truth, Folder(tmp_path / "pred"), Classes(40))
    np.testing.assert_array_equal(score.confusion, total)


def test_labels_past_the_classes_are_named(tmp_path):
    trees.plain(tmp_path, ["a", "b", "c"], 5)
    trees.save(tmp_path / "labels" / "c.png", np.full((6, 8), 2, np.uint8))
    reader = datasets.find(tmp_path)
    assert label_problems(reader, "label", 5) == []
    lines = [str(problem) for problem in label_problems(reader, "label", 4)]
    assert len(lines) == 2 and "a.png: error: holds 4, and there are 4 classes" in lines[0]


# Models -----------------------------------------------------------------------------------------


NET = """
name: "tiny"
input: "data"
input_shape { dim: 1 dim: 3 dim: 6 dim: 8 }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
        convolution_param { num_output: 4 kernel_size: 1 } }
"""


@pytest.fixture
def segmenter():
    """A net whose classes are red, green, blue, or none of them, of raw pixels."""
    from fcnproto.exporting.filled import with_weights
    from fcnproto.exporting.inference import inference
    from fcnproto.exporting.write import Interface, write
    from fcnproto.model.metadata import Metadata
    from fcnproto.net import graph
    from fcnproto.proto.source import parse_net
    from fcnproto.runtime.runner import Runner
    from fcnproto.runtime.session import Session

    weights = np.zeros((4, 3), np.float32)
    weights[0, 2] = weights[1, 1] = weights[2, 0] = 1  # BGR
    arrays = [weights.reshape(4, 3, 1, 1), np.array([0, 0, 0, 100], np.float32)]
    net = inference(graph.build(parse_net(NET)))
    about = Metadata(mean={"data": (0.0, 0.0, 0.0)})
    model = write(
        with_weights(net, {"score": arrays}), metadata=about.to_props(), interface=Interface()
    ).to_proto()
    return Runner(Session(model.SerializeToString(), "cpu"), about)


def test_a_model_on_a_dataset(tmp_path, segmenter):
    names = ["a", "b", "c"]
    truth = trees.plain(tmp_path, names, 4)
    total = np.zeros((4, 4), int)
    reader = datasets.find(tmp_path)
    for index, name in enumerate(names):
        pixels = reader.picture("data", index).astype(float)
        values = np.dstack([pixels, np.full((6, 8), 100.0)])
        total += counted(truth[name], values.argmax(axis=2), 4)
    done = []
    scores = score_model(segmenter, reader, progress=lambda: done.append(1))
    assert list(scores) == ["label"] and len(done) == 3
    np.testing.assert_array_equal(scores["label"].confusion, total)


def test_labels_past_the_models_classes_are_found_before_it_runs(tmp_path, segmenter, monkeypatch):
    trees.plain(tmp_path, ["a"], 6)
    monkeypatch.setattr(segmenter, "label", None)
    with pytest.raises(DataError, match=r"labels/a.png: error: holds 4, 5, and there are 4"):
        score_model(segmenter, datasets.find(tmp_path))


# The picture, and the threads ---------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 21, 60, 400])
def test_a_picture_of_any_number_of_classes(classes):
    matrix = np.diag(np.arange(classes))
    image = draw(matrix, [f"class {index}" for index in range(classes)], "title")
    assert image.mode == "RGB" and max(image.size) < 3200


def test_an_error_ends_all_threads():
    done = []

    def work(share):
        for item in share:
            if item == 3:
                raise ValueError("three")
            done.append(item)

    with pytest.raises(ValueError, match="three"):
        spread(work, range(100000), workers=3)
    assert len(done) < 99999
    assert spread(list, [], workers=3) == [[]]
