"""What a caller may get wrong: each call says it in one line of its own, and prints nothing."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcnproto as fp

SHAPES = "shapes-fcn8s"


@pytest.fixture(scope="module")
def net():
    return fp.load_net(SHAPES)


@pytest.fixture(scope="module")
def weights():
    return {name: list(arrays) for name, arrays in fp.load_weights(SHAPES).items() if arrays}


@pytest.fixture(scope="module")
def model(net, weights):
    return fp.export(net, weights)


def said(call, *given, **named):
    """The one line that a call says of what it was given."""
    with pytest.raises(fp.FcnprotoError) as caught:
        call(*given, **named)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("given", [None, 3, b"layer {}", "", ["shapes-fcn8s"]])
@pytest.mark.parametrize("call", [fp.load_net, fp.check, fp.upgrade, fp.explain_pad])
def test_what_names_no_net(call, given):
    assert "expected a net: a name of the zoo, a path, or the text of a prototxt" in said(
        call, given
    )


def test_a_path_is_no_name_of_the_zoo():
    assert said(fp.load_net, Path(SHAPES)).endswith("a net of the zoo is named by a str")
    assert "expected the name of a net" in said(fp.render, Path(SHAPES))
    long = "x" * 300  # which the file system says more of than that it is not there
    assert "there is no file" in said(fp.load_net, long)
    assert "there is no such file" in said(fp.Segmenter, long)


@pytest.mark.parametrize("size", [64, (64,), (0, 64), (64.5, 64), "64x64", (1, 2, 3)])
def test_what_is_no_size(net, size):
    for call in (
        lambda: fp.load_net(net, size=size),
        lambda: fp.check(SHAPES, size=size),
        lambda: fp.render("fcn8s", size=size),
    ):
        line = said(call)
        assert "a size is (height, width)" in line or "a height must be" in line


def test_numbers_of_numpy_are_numbers(net):
    size = np.array([64, 96])
    assert fp.load_net(net, size=size).shapes["score"] == (1, 5, 64, 96)
    assert "num_output: 3\n" in fp.render("fcn8s", classes=np.int64(3))
    mean, palette = np.array([1.0, 2, 3]), np.arange(15, dtype=np.uint8).reshape(5, 3)
    model = fp.export(net, SHAPES, mean=mean, palette=palette)
    assert model.metadata.mean == {"data": (1, 2, 3)}
    assert model.metadata.palette[1] == (3, 4, 5)


@pytest.mark.parametrize("classes", [0, True, 2.5, [], [1, 2], ["a", "a"]])
def test_what_names_no_classes(model, classes):
    assert "classes" in said(fp.render, "fcn8s", classes=classes)
    assert "classes" in said(fp.Segmenter, model, classes=classes)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"optimize": "fst"}, "none, exact, fast, found 'fst'; did you mean 'fast'?"),
        ({"result": "label"}, "did you mean 'labels'?"),
        ({"opset": "x"}, "opset must be a whole number, found 'x'"),
        ({"mean": 5}, "a mean is a number for each channel"),
        ({"mean": "1,2,3"}, "a mean is a number for each channel"),
        ({"mean": (1, float("nan"), 3)}, "a mean is a number for each channel"),
        ({"palette": [(0, 0, 300)] * 5}, "three numbers up to 255"),
        ({"palette": [(1, 2)] * 5}, "three numbers up to 255"),
    ],
)
def test_what_a_model_cannot_be(net, weights, named, expected):
    assert expected in said(fp.export, net, weights, **named)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"tile": 0}, "tile must be at least 1"),
        ({"tile": 3.5}, "tile must be a whole number"),
        ({"scales": (0,)}, "scales are numbers above 0"),
        ({"scales": (-1,)}, "scales are numbers above 0"),
        ({"scales": 1.5}, "scales are numbers above 0"),
        ({"scales": (float("nan"),)}, "scales are numbers above 0"),
        ({"device": None}, "there is no device 'None'"),
        ({"refine": 3}, "--refine is none, crf"),
        ({"mean": 3}, "a mean is a number for each channel"),
    ],
)
def test_how_a_model_cannot_be_run(model, named, expected):
    assert expected in said(fp.Segmenter, model, **named)


@pytest.mark.parametrize("given", [None, 3, bytearray(b"x"), ["a"]])
def test_what_is_no_model(given):
    assert "expected a model" in said(fp.Segmenter, given)
    assert "expected a model" in said(fp.triton, given, "repository")


def test_weights_by_key_are_a_files(net, weights):
    by_key = {f"{name}/{n}": a for name, arrays in weights.items() for n, a in enumerate(arrays)}
    found = fp.load_weights(by_key)
    assert set(found) == set(weights)
    np.testing.assert_array_equal(found["score_fr"][1], weights["score_fr"][1])
    state = {
        f"{name}.{part}": array
        for name, arrays in weights.items()
        for part, array in zip(("weight", "bias"), arrays, strict=False)
    }
    fitted = fp.convert(state, net, layout="caffe")
    np.testing.assert_array_equal(fitted.weights["conv1_1"][0], weights["conv1_1"][0])


def test_weights_of_pytorch(net, weights):
    torch = pytest.importorskip("torch")
    for change in (torch.Tensor.requires_grad_, torch.Tensor.bfloat16):
        tensors = {k: [change(torch.from_numpy(a.copy())) for a in v] for k, v in weights.items()}
        found = fp.load_weights(tensors)["conv1_1"][0]
        np.testing.assert_allclose(found, weights["conv1_1"][0], rtol=1e-2)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [1, 2],
        b"abc",
        {1: [np.zeros(3)]},
        {"a": None},
        {"a": 3.0},
        {"a": [None]},
        {"a": ["3"]},
        {"a": [np.zeros(3, complex)]},
        {"a": [[1, [2, 3]]]},
        {"a": np.zeros(3), "b": [np.zeros(3)]},
    ],
)
def test_what_is_no_weights(given):
    assert "expected" in said(fp.load_weights, given)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"layout": "tensorflo"}, "did you mean 'tensorflow'?"),
        ({"input_order": "rbg"}, "did you mean 'rgb'?"),
        ({"classes_map": {"a": 0}}, "must be a whole number, found 'a'"),
        ({"classes_map": [0, 1]}, "expected a mapping"),
        ({"renames": "nobody=score"}, "--rename nobody=score applies to nothing"),
    ],
)
def test_how_weights_cannot_be_converted(net, weights, named, expected):
    assert expected in said(fp.convert, weights, net, **named)


def test_nothing_is_not_converted(net):
    assert "there are no weights" in said(fp.convert, [], net)


@pytest.mark.parametrize("pixel", [(1,), 3, (1.5, 2), "ab"])
def test_what_is_no_pixel(net, pixel):
    line = said(fp.explain_field, net, "score", pixel)
    assert "a pixel is (row, column)" in line or "a row must be" in line


NO_IMAGES = [None, 3, [[1]], b"png", bytearray(b"png"), memoryview(b"png"), io.BytesIO(b"png")]


def test_what_is_no_image_does_not_end_the_others(model):
    segment = fp.Segmenter(model, device="cpu")
    image = np.zeros((8, 8, 3), np.uint8)
    found = list(segment([image, *NO_IMAGES, Image.new("RGB", (0, 4)), image]))
    assert [each.ok for each in found] == [True, *[False] * 8, True]
    assert all("expected an image: a path" in str(each.error) for each in found[1:-2])
    assert "it has no pixels: 0×4" in str(found[-2].error)
    for each in (None, 3, b"png", io.BytesIO(b"png")):
        assert "expected an image: a path" in said(segment, each)


def test_a_label_map_is_a_png(model, tmp_path):
    found = fp.Segmenter(model, device="cpu")(np.zeros((8, 8, 3), np.uint8))
    assert "is no folder, and a label map's name ends in .png" in said(found.save, tmp_path / "a")
    assert "ends in .png" in said(found.save, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
    assert found.save(tmp_path)[0] == tmp_path / "image.png"


def test_shares_of_two_classes_of_one_name_are_added():
    labels = np.array([[0, 1, 2, 2]], np.uint8)
    found = fp.Segmentation("a", {}, {"score": labels}, {}, {"score": ("sky", "sky", "sea")})
    assert found.shares == {"sea": 0.5, "sky": 0.5}


def test_a_single_word_is_not_its_letters(net):
    image = np.zeros((32, 32, 3), np.uint8)
    assert [step.blob for step in fp.explain_maps(net, SHAPES, image, "score").steps] == ["score"]
    text = 'layer { name: "a" type: "Input" top: "x" include { stage: "abc" } }'
    assert len(fp.load_net(text, stages="abc").layers) == 1


def test_models_are_compared_from_an_iterator(model):
    image = np.zeros((32, 32, 3), np.uint8)
    assert len(fp.compare(iter([model, model]), iter([image])).models) == 2


def test_a_model_is_shown_in_few_lines(model):
    assert repr(model) == str(model) and len(repr(model).splitlines()) < 12


@pytest.mark.parametrize(
    "named", [{"iterations": "3"}, {"iterations": 2.5}, {"batch": 1.5}, {"minutes": "x"}]
)
def test_how_long_nothing_can_be_trained(tmp_path, named):
    pytest.importorskip("torch")
    assert "must be " in said(fp.train, tmp_path, **named)


def test_a_net_is_no_solver(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "train.prototxt"
    fp.render(SHAPES, phase="train").save(path)
    assert "it is a net; name the solver that trains it" in said(fp.Solver.from_file, path)
    path.write_text('base_lr: 1\nlr_policy: "fixed"\n')
    assert "give one of net, net_param" in said(fp.Solver.from_file, path)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"trimap": -1}, "trimap must be at least 1"),
        ({"trimap": 1.5}, "trimap must be a whole number"),
        ({"ignore": "x"}, "ignore must be a whole number"),
        ({"truth": ["a"]}, "expected truth as a folder, found ['a']"),
    ],
)
def test_how_nothing_can_be_measured(tmp_path, named, expected):
    assert expected in said(fp.score, **{"pred": tmp_path, "truth": tmp_path} | named)


def test_what_cannot_be_compared(model):
    image = np.zeros((8, 8, 3), np.uint8)
    assert "expected a model" in said(fp.compare, [None, model], [image])
    assert "expected truth" in said(fp.compare, [model, model], [image], truth=3)
    line = said(fp.compare, [model, model], [image], truth=np.zeros((4, 5), int))
    assert line.endswith("is 8×8, and the truth that is given is 4×5")
    assert "expected a model" in said(fp.verify, None, model)
    assert "there is no dataset '3'" in said(fp.export, SHAPES, SHAPES, dataset=3)
    assert "samples must be at least 1" in said(fp.export, SHAPES, SHAPES, samples=-1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fp.Gaussian("a", 3),
        lambda: fp.DenseCRF(fp.Gaussian(3, 3)),
        lambda: fp.DenseCRF([3]),
        lambda: fp.DenseCRF([fp.Gaussian(3, 3)], iterations="x"),
        lambda: fp.DenseCRF([fp.Gaussian(3, 3)], clip=None),
    ],
)
def test_what_makes_no_field(make):
    assert "found" in said(make)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"weights": {"a": [1]}}, "expected weights as a file or the name of a net"),
        ({"net": None}, "expected the name of a net of the zoo"),
        ({"device": None}, "there is no device 'None'"),
    ],
)
def test_what_nothing_can_be_trained_from(tmp_path, named, expected):
    pytest.importorskip("torch")
    assert expected in said(fp.train, tmp_path, **named)
    assert "expected a folder of data" in said(fp.train, None)
