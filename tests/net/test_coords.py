"""coords.py: composition against brute force, and the published nets' crops."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnproto.errors import NetError
from fcnproto.layers.spatial import Affine, Window
from fcnproto.net.coords import align, crop_offset, to_input
from fcnproto.net.graph import State, build
from fcnproto.proto.caffe_pb2 import TRAIN
from fcnproto.proto.source import parse_net, read_net

fractions = st.fractions(min_value=-50, max_value=50, max_denominator=64)
affines = st.builds(Affine, fractions.filter(bool), fractions)


@given(affines, affines, fractions)
def test_after_applies_one_map_and_then_the_other(second, first, x):
    assert second.after(first)(x) == second(first(x))


@given(affines, affines, affines)
def test_after_is_associative(a, b, c):
    assert a.after(b).after(c) == a.after(b.after(c))


@given(affines, fractions)
def test_inverse_leads_back(affine, x):
    assert affine.inverse()(affine(x)) == x
    assert affine.inverse().inverse() == affine


windows = st.builds(
    Window, st.integers(1, 7), st.integers(1, 5), st.integers(0, 9), st.integers(1, 3)
)


@given(windows, st.integers(0, 20))
def test_convolution_maps_an_output_pixel_to_the_mean_of_the_pixels_it_reads(window, x):
    read = [x * window.stride - window.pad + tap * window.dilation for tap in range(window.kernel)]
    assert window.convolved_to_input()(x) == Fraction(sum(read), len(read))


@given(windows, st.integers(0, 20))
def test_deconvolution_maps_back_the_mean_of_the_pixels_that_an_input_pixel_writes(window, x):
    written = [
        x * window.stride - window.pad + tap * window.dilation for tap in range(window.kernel)
    ]
    assert window.deconvolved_to_input()(Fraction(sum(written), len(written))) == x


PUBLISHED = {
    "voc-fcn32s": [19],
    "voc-fcn16s": [5, 27],
    "voc-fcn8s": [5, 9, 31],
    "voc-fcn8s-atonce": [5, 9, 31],
    "voc-fcn-alexnet": [18],
    "nyud-fcn32s-color": [19],
    "nyud-fcn32s-color-d": [19],
    "nyud-fcn32s-color-hha": [19],
    "nyud-fcn32s-hha": [19],
    "pascalcontext-fcn32s": [19],
    "pascalcontext-fcn16s": [5, 27],
    "pascalcontext-fcn8s": [5, 9, 31],
    "siftflow-fcn32s": [19, 19],
    "siftflow-fcn16s": [5, 27, 5, 27],
    "siftflow-fcn8s": [5, 9, 31, 5, 9, 31],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_offsets_of_the_published_nets_come_out_as_they_were_written(name, published):
    for path in sorted((published / name).glob("*.prototxt")):
        if path.name == "solver.prototxt":
            continue
        graph = build(read_net(str(path)), State(TRAIN if "train" in path.name else 1))
        crops = [node for node in graph.nodes if node.layer.type == "Crop"]
        computed = [crop_offset(graph, *node.bottoms) for node in crops]
        assert computed == [(offset, offset) for offset in PUBLISHED[name]]
        assert computed == [(node.layer.proto.crop_param.offset[0],) * 2 for node in crops]


NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 40 dim: 40 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 pad: 7 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_h: %d kernel_w: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 } }
layer { name: "other" type: "Input" top: "other" input_param { shape { dim: 1 } } }
"""


def test_rows_and_columns_are_followed_apart():
    graph = build(parse_net(NET % 3))
    alignment = align(graph, "up", "data")
    assert (alignment.rows, alignment.columns) == (Fraction(13, 2), 7)
    assert alignment.ancestor == "data"
    assert not alignment.is_whole
    with pytest.raises(NetError, match="13/2 rows and 7 columns"):
        crop_offset(graph, "up", "data")
    assert crop_offset(build(parse_net(NET % 2)), "up", "data") == (7, 7)
    assert [axis.scale for axis in to_input(graph, "pool", "data")] == [2, 2]


def test_what_cannot_be_aligned_is_said():
    graph = build(parse_net(NET % 2))
    with pytest.raises(NetError, match="no common ancestor"):
        align(graph, "up", "other")
    with pytest.raises(NetError, match="one pixel of 'pool' is 2 of 'data'"):
        align(graph, "data", "pool")
    with pytest.raises(NetError, match="cannot be followed to 'other'"):
        to_input(graph, "up", "other")
