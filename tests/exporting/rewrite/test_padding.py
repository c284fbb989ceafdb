"""Windows, constants and tables against the plain net."""

import dataclasses

import numpy as np
import onnx
import pytest
from exporting import input_text, run, session_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from rewriting import EXACT, Beside, filled, images, largest_difference, thinned

from fcnproto.errors import FcnprotoError
from fcnproto.exporting.cost import multiply_adds
from fcnproto.exporting.rewrite.padding.layers import PaddedConvolution
from fcnproto.exporting.rewrite.padding.rewrite import padding
from fcnproto.exporting.rewrite.padding.surroundings import Surrounded
from fcnproto.exporting.write import Interface, write
from fcnproto.layers.convolution import Convolution
from fcnproto.net.shapes import walk
from fcnproto.rendering.fcn import render
from fcnproto.zoo import kinds, specs


def rewritten(text):
    plain = filled(text)
    result = padding(plain)
    assert not result.notes, result.notes
    return plain, result.net


def padded(net):
    return {
        step.node.layer.name: step.node.layer.zeros
        for step in net.steps
        if isinstance(step.node.layer, PaddedConvolution)
    }


def surrounded(net):
    return [step.node.layer.name for step in net.steps if isinstance(step.node.layer, Surrounded)]


def test_the_windows_of_vgg16_are_those_that_were_found_by_hand():
    net = padding(filled(thinned(render("fcn8s"), 32))).net
    first = (5, 5, 5, 5)
    even, odd = (2, 2, 2, 2), (2, 2, 3, 3)
    assert padded(net) == {
        "conv1_1": first,
        "conv1_2": (0, 0, 0, 0),
        "conv2_1": even,
        "conv2_2": odd,
        "conv3_1": even,
        "conv3_2": even,
        "conv3_3": odd,
        "conv4_1": even,
        "conv4_2": even,
        "conv4_3": (3, 3, 3, 3),
        "score_pool4": (0, 0, 0, 0),
        "score_pool3": (0, 0, 0, 0),
    }
    assert surrounded(net) == ["pool4", "score_pool4", "score_pool3"]


def test_a_third_of_the_multiplications_of_fcn8s_goes():
    plain = filled(thinned(render("fcn8s"), 8))
    net = padding(plain).net
    assert multiply_adds(net, 500, 500) < 0.71 * multiply_adds(plain, 500, 500)
    assert multiply_adds(net, 224, 224) < 0.53 * multiply_adds(plain, 224, 224)


ALL_REMAINDERS = [(70 + rest, 40 + (rest * 11 + 5) % 32) for rest in range(32)]
SMALLEST = [(1, 1), (1, 9), (2, 1), (3, 50), (33, 2), (31, 32), (32, 33)]


@pytest.mark.parametrize(
    ("net", "backbone"),
    [("fcn8s", "vgg16"), ("fcn32s", "caffenet"), ("fcn16s", "googlenet"), ("fcn16s", "alexnet")],
)
def test_all_remainders_of_the_stride_and_the_smallest_images(net, backbone):
    both = Beside(*rewritten(thinned(render(net, backbone=backbone), 32)))
    for size in SMALLEST + ALL_REMAINDERS:
        assert both.difference(*size) <= EXACT, size
    assert both.difference(50, 35, num=3) <= EXACT


@pytest.mark.slow
def test_a_large_image():
    both = Beside(*rewritten(thinned(render("fcn8s"), 8)))
    for size in [(600, 600), (333, 500), (511, 97)]:
        assert both.difference(*size) <= EXACT, size


def pads_beyond_kernel(net):
    return any(
        isinstance(step.node.layer, Convolution)
        and any(window.pad >= window.extent for window in step.node.layer.plane())
        for step in net.steps
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(specs.nets()))
def test_every_net_of_the_zoo_gains_or_is_left_alone(name):
    plain = filled(thinned(render(name), 32))
    result = padding(plain)
    spec = specs.net(name)
    if isinstance(spec, kinds.FcnSpec) and spec.published:
        assert pads_beyond_kernel(plain)
    if not pads_beyond_kernel(plain):
        (note,) = result.notes
        assert "its padding is computed as it stands: no layer pads its image by more" in str(note)
        assert result.net is plain
        return
    assert not result.notes
    assert multiply_adds(result.net, 500, 500) < multiply_adds(plain, 500, 500)
    both = Beside(plain, result.net)
    for size in [(1, 1), (47, 61), (90, 32)]:
        assert both.difference(*size) <= EXACT, size


def changed(net, **pads):
    """The net with some of its paddings changed."""
    steps = []
    for step in net.steps:
        layer = step.node.layer
        if isinstance(layer, PaddedConvolution) and layer.name in pads:
            layer = PaddedConvolution(layer, pads[layer.name], bias=True)
            step = dataclasses.replace(step, node=dataclasses.replace(step.node, layer=layer))
        steps.append(step)
    return net.rewritten(steps)


@pytest.mark.parametrize(
    "pads", [{"conv3_1": (1, 2, 3, 2)}, {"conv2_2": (2, 2, 2, 3)}, {"conv1_1": (5, 4, 5, 6)}]
)
def test_a_wrong_pad_is_found(pads):
    plain, net = rewritten(thinned(render("fcn8s"), 32))
    with pytest.raises((AssertionError, FcnprotoError)):
        wrong = Beside(plain, changed(net, **pads))
        for size in [(64, 64), (65, 71)]:
            assert wrong.difference(*size) <= EXACT


@pytest.mark.parametrize("opset", [13, 18, 26])
def test_every_opset(opset):
    both = Beside(*rewritten(thinned(render("fcn16s"), 32)), opset=opset)
    assert both.difference(45, 60, num=2) <= EXACT


def test_a_second_runtime_agrees():
    text = (
        image(9, 7)
        + conv("one", "data", 4, 3, 6)
        + "".join(
            [conv("two", "one", 4, 3, 1), pool("pool", "two", 2, 2), conv("three", "pool", 3, 3, 1)]
        )
    )
    plain, net = rewritten(text)
    feeds = images(plain, 9, 7)
    models = [write(each).to_proto() for each in (plain, net)]
    for model in models:
        onnx.checker.check_model(model, full_check=True)
    wanted, found = (
        dict(zip(plain.inference.outputs, ReferenceEvaluator(model).run(None, feeds), strict=True))
        for model in models
    )
    assert largest_difference(wanted, found) <= EXACT


def test_a_size_that_the_net_fixes():
    text = thinned(render("fcn32s", size=(61, 45)), 32)
    plain, net = rewritten(text)
    assert Beside(plain, net).difference(61, 45) <= EXACT


def test_two_inputs_that_become_one_image():
    text = (
        input_text(color=(1, 3, 20, 30), depth=(1, 1, 20, 30))
        + 'layer { name: "c" type: "Concat" bottom: "color" bottom: "depth" top: "data" }'
        + conv("one", "data", 8, 5, 30)
        + relu("one")
        + conv("two", "one", 8, 3, 1)
        + pool("pool", "two", 3, 2)
        + conv("three", "pool", 8, 3, 1)
    )
    both = Beside(*rewritten(text))
    for size in [(1, 1), (20, 30), (13, 52)]:
        assert both.difference(*size) <= EXACT


def test_branches_that_meet_in_one_map():
    text = (
        image(20, 30)
        + conv("one", "data", 8, 7, 60, 2)
        + relu("one")
        + pool("pool", "one", 3, 2)
        + conv("a", "pool", 4, 1, 0)
        + conv("b", "pool", 4, 3, 1)
        + conv("c", "pool", 4, 5, 2)
        + pool("d", "pool", 3, 1, 1)
        + 'layer { name: "cat" type: "Concat" bottom: "a" bottom: "b" bottom: "c" bottom: "d"'
        + ' top: "cat" }'
        + conv("e", "cat", 4, 3, 1)
        + 'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "e" top: "sum" }'
    )
    plain, net = rewritten(text)
    assert surrounded(net) == ["sum"]
    both = Beside(plain, net)
    for size in [(1, 1), (2, 3), (20, 30), (13, 52), (31, 31), (32, 32)]:
        assert both.difference(*size) <= EXACT


def test_a_map_inside_of_the_window_may_be_an_output_too():
    text = (
        image(20, 30)
        + conv("one", "data", 8, 3, 40)
        + relu("one")
        + conv("two", "one", 8, 3, 1)
        + 'layer { name: "silent" type: "Sigmoid" bottom: "one" top: "other" }'
    )
    plain, net = rewritten(text)
    assert surrounded(net) == ["two", "other"]
    assert Beside(plain, net).difference(20, 30) <= EXACT


def test_windows_that_lie_past_the_border_are_not_pooled_here():
    # Rounded up, the last window of some sizes sees nothing, and gives the lowest number there is.
    text = image(20, 30) + conv("one", "data", 4, 1, 19) + pool("pool", "one", 2, 3)
    plain, net = rewritten(text)
    assert surrounded(net) == ["one"]
    both = Beside(plain, net)
    for size in [(1, 1), (2, 2), (3, 3)]:
        assert both.difference(*size) <= EXACT


def test_maps_around_which_nothing_is_constant_are_left_alone():
    text = image(20, 30) + conv("one", "data", 8, 3, 1) + conv("two", "one", 8, 3, 1)
    (note,) = padding(filled(text)).notes
    assert "no layer pads its image by more than its kernel covers" in str(note)


def test_maps_that_repeat_only_after_many_pixels_are_left_alone():
    # Sizes that differ by 64 are another size, and another phase, to a stride of 128 or 96.
    for stride, kernel in ((2, 3), (3, 1)):
        text = (
            image(20, 30)
            + conv("one", "data", 4, 5, 900, 8)
            + conv("two", "one", 4, 3, 1, 8 if stride == 2 else 4)
            + conv("three", "two", 4, kernel, kernel // 2, stride)
            + conv("four", "three", 4, kernel, kernel // 2)
        )
        plain, net = rewritten(text)
        assert surrounded(net) == ["two"]
        both = Beside(plain, net)
        for size in [(1, 1), (50, 80), (15, 115), (78, 52), (64, 129)]:
            assert both.difference(*size) <= EXACT, size


def test_a_kernel_that_does_not_fit_the_smallest_images():
    # Caffe rounds up where a kernel lacks less than a stride: 1 and 4 pixels alike give one.
    text = image(20, 30) + conv("one", "data", 4, 5, 37) + conv("two", "data", 4, 3, 0, 3)
    plain, net = rewritten(text)
    assert surrounded(net) == ["one"]
    both = Beside(plain, net)
    for size in [(1, 1), (4, 2), (49, 50), (58, 36)]:
        assert both.difference(*size) <= EXACT, size


def test_strides_that_no_table_has_room_for():
    text = image(20, 30) + conv("one", "data", 4, 3, 70, 65)
    (note,) = padding(filled(text)).notes
    assert "no layer pads its image" in str(note)
    # Each alone would do, but together they repeat after 14,213,829 pixels.
    strides = (61, 59, 63, 62)
    text = image(20, 30) + "".join(conv(f"by{each}", "data", 4, 64, 200, each) for each in strides)
    plain, net = rewritten(text)
    assert surrounded(net) == ["by61"]
    assert Beside(plain, net).difference(70, 61) <= EXACT


@pytest.mark.parametrize(
    "settings",
    [
        'type: "Concat" bottom: "one" bottom: "one" concat_param { axis: 0 }',
        'type: "Tile" bottom: "one" tile_param { axis: 0 tiles: 2 }',
    ],
)
def test_layers_that_put_images_one_after_the_other_are_no_part_of_it(settings):
    text = image(20, 30) + conv("one", "data", 4, 3, 40)
    text += f'layer {{ name: "both" {settings} top: "both" }}' + conv("two", "both", 4, 3, 1)
    plain, net = rewritten(text)
    assert surrounded(net) == ["one"]
    assert Beside(plain, net).difference(20, 30, num=2) <= EXACT


def test_what_is_made_of_an_image_pixel_by_pixel_is_an_image_again():
    text = (
        image(20, 30)
        + conv("one", "data", 4, 3, 40)
        + 'layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { shift: 9 } }'
        + conv("two", "p", 4, 3, 40)
        + 'layer { name: "sum" type: "Eltwise" bottom: "one" bottom: "two" top: "sum" }'
    )
    plain, net = rewritten(text)
    assert surrounded(net) == ["one", "two"]
    assert Beside(plain, net).difference(20, 30) <= EXACT


def test_constants_that_are_not_finite_are_not_subtracted():
    without_bias = conv("one", "data", 4, 3, 40).replace("pad", "bias_term: false pad")
    text = (
        image(20, 30)
        + without_bias
        + 'layer { name: "p" type: "Power" bottom: "one" top: "p" power_param { power: -2 } }'
        + conv("two", "p", 4, 3, 1)
        + conv("three", "two", 4, 3, 1)
        + 'layer { name: "crop" type: "Crop" bottom: "three" bottom: "data" top: "crop"'
        + " crop_param { axis: 2 offset: 39 } }"
    )
    plain, net = rewritten(text)
    assert surrounded(net) == ["two"]
    sessions = [session_of(write(each).to_proto()) for each in (plain, net)]
    wanted, found = (run(session, images(plain, 20, 30))["crop"] for session in sessions)
    assert np.isfinite(wanted).sum() > 1000
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_names_that_a_net_has_taken_itself():
    text = (
        image(20, 30)
        + conv("one", "data", 4, 3, 40)
        + 'layer { name: "r" type: "ReLU" bottom: "one" top: "one/window" }'
        + conv("two", "one", 4, 3, 1)
    )
    plain, net = rewritten(text)
    tops = [top for step in net.steps for top in step.node.tops]
    assert len(tops) == len(set(tops))
    assert Beside(plain, net).difference(20, 30) <= EXACT


# Small nets of the kinds that are covered, at random ----------------------------------------------


def image(height, width):
    return input_text(data=(1, 3, height, width))


def conv(name, bottom, channels, kernel, pad, stride=1, group=1, dilation=1):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"'
        f" convolution_param {{ num_output: {channels} kernel_size: {kernel} pad: {pad}"
        f" stride: {stride} group: {group} dilation: {dilation} }} }}\n"
    )


def relu(blob):
    return f'layer {{ name: "{blob}r" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'


def pool(name, bottom, kernel, stride, pad=0):
    return (
        f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"'
        f" pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }} }}\n"
    )


def lrn(name, bottom):
    return f'layer {{ name: "{name}" type: "LRN" bottom: "{bottom}" top: "{name}" }}\n'


@st.composite
def nets(draw):
    """A padded convolution, and a chain of what may follow it."""
    kernel = draw(st.integers(1, 7))
    stride = draw(st.integers(1, 3))
    pad = draw(st.integers(kernel, 60))
    text, blob = image(20, 20) + conv("first", "data", 4, kernel, pad, stride), "first"
    for index in range(draw(st.integers(1, 6))):
        name = f"layer{index}"
        kind = draw(st.sampled_from(["conv", "conv", "pool", "relu", "lrn", "both"]))
        if kind == "conv":
            kernel, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 2))
            text += conv(
                name,
                blob,
                4,
                kernel,
                draw(st.integers(0, kernel)),
                draw(st.integers(1, 2)),
                draw(st.sampled_from([1, 2])),
                dilation,
            )
        elif kind == "pool":
            kernel = draw(st.integers(2, 3))
            text += pool(name, blob, kernel, draw(st.integers(1, kernel)), draw(st.integers(0, 1)))
        elif kind == "relu":
            text, name = text + relu(blob), blob
        elif kind == "lrn":
            text += lrn(name, blob)
        else:
            text += conv(f"{name}a", blob, 4, 3, 1) + conv(f"{name}b", blob, 4, 1, 0)
            text += (
                f'layer {{ name: "{name}" type: "Eltwise" bottom: "{name}a" bottom: "{name}b"'
                f' top: "{name}" }}\n'
            )
        blob = name
    return text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(nets(), st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=3, max_size=3))
@pytest.mark.slow
def test_random_nets(text, sizes):
    try:
        plain = filled(text)
    except FcnprotoError:
        assume(False)  # a net whose layers do not fit images of 20 × 20
    net = padding(plain).net  # which refuses no net
    whole = session_of(write(plain, interface=Interface(every_blob=True)).to_proto())
    rewritten = session_of(write(net).to_proto())
    for size in sizes:
        if all(np.prod(shape) for shape in shapes_at(plain, size)):
            feeds = images(plain, *size)
            wanted, found = run(whole, feeds), run(rewritten, feeds)
            # What is left of scores that cancel out may be little beside what they are made of.
            largest = max(np.abs(array).max() for array in wanted.values())
            for blob, array in found.items():
                assert np.abs(array - wanted[blob]).max() <= EXACT * largest, (size, blob)


def shapes_at(net, size):
    shapes, problems = walk(net.graph, net.inference.sized(*size))
    return [(0,)] if problems else [shape for shape in shapes.blobs.values() if shape is not None]
