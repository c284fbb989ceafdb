"""Blobs as maps over their image: where pixels lie, against loops; pages and pictures."""

import json
import re
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fcnproto as fp
from fcnproto.cli import main
from fcnproto.errors import NetError
from fcnproto.insight.maps import MOST_PIXELS, heat, laid, over_image
from fcnproto.layers.spatial import Affine

NET = """name: "tiny"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } }
}
layer {
  name: "pick" type: "Convolution" bottom: "data" top: "pick"
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false }
}
layer { name: "relu" type: "ReLU" bottom: "pick" top: "pick" }
layer {
  name: "pool" type: "Pooling" bottom: "pick" top: "pool"
  pooling_param { kernel_size: 2 stride: 2 }
}
layer {
  name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 3 }
}
"""
RED, BLUE = 0, 1
WEIGHTS = {
    "pick": [np.array([[0, 0, 1], [1, 0, 0]], np.float32).reshape(2, 3, 1, 1)],
    "fc": [np.ones((3, 96), np.float32), np.zeros(3, np.float32)],
}
MEAN = (0.0, 0.0, 0.0)


def spotted():
    image = np.zeros((12, 16, 3), np.uint8)
    image[5, 9, RED] = 200
    image[0, 0, 2] = 90
    return image


def test_a_blob_is_what_the_net_computes_and_lies_where_it_computes_it():
    found = fp.explain_maps(NET, WEIGHTS, spotted(), mean=MEAN)
    pick, pool, fc = found.steps
    assert [step.blob for step in found.steps] == ["pick", "pool", "fc"]
    assert pick.layers == (("pick", "Convolution"), ("relu", "ReLU"))
    assert pick.planes[RED][5, 9] == 200 and pick.planes[BLUE][0, 0] == 90
    assert pool.planes[RED][2, 4] == 200 and pool.planes.sum() == 290
    assert fc.planes.size == 0 and fc.array.tolist() == [[290, 290, 290]]
    over = laid(pool.planes[RED], pool.axes, (12, 16))
    assert {(int(y), int(x)) for y, x in np.argwhere(over == 200)} == {
        (4, 8),
        (4, 9),
        (5, 8),
        (5, 9),
    }
    assert found.picture().height > 0
    assert "pool: Pooling; 1×2×6×8; stride 2, receptive field 2" in str(found)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2), Fraction(7, 2)]),
    st.fractions(-6, 6, max_denominator=2),
)
def test_each_pixel_of_the_image_has_the_value_of_the_nearest(rows, columns, scale, shift):
    plane = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    axis = Affine(scale, shift)
    over = laid(plane, (axis, axis), (9, 7))
    for y, x in np.ndindex(9, 7):
        row, column = (floor((Fraction(p) - shift) / scale + Fraction(1, 2)) for p in (y, x))
        inside = 0 <= row < rows and 0 <= column < columns
        expected = plane[row, column] if inside else np.nan
        np.testing.assert_equal(over[y, x], np.float32(expected))


def test_colours_go_from_dark_to_light_and_one_value_is_dark():
    shades = heat(np.linspace(0, 1, 50), 0, 1).astype(int) @ np.array([299, 587, 114])
    assert (np.diff(shades) > 0).all()
    assert (heat(np.full((2, 2), 3.0), 3, 3) == heat(np.zeros(1), 0, 1)[0]).all()


def test_large_images_are_drawn_smaller_but_lie_alike():
    image = np.zeros((2400, 1600, 3), np.uint8)
    axes = Affine(Fraction(800)), Affine(Fraction(800))
    drawn = over_image(image, np.eye(3, 2, dtype=np.float32), axes)
    assert drawn.width * drawn.height <= MOST_PIXELS
    assert drawn.size[1] / drawn.size[0] == pytest.approx(1.5, rel=0.01)
    light = np.asarray(drawn.convert("L"))
    assert light[0, 0] > light[0, -1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    fp.Weights(WEIGHTS).save("net.npz")
    Image.fromarray(spotted()).save("spots.png")
    return tmp_path


def run(*words, code=0):
    done = CliRunner().invoke(main, ["explain", "maps", *words])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


SHAPES = ("shapes-fcn8s", "--weights", "shapes-fcn8s")


def test_a_page_shows_every_step_and_needs_nothing_else(folder):
    run(*SHAPES, "--image", "spots.png", "-o", "page.html")
    page = (folder / "page.html").read_text("utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    layers = fp.load_net("shapes-fcn8s").source.net.layer
    assert titles == list(dict.fromkeys(top for layer in layers[1:] for top in layer.top))
    assert "http" not in page and "<script" not in page
    assert page.count("<figure>") == page.count("<img") - 1
    assert "<b>triangle</b>" in page


def test_a_picture_of_some_blobs(folder):
    words = (*SHAPES, "--image", "spots.png", "--blob", "score_fr", "--blob", "score")
    done = run(*words, "-o", "some.png")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["score_fr", "score"]
    with Image.open("some.png") as drawn:
        assert drawn.width == 12 + 5 * 348  # five classes
    found = json.loads(run(*words, "--json").stdout)
    assert [step["blob"] for step in found] == ["score_fr", "score"]
    assert [each["name"] for each in found[0]["maps"]][:2] == ["background", "disc"]
    assert (found[0]["stride"], found[1]["stride"]) == ([32, 32], [1, 1])


def test_names_from_files_do_no_harm_on_a_page(folder):
    bad = NET.replace('"pool"', '"<script>alert(1)</script>"')
    found = fp.explain_maps(bad, WEIGHTS, spotted(), mean=MEAN)
    assert "<script" not in found.page() and "&lt;script&gt;" in found.page()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--blob", "pol", "-o", "a.png"), 1, "it computes no blob 'pol'; did you mean 'pool'?"),
        (("--blob", "fc", "-o", "a.png"), 1, "none of these blobs has maps"),
        (("-o", "a.jpg"), 2, "'a.jpg' should end in .html or .png"),
        (("-o", "spots.png"), 1, "--force"),
    ],
)
def test_what_cannot_be_shown_is_said(folder, words, code, message):
    done = run("net.prototxt", "--weights", "net.npz", "--image", "spots.png", *words, code=code)
    assert message in done.stderr
    assert not (folder / "a.png").exists()


def test_nets_that_take_no_colour_image():
    with pytest.raises(NetError, match="one input of 3 channels is needed"):
        fp.explain_maps(
            NET.replace("dim: 3 ", "dim: 1 "),
            {"pick": [WEIGHTS["pick"][0][:, :1]], "fc": WEIGHTS["fc"]},
            spotted(),
        )
