"""explain.py and field.py: the published crops and pads, and nets that have something wrong."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from exporting import input_text
from PIL import Image

import fcnproto as fp
from fcnproto.cli import main
from fcnproto.errors import NetError, ZooError
from fcnproto.insight import explain_field
from fcnproto.insight.explain_crop import crop_text, crops
from fcnproto.insight.explain_pad import pad, pad_text
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render


def net(text, size=None):
    return build(parse_net(text), size=size)


@pytest.fixture
def fcnproto(tmp_path, monkeypatch):
    """Run the program in an empty directory; gives the result."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


# Crop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "offsets"),
    [("voc-fcn32s", [19]), ("voc-fcn16s", [5, 27]), ("voc-fcn8s", [5, 9, 31])],
)
def test_the_published_offsets_are_accounted_for(name, offsets):
    accounts, problems = crops(net(render(name)))
    assert problems == []
    for account, offset in zip(accounts, offsets, strict=True):
        assert account.written == account.computed == (offset, offset)
        assert sum(move.offset[0] for move in account.moves) == offset
        assert account.mends == []


def test_the_chain_of_fcn32s_by_hand():
    """What each layer adds, in pixels of the image: (d(k − 1)/2 − p) times its bottom's stride."""
    (account,), _ = crops(net(render("voc-fcn32s")))
    adds = {m.step.node.title: m.offset[0] for m in account.moves if m.offset[0]}
    assert adds == {
        "upscore": Fraction(63, 2),
        "fc6": -3 * 32,
        "pool5": -Fraction(16, 2),
        "pool4": -Fraction(8, 2),
        "pool3": -Fraction(4, 2),
        "pool2": -Fraction(2, 2),
        "pool1": -Fraction(1, 2),
        "conv1_1": 99,
    }
    assert [move.step.node.title for move in account.fractions] == ["upscore", "pool1"]
    pads = {move.step.node.title: (w.pad, w.neutral_pad) for move, w in account.pads}
    half = Fraction(1, 2)
    assert pads == {
        "upscore": (0, 63 * half),
        "fc6": (0, 3),
        **{f"pool{n}": (0, half) for n in range(1, 6)},
        "conv1_1": (100, 1),
    }


def test_the_sentences_of_fcn32s():
    graph = net(render("voc-fcn32s"))
    (account,), _ = crops(graph)
    text = crop_text(graph, account)
    for words in (
        "offset written 19, computed 19",
        "upscore (Deconvolution, kernel 64, stride 32, pad 0): pixel x of upscore lies at"
        " x/32 − 63/64 of score_fr, which adds 63/2 to the offset.",
        "pool1 (Pooling, kernel 2, stride 2, pad 0): pixel x of pool1 lies at 2x + 1/2 of conv1_2",
        "So pixel x of upscore lies at x − 19 of data.",
        "data is the common ancestor itself.",
        "63/2 − 96 − 8 − 4 − 2 − 1 − 1/2 + 99 = 19.",
        "upscore brings in 63/2, pool1 brings in −1/2; together they are whole.",
        "conv1_1 100 (not 1)",
    ):
        assert words in text


def test_skips_meet_at_their_pool():
    accounts, _ = crops(net(render("voc-fcn8s")))
    assert [account.alignment.ancestor for account in accounts] == ["pool4", "pool3", "data"]
    assert [m.step.node.title for m in accounts[0].fractions] == ["upscore2", "pool5"]


def test_a_wrong_offset_is_shown_beside_the_right_one(fcnproto):
    Path("net.prototxt").write_text(render("voc-fcn32s").replace("offset: 19", "offset: 18"))
    result = fcnproto("explain", "crop", "net.prototxt")
    assert result.exit_code == 0
    assert "offset written 18, computed 19" in result.stdout
    assert "But 18 is written: write offset: 19." in result.stdout


@pytest.mark.parametrize(("kernel", "offset"), [(63, "37/2"), (65, "39/2")])
def test_a_kernel_that_leaves_half_a_pixel_is_named_and_mended(fcnproto, kernel, offset):
    text = render("voc-fcn32s").replace("kernel_size: 64", f"kernel_size: {kernel}")
    Path("net.prototxt").write_text(text)
    result = fcnproto("explain", "crop", "net.prototxt")
    assert f"an offset must be whole, and {offset} is not." in result.stdout
    assert "With a kernel of 64 in upscore it would be 19." in result.stdout
    assert "pool1 brings in −1/2; they do not cancel." in result.stdout
    (account,) = json.loads(fcnproto("explain", "crop", "net.prototxt", "--json").stdout)
    assert account["computed"] == [offset, offset]
    assert {
        "layer": "upscore", "kernel": [64, 64], "offset": ["19", "19"],
    } in account["kernels_that_mend"]  # fmt: skip
    assert account["fractions_from"] == ["pool1"]


def test_mended_kernels_do_mend():
    """Each kernel that is proposed makes the net's own offset what is promised."""
    text = render("voc-fcn32s").replace("kernel_size: 64", "kernel_size: 63")
    (account,), _ = crops(net(text))
    assert account.mends
    for mend in account.mends:
        mended = text.replace("kernel_size: 63", f"kernel_size: {mend.kernels[0]}")
        (after,), _ = crops(net(mended))
        assert after.computed == mend.offset


ODD = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 40 dim: 40 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_h: 4 kernel_w: 3 pad: 7 } }
layer { name: "crop" type: "Crop" bottom: "conv" bottom: "data" top: "crop"
  crop_param { offset: 5 offset: 6 } }
"""


def test_rows_and_columns_are_told_apart_and_any_kernel_can_be_the_cause():
    graph = net(ODD)
    (account,), _ = crops(graph)
    assert account.computed == (Fraction(11, 2), 6)
    text = crop_text(graph, account)
    assert "offset written 5, 6, computed 11/2, 6" in text
    assert "conv 7 (not 3/2), conv 7 (not 1)" in text
    assert "No kernel that is one larger or smaller makes it whole." in text


def test_offsets_below_zero_are_said_to_need_a_pad():
    text = ODD.replace("kernel_h: 4 kernel_w: 3 pad: 7", "kernel_size: 9 pad: 1")
    graph = net(text.replace("dim: 40 dim: 40", "dim: 90 dim: 90"))
    (account,), _ = crops(graph)
    assert account.computed == (-3, -3)
    assert "−3 is negative; pad the first layer more" in crop_text(graph, account)


def test_what_cannot_be_accounted_for_is_a_problem(fcnproto):
    other = ODD.replace('bottom: "conv" bottom: "data"', 'bottom: "conv" bottom: "b"')
    other += 'layer { name: "b" type: "Input" top: "b" }'
    head, crop = other.split('layer { name: "crop"')
    crop, last = crop.split('layer { name: "b"')
    text = head + 'layer { name: "b"' + last.replace(
        '"b" }', '"b" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }'
    ) + '\nlayer { name: "crop"' + crop  # fmt: skip
    Path("net.prototxt").write_text(text)
    result = fcnproto("explain", "crop", "net.prototxt")
    assert result.exit_code == 1
    assert "layer 'crop': blobs 'conv' and 'b' have no common ancestor" in result.stderr


def test_one_crop_can_be_asked_for_by_blob_or_layer(fcnproto):
    result = fcnproto("explain", "crop", "voc-fcn8s", "score_pool3c")
    assert result.stdout.startswith("score_pool3c (layer score_pool3c, line ")
    assert result.stdout.count("offset written") == 1
    wrong = fcnproto("explain", "crop", "voc-fcn8s", "score_pool3")
    assert wrong.exit_code == 1
    assert "no Crop makes a blob 'score_pool3'; did you mean 'score_pool3c'?" in wrong.stderr
    assert "the net has no Crop" in fcnproto("explain", "crop", "vgg16").stderr


# Pad ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
@pytest.mark.slow
def test_the_smallest_pad_is_the_one_from_which_render_takes_every_size(name):
    """The other way to the same number: render refuses sizes that have no crop."""
    account = pad(net(render(name)))
    assert (account.pad, account.neutral, account.smallest_size) == (100, 1, 1)
    smallest = account.smallest_pad
    assert smallest is not None
    for size in range(1, 65):
        render(name, pad=smallest, size=(size, size))
    with pytest.raises(ZooError):
        for size in range(1, 65):
            render(name, pad=smallest - 1, size=(size, size))


def fits_fcn32s(size, pad):
    """Whether an image survives, reckoned here: sizes of VGG16 down to fc6, and back up by 32."""
    reduced = size + 2 * pad - 2
    for _ in range(5):
        reduced = -(-reduced // 2)
    reduced -= 6
    offset = 19 - 100 + pad
    return reduced > 0 and offset >= 0 and offset + size <= 32 * (reduced - 1) + 64


@pytest.mark.parametrize("first", [83, 90, 96, 98])
def test_the_smallest_size_of_other_pads(first):
    text = render("voc-fcn32s").replace("pad: 100", f"pad: {first}")
    account = pad(net(text.replace("offset: 19", f"offset: {first - 81}")))
    survivors = [size for size in range(1, 600) if fits_fcn32s(size, first)]
    expected = next(n for n in range(1, 600) if survivors[-(600 - n) :][0] == n)
    assert account.smallest_size == expected
    pads = [p for p in range(101) if all(fits_fcn32s(size, p) for size in range(1, 200))]
    assert account.smallest_pad == pads[0] == 97


def test_what_a_pad_costs_is_what_the_nets_with_it_cost():
    account = pad(net(render("fcn32s"), (300, 400)))
    assert account.size == (300, 400)
    assert account.pad_for_size is not None
    costs = {cost.pad: cost.multiply_adds for cost in account.costs}
    assert set(costs) == {100, account.smallest_pad, account.pad_for_size}
    from fcnproto.insight.summary import summarize

    for each, cost in costs.items():
        graph = net(render("fcn32s", pad=each, size=(300, 400)))
        assert summarize(graph).multiply_adds == cost
    assert "Multiply-adds at 300×400:" in pad_text(account)


def test_a_classifier_takes_no_size_but_its_own(fcnproto):
    result = fcnproto("explain", "pad", "alexnet")
    assert result.exit_code == 0
    assert "No pad lets every size survive." in result.stdout
    found = json.loads(fcnproto("explain", "pad", "alexnet", "--json").stdout)
    assert found["smallest_pad"] is None
    assert found["smallest_size"] is None


def test_late_fusion_pads_both_first_layers():
    account = pad(net(render("nyud-fcn32s-color-hha")))
    assert [node.title for node in account.firsts] == ["conv1_1color", "conv1_1hha"]
    assert account.smallest_pad == pad(net(render("nyud-fcn32s-color"))).smallest_pad


def test_a_net_without_windows_has_no_pad():
    text = ODD.split('layer { name: "conv"')[0]
    with pytest.raises(NetError, match="no layer that pads"):
        pad(net(text))


# Field ----------------------------------------------------------------------------------------


def test_the_field_of_a_pixel(fcnproto):
    result = fcnproto("explain", "field", "fcn32s", "fc7", "--pixel", "2,12", "--size", "333x500")
    assert result.exit_code == 0
    assert "receptive field 404, stride 32" in result.stdout
    # Pixel 0 begins at 189 before the image, and each next one 32 further on.
    assert "rows −125 to 278 and columns 195 to 598" in result.stdout
    assert "of which rows 0 to 278 and columns 195 to 499 lie in data" in result.stdout


def test_the_field_is_drawn_where_it_lies(fcnproto):
    Image.fromarray(np.full((200, 240, 3), 200, np.uint8)).save("photo.png")
    words = ("explain", "field", "fcn32s", "pool3", "--image", "photo.png", "-o", "field.png")
    result = fcnproto(*words)
    assert result.exit_code == 0, result.output
    with Image.open("field.png") as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    (account,) = explain_field.account(net(render("fcn32s"), (200, 240)), "pool3")
    rows, columns = account.view.rows, account.view.columns
    assert drawn.shape == (200, 240, 3)
    inside = drawn[rows[0] + 5, columns[0] + 5]
    assert inside.tolist() == [200, 200, 200]
    assert (drawn[rows[0] - 3, columns[0]] < 100).all()
    assert drawn[rows[0], columns[0]].tolist() == [213, 94, 0]
    assert drawn[rows[1], columns[1]].tolist() == [213, 94, 0]


def test_the_picture_is_larger_where_the_field_reaches_into_the_padding(fcnproto):
    fcnproto("explain", "field", "fcn32s", "fc7", "--pixel", "0,0", "-o", "field.png")
    with Image.open("field.png") as picture:
        assert picture.size == (500 + 189, 500 + 189)


def test_blobs_and_pixels_that_are_not_there(fcnproto):
    wrong = fcnproto("explain", "field", "fcn32s", "fc77")
    assert wrong.exit_code == 1
    assert "did you mean 'fc7'?" in wrong.stderr
    wrong = fcnproto("explain", "field", "fcn32s", "fc7", "--pixel", "99,0")
    assert wrong.exit_code == 1
    assert "blob 'fc7' has 16×16 pixels" in wrong.stderr
    assert fcnproto("explain", "field", "fcn32s", "fc7", "--pixel", "one").exit_code == 2
    assert fcnproto("explain", "field", "fcn32s", "fc7", "--image", "x.png").exit_code == 2


def test_formulas_of_rows_and_columns_are_both_said_where_they_differ():
    text = input_text(data=(1, 3, 9, 9)) + (
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {'
        " num_output: 1 kernel_size: 1 stride_h: 2 stride_w: 4 } }"
        'layer { name: "u" type: "Deconvolution" bottom: "c" top: "u" convolution_param {'
        " num_output: 1 kernel_size: 1 stride_h: 2 stride_w: 4 } }"
        'layer { name: "crop" type: "Crop" bottom: "u" bottom: "data" top: "crop"'
        " crop_param { axis: 2 } }"
    )
    said = str(fp.explain_crop(text))
    assert "(x/2, x/4) of c" in said and "(2x, 4x) of data" in said, said
