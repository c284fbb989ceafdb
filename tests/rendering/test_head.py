"""upsampling.py: positions, kernels and pads, against brute force over small trunks."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnproto.errors import ZooError
from fcnproto.layers.spatial import Affine
from fcnproto.net import graph
from fcnproto.proto.source import parse_net
from fcnproto.rendering.head import Trunk, first_misfit, misfit, plan, smallest_pad


def trunk(layers, blobs):
    """A trunk of layers given as (type, kernel, stride, pad), blob i the top of layer i."""
    text = (
        'layer { name: "in" type: "Input" top: "0" input_param { shape: { dim: [1, 3, 9, 9] } } }'
    )
    for number, (kind, kernel, stride, pad) in enumerate(layers, 1):
        field = {"Convolution": "convolution_param", "Pooling": "pooling_param"}[kind]
        outputs = "num_output: 2" if kind == "Convolution" else ""
        text += (
            f'layer {{ name: "{number}" type: "{kind}" bottom: "{number - 1}" top: "{number}"'
            f" {field} {{ {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}"
        )
    return Trunk(graph.build(parse_net(text)), "0", blobs)


def affine(scale, shift):
    return Affine(Fraction(scale), Fraction(shift))


def test_even_kernels_where_pixels_meet_halfway():
    """2×2 pools of stride 2: the middle of a 32-block lies at 15.5."""
    (step,) = plan({32: affine(32, Fraction(31, 2))}, padded=True)
    assert (step.window.kernel, step.window.stride, step.window.pad) == (64, 32, 16)
    assert step.offset == step.even_offset == 0


def test_odd_kernels_where_they_do_not():
    """3×3 pools of stride 2 put the middle of a block on a pixel."""
    (step,) = plan({32: affine(32, 15)}, padded=True)
    assert (step.window.kernel, step.window.stride, step.window.pad) == (63, 32, 16)
    assert (step.offset, step.even_offset) == (0, Fraction(1, 2))


def test_each_step_chooses_for_itself():
    positions = {8: affine(8, 5), 4: affine(4, 1), 2: affine(2, 2)}
    steps = plan(positions, padded=True)
    assert [step.stride for step in steps] == [4, 2, 1]
    assert [step.window.kernel for step in steps] == [3, 4, 3]
    assert [step.offset for step in steps] == [1, 1, -4]
    assert [step.offset_for(10) for step in steps] == [1, 1, 6]


def test_an_odd_factor_has_one_kernel():
    (step,) = plan({3: affine(3, 1)}, padded=True)
    assert (step.window.kernel, step.window.pad) == (5, 1)
    with pytest.raises(ZooError, match="no crop brings stride 3 onto stride 1: with kernels of 5"):
        plan({3: affine(3, Fraction(1, 2))}, padded=True)


def test_without_pad_the_published_kernels():
    """VGG16's fc7 lies 112.5 pixels into the padded image, AlexNet's 113; both pad by 100."""
    (vgg16,) = plan({32: affine(32, Fraction(225, 2))}, padded=False)
    assert (vgg16.window.kernel, vgg16.window.pad, vgg16.offset_for(100)) == (64, 0, 19)
    (alexnet,) = plan({32: affine(32, 113)}, padded=False)
    assert (alexnet.window.kernel, alexnet.window.pad, alexnet.offset_for(100)) == (63, 0, 18)


def test_a_blob_at_another_stride_is_refused():
    odd = trunk([("Convolution", 3, 2, 1), ("Convolution", 3, 2, 1)], {8: "2"})
    with pytest.raises(ZooError, match="blob '2' is said to be at stride 8, but its rows are at 4"):
        odd.positions()


LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["Convolution", "Pooling"]),
        st.integers(2, 4),
        st.just(2),
        st.integers(0, 1),
    ),
    min_size=2,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(LAYERS)
def test_the_smallest_pad_is_the_smallest(layers):
    """Against trying every pad with every size, one by one."""
    blobs = {2**number: str(number) for number in range(len(layers), 0, -1)}
    some = trunk(layers, blobs)
    steps = plan(some.positions(), padded=True)

    def works(pad):
        return all(misfit(some, steps, pad, (size, size)) is None for size in range(1, 120))

    try:
        pad = smallest_pad(some, steps, 0)
    except ZooError as error:
        assert "no first pad from 0 on" in str(error)
        assert not any(map(works, range(40)))
    else:
        assert works(pad)
        assert not any(map(works, range(pad)))
        assert first_misfit(some, steps, pad) is None


@settings(max_examples=60, deadline=None)
@given(LAYERS, st.integers(0, 12))
def test_the_first_misfit_is_the_first(layers, pad):
    blobs = {2**number: str(number) for number in range(len(layers), 0, -1)}
    some = trunk(layers, blobs)
    steps = plan(some.positions(), padded=True)
    misfits = [n for n in range(1, 120) if misfit(some, steps, pad, (n, n)) is not None]
    first = first_misfit(some, steps, pad)
    assert (first is None) == (not misfits)
    assert first is None or first in misfits


def test_rows_and_columns_are_told_apart():
    some = trunk([("Convolution", 7, 2, 0)], {2: "1"})
    steps = plan(some.positions(), padded=True)
    assert misfit(some, steps, 0, (9, 9)) is not None
    pad = smallest_pad(some, steps, 0)
    assert misfit(some, steps, pad, (1, 40)) is None
    assert "rows" in str(misfit(some, steps, pad - 1, (40, 40)))
