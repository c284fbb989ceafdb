"""Winograd's algorithm against exact fractions, float64 sums, and the plain ONNX convolution."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import onnx
import onnx.reference
import pytest
from exporting import exported, input_text, layer_text, net_of, operators, run, session_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite.toom_cook import toom_cook
from fcnproto.exporting.rewrite.winograd import WinogradConvolution, by_tiles, winograd
from fcnproto.exporting.write import write
from fcnproto.layers import layer_types
from fcnproto.layers.base import Layer
from fcnproto.layers.convolution import Convolution
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render

# The transforms ---------------------------------------------------------------------------------

NUMBERS = st.fractions(-9, 9, max_denominator=5)


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_any_points_give_the_sliding_product_exactly(data, outputs, taps):
    size = outputs + taps - 1

    def several(count, **settings):
        return data.draw(st.lists(NUMBERS, min_size=count, max_size=count, **settings))

    transforms = toom_cook(outputs, taps, several(size - 1, unique=True))
    assert (transforms.outputs, transforms.taps, transforms.size) == (outputs, taps, size)
    line, kernel = several(size), several(taps)
    pairs = zip(times(transforms.kernel, kernel), times(transforms.input, line), strict=True)
    found = times(transforms.output, [a * b for a, b in pairs])
    assert found == [sum(g * line[i + j] for j, g in enumerate(kernel)) for i in range(outputs)]


def test_the_transforms_of_lavin_and_gray():
    """F(2, 3), equation 6: with points 0, 1, −1, but for signs and scales of rows."""
    transforms = toom_cook(2, 3, [Fraction(0), Fraction(1), Fraction(-1)])
    assert transforms.output == ((1, 1, 1, 0), (0, 1, -1, 1))
    assert transforms.input == ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    half = Fraction(1, 2)
    assert transforms.kernel == ((1, 0, 0), (half, half, half), (half, -half, half), (0, 0, 1))


@pytest.mark.parametrize("points", [[0, 1], [0, 1, 1], [0, 1, 2, 3]])
def test_points_that_do_not_fit_are_refused(points):
    with pytest.raises(ValueError, match="3 points that differ"):
        toom_cook(2, 3, list(map(Fraction, points)))


@pytest.mark.parametrize("kernel", range(2, 8))
def test_inputs_and_outputs_are_transformed_by_numbers_that_float32_holds(kernel):
    (step,) = steps_of(1, 1, kernel, 0)
    transforms = by_tiles(step).node.layer.transforms
    assert transforms.taps == kernel
    for row in (*transforms.input, *transforms.output):
        assert all(Fraction(float(np.float32(value))) == value for value in row)


# One layer --------------------------------------------------------------------------------------


def filled(channels, outputs, kernel, pad, *, group=1, bias=True, more="", images=1, size=9):
    settings = (
        f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {pad}"
        f" group: {group} bias_term: {str(bias).lower()} {more} }}"
    )
    text = input_text(data=(images, channels, size, size))
    net = net_of(text + layer_text("Convolution", ["data"], ["it"], settings))
    rng = np.random.default_rng(kernel)
    arrays = [rng.standard_normal((outputs, channels // group, kernel, kernel)) + 0.2]
    if bias:
        arrays.append(rng.standard_normal(outputs))
    return with_weights(net, {"it": [array.astype(np.float32) for array in arrays]})


def steps_of(*args, **settings):
    return [step for step in filled(*args, **settings).steps if step.arrays]


def forced(net):
    """The net with every convolution by tiles for which there are tiles, whether it pays or not."""
    return net.rewritten([(step.arrays and by_tiles(step)) or step for step in net.steps])


def exact(net, image, pads):
    """The convolution in float64, and the same of absolute values: what rounding is relative to."""
    weights, *biases = (named.array.astype(float) for named in net.steps[1].arrays)
    bias = biases[0] if biases else np.zeros(len(weights))
    top, left, bottom, right = pads
    image = np.pad(image.astype(float), [(0, 0), (0, 0), (top, bottom), (left, right)])
    group = image.shape[1] // weights.shape[1]

    def convolved(image, weights, bias):
        windows = sliding_window_view(image, weights.shape[2:], axis=(2, 3))
        parts = [
            np.einsum("nchwij,ocij->nohw", inputs, kernels)
            for inputs, kernels in zip(
                np.split(windows, group, axis=1), np.split(weights, group), strict=True
            )
        ]
        return np.concatenate(parts, axis=1) + bias[:, None, None]

    return convolved(image, weights, bias), convolved(*map(np.abs, (image, weights, bias)))


def check(found, net, image, pads):
    """Rounding as the module says: within 1e-5 of the largest sum of absolute values."""
    expected, scale = exact(net, image, pads)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale.max())


LAYERS = {
    "3": {"channels": 5, "outputs": 4, "kernel": 3, "pad": 1},
    "3 without padding": {"channels": 3, "outputs": 4, "kernel": 3, "pad": 0},
    "3 wide padding": {"channels": 3, "outputs": 2, "kernel": 3, "pad": 100},
    "3 in groups": {"channels": 6, "outputs": 9, "kernel": 3, "pad": 1, "group": 3},
    "3 without bias": {"channels": 3, "outputs": 4, "kernel": 3, "pad": 1, "bias": False},
    "2": {"channels": 3, "outputs": 4, "kernel": 2, "pad": 1},
    "4": {"channels": 3, "outputs": 4, "kernel": 4, "pad": 2},
    "5": {"channels": 4, "outputs": 4, "kernel": 5, "pad": 2, "group": 2},
    "6": {"channels": 3, "outputs": 4, "kernel": 6, "pad": 3},
    "7": {"channels": 8, "outputs": 6, "kernel": 7, "pad": 0},
    "7 padded": {"channels": 8, "outputs": 6, "kernel": 7, "pad": 3},
}
SIZES = [(1, 1), (2, 1), (1, 5), (4, 4), (5, 3), (7, 7), (8, 9), (13, 16), (17, 7), (31, 22)]


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("settings", LAYERS.values(), ids=LAYERS)
def test_one_model_holds_for_every_batch_and_size(settings, opset):
    net = filled(**settings)
    model = forced_model(net, opset)
    plain, fast = session_of(write(net).to_proto()), session_of(model)
    pads, kernel = (settings["pad"],) * 4, settings["kernel"]
    rng = np.random.default_rng(1)
    ran = 0
    for number, (height, width) in enumerate(SIZES):
        if min(height, width) + 2 * settings["pad"] < kernel:
            continue
        shape = 1 + number % 3, settings["channels"], height, width
        image = rng.standard_normal(shape).astype(np.float32) + 1
        found = run(fast, {"data": image})["it"]
        check(found, net, image, pads)
        expected = run(plain, {"data": image})["it"]
        _, scale = exact(net, image, pads)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale.max())
        ran += 1
    assert ran >= 3


def forced_model(net, opset=21):
    model = write(forced(net), opset=opset).to_proto()
    assert "DepthToSpace" in operators(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


@pytest.mark.parametrize("opset", [13, 15, 18, 21, 26])
@pytest.mark.parametrize("settings", [LAYERS["3 in groups"], LAYERS["7"]], ids=["3", "7"])
def test_a_second_runtime_agrees(settings, opset):
    net = filled(**settings)
    image = np.random.default_rng(2).standard_normal((2, settings["channels"], 9, 8))
    image = image.astype(np.float32)
    evaluator = onnx.reference.ReferenceEvaluator(forced_model(net, opset))
    (found,) = evaluator.run(None, {"data": image})
    check(found, net, image, (settings["pad"],) * 4)


class Sided(Convolution):
    """A convolution that pads each side by its own number of zeros."""

    def __init__(self, original, pads):
        super().__init__(original.proto, original.context)
        self.sides = pads

    @property
    def zeros(self):
        return self.sides

    def output_shapes(self, bottoms):
        num, _, height, width = bottoms[0]
        top, left, bottom, right = self.sides
        kernel = self.plane()[0].kernel
        return [(num, self.param.num_output, height + top + bottom - kernel + 1,
                 width + left + right - kernel + 1)]  # fmt: skip


@pytest.mark.parametrize("pads", [(0, 1, 2, 3), (3, 2, 1, 0), (5, 5, 0, 7), (0, 0, 0, 4)])
@pytest.mark.parametrize("kernel", [3, 7])
def test_sides_that_are_padded_differently(kernel, pads):
    net = filled(3, 4, kernel, 9)
    data, step = net.steps
    sided = replace(step, node=replace(step.node, layer=Sided(step.node.layer, pads)))
    session = session_of(forced_model(net.rewritten([data, sided])))
    rng = np.random.default_rng(4)
    for height, width in ((7, 7), (8, 12), (13, 10)):
        image = rng.standard_normal((2, 3, height, width)).astype(np.float32)
        check(run(session, {"data": image})["it"], net, image, pads)


@pytest.mark.parametrize(
    ("kernel", "others"),
    [
        (3, ["0 1 -1 2 -2", "0 1 -1 1/2 -1/2", "0 1 -1 2 3"]),
        (7, ["0 1 -1 1/2 -1/2 3 -3", "0 1 -1 2 -2 3 -3", "0 1 -1 2 -2 1/2 3"]),
    ],
)
def test_other_points_round_worse(kernel, others):
    net = filled(32, 8, kernel, 0)
    image = np.random.default_rng(6).standard_normal((1, 32, 40, 40)).astype(np.float32)
    expected, _ = exact(net, image, (0, 0, 0, 0))

    def mistake(points):
        fast = forced(net)
        layer = fast.steps[1].node.layer
        if points:
            finite = list(map(Fraction, points.split()))
            layer.transforms = toom_cook(layer.transforms.outputs, kernel, finite)
        found = run(session_of(write(fast).to_proto()), {"data": image})["it"]
        return np.sqrt(np.mean((found - expected) ** 2))

    chosen = mistake(None)
    for points in others:
        assert chosen < 0.9 * mistake(points), points


def test_kernels_of_many_outputs_are_transformed_part_by_part(monkeypatch):
    net = filled(3, 7, 3, 1)
    whole = forced_model(net)
    monkeypatch.setattr("fcnproto.exporting.rewrite.winograd._AT_ONCE", 2)
    parts = forced_model(net)
    (first,), (second,) = (
        [tensor for tensor in model.graph.initializer if tensor.name.endswith("winograd")]
        for model in (whole, parts)
    )
    np.testing.assert_allclose(
        onnx.numpy_helper.to_array(first), onnx.numpy_helper.to_array(second), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["3 in groups", "5", "7 padded"])
def test_the_multiply_adds_are_those_of_the_operators(name):
    settings = LAYERS[name]
    net = forced(filled(**settings, images=2, size=10))
    model = forced_model(filled(**settings, images=2, size=10))
    heavy = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    constants = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    first = {"Conv": 1, "MatMul": 0, "Gemm": 0}  # the operand that is constant
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
        for node in heavy
    )
    image = np.zeros((2, settings["channels"], 10, 10), np.float32)
    results = run(session_of(model), {"data": image})
    counted = 0
    for node in heavy:
        operand = constants[node.input[first[node.op_type]]]
        taps = operand[1:] if node.op_type == "Conv" else operand[-1:]
        counted += results[node.output[0]].size * int(np.prod(taps))
    shapes = net.shapes.blobs
    assert net.steps[1].node.layer.multiply_adds([shapes["data"]], [shapes["it"]]) == counted


def test_it_is_the_layer_that_it_replaces_in_all_else():
    net = filled(4, 6, 3, 1)
    original, fast = net.steps[1].node.layer, forced(net).steps[1].node.layer
    assert isinstance(fast, WinogradConvolution)
    shape = [(1, 4, 9, 9)]
    for ask in (
        lambda layer: layer.output_shapes(shape),
        lambda layer: [weight.shape for weight in layer.weights(shape)],
        lambda layer: layer.reaches(shape),
        lambda layer: layer.coord_map(),
        lambda layer: (layer.name, layer.type, layer.brief(), layer.obstacle()),
    ):
        assert ask(fast) == ask(original)
    assert WinogradConvolution not in layer_types().values()
    assert Layer.registry["Convolution"] is Convolution


# Whole nets -------------------------------------------------------------------------------------

OTHERS = {
    "kernel 1": "kernel_size: 1",
    "kernel 8": "kernel_size: 8 pad: 4",
    "stride": "kernel_size: 3 stride: 2",
    "dilation": "kernel_size: 3 dilation: 2",
    "not square": "kernel_h: 3 kernel_w: 5",
    "stride of rows": "kernel_size: 3 stride_h: 2 stride_w: 1",
}


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_other_convolutions_are_left_alone(settings):
    text = input_text(data=(1, 512, 20, 20)) + layer_text(
        "Convolution", ["data"], ["it"], f"convolution_param {{ num_output: 512 {settings} }}"
    )
    net = empty(net_of(text))
    assert by_tiles(net.steps[1]) is None
    assert winograd(net).net == net.rewritten(net.steps)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Deconvolution", "num_output: 512 kernel_size: 3"),
        ("DepthwiseConvolution", "num_output: 512 kernel_size: 3 group: 512"),
        ("Convolution", "num_output: 512 kernel_size: 3 axis: 2"),
    ],
)
def test_other_layers_are_left_alone(kind, settings):
    shape = (1, 2, 512, 20, 20) if "axis" in settings else (1, 512, 20, 20)
    text = input_text(data=shape)
    text += layer_text(kind, ["data"], ["it"], f"convolution_param {{ {settings} }}")
    assert by_tiles(empty(net_of(text)).steps[1]) is None


def empty(net):
    """A net whose weights are zeros that take no memory."""
    nodes = net.graph.nodes
    weights = {
        nodes[index].layer.name: [np.broadcast_to(np.float32(0), weight.shape) for weight in arrays]
        for index, arrays in net.shapes.weights.items()
        if arrays
    }
    return with_weights(net, weights)


def replaced(name):
    net = empty(inference(build(parse_net(render(name)))))
    return [
        step.node.layer.name
        for step in winograd(net).net.steps
        if isinstance(step.node.layer, WinogradConvolution)
    ]


def test_the_layers_of_the_published_nets_that_gain():
    vgg = ["conv3_2", "conv3_3"]
    vgg += [f"conv{block}_{number}" for block in (4, 5) for number in (1, 2, 3)]
    assert replaced("voc-fcn8s") == [*vgg, "fc6"]
    assert replaced("voc-fcn-alexnet") == ["conv3", "fc6"]


TEXT = input_text(data=(1, 3, 20, 20)) + "".join(
    f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
    f"convolution_param {{ num_output: {outputs} {settings} }} }}\n"
    f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n' + after
    for name, bottom, outputs, settings, after in (
        ("a", "data", 16, "kernel_size: 3 pad: 10", ""),
        (
            "b",
            "a",
            24,
            "kernel_size: 3 pad: 1 group: 2",
            'layer { name: "pool" type: "Pooling" bottom: "b" top: "pool"'
            " pooling_param { pool: MAX kernel_size: 2 stride: 2 } }\n",
        ),
        ("c", "pool", 32, "kernel_size: 5 pad: 2", ""),
        ("d", "c", 8, "kernel_size: 7", ""),
    )
)


def test_a_net_of_such_layers_differs_by_rounding_only():
    net = net_of(TEXT)
    rng = np.random.default_rng(5)
    weights = {
        net.graph.nodes[index].layer.name: [
            (rng.standard_normal(weight.shape) / np.sqrt(np.prod(weight.shape[1:]))).astype(
                np.float32
            )
            for weight in arrays
        ]
        for index, arrays in net.shapes.weights.items()
        if arrays
    }
    whole = with_weights(net, weights)
    fast = forced(whole)
    assert sum(isinstance(step.node.layer, WinogradConvolution) for step in fast.steps) == 4
    sessions = [session_of(exported(net, weights)), session_of(write(fast).to_proto())]
    for height, width in ((1, 1), (20, 20), (33, 14), (7, 61)):
        image = rng.standard_normal((2, 3, height, width)).astype(np.float32)
        expected, found = (run(session, {"data": image})["d"] for session in sessions)
        assert expected.shape == found.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_the_estimate_is_lower_the_more_channels_and_pixels_there_are():
    """What the limits are was measured (benchmarks/winograd.py)."""

    def estimate(channels, size):
        (step,) = steps_of(channels, channels, 3, 1, size=size)
        shape = 1, channels, size, size
        return by_tiles(step).node.layer.estimate([shape], [shape])

    assert estimate(16, 64) > 1
    assert estimate(256, 1) > 1
    assert 0.6 < estimate(256, 64) < 0.8
    assert 0.4 < estimate(512, 64) < 0.6
