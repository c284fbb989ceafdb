"""Pads smaller than the kernel's extent: what they are in exported models, and what is computed."""

import onnx
import pytest
from exporting import input_text, layer_text
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import EXACT, Beside, filled, thinned

from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.rewrite.pads import small_pads
from fcnproto.exporting.write import write
from fcnproto.rendering.fcn import render
from fcnproto.zoo import specs

FCNS = sorted(name for name in specs.nets() if isinstance(specs.net(name), specs.FcnSpec))


def too_large(model):
    """The convolutions of channels that pad as much as their kernel covers, or more."""
    found = []
    for node in model.graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type != "Conv" or node.name.endswith("/Conv"):  # Winograd's are over planes
            continue
        kernel = attributes["kernel_shape"]
        dilations = attributes.get("dilations", [1, 1])
        extent = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, dilations, strict=True)]
        pads = attributes.get("pads", [0] * 4)
        if any(pad >= each for pad, each in zip(pads, extent * 2, strict=True)):
            found.append(node.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FCNS)
@pytest.mark.parametrize("level", [Optimize.EXACT, Optimize.FAST])
def test_no_convolution_of_the_zoo_pads_as_much_as_its_kernel_covers(name, level):
    plain = filled(thinned(render(name), 16))
    assert too_large(write(plain).to_proto())  # else this shows nothing
    assert too_large(write(optimized(plain, level).net).to_proto()) == []


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4),
    pad=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    opset=st.sampled_from([13, 21]),
)
def test_the_same_is_computed(kernel, pad, stride, dilation, bias, opset):
    text = input_text(data=(1, 2, 9, 12)) + layer_text(
        "Convolution",
        ["data"],
        ["score"],
        f"convolution_param {{ num_output: 3 kernel_size: {kernel} pad_h: {pad[0]} pad_w: {pad[1]}"
        f" stride: {stride} dilation: {dilation} bias_term: {str(bias).lower()} }}",
    )
    plain = filled(text)
    rewritten = small_pads(plain).net
    extent = (kernel - 1) * dilation + 1
    assert (rewritten is plain) == (max(pad) < extent)
    assert too_large(write(rewritten, opset=opset).to_proto()) == []
    assert Beside(plain, rewritten, opset).difference(9, 12) <= EXACT
    assert Beside(plain, rewritten, opset).difference(8, 7, num=2) <= EXACT


def test_what_has_small_pads_is_left_alone():
    net = filled(thinned(render("vgg16"), 16))
    assert small_pads(net).net is net
