"""Layers with windows, weights or sizes of their own in ONNX, at many sizes, against plain numpy.

The oracles are Caffe's loops written down anew: window by window and tap by tap. Each setting is
exported once with every size open, and run at all sizes.
"""

from collections import Counter
from itertools import product
from math import ceil, prod

import numpy as np
import onnx
import pytest
from exporting import exported, input_text, layer_text, net_of, operators, run, session_of
from paths import GOLDEN

from fcnproto.errors import LayerError, NetError
from fcnproto.layers import layer_types
from fcnproto.layers.base import Context
from fcnproto.model.builder import Builder, TitledArray, model_of
from fcnproto.net.graph import Node
from fcnproto.proto.caffe_pb2 import TEST, TRAIN
from fcnproto.proto.source import parse_net

FLT_MAX = float(np.finfo(np.float32).max)
FLOAT = onnx.TensorProto.FLOAT


def numbers(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Written:
    """One layer in ONNX, alone, with bottoms of the given sizes; None is an open one."""

    def __init__(
        self, kind, settings, *dims, tops=1, phase=TEST, arrays=None, opset=21, samples=(31, 31)
    ):
        self.bottoms = [f"x{index}" for index in range(len(dims))]
        self.tops = [f"y{index}" for index in range(tops)]
        text = layer_text(kind, self.bottoms, self.tops, settings)
        proto = parse_net("".join(input_text(**{b: (1,)}) for b in self.bottoms) + text).net
        self.layer = layer_types()[kind](proto.layer[-1], Context(phase))
        sample = [
            tuple(size if given is None else given for given in shape)
            for shape, size in zip(dims, samples, strict=False)
        ]
        if arrays is None:
            weights = self.layer.weights(sample)
            arrays = [numbers(weight.shape, seed) for seed, weight in enumerate(weights, 1)]
        self.arrays = arrays
        outs = [(None,) * len(shape) for shape in self.layer.output_shapes(sample)]
        blobs = dict(zip(self.bottoms + self.tops, [*dims, *outs], strict=True))
        builder = Builder(opset, blobs)
        node = Node(self.layer, tuple(self.bottoms), tuple(self.tops))
        named = [TitledArray(f"it/{index}", array) for index, array in enumerate(arrays)]
        values = builder.write(node.layer, node.title, node.tops, self.bottoms, named)
        for top, value in zip(self.tops, values, strict=True):
            if value != top:
                builder.copy(value, top)

        def described(names):
            return [
                (
                    n,
                    FLOAT,
                    [f"{n}_{i}" if size is None else size for i, size in enumerate(blobs[n])],
                )
                for n in names
            ]

        inputs, outputs = described(self.bottoms), described(self.tops)
        model = model_of(builder, "net", inputs, outputs, {}, ("test", "0"))
        self.model = model.to_proto()
        unused = set(model.tensors) - {value for n in self.model.graph.node for value in n.input}
        assert not unused
        onnx.checker.check_model(self.model, full_check=True)
        self.session = session_of(self.model)

    @property
    def operators(self):
        return operators(self.model)

    def __call__(self, *feeds):
        """The tops, whose shapes must be those that the layer says."""
        found = run(self.session, dict(zip(self.bottoms, feeds, strict=True)))
        tops = [found[name] for name in self.tops]
        said = self.layer.output_shapes([feed.shape for feed in feeds])
        assert [top.shape for top in tops] == [tuple(shape) for shape in said]
        return tops if len(tops) > 1 else tops[0]


def assert_close(found, wanted, rtol=1e-5):
    scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-6 * scale)


def open_image(channels=2):
    return None, channels, None, None


# Pooling ----------------------------------------------------------------------------------------

PLANES = [(size, 14 - size) for size in range(1, 14)] + [(1, 1), (29, 24)]


def starts_of(size, kernel, stride, pad, *, rounds_up, padded):
    """Where Caffe's windows start."""
    steps = (size + 2 * pad - kernel) / stride
    count = (ceil(steps) if rounds_up else int(np.floor(steps))) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    return [index * stride - pad for index in range(count)]


def pooled(x, kernels, strides, pads, *, rounds_up):
    """pooling_layer.cpp's maxima, their indices, and averages."""
    height, width = x.shape[2:]
    rows, columns = (
        starts_of(size, kernel, stride, pad, rounds_up=rounds_up, padded=any(pads))
        for size, kernel, stride, pad in zip(x.shape[2:], kernels, strides, pads, strict=True)
    )
    shape = (*x.shape[:2], len(rows), len(columns))
    maxima, indices, averages = np.full(shape, -FLT_MAX), np.full(shape, -1), np.zeros(shape)
    index = np.arange(height * width).reshape(height, width)
    for (i, top), (j, left) in product(enumerate(rows), enumerate(columns)):
        bottom, right = top + kernels[0], left + kernels[1]
        count = (min(bottom, height + pads[0]) - top) * (min(right, width + pads[1]) - left)
        part = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
        window = x[:, :, *part].reshape(*x.shape[:2], -1)
        averages[:, :, i, j] = np.divide(window.sum(2, dtype=np.float64), count)
        if window.shape[2]:
            maxima[:, :, i, j] = window.max(2)
            indices[:, :, i, j] = index[part].ravel()[window.argmax(2)]
    return maxima, indices, averages


def pooling_text(method, kernels, strides, pads, *, rounds_up):
    lines = [f"pool: {method}", "round_mode: " + ("CEIL" if rounds_up else "FLOOR")]
    for name, values in (("kernel", kernels), ("stride", strides), ("pad", pads)):
        lines += [f"{name}_{axis}: {value}" for axis, value in zip("hw", values, strict=True)]
    return f"pooling_param {{ {' '.join(lines)} }}"


def check_pooling(kernels, strides, pads, *, rounds_up, planes=PLANES, fixed=False, opset=21):
    def written(method, tops, plane):
        text = pooling_text(method, kernels, strides, pads, rounds_up=rounds_up)
        return Written("Pooling", text, (None, 2, *plane), tops=tops, opset=opset)

    if not fixed:
        layers = [written(method, tops, (None, None)) for method, tops in POOLINGS]
    for plane in planes:
        x = np.round(numbers((1, 2, *plane)) * 2)  # with ties
        with np.errstate(all="ignore"):
            maxima, indices, averages = pooled(x, kernels, strides, pads, rounds_up=rounds_up)
        if 0 in maxima.shape:
            continue  # Caffe refuses it, or makes an empty blob
        if fixed:
            layers = [written(method, tops, plane) for method, tops in POOLINGS]
        maximum, masked, average = layers
        np.testing.assert_array_equal(maximum(x), maxima.astype(np.float32))
        top, mask = masked(x)
        np.testing.assert_array_equal(top, maxima.astype(np.float32))
        np.testing.assert_array_equal(mask, indices)
        assert_close(average(x), averages)


POOLINGS = [("MAX", 1), ("MAX", 2), ("AVE", 1)]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("rounds_up", [True, False])
def test_pooling_is_caffes_at_every_size(kernel, rounds_up):
    for stride, pad in product(range(1, 7), range(kernel)):
        check_pooling([kernel] * 2, [stride] * 2, [pad] * 2, rounds_up=rounds_up)


@pytest.mark.parametrize(
    ("kernels", "strides", "pads"),
    [
        ((3, 2), (2, 1), (1, 0)),
        ((2, 3), (3, 2), (0, 1)),  # padded along columns only, which clips rows as well
        ((1, 4), (3, 2), (0, 0)),
        ((2, 1), (2, 5), (0, 0)),
        ((1, 1), (4, 3), (0, 0)),
    ],
)
@pytest.mark.parametrize("rounds_up", [True, False])
@pytest.mark.parametrize("opset", [13, 18, 26])
def test_pooling_differs_between_axes(kernels, strides, pads, rounds_up, opset):
    check_pooling(kernels, strides, pads, rounds_up=rounds_up, opset=opset)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_pooling_of_a_fixed_size_is_the_same(kernel):
    planes = [(1, 2), (4, 3), (5, 6), (7, 8)]
    for stride, pad in product((1, 2, 3, 5), range(kernel)):
        check_pooling(
            [kernel] * 2, [stride] * 2, [pad] * 2, rounds_up=True, planes=planes, fixed=True
        )


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(1, 3, 0), (2, 2, 1), (3, 2, 1), (2, 3, 0)])
@pytest.mark.parametrize("opset", [13, 21, 22])
def test_pooling_where_only_columns_are_open(kernel, stride, pad, opset):
    for method, tops in POOLINGS:
        settings = [[kernel] * 2, [stride] * 2, [pad] * 2]
        text = pooling_text(method, *settings, rounds_up=True)
        for rows in (4, 5, 6):
            layer = Written("Pooling", text, (None, 2, rows, None), tops=tops, opset=opset)
            for columns in range(1, 9):
                x = numbers((1, 2, rows, columns))
                with np.errstate(all="ignore"):
                    maxima, indices, averages = pooled(x, *settings, rounds_up=True)
                found = layer(x)
                if method == "AVE":
                    assert_close(found, averages)
                elif tops == 1:
                    np.testing.assert_array_equal(found, maxima.astype(np.float32))
                else:
                    np.testing.assert_array_equal(found[1], indices)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(method):
    layer = Written(
        "Pooling", f"pooling_param {{ pool: {method} global_pooling: true }}", open_image()
    )
    assert layer.operators == [{"MAX": "GlobalMaxPool", "AVE": "GlobalAveragePool"}[method]]
    for plane in [(1, 1), (3, 5), (17, 30)]:
        x = numbers((2, 2, *plane))
        wanted = x.max((2, 3)) if method == "MAX" else x.mean((2, 3), dtype=np.float64)
        assert_close(layer(x)[:, :, 0, 0], wanted)


def test_global_pooling_with_a_mask():
    settings = "pooling_param { global_pooling: true }"
    layer = Written("Pooling", settings, open_image(), tops=2)
    for plane in [(1, 1), (3, 5), (6, 2)]:
        x = np.round(numbers((2, 2, *plane)))
        top, mask = layer(x)
        lines = x.reshape(2, 2, -1)
        np.testing.assert_array_equal(top[:, :, 0, 0], lines.max(2))
        np.testing.assert_array_equal(mask[:, :, 0, 0], lines.argmax(2))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("pool: MAX kernel_size: 2 stride: 2", ["MaxPool"]),
        ("pool: MAX kernel_size: 3 stride: 2", ["MaxPool"]),
        ("pool: MAX kernel_size: 3 stride: 2 pad: 1", ["MaxPool"]),
        ("pool: MAX kernel_size: 1 stride: 2 ceil_mode: false", ["MaxPool"]),
        ("pool: AVE kernel_size: 7 stride: 1", ["AveragePool"]),
        ("pool: AVE kernel_size: 3 stride: 1 pad: 1", ["AveragePool"]),
        ("pool: AVE kernel_size: 5 stride: 3", ["AveragePool"]),
        ("pool: AVE kernel_size: 3 stride: 2 pad: 1 ceil_mode: false", ["AveragePool"]),
        ("pool: AVE kernel_size: 3 stride: 2 pad: 1", ["Pad", "AveragePool"]),
    ],
)
def test_usual_pooling_is_plain(settings, expected):
    assert Written("Pooling", f"pooling_param {{ {settings} }}", open_image()).operators == expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
        ("SPP", "spp_param { pool: STOCHASTIC pyramid_height: 2 }"),
    ],
)
def test_stochastic_pooling_is_an_obstacle(kind, settings):
    with pytest.raises(NetError, match=r"'it'.*STOCHASTIC"):
        net_of(input_text(x=(1, 2, 8, 8)) + layer_text(kind, ["x"], ["y"], settings))


def golden_sizes():
    with np.load(GOLDEN / "sizes.npz") as data:
        arrays = {name: data[name] for name in data.files}
    for name in dict.fromkeys(key.split("/")[0] for key in arrays):
        kind = "Convolution" if name.startswith("conv") else "Pooling"
        field = {"Convolution": "convolution_param", "Pooling": "pooling_param"}[kind]
        weights = [arrays[f"{name}/param/{i}"] for i in (0, 1) if f"{name}/param/{i}" in arrays]
        settings = f"{field} {{ {arrays[f'{name}/body']} }}"
        yield pytest.param(
            kind, settings, weights, arrays[f"{name}/in"], arrays[f"{name}/out"], id=name
        )


@pytest.mark.parametrize(("kind", "settings", "weights", "x", "wanted"), list(golden_sizes()))
@pytest.mark.parametrize("fixed", [True, False])
def test_windows_larger_than_the_image_as_real_caffe_has_them(
    kind, settings, weights, x, wanted, fixed
):
    dims = x.shape if fixed else (None, x.shape[1], None, None)
    assert_close(Written(kind, settings, dims, arrays=weights)(x), wanted)


# Convolution ------------------------------------------------------------------------------------


def convolved(x, kernels, bias, strides, pads, dilations, group):
    """base_conv_layer.cpp on N × C × spatial axes: tap by tap, zeros wherever no pixel is."""
    outs = [
        int((size + 2 * pad - (dilation * (taps - 1) + 1)) / stride) + 1  # C's division
        for size, taps, stride, pad, dilation in zip(
            x.shape[2:], kernels.shape[2:], strides, pads, dilations, strict=True
        )
    ]
    if min(outs, default=1) < 1:
        return None
    reach = [(pad, 50) for pad in pads]
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *reach])
    inputs = np.split(padded, group, 1)
    made = []
    for part, these in zip(inputs, np.split(kernels.astype(np.float64), group), strict=True):
        total = np.zeros((len(x), len(these), *outs))
        for taps in product(*map(range, kernels.shape[2:])):
            window = tuple(
                slice(tap * dilation, tap * dilation + (out - 1) * stride + 1, stride)
                for tap, dilation, stride, out in zip(taps, dilations, strides, outs, strict=True)
            )
            total += np.einsum("nc...,oc->no...", part[:, :, *window], these[:, :, *taps])
        made.append(total)
    top = np.concatenate(made, 1)
    return top if bias is None else top + bias.reshape(-1, *[1] * len(outs))


def deconvolved(x, kernels, bias, strides, pads, dilations, group):
    """deconv_layer.cpp: each pixel spread over the taps, then the padding cut off."""
    spans = [
        stride * (size - 1) + dilation * (taps - 1) + 1
        for size, taps, stride, dilation in zip(
            x.shape[2:], kernels.shape[2:], strides, dilations, strict=True
        )
    ]
    made = []
    parts = np.split(x.astype(np.float64), group, 1)
    for part, these in zip(parts, np.split(kernels.astype(np.float64), group), strict=True):
        total = np.zeros((len(x), these.shape[1], *spans))
        for taps in product(*map(range, kernels.shape[2:])):
            window = tuple(
                slice(tap * dilation, tap * dilation + (size - 1) * stride + 1, stride)
                for tap, dilation, stride, size in zip(
                    taps, dilations, strides, x.shape[2:], strict=True
                )
            )
            total[:, :, *window] += np.einsum("nc...,co->no...", part, these[:, :, *taps])
        cut = tuple(slice(pad, span - pad) for pad, span in zip(pads, spans, strict=True))
        made.append(total[:, :, *cut])
    top = np.concatenate(made, 1)
    return top if bias is None else top + bias.reshape(-1, *[1] * len(spans))


def windows_text(outputs, kernels, strides, pads, dilations, group=1, bias=True, axis=1):
    lines = [f"num_output: {outputs} group: {group} axis: {axis}"]
    for name, values in (
        ("kernel_size", kernels), ("stride", strides), ("pad", pads), ("dilation", dilations)
    ):  # fmt: skip
        lines += [f"{name}: {value}" for value in values]
    if not bias:
        lines.append("bias_term: false")
    return f"convolution_param {{ {' '.join(lines)} }}"


def check_convolution(layer, oracle, sizes, settings):
    weight, *bias = layer.arrays
    for plane in sizes:
        x = numbers((2, 4, *plane))
        wanted = oracle(x, weight, bias[0] if bias else None, *settings)
        if wanted is not None and 0 not in wanted.shape:
            assert_close(layer(x), wanted)


CONVOLUTION_PLANES = [(size, 13 - size) for size in range(1, 13)]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [0, 1, 2])
def test_convolution_is_caffes_at_every_size(kernel, dilation):
    for stride, pad in product(range(1, 5), range(3)):
        settings = [stride] * 2, [pad] * 2, [dilation] * 2, 2
        text = windows_text(6, [kernel] * 2, *settings, bias=stride % 2 == 1)
        layer = Written("Convolution", text, open_image(4))
        check_convolution(layer, convolved, CONVOLUTION_PLANES, settings)
        for plane in [(1, 2), (3, 4), (6, 5)]:
            if convolved(numbers((1, 4, *plane)), layer.arrays[0], None, *settings) is not None:
                fixed = Written("Convolution", text, (None, 4, *plane))
                assert fixed.operators == ["Conv"]
                check_convolution(fixed, convolved, [plane], settings)


@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("dilation", [0, 1, 2])
def test_deconvolution_is_caffes_at_every_size(kernel, dilation):
    for stride, pad, group in product(range(1, 5), range(2), (1, 2)):
        settings = [stride] * 2, [pad] * 2, [dilation] * 2, group
        text = windows_text(6, [kernel] * 2, *settings, bias=stride % 2 == 1)
        layer = Written("Deconvolution", text, open_image(4))
        assert layer.operators == ["ConvTranspose"]
        check_convolution(layer, deconvolved, [(4, 9), (1, 5), (3, 3)], settings)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("opset", [13, 22])
@pytest.mark.parametrize(
    ("before", "spatial"),
    [((), 2), ((2,), 0), ((2,), 1), ((2,), 3), ((2, 3), 2), ((2, 3, 2), 1), ((), 1), ((2, 2), 0)],
)
def test_convolution_of_any_axes(kind, before, spatial, opset):
    settings = [[2, 1, 3][:spatial], [1, 0, 2][:spatial], [1, 2, 1][:spatial], 1]
    kernels = [3, 2, 2][:spatial]
    axis = len(before) if opset == 13 else -spatial - 1
    text = windows_text(5, kernels, *settings, axis=axis)
    layer = Written(kind, text, (*[None] * len(before), 4, *[None] * spatial), opset=opset)
    oracle = convolved if kind == "Convolution" else deconvolved
    for plane in ([7, 6, 5], [5, 3, 9]):
        x = numbers((*before, 4, *plane[:spatial]))
        wanted = oracle(x.reshape(-1, *x.shape[len(before) :]), *layer.arrays, *settings)
        assert_close(layer(x), wanted.reshape(*before, *wanted.shape[1:]))


def test_a_usual_convolution_is_plain():
    for text in (
        "kernel_size: 3 pad: 1", "kernel_size: 7 stride: 2 pad: 3", "kernel_size: 1 stride: 2",
        "kernel_size: 3 pad: 100", "kernel_size: 3 dilation: 2 pad: 2 group: 4",
    ):  # fmt: skip
        settings = f"convolution_param {{ num_output: 4 {text} }}"
        assert Written("Convolution", settings, open_image(4)).operators == ["Conv"]


def test_several_bottoms_share_weights():
    settings = windows_text(6, [3] * 2, [1] * 2, [1] * 2, [1] * 2)
    layer = Written("Convolution", settings, open_image(4), open_image(4), tops=2)
    assert layer.operators == ["Conv", "Conv"]
    assert len(layer.model.graph.initializer) == 2
    one, two = numbers((1, 4, 5, 6), 1), numbers((1, 4, 5, 6), 2)
    for x, top in zip((one, two), layer(one, two), strict=True):
        assert_close(top, convolved(x, *layer.arrays, [1, 1], [1, 1], [1, 1], 1))


def test_an_image_that_caffe_refuses_gives_no_numbers():
    settings = windows_text(4, [7] * 2, [2] * 2, [0] * 2, [1] * 2)
    layer = Written("Convolution", settings, open_image(4))
    assert layer(numbers((1, 4, 6, 6))).shape == (1, 4, 1, 1)
    with pytest.raises(LayerError):
        layer.layer.output_shapes([(1, 4, 5, 6)])
    with pytest.raises(Exception, match=r"Conv|shape"):
        layer(numbers((1, 4, 5, 6)))


@pytest.mark.parametrize("bias", [True, False])
def test_dense_upsampling_becomes_grouped(bias):
    settings = [2, 2], [1, 1], [1, 1], 1
    dense = np.zeros((5, 5, 4, 4), np.float32)
    dense[range(5), range(5)] = numbers((5, 4, 4))
    arrays = [dense, numbers(5)][: 1 + bias]
    text = windows_text(5, [4, 4], *settings, bias=bias)
    layer = Written("Deconvolution", text, open_image(5), arrays=arrays)
    (node,) = layer.model.graph.node
    assert {"group": 5}.items() <= {a.name: a.i for a in node.attribute}.items()
    assert list(layer.model.graph.initializer[0].dims) == [5, 1, 4, 4]
    x = numbers((2, 5, 3, 6))
    assert_close(layer(x), deconvolved(x, dense, arrays[1] if bias else None, *settings))


@pytest.mark.parametrize("change", ["one", "shape", "group"])
def test_other_upsampling_does_not(change):
    dense = np.zeros((4, 4, 2, 2), np.float32)
    dense[range(4), range(4)] = 1
    outputs, group = 4, 1
    if change == "one":
        dense[0, 3, 1, 1] = 1e-30
    elif change == "shape":
        dense, outputs = dense[:, :3], 3
    else:
        dense, group = dense[:, :2], 2
    text = windows_text(outputs, [2] * 2, [2] * 2, [0] * 2, [1] * 2, group=group, bias=False)
    layer = Written("Deconvolution", text, open_image(4), arrays=[dense])
    assert list(layer.model.graph.initializer[0].dims) == list(dense.shape)
    x = numbers((1, 4, 3, 5))
    assert_close(layer(x), deconvolved(x, dense, None, [2, 2], [0, 0], [1, 1], group))


def test_depthwise_convolutions():
    settings = windows_text(4, [3, 2], [2, 1], [1, 0], [1, 1], group=4)
    for kind in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        layer = Written(kind, settings, open_image(4))
        assert layer.operators.count("Conv") == 1
        for plane in [(5, 6), (8, 3), (1, 2)]:
            x = numbers((2, 4, *plane))
            assert_close(layer(x), convolved(x, *layer.arrays, [2, 1], [1, 0], [1, 1], 4))


@pytest.mark.parametrize("dims", [(None, 3, None, None), (None, None, None), (2, 3, None), (3, 9)])
@pytest.mark.parametrize("dilation", [0, 1, 2])
def test_im2col(dims, dilation):
    axis = len(dims) - 3 if len(dims) == 4 else len(dims) - 2
    spatial = len(dims) - axis - 1
    kernels, strides, pads = [3, 2][:spatial], [2, 3][:spatial], [1, 0][:spatial]
    text = windows_text(1, kernels, strides, pads, [dilation] * spatial, axis=axis)
    layer = Written("Im2col", text, dims)
    for size in range(2, 10):
        x = numbers([given or size + index for index, given in enumerate(dims)], size)
        items = x.reshape(prod(x.shape[: axis + 1]), 1, *x.shape[axis + 1 :])
        one = np.eye(prod(kernels)).reshape(-1, 1, *kernels)
        wanted = convolved(items, one, None, strides, pads, [dilation] * spatial, 1)
        if wanted is not None:
            top = layer(x)
            np.testing.assert_array_equal(top, wanted.reshape(top.shape).astype(np.float32))


# Crop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "axis", "offsets"),
    [
        ("", 2, [0, 0]),
        ("offset: 2", 2, [2, 2]),
        ("axis: -1 offset: 3", 3, [3]),
        ("axis: 1 offset: 0 offset: 1 offset: 2", 1, [0, 1, 2]),
        ("axis: 1 offset: 1", 1, [1, 1, 1]),
        ("axis: 0 offset: 1 offset: 0 offset: 2 offset: 0", 0, [1, 0, 2, 0]),
    ],
)
@pytest.mark.parametrize("opset", [13, 21])
def test_crop(settings, axis, offsets, opset):
    text, data, reference = f"crop_param {{ {settings} }}", (None, 5, None, None), (None,) * 5
    layer = Written("Crop", text, data, reference, opset=opset, samples=(31, 2))
    assert Counter(layer.operators) <= Counter(["Shape", "Slice", "Slice", "Add"])
    for wanted in [(1, 4, 5, 6, 3), (2, 2, 3, 1, 3)]:
        x, reference = numbers((4, 5, 9, 11)), numbers(wanted)
        part = [slice(None)] * axis
        part += [
            slice(offset, offset + size)
            for offset, size in zip(offsets, wanted[axis:], strict=False)
        ]
        np.testing.assert_array_equal(layer(x, reference), x[tuple(part)])


def test_crop_of_fixed_sizes_is_one_slice():
    settings = "crop_param { offset: 1 offset: 2 }"
    layer = Written("Crop", settings, (None, 3, 9, 9), (None, 3, 4, 5))
    assert layer.operators == ["Slice"]
    x = numbers((2, 3, 9, 9))
    np.testing.assert_array_equal(layer(x, numbers((2, 3, 4, 5))), x[:, :, 1:5, 2:7])
    channels = Written("Crop", "crop_param { axis: 1 }", (None, 3, None, None), open_image(3))
    assert channels.operators == ["Shape", "Slice"]


# InnerProduct -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "axis", "expected"),
    [
        ((None, 12), 1, ["Gemm"]),
        ((None, 2, 3, 2), 1, ["Flatten", "Gemm"]),
        ((None, 2, 3, 2), -3, ["Flatten", "Gemm"]),
        ((None, None, 12), 2, ["MatMul"]),
        ((None, None, 4, 3), 2, ["Reshape", "MatMul"]),
        ((None, None, None, 12), -1, ["MatMul"]),
        ((4, 3), 0, ["Reshape", "MatMul"]),
        ((12,), 0, ["MatMul"]),
    ],
)
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_inner_product(dims, axis, expected, transpose, bias):
    settings = f"num_output: 5 axis: {axis} transpose: {transpose} bias_term: {bias}".lower()
    layer = Written("InnerProduct", f"inner_product_param {{ {settings} }}", dims)
    extra = ["Add"] if bias and "MatMul" in expected else []
    assert layer.operators == expected + extra
    matrix = layer.arrays[0] if transpose else layer.arrays[0].T
    for size in (1, 3):
        x = numbers([size + i if given is None else given for i, given in enumerate(dims)])
        rows = x.reshape(*x.shape[: axis % x.ndim], -1).astype(np.float64)
        assert_close(layer(x), rows @ matrix + (layer.arrays[1] if bias else 0))


# Normalisation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"),
    [
        (5, 1e-4, 0.75, 1),
        (3, 2, 0.5, 2),
        (1, 1, 1, 0.5),
        (7, 0.3, 0.75, 1e-4),
        (17, 1, 0.75, 1),
        (3, 0, 0.75, 2),
        (3, 1, 0, 1),
        (5, 0.5, -0.5, 1),
        (5, 0.5, 0.75, 0),
        (3, -0.01, 0.75, 1),
        (99, 2, 0.75, 1),
        (2**31 - 1, 1e9, 0.75, 1),
    ],
)
@pytest.mark.parametrize("opset", [13, 22])
def test_lrn_across_channels(size, alpha, beta, k, opset):
    settings = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}"
    layer = Written("LRN", settings, open_image(8), opset=opset)
    for plane in [(1, 1), (3, 5), (6, 2)]:
        x = numbers((2, 8, *plane)) + 0.01
        far = min(size // 2, 8)
        squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), (far, far), (0, 0), (0, 0)])
        sums = sum(squares[:, shift : shift + 8] for shift in range(2 * far + 1))
        assert_close(layer(x), x / (k + alpha / size * sums) ** beta)


def test_usual_lrn_is_plain():
    assert Written("LRN", "", open_image(8)).operators == ["LRN"]


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("opset", [13, 22])
def test_lrn_within_a_channel(size, opset):
    text = (
        f"lrn_param {{ local_size: {size} alpha: 0.7 beta: 0.6 k: 9 norm_region: WITHIN_CHANNEL }}"
    )
    layer = Written("LRN", text, open_image(2), opset=opset)
    for plane in [(1, 1), (2, 7), (10, 9)]:
        x = numbers((2, 2, *plane))
        pads = (size // 2,) * 2
        _, _, means = pooled(x.astype(np.float64) ** 2, [size] * 2, [1, 1], pads, rounds_up=True)
        assert_close(layer(x), x * (1 + 0.7 * means) ** -0.6)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("dims", [(None, 3, None, None), (None, 3, None), (None, 3)])
@pytest.mark.parametrize("opset", [13, 18])
def test_mvn(across, variance, dims, opset):
    text = f"across_channels: {across} normalize_variance: {variance} eps: 0.3".lower()
    layer = Written("MVN", f"mvn_param {{ {text} }}", dims, opset=opset)
    for size in (2, 5):
        x = numbers([size + index if given is None else given for index, given in enumerate(dims)])
        wanted = x.reshape((*x.shape, 1, 1)[:4]).astype(np.float64)
        axes = (1, 2, 3) if across else (2, 3)
        wanted = wanted - wanted.mean(axes, keepdims=True)
        if variance:
            wanted /= np.sqrt((wanted**2).mean(axes, keepdims=True)) + np.float32(0.3)
        assert_close(layer(x), wanted)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dims", [(None, 3, None, None), (None, 3, None), (None, 3)])
@pytest.mark.parametrize("opset", [13, 18])
def test_normalize(across, shared, dims, opset):
    text = f"across_spatial: {across} channel_shared: {shared} eps: 0.2".lower()
    layer = Written("Normalize", f"norm_param {{ {text} }}", dims, opset=opset)
    scale = layer.arrays[0].reshape(-1, *[1] * (len(dims) - 2))
    for size in (1, 4):
        x = numbers([size + index if given is None else given for index, given in enumerate(dims)])
        axes = tuple(range(1, len(dims))) if across else (1,)
        sums = (x.astype(np.float64) ** 2).sum(axes, keepdims=True)
        assert_close(layer(x), x / np.sqrt(sums + np.float32(0.2)) * scale)


CHANNEL_DIMS = [(None, 3, None, None), (None, 3), (None, 3, None), (None, 3, None, None, None)]


def per_channel(values, rank):
    return np.asarray(values, np.float64).reshape(-1, *[1] * (rank - 2))


@pytest.mark.parametrize("dims", CHANNEL_DIMS)
@pytest.mark.parametrize("factor", [0, 1, 2.5])
def test_batch_norm_with_stored_statistics(dims, factor):
    arrays = [numbers(3, 1), numbers(3, 2) ** 2, np.array([factor], np.float32)]
    layer = Written("BatchNorm", "batch_norm_param { eps: 0.01 }", dims, arrays=arrays)
    assert layer.operators == ["BatchNormalization"]
    x = numbers([2 + index if size is None else size for index, size in enumerate(dims)])
    share = 1 / factor if factor else 0
    mean, variance = (per_channel(array * share, len(dims)) for array in arrays[:2])
    assert_close(layer(x), (x - mean) / np.sqrt(variance + 0.01))


@pytest.mark.parametrize("dims", CHANNEL_DIMS)
@pytest.mark.parametrize(
    ("settings", "phase", "of_batch"),
    [
        ("", TEST, False),
        ("", TRAIN, True),
        ("use_global_stats: false", TEST, True),
        ("use_global_stats: true", TRAIN, False),
    ],
)
def test_batch_norm_takes_statistics_of_the_phase(dims, settings, phase, of_batch):
    arrays = [np.zeros(3, np.float32), np.ones(3, np.float32), np.ones(1, np.float32)]
    text = f"batch_norm_param {{ {settings} }}"
    layer = Written("BatchNorm", text, dims, arrays=arrays, phase=phase)
    for batch in (2, 5):
        x = numbers([batch + i if size is None else size for i, size in enumerate(dims)])
        axes = tuple(axis for axis in range(len(dims)) if axis != 1)
        mean = x.mean(axes, keepdims=True, dtype=np.float64)
        variance = ((x - mean) ** 2).mean(axes, keepdims=True)
        wanted = (x - mean) / np.sqrt(variance + 1e-5) if of_batch else x / np.sqrt(1 + 1e-5)
        assert_close(layer(x), wanted)


@pytest.mark.parametrize("dims", CHANNEL_DIMS[:3])
@pytest.mark.parametrize(("frozen", "phase"), [(True, TRAIN), (False, TEST), (False, TRAIN)])
def test_bn_of_pspnet(dims, frozen, phase):
    arrays = [numbers((1, 3, 1, 1), seed) for seed in range(4)]
    arrays[3] = arrays[3] ** 2
    text = f"bn_param {{ eps: 0.01 frozen: {str(frozen).lower()} }}"
    layer = Written("BN", text, dims, arrays=arrays, phase=phase)
    x = numbers([3 + index if size is None else size for index, size in enumerate(dims)])
    slope, bias, mean, variance = (per_channel(array, len(dims)) for array in arrays)
    if phase == TRAIN and not frozen:
        axes = tuple(axis for axis in range(len(dims)) if axis != 1)
        mean = x.mean(axes, keepdims=True, dtype=np.float64)
        variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    assert_close(layer(x), slope * (x - mean) / np.sqrt(variance + 0.01) + bias)


@pytest.mark.parametrize("dims", CHANNEL_DIMS[:3])
@pytest.mark.parametrize("mode", ["LEARN", "INFERENCE"])
def test_bn_of_segnet(dims, mode):
    tops = 3 if mode == "LEARN" else 1
    layer = Written("BN", f"bn_param {{ bn_mode: {mode} }}", dims, tops=tops)
    scale, shift = layer.arrays
    x = numbers([3 + index if size is None else size for index, size in enumerate(dims)])
    image = x.reshape((*x.shape, 1, 1)[:4]).astype(np.float64)
    if mode == "INFERENCE":
        assert_close(layer(x), scale * image + shift)
        return
    mean = image.mean((0, 2, 3), keepdims=True)
    variance = ((image - mean) ** 2).mean((0, 2, 3), keepdims=True)
    top, found_mean, found_variance = layer(x)
    assert_close(top, scale * (image - mean) / np.sqrt(variance + 1e-9) + shift)
    assert_close(found_mean, mean)
    assert_close(found_variance, variance)


# Scale, Bias, PReLU -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(
    ("axis", "count"), [(1, 1), (0, 1), (0, 2), (1, 2), (1, -1), (-1, 1), (2, 2), (3, 0), (0, -1)]
)
def test_a_learned_operand(kind, axis, count):
    shape = (2, 3, 4, 5)
    covered = range(axis % 4, 4 if count == -1 else axis % 4 + count)
    dims = [size if index in covered else None for index, size in enumerate(shape)]
    field = f"{kind.lower()}_param"
    extra = "bias_term: true" if kind == "Scale" else ""
    layer = Written(kind, f"{field} {{ axis: {axis} num_axes: {count} {extra} }}", dims)
    assert layer.operators == (["Mul", "Add"] if kind == "Scale" else ["Add"])
    x = numbers(shape)
    operands = [
        array.reshape([size if index in covered else 1 for index, size in enumerate(shape)])
        for array in layer.arrays
    ]
    wanted = x * operands[0] + operands[1] if kind == "Scale" else x + operands[0]
    np.testing.assert_array_equal(layer(x), wanted)


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
@pytest.mark.parametrize(("axis", "end"), [(0, 1), (0, 2), (1, 2), (0, 4), (-2, 4), (1, 4), (1, 1)])
def test_an_operand_that_is_a_bottom(kind, axis, end):
    shape = (2, 3, 4, 5)
    start = axis % 4
    count = end - start
    layer = Written(kind, f"{kind.lower()}_param {{ axis: {axis} }}", (None,) * 4, (None,) * count)
    x, operand = numbers(shape, 1), numbers(shape[start:end], 2)
    spread = operand.reshape([n if start <= i < end else 1 for i, n in enumerate(shape)])
    wanted = x * spread if kind == "Scale" else x + spread
    np.testing.assert_array_equal(layer(x, operand), wanted)


def test_scale_by_a_bottom_with_a_bias():
    layer = Written("Scale", "scale_param { axis: 0 bias_term: true }", (2, 3, None), (2, 3))
    x, factor = numbers((2, 3, 4)), numbers((2, 3))
    wanted = x * factor[:, :, None] + layer.arrays[0][:, :, None]
    np.testing.assert_array_equal(layer(x, factor), wanted)


@pytest.mark.parametrize("dims", CHANNEL_DIMS[:3])
@pytest.mark.parametrize("shared", [True, False])
def test_prelu(dims, shared):
    text = f"prelu_param {{ channel_shared: {str(shared).lower()} }}"
    layer = Written("PReLU", text, dims)
    assert layer.operators == ["PRelu"]
    x = numbers([2 + index if size is None else size for index, size in enumerate(dims)])
    slope = layer.arrays[0].reshape(-1, *[1] * (len(dims) - 2))
    np.testing.assert_array_equal(layer(x), np.where(x > 0, x, slope * x))


# Sizes ------------------------------------------------------------------------------------------


def pyramid(x, height, method):
    """spp_layer.cpp: a Pooling layer for each level."""
    levels = []
    for bins in (2**level for level in range(height)):
        kernels = [ceil(size / bins) for size in x.shape[2:]]
        pads = [
            (kernel * bins - size + 1) // 2
            for kernel, size in zip(kernels, x.shape[2:], strict=True)
        ]
        if any(pad >= kernel for pad, kernel in zip(pads, kernels, strict=True)):
            return None
        maxima, _, averages = pooled(x, kernels, kernels, pads, rounds_up=True)
        level = maxima if method == "MAX" else averages
        assert level.shape[2:] == (bins, bins)
        levels.append(level.reshape(len(x), -1))
    return np.concatenate(levels, 1)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 2, 3, 4])
@pytest.mark.parametrize("opset", [13, 21])
def test_spp_at_every_size(method, height, opset):
    settings = f"spp_param {{ pyramid_height: {height} pool: {method} }}"
    layer = Written("SPP", settings, open_image(), opset=opset)
    compared = 0
    for plane in [(size, 31 - size) for size in range(1, 31)] + [(8, 8), (9, 17), (5, 6)]:
        x = numbers((2, 2, *plane))
        wanted = pyramid(x, height, method)
        if wanted is None:
            continue
        compared += 1
        assert_close(layer(x).reshape(wanted.shape), wanted)
        fixed = Written("SPP", settings, (None, 2, *plane), opset=opset)
        assert not {"Pad", "Shape"} & set(fixed.operators)
        assert_close(fixed(x).reshape(wanted.shape), wanted)
    assert compared > 4


def interpolated(x, height, width):
    """interp.cpp, with its coordinates in float32."""
    for axis, size in ((2, height), (3, width)):
        last = x.shape[axis] - 1
        ratio = np.float32(last) / np.float32(size - 1) if size > 1 else np.float32(0)
        place = ratio * np.arange(size, dtype=np.float32)
        first = place.astype(int)
        part = (place - first).reshape(-1, *[1] * (3 - axis))
        after = np.minimum(first + 1, last)
        x = x.take(first, axis) * (1 - part) + x.take(after, axis) * part
    return x


INTERPOLATIONS = [
    ("zoom_factor: 2", lambda h, w: (2 * h - 1, 2 * w - 1)),
    ("zoom_factor: 1", lambda h, w: (h, w)),
    ("shrink_factor: 3", lambda h, w: ((h - 1) // 3 + 1, (w - 1) // 3 + 1)),
    (
        "shrink_factor: 2 zoom_factor: 3",
        lambda h, w: ((h - 1) // 2 * 3 + 1, (w - 1) // 2 * 3 + 1),
    ),
    ("height: 7 width: 1", lambda h, w: (7, 1)),
    ("height: 40 width: 33 zoom_factor: 5", lambda h, w: (5 * h - 4, 5 * w - 4)),
]


@pytest.mark.parametrize(("settings", "size_of"), INTERPOLATIONS)
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (-1, -2), (0, -3), (-2, 0)])
@pytest.mark.parametrize("opset", [13, 18, 22])
def test_interp(settings, size_of, begin, end, opset):
    text = f"interp_param {{ {settings} pad_beg: {begin} pad_end: {end} }}"
    layer = Written("Interp", text, open_image(), opset=opset)
    for plane in [(4, 6), (13, 5), (24, 31)]:
        x = numbers((2, 2, *plane))
        cut = x[:, :, -begin : plane[0] + end, -begin : plane[1] + end]
        wanted = interpolated(cut, *size_of(*cut.shape[2:]))
        # Caffe's coordinates are off by their own rounding, at which neighbours differ by a few.
        off = 4 * max(plane) * np.finfo(np.float32).eps
        np.testing.assert_allclose(layer(x), wanted, rtol=1e-5, atol=off)
        fixed = Written("Interp", text, (None, 2, *plane), opset=opset)
        assert set(fixed.operators) <= {"Slice", "Resize", *(["Shape", "Concat"] * (opset < 18))}
        np.testing.assert_allclose(fixed(x), wanted, rtol=1e-5, atol=off)


def test_interp_to_a_bottoms_size():
    for dims in [(None,) * 4, (None, 1, None)]:
        layer = Written("Interp", "", (None, 2, None, None), dims)
        like = numbers((1, 1, 9, 14)[: len(dims)])
        wanted = (9, 14) if len(dims) == 4 else (9, 1)
        x = numbers((1, 2, 5, 3))
        assert_close(layer(x, like), interpolated(x, *wanted))


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [(2, 1, ["Pad"]), (0, 3, ["Pad"]), (-1, 0, ["Slice"]), (-1, -2, ["Slice"])],
)
@pytest.mark.parametrize("dims", [(None, 2, None, None), (None, 2, None), (None, 2)])
def test_padding(begin, end, expected, dims):
    if len(dims) < 4 and begin < 0:
        return  # nothing would be left of the axes that are not there
    layer = Written("Padding", f"padding_param {{ pad_beg: {begin} pad_end: {end} }}", dims)
    assert layer.operators == ([] if len(dims) == 4 else ["Unsqueeze"]) + expected
    x = numbers([5 + index if size is None else size for index, size in enumerate(dims)])
    image = x.reshape((*x.shape, 1, 1)[:4])
    if begin < 0:
        wanted = image[:, :, -begin : image.shape[2] + end, -begin : image.shape[3] + end]
    else:
        wanted = np.pad(image, [(0, 0), (0, 0), (begin, end), (begin, end)])
    np.testing.assert_array_equal(layer(x), wanted)


def test_padding_by_nothing_is_nothing():
    net = net_of(
        input_text(x=(1, 2, 3, 4))
        + layer_text("Padding", ["x"], ["y"]).replace("it", "pad")
        + layer_text("ReLU", ["y"], ["z"])
    )
    assert operators(exported(net)) == ["Relu"]


UPSAMPLED = "upsample_param { upsample_h: 40 upsample_w: 31 }"


def scattered(x, mask, height, width):
    """upsample_layer.cpp of SegNet: one value after the other, later ones over earlier."""
    top = np.zeros((*x.shape[:2], height * width), np.float32)
    for n, c in np.ndindex(x.shape[:2]):
        for place, value in zip(mask[n, c].ravel().astype(int), x[n, c].ravel(), strict=True):
            top[n, c, place] = value
    return top.reshape(*x.shape[:2], height, width)


@pytest.mark.parametrize(
    ("settings", "size_of"),
    [
        ("", lambda h, w: (2 * h, 2 * w)),
        ("scale: 3", lambda h, w: (3 * h, 3 * w)),
        ("scale_h: 2 scale_w: 4", lambda h, w: (2 * h, 4 * w)),
        ("scale: 2 pad_out_w: true", lambda h, w: (2 * h, 2 * w - 1)),
        ("upsample_h: 11 upsample_w: 13", lambda h, w: (11, 13)),
    ],
)
@pytest.mark.parametrize("opset", [13, 21])
def test_upsample_keeps_the_last_of_several(settings, size_of, opset):
    text = f"upsample_param {{ {settings} }}"
    layer = Written("Upsample", text, open_image(3), open_image(3), opset=opset)
    for plane in [(2, 3), (5, 4), (3, 7)]:
        height, width = size_of(*plane)
        x = numbers((2, 3, *plane))
        mask = np.random.default_rng(1).integers(0, min(height * width, 20), x.shape)
        wanted = scattered(x, mask, height, width)
        np.testing.assert_array_equal(layer(x, mask.astype(np.float32)), wanted)
        fixed = Written("Upsample", text, (None, 3, *plane), (None, 3, *plane), opset=opset)
        np.testing.assert_array_equal(fixed(x, mask.astype(np.float32)), wanted)


@pytest.mark.parametrize(
    ("pooling", "sorts"),
    [
        ("kernel_size: 2 stride: 2", False),
        ("kernel_size: 3 stride: 2", True),
        ("kernel_h: 3 kernel_w: 2 stride_h: 3 stride_w: 1", True),
        ("kernel_size: 1 stride: 1", False),
        ("global_pooling: true", False),
    ],
)
def test_upsample_after_pooling(pooling, sorts):
    net = net_of(
        input_text(x=(1, 3, 8, 8))
        + layer_text("Pooling", ["x"], ["p", "m"], f"pooling_param {{ {pooling} }}")
        + layer_text("Upsample", ["p", "m"], ["y"], UPSAMPLED)
    )
    model = exported(net)
    assert ("TopK" in operators(model)) == sorts
    session = session_of(model)
    pool = net.graph.nodes[1].layer
    # To a size of its own it goes from one size only: from others it would scramble the map.
    assert net.inputs["x"] == ("N", 3, 8, 8)
    for num in (1, 2, 3):
        x = numbers((num, 3, 8, 8))
        windows = Written("Pooling", f"pooling_param {{ {pooling} }}", open_image(3), tops=2)
        assert pool.type == windows.layer.type
        wanted = scattered(*windows(x), 40, 31)
        np.testing.assert_array_equal(run(session, {"x": x})["y"], wanted)


def test_upsample_without_a_mask_repeats_pixels():
    layer = Written("Upsample", "upsample_param { scale: 3 }", open_image())
    assert layer.operators == ["Resize"]
    for plane in [(1, 1), (4, 7), (30, 19)]:
        x = numbers((2, 2, *plane))
        np.testing.assert_array_equal(layer(x), x.repeat(3, 2).repeat(3, 3))
