"""Layouts in the wild: every one brought back to the weights that it was made from."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnproto import weights
from fcnproto.errors import WeightsError
from fcnproto.surgery import layouts, naming
from fcnproto.surgery.layouts import Destination
from fcnproto.surgery.naming import Layout, Rename

MEAN = (104.00699, 116.66877, 122.67892)
WIDTHS = (4, 5, 6, 7, 8)
DESTINATIONS = {
    "conv1_1": Destination((3, 3, 3), True),
    "fc6": Destination((8, 2, 3), False),
}


def caffes(seed=0):
    """A small net of five blocks, a fully connected layer on 8×2×3, and a square one."""
    rng = np.random.default_rng(seed)
    made, channels = {}, 3
    for block, width in enumerate(WIDTHS, 1):
        for place in (1, 2):
            made[f"conv{block}_{place}"] = [(width, channels, 3, 3), width]
            channels = width
    made |= {"fc6": [(9, 48), 9], "fc7": [(9, 9), 9], "fc8": [(5, 9), 5]}
    return {
        name: [rng.standard_normal(shape, np.float32) for shape in shapes]
        for name, shapes in made.items()
    }


def tensorflow(caffe):
    """As TensorFlow would hold the same net: HWIO, inputs flattened H, W, C, and RGB."""
    arrays = {}
    for name, (array, bias) in caffe.items():
        if name == "conv1_1":
            array = array[:, ::-1]
        if name == "fc6":
            array = np.stack([row.reshape(8, 2, 3).transpose(1, 2, 0).ravel() for row in array])
        arrays[f"{name}_W"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        arrays[f"{name}_b"] = bias
    return arrays


def torchvision_names():
    """features.N with a ReLU after each convolution and a pool after each block."""
    names, number = {}, 0
    for block in range(1, 6):
        for place in (1, 2):
            names[f"conv{block}_{place}"] = f"features.{number}"
            number += 2
        number += 1
    return names | {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def loaded(arrays):
    return weights.Loaded(Path("w.npz"), foreign=dict(arrays))


def convert(arrays, layout=None, order=None, renames=(), suffix="", to=DESTINATIONS):
    named = naming.name(loaded(arrays), [Rename.parse(each) for each in renames], suffix)
    return layouts.to_caffe(named, to, MEAN, layout, order)


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, arrays in wanted.items():
        for mine, other in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(mine, other, name)
            assert mine.flags.c_contiguous


def test_tensorflow_is_found():
    converted = convert(tensorflow(caffes()))
    assert_same(converted.weights, caffes())
    assert converted.changes["conv1_1"] == "3×3×3×4 → 4×3×3×3, RGB → BGR"
    assert "fc6" in converted.transposed


@pytest.mark.parametrize(("weight", "bias"), [("/weights", "/biases"), ("/kernel:0", "/bias:0")])
def test_other_keys_of_tensorflow(weight, bias):
    arrays = {
        key.replace("_W", weight).replace("_b", bias): array
        for key, array in tensorflow(caffes()).items()
    }
    assert_same(convert(arrays).weights, caffes())


def test_chainer_is_caffe():
    arrays = {
        f"{n}/{s}": a for n, pair in caffes().items() for s, a in zip("Wb", pair, strict=True)
    }
    converted = convert(arrays)
    assert_same(converted.weights, caffes())
    assert not converted.changes


def torch_arrays(caffe):
    names = torchvision_names()
    return {
        f"{names[name]}.{part}": array
        for name, pair in caffe.items()
        for part, array in zip(("weight", "bias"), pair, strict=True)
    }


def test_torchvision_sees_the_same_image():
    """The first convolution, on pixels scaled as torchvision asks and on Caffe's."""
    rng = np.random.default_rng(1)
    caffe = caffes()
    converted = convert(torch_arrays(caffe))
    assert list(converted.weights) == list(caffe)
    rgb = rng.integers(0, 256, (3, 3, 3)).astype(np.float64)  # channels, rows, columns: one window
    scaled = rgb / 255
    scaled = (scaled - np.reshape(layouts.TORCHVISION_MEAN, (3, 1, 1))) / np.reshape(
        layouts.TORCHVISION_DEVIATION, (3, 1, 1)
    )
    wanted = np.einsum("oihw,ihw->o", caffe["conv1_1"][0], scaled) + caffe["conv1_1"][1]
    bgr = rgb[::-1] - np.reshape(MEAN, (3, 1, 1))
    kernel, bias = converted.weights["conv1_1"]
    np.testing.assert_allclose(np.einsum("oihw,ihw->o", kernel, bgr) + bias, wanted, rtol=2e-6)
    assert "zero padding" in str(converted.notes[0])
    assert_same({n: a for n, a in converted.weights.items() if n != "conv1_1"}, {
        n: a for n, a in caffe.items() if n != "conv1_1"
    })  # fmt: skip


def test_the_stated_difference_on_padding_is_reached_at_most():
    caffe = caffes()
    named = naming.name(loaded(torch_arrays(caffe)))
    converted = layouts.to_caffe(named, DESTINATIONS, (0.0, 0.0, 0.0))
    kernel, bias = converted.weights["conv1_1"]
    original, own = caffe["conv1_1"]
    stated = float(str(converted.notes[0]).rpartition(" ")[2])
    padding = bias - own  # what a kernel that lies on padding alone gives more than torchvision's
    assert np.abs(padding).max() <= stated * 1.01
    assert kernel.shape == original.shape


@pytest.mark.parametrize(
    "counts", [(1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)]
)
def test_names_of_every_vgg(counts):
    number, wanted = 0, {}
    for block, count in enumerate(counts, 1):
        for place in range(1, count + 1):
            wanted[f"features.{number}.weight"] = f"conv{block}_{place}"
            number += 2
        number += 1
    arrays = {key: np.ones((2, 2, 3, 3), np.float32) for key in wanted}
    assert list(naming.name(loaded(arrays)).weights) == list(wanted.values())
    behind = {f"module.{key}": array for key, array in arrays.items()}  # as DataParallel saves
    assert list(naming.name(loaded(behind)).weights) == list(wanted.values())


def test_caffes_own_layout_can_be_claimed_for_other_keys():
    """Weights of Caffe that were saved under torchvision's names are not scaled again."""
    converted = convert(torch_arrays(caffes()), layout=Layout.CAFFE)
    assert_same(converted.weights, caffes())


def test_input_order_can_be_said():
    flipped = convert(torch_arrays(caffes()), layout=Layout.CAFFE, order="rgb")
    np.testing.assert_array_equal(flipped.weights["conv1_1"][0], caffes()["conv1_1"][0][:, ::-1])
    kept = convert(tensorflow(caffes()), order="bgr")
    np.testing.assert_array_equal(kept.weights["conv1_1"][0], caffes()["conv1_1"][0][:, ::-1])


def test_input_order_without_an_image():
    with pytest.raises(WeightsError, match="no layer of three channels reads the image"):
        convert(tensorflow(caffes()), order="rgb", to={})


SQUARE = {"fc7_W": np.ones((9, 9), np.float32), "fc7_b": np.ones(9, np.float32)}


@pytest.mark.parametrize(
    ("arrays", "seen"),
    [
        (SQUARE, "no shape shows"),
        ({"fc7/W": SQUARE["fc7_W"], "fc7/b": SQUARE["fc7_b"]}, "no shape shows"),
        ({"a_W": np.ones((4, 9), np.float32), "a_b": np.ones(4, np.float32)}, "outputs first"),
        ({"a/W": np.ones((4, 9), np.float32), "a/b": np.ones(9, np.float32)}, "outputs last"),
        ({"a/0": np.ones((4, 9), np.float32), "a/1": np.ones(9, np.float32)}, "outputs last"),
        ({"a.weight": np.ones((9, 4), np.float32), "a.bias": np.ones(9, np.float32)}, "first"),
    ],
)
def test_what_is_not_certain_is_asked_for(arrays, seen):
    with pytest.raises(WeightsError) as caught:
        convert(arrays)
    assert seen in str(caught.value)
    assert "--layout caffe|chainer|tensorflow|torchvision" in str(caught.value)


def test_square_weights_of_our_own_keys_are_caffes():
    converted = convert({"fc7/0": SQUARE["fc7_W"], "fc7/1": SQUARE["fc7_b"]})
    assert not converted.changes


def test_one_layer_that_shows_settles_the_others():
    arrays = SQUARE | {"fc8_W": np.ones((9, 5), np.float32), "fc8_b": np.ones(5, np.float32)}
    assert [a.shape for a in convert(arrays).weights["fc8"]] == [(5, 9), (5,)]


def test_a_deconvolution_is_no_kernel_of_tensorflow():
    """16×4×4×4 with 4 biases: outputs second, as Caffe has it, not last."""
    arrays = {"up/0": np.ones((16, 4, 4, 4), np.float32), "up/1": np.ones(4, np.float32)}
    assert not convert(arrays).changes


def test_renames():
    arrays = {"block1/conv1_W": np.ones((3, 3, 3, 4), np.float32), "odd:0": np.ones(4, np.float32)}
    converted = convert(
        arrays, renames=["block1/conv*=conv1_*", "odd:0=conv1_1/1"], layout=Layout.TENSORFLOW
    )
    assert [a.shape for a in converted.weights["conv1_1"]] == [(4, 3, 3, 3), (4,)]


def test_renames_that_do_nothing_and_keys_that_say_nothing():
    with pytest.raises(WeightsError) as caught:
        convert({"what": np.ones(3, np.float32)}, renames=["conv9*=conv8*"])
    assert "keys of no known style, 'what'" in str(caught.value)
    assert "; --rename conv9*=conv8* applies to nothing" in str(caught.value)


def test_a_rename_is_for_any_of_the_files():
    renames = [Rename.parse("a=x"), Rename.parse("b=y"), Rename.parse("c=z")]
    files = [naming.name(loaded({f"{layer}/W": np.ones(3, np.float32)}), renames) for layer in "ab"]
    naming.check_used(renames[:2], files)
    with pytest.raises(WeightsError) as caught:
        naming.check_used(renames, files)
    assert str(caught.value) == "error: --rename c=z applies to nothing; layers are 'a', 'b'"


@pytest.mark.parametrize("layout", [Layout.CHAINER, Layout.TORCHVISION, Layout.TENSORFLOW])
def test_a_square_matrix_for_a_layer_that_keeps_it_turned(layout):
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3)
    given = matrix.T if layout is Layout.TENSORFLOW else matrix
    to = {"fc": Destination((3,), False, transposed=True)}
    converted = convert({"fc/W": given, "fc/b": np.ones(3, np.float32)}, layout, to=to)
    np.testing.assert_array_equal(converted.weights["fc"][0], matrix.T)
    assert converted.transposed == {"fc"}
    as_it_is = convert({"fc/0": given, "fc/1": np.ones(3, np.float32)}, Layout.CAFFE, to=to)
    np.testing.assert_array_equal(as_it_is.weights["fc"][0], given)


def test_caffes_own_files_have_caffes_layout_whatever_they_are_renamed_to():
    arrays = {"k": [np.ones((3, 3), np.float32), np.ones(3, np.float32)]}
    file = weights.Loaded(Path("w.caffemodel"), arrays, caffes_own=True)
    renames = [Rename.parse("k/0=fc/0"), Rename.parse("k/1=fc/1")]
    named = naming.name(file, renames)
    assert layouts.detect(named) is Layout.CAFFE


@pytest.mark.parametrize("text", ["a", "=b", "a=", "a*b*=c", "a=b*", "a*=b**"])
def test_renames_that_are_none(text):
    with pytest.raises(WeightsError, match="--rename"):
        Rename.parse(text)


words = st.text("ab/_.", max_size=4)


@given(words, words, words, words, words)
def test_a_star_stands_for_any_text(before, middle, after, new_before, new_after):
    rename = Rename(f"{before}*{after}", f"{new_before}*{new_after}")
    assert rename(before + middle + after) == new_before + middle + new_after


def test_two_arrays_of_one_name():
    arrays = {"a/W": np.ones(3, np.float32), "b/W": np.ones(3, np.float32)}
    with pytest.raises(WeightsError, match="'a': two arrays would be number 0"):
        naming.name(loaded(arrays), [Rename.parse("b=a")])


def test_two_styles():
    with pytest.raises(WeightsError, match="two styles"):
        naming.name(loaded({"a/W": np.ones(3, np.float32), "b_W": np.ones(3, np.float32)}))


def test_suffix():
    named = naming.name(loaded({"a/W": np.ones(3, np.float32)}), suffix="hha")
    assert list(named.weights) == ["ahha"]
    assert named.origins == {"ahha": "a"}


def test_the_mean_is_the_datasets():
    assert layouts.image_mean(("fcn16s",)) == MEAN
    assert layouts.image_mean(("no such net", "siftflow-fcn8s"))[0] == 114.578
    assert layouts.image_mean(("nyud-fcn32s-color-hha",), "hha")[0] == 132.431
    assert layouts.image_mean(("net.prototxt", "")) == MEAN
