"""Layers without learned arrays, exported once and run at many sizes, against plain numpy."""

from itertools import product
from math import prod

import numpy as np
import pytest
from exporting import exported, input_text, layer_text, net_of, operators, run, session_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnproto.errors import LayerError, NetError

SIZES = [(1, 4, 6), (1, 1, 1), (2, 3, 5), (3, 8, 2)]
EVEN = [(2, 4, 6), (4, 2, 2), (6, 8, 4)]
CHANNELS = 6


def image(n, h, w, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (n, CHANNELS, h, w)).astype(np.float32)


def ties(n, h, w):
    return np.round(image(n, h, w) / 3)


def one(kind, settings=""):
    return input_text(x=(2, CHANNELS, 4, 6)) + layer_text(kind, ["x"], ["y"], settings)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slope(x, factor):
    return np.where(x > 0, x, factor * x)


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


# Of one image blob: layer, settings, what it computes in float64, the operators it takes.
POINTWISE = [
    ("AbsVal", "", np.abs, ["Abs"]),
    ("BNLL", "", lambda x: np.logaddexp(0, x), ["Softplus"]),
    ("Clip", "clip_param { min: -1 max: 2.5 }", lambda x: np.clip(x, -1, 2.5), ["Clip"]),
    ("Clip", "clip_param { min: 3 max: 2 }", lambda x: np.full_like(x, 3), ["Clip"]),
    ("ELU", "", lambda x: np.where(x > 0, x, np.expm1(x)), ["Elu"]),
    ("ELU", "elu_param { alpha: 0.3 }", lambda x: np.where(x > 0, x, 0.3 * np.expm1(x)), ["Elu"]),
    ("Exp", "", np.exp, ["Exp"]),
    ("Exp", "exp_param { scale: 0.5 shift: -1 }", lambda x: np.exp(0.5 * x - 1),
     ["Mul", "Exp", "Mul"]),
    ("Exp", "exp_param { base: 3 }", lambda x: 3**x, ["Mul", "Exp"]),
    ("Exp", "exp_param { base: 0.5 scale: -1 shift: 2 }", lambda x: 0.5 ** (2 - x),
     ["Mul", "Exp", "Mul"]),
    ("Exp", "exp_param { base: 1 shift: 7 }", np.ones_like, ["Mul", "Exp"]),
    ("Log", "log_param { scale: 0.1 shift: 9 }", lambda x: np.log(9 + 0.1 * x),
     ["Mul", "Add", "Log"]),
    ("Log", "log_param { base: 2 shift: 30 }", lambda x: np.log2(30 + x), ["Add", "Log", "Mul"]),
    ("Log", "log_param { base: 0.5 shift: 30 }", lambda x: -np.log2(30 + x),
     ["Add", "Log", "Mul"]),
    ("Log", "", np.log, ["Log"]),
    ("Power", "power_param { scale: 0.01 }", lambda x: 0.01 * x, ["Mul"]),
    ("Power", "power_param { shift: 4 }", lambda x: x + 4, ["Add"]),
    ("Power", "power_param { power: 3 }", lambda x: x**3, ["Pow"]),
    ("Power", "power_param { power: -2 scale: 2 shift: 1 }", lambda x: (1 + 2 * x) ** -2,
     ["Mul", "Add", "Pow"]),
    ("Power", "power_param { power: 0.5 }", np.sqrt, ["Pow"]),
    ("Power", "power_param { power: 1.5 shift: -1 }", lambda x: (x - 1) ** 1.5, ["Add", "Pow"]),
    ("Power", "power_param { power: 0 }", np.ones_like, ["Shape", "Expand"]),
    ("Power", "power_param { scale: 0 shift: 3 power: 2 }", lambda x: np.full_like(x, 9),
     ["Shape", "Expand"]),
    ("Power", "power_param { scale: 0 shift: -3 power: 0.5 }", lambda x: np.full_like(x, np.nan),
     ["Shape", "Expand"]),
    ("Power", "power_param { scale: 0 power: -1 }", lambda x: np.full_like(x, np.inf),
     ["Shape", "Expand"]),
    ("ReLU", "", lambda x: slope(x, 0), ["Relu"]),
    ("ReLU", "relu_param { negative_slope: 0.1 }", lambda x: slope(x, 0.1), ["LeakyRelu"]),
    ("ReLU", "relu_param { negative_slope: -2 }", lambda x: slope(x, -2), ["LeakyRelu"]),
    ("ReLU6", "", lambda x: np.clip(x, 0, 6), ["Clip"]),
    ("ReLU6", "relu6_param { negative_slope: 0.2 }", lambda x: slope(np.minimum(x, 6), 0.2),
     ["Min", "LeakyRelu"]),
    ("SeLu", "", lambda x: 1.05070099 * np.where(x > 0, x, 1.67326324 * np.expm1(x)), ["Selu"]),
    ("SeLuDropout", "", lambda x: x, ["Identity"]),
    ("Sigmoid", "", sigmoid, ["Sigmoid"]),
    ("Softmax", "", lambda x: softmax(x, 1), ["Softmax"]),
    ("Softmax", "softmax_param { axis: -1 }", lambda x: softmax(x, 3), ["Softmax"]),
    ("Softmax", "softmax_param { axis: 0 }", lambda x: softmax(x, 0), ["Softmax"]),
    ("Swish", "", lambda x: x * sigmoid(x), ["Sigmoid", "Mul"]),
    ("Swish", "swish_param { beta: 2.5 }", lambda x: x * sigmoid(2.5 * x),
     ["Mul", "Sigmoid", "Mul"]),
    ("TanH", "", np.tanh, ["Tanh"]),
    ("Threshold", "", lambda x: x > 0, ["Greater", "Cast"]),
    ("Threshold", "threshold_param { threshold: -1.5 }", lambda x: x > -1.5, ["Greater", "Cast"]),
    ("ShuffleChannel", "shuffle_channel_param { group: 3 }",
     lambda x: np.stack([x[:, i * 2 + j] for j in range(2) for i in range(3)], 1), ["Gather"]),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }",
     lambda x: np.stack([x[:, i * 3 + j] for j in range(3) for i in range(2)], 1), ["Gather"]),
    ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }",
     lambda x: x.transpose(0, 2, 3, 1), ["Transpose"]),
    ("Permute", "permute_param { order: 2 }", lambda x: x.transpose(2, 0, 1, 3), ["Transpose"]),
    ("Tile", "tile_param { tiles: 2 }", lambda x: np.concatenate([x, x], 1), ["Tile"]),
    ("Tile", "tile_param { tiles: 3 axis: -1 }", lambda x: np.concatenate([x] * 3, 3), ["Tile"]),
    ("Tile", "tile_param { tiles: 2 axis: 0 }", lambda x: np.concatenate([x] * 2, 0), ["Tile"]),
    ("Reduction", "", np.sum, ["ReduceSum"]),
    ("Reduction", "reduction_param { axis: 1 operation: MEAN coeff: -2 }",
     lambda x: -2 * x.mean((1, 2, 3)), ["ReduceMean", "Mul"]),
    ("Reduction", "reduction_param { axis: -1 operation: ASUM }", lambda x: np.abs(x).sum(3),
     ["ReduceL1"]),
    ("Reduction", "reduction_param { axis: 2 operation: SUMSQ }", lambda x: (x**2).sum((2, 3)),
     ["ReduceSumSquare"]),
    ("Flatten", "", lambda x: x.reshape(len(x), -1), ["Flatten"]),
    ("Flatten", "flatten_param { axis: 2 }", lambda x: x.reshape(*x.shape[:2], -1), ["Reshape"]),
    ("Flatten", "flatten_param { axis: 1 end_axis: 2 }",
     lambda x: x.reshape(len(x), -1, x.shape[3]), ["Shape", "Concat", "Reshape"]),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }",
     lambda x: x.reshape(len(x), -1, x.shape[3]), ["Shape", "Concat", "Reshape"]),
    ("Flatten", "flatten_param { axis: 0 end_axis: 3 }", lambda x: x.reshape(-1), ["Reshape"]),
    ("Flatten", "flatten_param { axis: 2 end_axis: 1 }", lambda x: x[:, :, None], ["Unsqueeze"]),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", lambda x: x.reshape(len(x), -1),
     ["Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 2 dim: -1 } axis: 1 num_axes: 1 }",
     lambda x: x.reshape(len(x), 2, 3, *x.shape[2:]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 2 dim: 3 } axis: 1 num_axes: 1 }",
     lambda x: x.reshape(len(x), 2, 3, *x.shape[2:]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }",
     lambda x: x[..., None], ["Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: 2 num_axes: 0 }",
     lambda x: x[:, :, None, None], ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: -1 } axis: 0 num_axes: 3 }",
     lambda x: x.reshape(-1, x.shape[3]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 6 dim: 0 dim: 1 } axis: 1 num_axes: 2 }",
     lambda x: x[:, :, :, None], ["Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: 2 dim: -1 } axis: 0 }",
     lambda x: x.reshape(len(x), 3, 2, -1), ["Reshape"]),
]  # fmt: skip

# What cuts or groups, at sizes that it fits.
CUTTING = [
    ("Reshape", "reshape_param { shape { dim: 0 dim: 12 dim: -1 } }", ["y"],
     lambda x: [x.reshape(len(x), 12, -1)], ["Reshape"]),
    ("Reshape", "reshape_param { shape { dim: -1 dim: 2 dim: 6 } axis: 0 num_axes: 2 }", ["y"],
     lambda x: [x.reshape(-1, 2, 6, *x.shape[2:])], ["Shape", "Concat", "Reshape"]),
    ("Slice", "", ["a", "b"], lambda x: np.split(x, 2, 1), ["Split"]),
    ("Slice", "slice_param { axis: 2 }", ["a", "b"], lambda x: np.split(x, 2, 2), ["Split"]),
    ("Slice", "slice_param { axis: -1 }", ["a", "b"], lambda x: np.split(x, 2, 3), ["Split"]),
    ("Slice", "slice_param { slice_dim: 0 }", ["a", "b"], lambda x: np.split(x, 2, 0), ["Split"]),
    ("Slice", "slice_param { slice_point: 1 slice_point: 5 }", ["a", "b", "c"],
     lambda x: np.split(x, [1, 5], 1), ["Split"]),
    ("Slice", "slice_param { axis: 2 slice_point: 1 }", ["a", "b"],
     lambda x: np.split(x, [1], 2), ["Slice"] * 2),
    ("Slice", "slice_param { axis: -2 slice_point: 1 }", ["a", "b"],
     lambda x: np.split(x, [1], 2), ["Slice"] * 2),
    ("Slice", "slice_param { axis: 0 slice_point: 1 }", ["a", "b"],
     lambda x: np.split(x, [1], 0), ["Slice"] * 2),
]  # fmt: skip


def check(case_net, feeds_of, oracle, sizes, opset=21):
    model = exported(case_net, opset=opset)
    session = session_of(model)
    for size in sizes:
        feeds = feeds_of(*size)
        with np.errstate(all="ignore"):
            expected = oracle(*(array.astype(np.float64) for array in feeds.values()))
        for found, wanted in zip(run(session, feeds).values(), expected, strict=True):
            wanted = np.asarray(wanted, np.float64)
            assert found.dtype == np.float32
            assert found.shape == wanted.shape
            scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=0)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * scale)
    return model


def title(case):
    return f"{case[0]}-{case[1]}" if isinstance(case, tuple) else None


@pytest.mark.parametrize("case", POINTWISE, ids=title)
def test_at_every_size(case):
    kind, settings, oracle, wanted = case
    net = net_of(one(kind, settings))
    assert net.inputs["x"] == ("N", CHANNELS, "H", "W")
    model = check(net, lambda n, h, w: {"x": image(n, h, w)}, lambda x: [oracle(x)], SIZES)
    assert operators(model) == wanted


@pytest.mark.parametrize("case", CUTTING, ids=title)
def test_what_cuts_at_every_size(case):
    kind, settings, tops, oracle, wanted = case
    net = net_of(input_text(x=(2, CHANNELS, 4, 6)) + layer_text(kind, ["x"], tops, settings))
    # An axis that is cut in two does not fit every size, and stays what it is.
    fitting = [
        size
        for size in EVEN
        if all(
            isinstance(given, str) or given == own
            for given, own in zip((net.inputs["x"][0], *net.inputs["x"][2:]), size, strict=True)
        )
    ] or [(2, 4, 6)]
    model = check(net, lambda n, h, w: {"x": image(n, h, w)}, oracle, fitting)
    assert operators(model) == wanted


@pytest.mark.parametrize("opset", [13, 14, 15, 17, 18, 20, 23, 26])
def test_at_every_opset(opset):
    for kind, setting, oracle, _ in POINTWISE:
        net = net_of(one(kind, setting))
        check(
            net,
            lambda n, h, w: {"x": image(n, h, w)},
            lambda x, f=oracle: [f(x)],
            SIZES[2:3],
            opset,
        )
    for kind, setting, tops, oracle, _ in CUTTING:
        net = net_of(input_text(x=(2, CHANNELS, 4, 6)) + layer_text(kind, ["x"], tops, setting))
        check(net, lambda n, h, w: {"x": image(n, h, w)}, oracle, [(2, 4, 6)], opset)


def test_saturation_does_not_overflow():
    for kind, oracle in (
        ("BNLL", lambda x: np.maximum(x, 0)),
        ("Sigmoid", lambda x: x > 0),
        ("Swish", lambda x: np.maximum(x, 0)),
        ("ELU", lambda x: np.maximum(x, -1)),
    ):
        session = session_of(exported(net_of(one(kind))))
        x = np.where(image(1, 4, 6) > 0, 200, -200).astype(np.float32)
        np.testing.assert_allclose(run(session, {"x": x})["y"], oracle(x), atol=1e-6)
    session = session_of(exported(net_of(one("Softmax"))))
    assert np.isfinite(run(session, {"x": 1000 * image(1, 4, 6)})["y"]).all()


def test_a_value_at_the_threshold_is_not_above_it():
    session = session_of(exported(net_of(one("Threshold", "threshold_param { threshold: 1 }"))))
    x = ties(2, 4, 6)
    assert (x == 1).any()
    np.testing.assert_array_equal(run(session, {"x": x})["y"], x > 1)


# Several bottoms -------------------------------------------------------------------------------

ELTWISE = [
    ("", 2, lambda *x: x[0] + x[1], ["Add"]),
    ("", 4, lambda *x: sum(x), ["Sum"]),
    ("eltwise_param { coeff: 1 coeff: 1 coeff: 1 }", 3, lambda *x: sum(x), ["Sum"]),
    ("eltwise_param { coeff: 1 coeff: -1 }", 2, lambda *x: x[0] - x[1], ["Sub"]),
    ("eltwise_param { coeff: -1 coeff: 1 }", 2, lambda *x: x[1] - x[0], ["Mul", "Add"]),
    ("eltwise_param { coeff: 2 coeff: 0 coeff: -0.5 }", 3, lambda *x: 2 * x[0] - 0.5 * x[2],
     ["Mul", "Mul", "Mul", "Sum"]),
    ("eltwise_param { operation: PROD }", 2, lambda *x: x[0] * x[1], ["Mul"]),
    ("eltwise_param { operation: PROD }", 3, lambda *x: x[0] * x[1] * x[2], ["Mul", "Mul"]),
    ("eltwise_param { operation: MAX }", 2, lambda *x: np.maximum(x[0], x[1]), ["Max"]),
    ("eltwise_param { operation: MAX }", 3, lambda *x: np.max(x, 0), ["Max"]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "count", "oracle", "wanted"), ELTWISE)
@pytest.mark.parametrize("opset", [13, 21, 26])
def test_eltwise(settings, count, oracle, wanted, opset):
    names = "abcd"[:count]
    shapes = dict.fromkeys(names, (2, CHANNELS, 4, 6))
    net = net_of(input_text(**shapes) + layer_text("Eltwise", names, ["y"], settings))
    model = check(
        net,
        lambda n, h, w: {name: image(n, h, w, seed) for seed, name in enumerate(names)},
        lambda *x: [oracle(*x)],
        SIZES,
        opset,
    )
    assert operators(model) == wanted


def test_eltwise_of_a_blob_with_itself():
    net = net_of(one("ReLU") + layer_text("Eltwise", ["y", "y"], ["z"]))
    check(net, lambda n, h, w: {"x": image(n, h, w)}, lambda x: [2 * np.maximum(x, 0)], SIZES)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
def test_concat_of_different_sizes(axis):
    shapes = {name: [2, CHANNELS, 4, 6] for name in "abc"}
    shapes["b"][axis] += 1
    net = net_of(
        input_text(**shapes)
        + layer_text("Concat", "abc", ["y"], f"concat_param {{ axis: {axis} }}")
    )

    def feeds(n, h, w):
        images = {name: image(n, h, w, seed) for seed, name in enumerate("abc")}
        images["b"] = np.concatenate([images["b"], images["c"].take([0], axis)], axis)
        return images

    check(net, feeds, lambda *x: [np.concatenate(x, axis)], SIZES)


def axpy(a, x, y):
    return [a.reshape(*a.shape[:2], *[1] * (x.ndim - 2)) * x + y]


@pytest.mark.parametrize(("a_axes", "axes"), list(product([2, 3, 4], [2, 3, 4, 5])))
def test_axpy(a_axes, axes):
    def shapes(n, h, w):
        image_shape = (n, CHANNELS, h, w, 3)[:axes]
        return {"a": (n, CHANNELS, 1, 1)[:a_axes], "x": image_shape, "y": image_shape}

    def feeds(n, h, w):
        generator = np.random.default_rng(n)
        return {
            name: generator.normal(size=shape).astype(np.float32)
            for name, shape in shapes(n, h, w).items()
        }

    net = net_of(input_text(**shapes(2, 4, 6)) + layer_text("Axpy", "axy", ["z"]))
    check(net, feeds, axpy, SIZES)


def test_batch_reindex_repeats_and_leaves_out():
    net = net_of(input_text(x=(4, 2, 3, 2), i=(3,)) + layer_text("BatchReindex", "xi", ["y"]))
    session = session_of(exported(net))
    for items, indices in ((4, [3, 0, 3]), (2, [1]), (3, [2, 2, 1, 0, 0])):
        x = image(items, 3, 2)[:, :2]
        np.testing.assert_array_equal(run(session, {"x": x, "i": indices})["y"], x[indices])


@pytest.mark.parametrize("bias", [True, False])
def test_embed(bias):
    settings = f"embed_param {{ input_dim: 7 num_output: 4 bias_term: {str(bias).lower()} }}"
    net = net_of(input_text(x=(2, 3)) + layer_text("Embed", ["x"], ["y"], settings))
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(7, 4)).astype(np.float32)
    biases = generator.normal(size=4).astype(np.float32)
    session = session_of(exported(net, {"it": [vectors, biases] if bias else [vectors]}))
    for shape in ((1, 1), (2, 3), (5, 4)):
        x = generator.uniform(0, 6.99, shape)  # C cuts 5.9 off to 5
        expected = vectors[x.astype(np.float32).astype(int)] + (biases if bias else 0)
        np.testing.assert_array_equal(run(session, {"x": x})["y"], expected)


# ArgMax ----------------------------------------------------------------------------------------


def ranked(values, top_k):
    """The top_k greatest of a list: std::partial_sort with std::greater on (value, index)."""
    return sorted(((value, place) for place, value in enumerate(values)), reverse=True)[:top_k]


def argmax(x, axis, top_k, values_too):
    if axis is not None:
        rows = np.moveaxis(x, axis, -1)
        found = np.array([ranked(row, top_k) for row in rows.reshape(-1, rows.shape[-1])])
        chosen = found[..., 0 if values_too else 1].reshape(*rows.shape[:-1], top_k)
        return np.moveaxis(chosen, -1, axis)
    found = np.array([ranked(row, top_k) for row in x.reshape(len(x), -1)])
    places, values = found[..., 1], found[..., 0]
    top = np.stack([places, values], 1) if values_too else places[:, None]
    return top.reshape(*top.shape, *[1] * (x.ndim - 3))


@pytest.mark.parametrize("top_k", [1, 2, 5])
@pytest.mark.parametrize("values_too", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("opset", [13, 21, 26])
def test_argmax(top_k, values_too, axis, opset):
    settings = f"top_k: {top_k} out_max_val: {str(values_too).lower()}"
    if axis is not None:
        settings += f" axis: {axis}"
    net = net_of(
        input_text(x=(6, CHANNELS, 5, 7))
        + layer_text("ArgMax", ["x"], ["y"], f"argmax_param {{ {settings} }}")
    )
    assert net.inputs["x"] == ("N", CHANNELS, "H", "W")
    check(
        net,
        lambda n, h, w: {"x": ties(n, h, w)},
        lambda x: [argmax(x, axis, top_k, values_too)],
        [(5, 3, 5), (6, 1, 9)],
        opset,
    )


@pytest.mark.parametrize("shape", [(3,), (3, 8), (3, 8, 2), (3, 2, 2, 2, 3)])
@pytest.mark.parametrize("values_too", [False, True])
def test_argmax_of_any_rank(shape, values_too):
    settings = f"argmax_param {{ out_max_val: {str(values_too).lower()} }}"
    net = net_of(input_text(x=shape) + layer_text("ArgMax", ["x"], ["y"], settings))
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    check(net, lambda: {"x": x}, lambda x: [argmax(x, None, 1, values_too)], [()])


# Layers that do nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Dropout", "dropout_param { dropout_ratio: 0.3 }"),
        ("Split", ""),
        ("Concat", ""),
        ("Slice", ""),
        ("Power", ""),
        ("Permute", "permute_param { order: 0 order: 1 }"),
        ("Tile", "tile_param { tiles: 1 }"),
        ("Flatten", "flatten_param { axis: 1 end_axis: 1 }"),
    ],
)
def test_what_does_nothing_leaves_no_operator(kind, settings):
    net = net_of(
        one("ReLU")
        + layer_text(kind, ["y"], ["z"], settings)
        + layer_text("AbsVal", ["z"], ["out"])
    )
    model = check(net, lambda n, h, w: {"x": image(n, h, w)}, lambda x: [np.maximum(x, 0)], SIZES)
    assert operators(model) == ["Relu", "Abs"]


def test_a_chain_in_place_is_written_by_its_last_layer_that_does_something():
    text = input_text(x=(2, CHANNELS, 4, 6)) + "".join(
        layer_text(kind, [bottom], ["y"])
        for kind, bottom in (("AbsVal", "x"), ("ReLU", "y"), ("Dropout", "y"))
    )
    model = check(net_of(text), lambda n, h, w: {"x": image(n, h, w)}, lambda x: [np.abs(x)], SIZES)
    assert operators(model) == ["Abs", "Relu"]
    assert [output.name for output in model.graph.output] == ["y"]


def test_silence_leaves_nothing_behind():
    text = one("ReLU") + layer_text("AbsVal", ["x"], ["z"]) + layer_text("Silence", ["z"], [])
    model = exported(net_of(text))
    assert operators(model) == ["Relu"]
    assert [output.name for output in model.graph.output] == ["y"]


def test_parameter_is_read_as_an_array():
    text = (
        input_text(x=(2, 3))
        + layer_text("Parameter", [], ["p"], "parameter_param { shape { dim: 2 dim: 3 } }")
        + layer_text("Eltwise", ["x", "p"], ["y"]).replace("it", "sum")
    )
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    session = session_of(exported(net_of(text), {"it": [array]}))
    x = np.ones((2, 3))
    np.testing.assert_array_equal(run(session, {"x": x})["y"], x + array)


def test_shuffled_channels_of_two_axes():
    net = net_of(
        input_text(x=(2, 6))
        + layer_text("ShuffleChannel", ["x"], ["y"], "shuffle_channel_param { group: 2 }")
    )
    session = session_of(exported(net))
    for channels in (6,):  # an odd number could not be shuffled in two
        x = np.arange(3 * channels).reshape(3, channels)
        expected = x.reshape(3, 2, -1).transpose(0, 2, 1).reshape(3, channels, 1, 1)
        np.testing.assert_array_equal(run(session, {"x": x})["y"], expected)


# What cannot be written ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bottoms", "settings", "message"),
    [
        ("Dropout", "x", "phase: TRAIN", "in the TRAIN phase it drops values at random"),
    ],
)
def test_what_is_random_or_depends_on_data_is_refused(kind, bottoms, settings, message):
    text = input_text(x=(2, 3, 4, 5), s=(2,)) + layer_text(kind, bottoms, ["y"], settings)
    with pytest.raises(NetError, match=message) as caught:
        net_of(text)
    assert "layer 'it'" in str(caught.value)


def test_reshaping_where_the_sizes_do_not_fit_fails_as_in_caffe():
    session = session_of(
        exported(net_of(one("Reshape", "reshape_param { shape { dim: 0 dim: 12 dim: -1 } }")))
    )
    # 6 channels of H × 6 are always rows of 12; of any width they are not.
    with pytest.raises(Exception, match="index: 3 Got: 1 Expected: 6"):
        run(session, {"x": image(1, 1, 1)})
    assert prod(run(session, {"x": image(1, 5, 6)})["y"].shape) == 180


# Any rank, any setting -------------------------------------------------------------------------


@st.composite
def reshapes(draw):
    """A shape, and settings of Reshape or Flatten that Caffe may or may not accept for it."""
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5))
    axes = len(shape)
    if draw(st.booleans()):
        start, end = draw(st.integers(-axes, axes - 1)), draw(st.integers(-axes, axes - 1))
        return shape, "Flatten", f"flatten_param {{ axis: {start} end_axis: {end} }}"
    start = draw(st.integers(0, axes))
    count = draw(st.integers(0, axes - start))
    sizes = shape[start : start + count]
    for place in range(len(sizes)):
        if draw(st.booleans()):
            sizes[place] = 0
    for new in draw(st.lists(st.sampled_from([1, -1, 0, 2]), max_size=2)):
        sizes.insert(draw(st.integers(0, len(sizes))), new)
    dims = " ".join(f"dim: {size}" for size in sizes)
    where = f"axis: {draw(st.sampled_from([start, start - axes - 1]))} num_axes: {count}"
    return shape, "Reshape", f"reshape_param {{ shape {{ {dims} }} {where} }}"


@settings(max_examples=150, deadline=None)
@given(case=reshapes(), data=st.data())
def test_values_keep_their_order_in_any_shape(case, data):
    shape, kind, setting = case
    try:
        net = net_of(input_text(x=shape) + layer_text(kind, ["x"], ["y"], setting))
    except NetError:
        return  # what Caffe refuses
    layer = net.graph.nodes[-1].layer
    session = session_of(exported(net))
    for _ in range(4):
        size = tuple(
            data.draw(st.integers(1, 7)) if isinstance(known, str) else known
            for known in net.inputs["x"]
        )
        try:
            (wanted,) = layer.output_shapes([size])
        except LayerError:
            continue
        x = np.arange(prod(size), dtype=np.float32).reshape(size)
        found = run(session, {"x": x})["y"]
        assert found.shape == wanted
        np.testing.assert_array_equal(found, x.reshape(wanted))
