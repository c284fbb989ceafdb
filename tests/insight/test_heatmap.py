"""Heat maps of convolutional classifiers: against PyTorch on every window, and by the verb."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from docs_stand_in import _thin
from PIL import Image

import fcnproto as fp
from fcnproto import weights
from fcnproto.api.seen import slide, sliding
from fcnproto.cli import main
from fcnproto.errors import FcnprotoError, NetError
from fcnproto.insight import windows
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.images import ImageError
from fcnproto.zoo import specs
from fcnproto.zoo.kinds import ClassifierSpec

CLASSIFIERS = [name for name, net in specs.nets().items() if isinstance(net, ClassifierSpec)]

SMALL = """name: "small"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 17 dim: 17 } }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 0 }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 }
}
layer {
  name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 4 }
}
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def random_weights(text, seed=0):
    """Kernels as He et al. draw them, and biases, so that numbers neither fade nor grow."""
    graph = build(parse_net(text))
    rng = np.random.default_rng(seed)
    found = {}
    for index, arrays in infer(graph).weights.items():
        if arrays:
            spread = np.sqrt(2 / np.prod(arrays[0].shape[1:]))
            found[graph.nodes[index].layer.name] = [
                (rng.standard_normal(each.shape) * (0.1 if number else spread)).astype(np.float32)
                for number, each in enumerate(arrays)
            ]
    return found


def picture(height, width, seed=1):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    large = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.clip(large + rng.integers(-20, 20, (height, width, 3)), 0, 255).astype(np.uint8)


MEAN = (104.0, 117.0, 123.0)


def by_torch(arrays, window):
    """The scores of SMALL for one window, H×W×3 RGB."""
    blob = (window[:, :, ::-1].astype(np.float32) - np.float32(MEAN)).transpose(2, 0, 1)[None]
    (kernels, biases), (matrix, more) = (
        [torch.from_numpy(each) for each in arrays[name]] for name in ("conv", "fc")
    )
    x = torch.conv2d(torch.from_numpy(np.ascontiguousarray(blob)), kernels, biases, stride=2).relu()
    x = torch.max_pool2d(x, 2, 2, ceil_mode=True).flatten(1)
    return (x @ matrix.T + more).numpy()[0]


def test_each_place_is_what_pytorch_makes_of_its_window():
    arrays, image = random_weights(SMALL), picture(33, 45)
    found = fp.heatmap(image, SMALL, arrays, mean=MEAN, classes=["a", "b", "c", "d"])
    assert found.scores.shape == found.maps.shape == (4, 5, 8)
    for row, column in np.ndindex(5, 8):
        top, left = 4 * row, 4 * column
        alone = by_torch(arrays, image[top : top + 17, left : left + 17])
        np.testing.assert_allclose(found.scores[:, row, column], alone, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.maps.sum(axis=0), 1, rtol=1e-5)
    assert found.stride == (4, 4)

    assert [float(axis.shift) for axis in found.axes] == [8, 8]
    best = found.scores.argmax(axis=0)
    assert (found.best == best).all()


def test_without_padding_windows_alone_give_the_same_numbers():
    done = fp.heatmap_windows(picture(33, 45), SMALL, random_weights(SMALL), mean=MEAN)
    assert (done.places, done.window) == ((5, 8), (17, 17))
    assert done.alone < 1e-5 and done.seen < 1e-5 and done.agrees
    assert done.same_best == 40
    assert "from its window alone it is" in str(done) and "paddings" not in str(done)


def test_with_padding_what_a_score_sees_gives_the_same_numbers_and_its_window_does_not():
    text = SMALL.replace("pad: 0", "pad: 1")
    done = fp.heatmap_windows(picture(61, 61), text, random_weights(text), mean=MEAN)
    assert done.agrees and done.seen < 1e-5
    assert done.alone > 1e-3
    assert "paddings put zeros where the image goes on" in str(done)


def test_wrong_numbers_do_not_agree(monkeypatch):
    """The check compares what it says: pieces cut at another place are found out."""
    cut = windows._piece
    monkeypatch.setattr(windows, "_piece", lambda *about: (cut(*about)[0], cut(*about)[1], 0))
    text = SMALL.replace("pad: 0", "pad: 1")
    done = fp.heatmap_windows(picture(61, 61), text, random_weights(text), mean=MEAN)
    assert not done.agrees and "do NOT agree" in str(done)


SIZE = {"vgg-small": 256, "vgg16": 384, "alexnet": 384, "caffenet": 384, "googlenet": 384}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.slow
def test_every_classifier_of_the_zoo_has_six_by_six_places(name, monkeypatch):
    """The paper's geometry, with thin nets and random weights: 32 pixels between places."""
    monkeypatch.setattr(windows, "_ROUNDS", 1)
    spec = specs.net(name)
    text = _thin(render(name))
    side = SIZE[spec.backbone]
    image, arrays = picture(side, side), random_weights(text)
    slider = sliding(text, arrays)
    found = slide(slider, image)
    assert found.places == (6, 6) and found.stride == (32, 32)
    assert len(found.maps) == spec.classes
    own = specs.net(spec.backbone).size[0]
    shift = float(found.axes[0].shift)
    assert abs(shift - (own - 1) / 2) <= 15  # the window's middle, up to how layers round
    done = windows.check_windows(slider, found)
    assert done.agrees and done.seen < 1e-4
    assert done.alone > 1e-4  # they pad, all of them
    assert own <= done.window[0] < own + 32


def test_the_well_known_example():
    """CaffeNet on 384×384: 6×6 windows of 227×227, every 32 pixels."""
    text = _thin(render("caffenet"))
    found = fp.heatmap(picture(384, 384), text, random_weights(text))
    assert found.maps.shape == (1000, 6, 6)
    assert [(axis.scale, axis.shift) for axis in found.axes] == [(32, 113)] * 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(SMALL)
    weights.write(tmp_path / "net.npz", random_weights(SMALL))
    Image.fromarray(picture(33, 45)).save("one.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\nowl\n")
    return tmp_path


def run(*words, code=0):
    done = CliRunner().invoke(main, ["heatmap", *words, "--net", "net.prototxt"])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def test_the_verb_draws_and_says(folder):
    words = ("--weights", "net.npz", "--classes", "classes.txt", "--class", "owl", "--class", "0")
    done = run("one.png", *words, "-o", "out", "--windows")
    assert "one.png: 5×8 places, one every 4 pixels" in done.stdout
    assert re.search(
        r"owl: highest at place \d, \d, with \S+; the best class of \d+ of 40", done.stdout
    )
    assert "40 windows of 17×17, one by one" in done.stdout and "the numbers agree" in done.stdout
    with Image.open("out/one.heatmap.png") as drawn:
        assert drawn.width == 12 + 3 * 348
        assert len(drawn.getcolors(2**20)) > 100


def test_json_has_the_maps(folder):
    line = json.loads(run("one.png", "--weights", "net.npz", "--class", "2", "--json").stdout)
    found = fp.heatmap("one.png", "net.prototxt", "net.npz")
    np.testing.assert_allclose(line["maps"]["class 2"], found.maps[2])
    assert (line["places"], line["stride"], line["offset"]) == ([5, 8], [4, 4], [8, 8])
    assert line["best"] == found.maps.argmax(axis=0).tolist()


def test_the_size_is_the_images(folder):
    line = json.loads(run("one.png", "--weights", "net.npz", "--size", "21x17", "--json").stdout)
    assert (line["size"], line["places"]) == ([21, 17], [2, 1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "16x40"), "it is 16×40, smaller than the net's window of 17×17: --size HxW"),
        (("--class", "4"), "the net has 4 classes, 0 to 3, and no class 4"),
        (("--class", "cat"), "there is no class 'cat'; names are not known of it, numbers are"),
        (("--class", "-1"), "there is no class '-1'"),
        (("--size", "400x400", "--windows"), "97×97 windows in it, and at most 1024 are computed"),
        (("--classes", "classes.txt", "--class", "cot"), "no class 'cot'; did you mean 'cow'?"),
    ],
)
def test_what_cannot_be_shown_is_said(folder, words, message):
    done = run("one.png", "--weights", "net.npz", *words, code=1)
    assert message in done.stderr
    assert not (folder / "one.heatmap.png").exists()


def test_a_broken_image_does_not_end_the_others(folder):
    (folder / "two.png").write_bytes(b"no picture")
    done = run("two.png", "one.png", "--weights", "net.npz", code=1)
    assert "two.png: error: cannot be read as an image" in done.stderr
    assert (folder / "one.heatmap.png").exists()


def test_two_images_of_one_name_are_refused(folder):
    (folder / "more").mkdir()
    Image.fromarray(picture(20, 20)).save("more/one.jpg")
    done = run("one.png", "more/one.jpg", "--weights", "net.npz", code=1)
    assert "its picture would be that of one.png" in done.stderr


def test_an_fcn_is_no_classifier():
    with pytest.raises(NetError, match="for every pixel, as an FCN does: a classifier is needed"):
        fp.heatmap(picture(64, 64), "shapes-fcn8s", "shapes-fcn8s")


def test_weights_that_do_not_fit_and_weights_that_diverged():
    arrays = random_weights(SMALL)
    with pytest.raises(FcnprotoError, match="layer 'fc'"):
        fp.heatmap(picture(33, 33), SMALL, {"conv": arrays["conv"]}, mean=MEAN)
    arrays["fc"][0][:] = np.inf
    with pytest.raises(ImageError, match="infinite or not a number"):
        fp.heatmap(picture(33, 33), SMALL, arrays, mean=MEAN)


def test_a_net_that_is_convolutional_already_needs_no_surgery():
    """The largest square with one place is its window."""
    conv = fp.convolutionize(SMALL, random_weights(SMALL))
    image = picture(33, 45)
    ours = fp.heatmap(image, SMALL, random_weights(SMALL), mean=MEAN)
    again = fp.heatmap(image, conv.net, conv.weights, mean=MEAN)
    np.testing.assert_array_equal(ours.scores, again.scores)
    done = fp.heatmap_windows(image, conv.net, conv.weights, mean=MEAN)
    assert done.agrees and done.window[0] in range(17, 21)


def test_the_shipped_net_finds_shapes_by_its_windows():
    """FCN-32s' score layer as a classifier of windows: where it says disc, there is one."""
    from fcnproto.datasets.shapes import draw, label_map

    net = fp.load_net(fp.render("vgg-small", classes=5))
    fitted = fp.convert("shapes-fcn32s", net, renames=["score_fr=fc8"])
    slider = sliding(net, fitted.weights, dataset="shapes")
    right = total = 0
    for number in range(12):
        image = np.ascontiguousarray(draw("val", number))
        found = slide(slider, image)
        assert found.classes[1] == "disc"
        for row, column in np.ndindex(found.places):
            y, x = (round(float(a(p))) for a, p in zip(found.axes, (row, column), strict=True))
            right += found.best[row, column] == label_map("val", number)[y, x]
            total += 1
    assert total > 50 and right / total > 0.7
