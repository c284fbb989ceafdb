"""Layers without learned arrays, exported once and run at many sizes, against plain numpy."""

from itertools import product
from math import prod

import numpy as np
import pytest
from exporting import exported, input_text, layer_text, net_of, operators, run, session_of

from fcnproto.errors import NetError

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
    ("SeLu", "", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
     ["Selu"]),
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
    ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: 3 dim: 0 } axis: 0 num_axes: 3 }",
     None, None),
    ("Reshape", "reshape_param { shape { dim: 2 dim: -1 } axis: 1 num_axes: 1 }",
     lambda x: x.reshape(len(x), 2, 3, *x.shape[2:]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 2 dim: 3 } axis: 1 num_axes: 1 }",
     lambda x: x.reshape(len(x), 2, 3, *x.shape[2:]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }",
     lambda x: x[..., None], ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: 2 num_axes: 0 }",
     lambda x: x[:, :, None, None], ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: -1 } axis: 0 num_axes: 3 }",
     lambda x: x.reshape(-1, x.shape[3]), ["Shape", "Concat", "Reshape"]),
    ("Reshape", "reshape_param { shape { dim: 3 dim: 2 dim: 0 } axis: 1 num_axes: 2 }",
     None, None),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: 2 dim: -1 dim: 0 } num_axes: 3 }",
     None, None),
    ("Reshape", "reshape_param { shape { dim: 6 dim: 0 dim: 1 } axis: 1 num_axes: 2 }",
     lambda x: x[:, :, :, None], ["Shape", "Concat", "Reshape"]),
]  # fmt: skip
