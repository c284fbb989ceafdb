"""Kernel arithmetic: every size that real Caffe computed, and brute force where it is regular."""

import json
from fractions import Fraction

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from paths import GOLDEN

from fcnproto.errors import LayerError
from fcnproto.layers.base import Layer
from fcnproto.layers.spatial import (
    Affine,
    CoordMap,
    Window,
    convolution_windows,
    pooling_windows,
)
from fcnproto.proto.caffe_pb2 import ConvolutionParameter, LayerParameter, PoolingParameter

SIZES = json.loads((GOLDEN / "sizes.json").read_text())["rows"]


def layer(text):
    proto = text_format.Parse(text, LayerParameter())
    return Layer.registry[proto.type](proto)


def sized_layer(kind, kernel, stride, pad, last):
    common = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
    settings = (
        f"pooling_param {{ {common} round_mode: {last} }}"
        if kind == "Pooling"
        else f"convolution_param {{ num_output: 2 {common} dilation: {last} }}"
    )
    return layer(f'type: "{kind}" top: "t" {settings}')


def test_there_are_sizes_for_all_three_types():
    assert len(SIZES) == 2160
    assert {row[0] for row in SIZES} == {"Convolution", "Deconvolution", "Pooling"}


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "Pooling"])
def test_sizes_equal_caffes(kind):
    wrong = []
    for row in SIZES:
        if row[0] != kind:
            continue
        _, size, kernel, stride, pad, last, expected = row
        try:
            ((*_, rows, columns),) = sized_layer(kind, kernel, stride, pad, last).output_shapes(
                [(1, 2, size, size)]
            )
            found = rows
            assert rows == columns
        except LayerError:
            found = "refused"
        if found != (expected if isinstance(expected, int) else "refused"):
            wrong.append((row, found))
    assert wrong == []


def odd_cases():
    arrays = np.load(GOLDEN / "sizes.npz")
    return [
        (name, str(arrays[f"{name}/body"]), arrays[f"{name}/in"].shape, arrays[f"{name}/out"].shape)
        for name in sorted({key.split("/")[0] for key in arrays})
    ]


@pytest.mark.parametrize(("name", "body", "bottom", "top"), odd_cases())
def test_kernels_too_large_by_less_than_a_stride_give_what_caffe_gave(name, body, bottom, top):
    kind, settings = (
        ("Convolution", "convolution_param")
        if name.startswith("conv")
        else ("Pooling", "pooling_param")
    )
    odd = layer(f'type: "{kind}" top: "t" {settings} {{ {body} }}')
    assert odd.output_shapes([bottom]) == [top]


def test_the_axes_are_independent_but_for_the_clip_of_pooling():
    # Caffe drops a last window that starts in the far pad only if some axis is padded.
    pool = layer(
        'type: "Pooling" top: "t" '
        "pooling_param { kernel_h: 1 kernel_w: 3 stride: 2 pad_h: 0 pad_w: 1 }"
    )
    assert pool.output_shapes([(1, 1, 4, 4)]) == [(1, 1, 2, 3)]
    unpadded = Window(kernel=1, stride=2)
    assert unpadded.pool(4, ceil=True, clip=False) == 3
    assert unpadded.pool(4, ceil=True, clip=True) == 2


kernels = st.integers(1, 9)
strides = st.integers(1, 6)
pads = st.integers(0, 6)
dilations = st.integers(1, 4)
sizes = st.integers(0, 40)


@given(sizes, kernels, strides, pads, dilations)
def test_convolution_counts_the_windows_that_fit(size, kernel, stride, pad, dilation):
    window = Window(kernel, stride, pad, dilation)
    padded = size + 2 * pad
    taps = [tap * dilation for tap in range(kernel)]
    starts = [start for start in range(0, padded, stride) if start + taps[-1] < padded]
    if padded >= window.extent:  # elsewhere Caffe's division gives what sizes.json shows
        assert window.convolve(size) == len(starts)


@given(st.integers(1, 20), kernels, strides, pads, dilations)
def test_deconvolution_spreads_each_pixel_over_its_window(size, kernel, stride, pad, dilation):
    reached = {pixel * stride + tap * dilation for pixel in range(size) for tap in range(kernel)}
    window = Window(kernel, stride, pad, dilation)
    assert window.deconvolve(size) == max(reached) + 1 - 2 * pad


@given(st.integers(1, 20), kernels, strides, pads, dilations)
def test_deconvolution_is_the_way_back(size, kernel, stride, pad, dilation):
    window = Window(kernel, stride, pad, dilation)
    larger = window.deconvolve(size)
    if larger >= 0:
        assert window.convolve(larger) == size


@given(st.integers(1, 40), kernels, strides, st.integers(0, 8), st.booleans())
def test_pooling_counts_windows_until_the_image_is_covered(size, kernel, stride, pad, ceil):
    if pad >= kernel or size + 2 * pad < kernel:
        return
    starts = [0]
    while starts[-1] + kernel < size + 2 * pad and (
        ceil or starts[-1] + stride + kernel <= size + 2 * pad
    ):
        starts.append(starts[-1] + stride)
    if pad:  # the last window must start inside the image or its left pad
        starts = [start for start in starts if start < size + pad]
    assert Window(kernel, stride, pad).pool(size, ceil=ceil, clip=pad > 0) == len(starts)


@given(kernels, strides, pads, dilations, st.integers(0, 30))
def test_an_output_pixel_lies_at_the_centre_of_its_window(kernel, stride, pad, dilation, pixel):
    window = Window(kernel, stride, pad, dilation)
    taps = [pixel * stride - pad + tap * dilation for tap in range(kernel)]
    centre = window.convolved_to_input()(pixel)
    assert centre == Fraction(sum(taps), kernel)
    assert window.deconvolved_to_input()(centre) == pixel


fractions = st.fractions(min_value=-8, max_value=8, max_denominator=16)
affines = st.builds(Affine, fractions.filter(bool), fractions)
maps = st.builds(CoordMap, affines, affines)


@given(affines, affines, fractions)
def test_affine_maps_compose(first, second, x):
    assert second.after(first)(x) == second(first(x))


@given(maps)
def test_maps_invert(a):
    assert a.after(a.inverse()) == a.inverse().after(a) == CoordMap()


@given(maps, maps, maps)
def test_composition_is_associative(a, b, c):
    assert a.after(b).after(c) == a.after(b.after(c))


def convolution(text):
    return text_format.Parse(text, ConvolutionParameter())


def pooling(text):
    return text_format.Parse(text, PoolingParameter())


@pytest.mark.parametrize(
    ("text", "axes", "windows"),
    [
        ("kernel_size: 3", 2, [Window(3)] * 2),
        ("kernel_size: 3 kernel_size: 5", 2, [Window(3), Window(5)]),
        ("kernel_h: 3 kernel_w: 5", 2, [Window(3), Window(5)]),
        ("kernel_size: 3 stride_h: 2 stride_w: 1", 2, [Window(3, 2), Window(3)]),
        ("kernel_size: 3 pad_w: 2", 2, [Window(3), Window(3, pad=2)]),
        ("kernel_size: 3 dilation: 2 dilation: 1", 2, [Window(3, dilation=2), Window(3)]),
        ("kernel_size: 3 pad: 1 stride: 2", 3, [Window(3, 2, 1)] * 3),
        ("", 0, []),
        ("kernel_size: 3", 0, []),
    ],
)
def test_convolution_windows(text, axes, windows):
    assert convolution_windows(convolution(text), axes) == tuple(windows)


@pytest.mark.parametrize(
    ("text", "axes", "message"),
    [
        ("", 2, "kernel_size must be given once, or once for each of 2"),
        ("kernel_size: 0", 2, "kernel_size must be positive"),
        ("kernel_size: 3 stride: 0", 2, "stride must be positive"),
        ("kernel_size: 3 stride_h: 0 stride_w: 1", 2, "stride must be positive"),
        ("kernel_size: 3 stride_w: 2", 2, "stride_h and stride_w must be given together"),
        ("kernel_h: 3 kernel_w: 3", 1, "need 2 spatial axes, the input has 1"),
        ("kernel_size: 3 pad_h: 1 pad_w: 1", 3, "need 2 spatial axes, the input has 3"),
        ("kernel_size: 3 pad: 1 pad_h: 1", 2, "either pad or pad_h and pad_w, not both"),
        ("kernel_size: 3 stride: 1 stride: 1 stride: 1", 2, "found 1, 1, 1"),
        ("kernel_size: 3 dilation: 1 dilation: 1 dilation: 1", 2, "dilation must be given once"),
        ("kernel_size: 2147483648", 2, "kernel_size must be at most 2147483647"),
        ("kernel_size: 3 stride: 4294967295", 2, "stride must be at most 2147483647"),
    ],
)
def test_convolution_windows_refused(text, axes, message):
    with pytest.raises(LayerError, match=message):
        convolution_windows(convolution(text), axes)


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("kernel_size: 3 stride: 2", [Window(3, 2)] * 2),
        ("kernel_h: 3 kernel_w: 2", [Window(3), Window(2)]),
        ("kernel_size: 3 kernel_h: 5", [Window(3)] * 2),  # Caffe reads kernel_size alone
        ("kernel_size: 3 stride_h: 2 stride_w: 1", [Window(3, 2), Window(3)]),
        ("kernel_size: 3 pad_h: 1 pad_w: 0", [Window(3, pad=1), Window(3)]),
        ("global_pooling: true", [Window(7), Window(9)]),
        ("global_pooling: true stride: 1 pad: 0", [Window(7), Window(9)]),
    ],
)
def test_pooling_windows(text, windows):
    assert pooling_windows(pooling(text), 7, 9) == tuple(windows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "either kernel_size, or both"),
        ("kernel_h: 3", "either kernel_size, or both"),
        ("kernel_size: 3 kernel_h: 3 kernel_w: 3", "either kernel_size, or both"),
        ("kernel_size: 0", "kernel must be positive"),
        ("kernel_size: 3 stride: 0", "stride must be positive"),
        ("kernel_size: 3 stride_h: 1", "either stride, or both"),
        ("kernel_size: 3 stride: 1 stride_h: 1 stride_w: 1", "either stride, or both"),
        ("kernel_size: 3 pad_w: 1", "either pad, or both"),
        ("kernel_size: 3 pad: 3", "pad must be smaller than the kernel"),
        ("kernel_size: 3 pad: 1 pool: STOCHASTIC", "stochastic pooling cannot be padded"),
        ("global_pooling: true kernel_w: 3", "takes the whole map"),
        ("global_pooling: true pad: 1", "needs pad 0 and stride 1"),
        ("global_pooling: true stride: 2", "needs pad 0 and stride 1"),
    ],
)
def test_pooling_windows_refused(text, message):
    with pytest.raises(LayerError, match=message):
        pooling_windows(pooling(text), 7, 9)


def test_global_pooling_of_an_empty_map_is_refused():
    with pytest.raises(LayerError, match="kernel must be positive"):
        pooling_windows(pooling("global_pooling: true"), 0, 9)
