"""Every layer's PyTorch form: what it computes and what flows back, as real Caffe's does.

The oracle is golden/layers and golden/forks: outputs, and gradients for a gradient put in. What
they lack is compared with finite differences, or worked out by hand.
"""

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from paths import GOLDEN

from fcnproto.errors import LayerError, NetError
from fcnproto.layers import layer_types
from fcnproto.layers.base import Context, Layer, Torch
from fcnproto.layers.known import Known
from fcnproto.net.graph import State
from fcnproto.proto.caffe_pb2 import TEST, TRAIN, BlobProto, LayerParameter
from fcnproto.proto.source import parse_net
from fcnproto.training.net import Net

FOLDERS = "layers", "layers2", "forks", "forks2", "crfrnn"
CASES = sorted(path for folder in FOLDERS for path in (GOLDEN / folder).glob("*.npz"))

# Only its weights tell SegNet's BN from PSPNet's here, and they are in no prototxt.
FORMS = {"bn_segnet_learn": "bn_mode: LEARN"}

# These lie in the memory of a blob that is overwritten afterwards, which shows in Caffe.
OVERWRITTEN = {"net_inplace_chain": ["c1", "v"]}

# SegNet's BN takes the gradient of its scale from its bottom, which it has overwritten itself.
UNLIKE = {"bn_segnet_inplace": ["c_bn/0"]}

# Ten iterations of a mean field after a convolution, whose rounding grows in them.
LOOSER = {"crfrnn_v1_it10": 5}


def part(arrays, prefix):
    return {
        key.removeprefix(prefix + "/"): array
        for key, array in arrays.items()
        if key.startswith(prefix + "/")
    }


def by_layer(flat):
    weights = {}
    for key in sorted(flat):
        weights.setdefault(key.rpartition("/")[0], []).append(flat[key])
    return weights


def run(path):
    """A golden net with its weights, the tensors fed in, and the pass over them."""
    arrays = dict(np.load(path))
    fed = part(arrays, "in")
    text = path.with_suffix(".prototxt").read_text()
    if path.stem in FORMS:
        text = text.replace('type: "BN"', f'type: "BN" bn_param {{ {FORMS[path.stem]} }}')
    net = Net(parse_net(text), State(TEST), shapes=shapes(fed))
    net.load(by_layer(part(arrays, "param")))
    for parameter in net.parameters:
        parameter.tensor.requires_grad_()
    values = net.take(fed)
    for tensor in values.values():
        tensor.requires_grad_()
    versions = {name: version for version, name in net.graph.blobs.items() if version == name}
    outputs = [versions[name] for name in part(arrays, "out")]
    return arrays, net, values, net.run(values, keep=outputs)


def shapes(fed):
    return {name: np.shape(array) for name, array in fed.items()}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_outputs_are_caffes(path):
    arrays, _, _, done = run(path)
    for name, expected in part(arrays, "out").items():
        if name in OVERWRITTEN.get(path.stem, ()):
            continue
        found = done.blobs[name].detach().numpy()
        assert found.shape == expected.shape
        # Sums of many products of either sign: relative to the largest.
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6 * scale)


WITH_GRADIENTS = [
    path for path in CASES if any(key.startswith("diff/") for key in np.load(path).files)
]


@pytest.mark.parametrize("path", WITH_GRADIENTS, ids=lambda path: path.stem)
def test_gradients_are_caffes(path):
    arrays, net, values, done = run(path)
    given = part(arrays, "topdiff")
    total = sum(((done.blobs[name] * torch.tensor(given[name])).sum() for name in given), done.loss)
    total.backward()
    for name, expected in part(arrays, "diff").items():
        gradient = values[name].grad
        assert_gradient(gradient, expected, LOOSER.get(path.stem, 1))
    flat = part(arrays, "paramdiff")
    for index, node in enumerate(net.graph.nodes):
        for number, use in enumerate(net._uses[index]):
            title = f"{node.layer.name}/{number}"
            if title not in UNLIKE.get(path.stem, ()):
                # Layers that share an array may each see it in a shape of their own.
                found = net.parameters[use.parameter].tensor
                expected = flat[title].reshape(found.shape)
                assert_gradient(found.grad, expected, LOOSER.get(path.stem, 1))


def assert_gradient(found, expected, looser=1):
    found = np.zeros_like(expected) if found is None else found.numpy()
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=looser * 2e-6 * scale)


# Losses, by Caffe's own formulas ---------------------------------------------------------------


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def loss_net(kind, shapes_in, more="", phase=TRAIN):
    """A net of one loss, with an Input layer for each bottom."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{'
        + " ".join(f"dim: {size}" for size in shape)
        + " } } }\n"
        for name, shape in shapes_in.items()
    )
    bottoms = " ".join(f'bottom: "{name}"' for name in shapes_in)
    tops = "" if 'top: "' in more else 'top: "loss"'
    text = f'{inputs} layer {{ name: "loss" type: "{kind}" {bottoms} {tops} {more} }}'
    return Net(parse_net(text), State(phase))


def loss_and_gradient(kind, arrays, more="", wanted="x"):
    net = loss_net(kind, shapes(arrays), more)
    values = net.take(arrays)
    values[wanted].requires_grad_()
    loss = net.run(values).loss
    loss.backward()
    return float(loss.detach()), values[wanted].grad.numpy()


RNG = np.random.default_rng(1)
SCORES = RNG.standard_normal((3, 4, 2, 2)).astype(np.float32)
LABELS = RNG.integers(0, 4, (3, 1, 2, 2)).astype(np.float32)
LABELS[0, 0, 0, 0] = LABELS[2, 0, 1, 0] = 9
MODES = {
    "": lambda valid: valid,
    "normalization: FULL": lambda valid: 12,
    "normalization: BATCH_SIZE": lambda valid: 3,
    "normalization: NONE": lambda valid: 1,
    "normalize: false": lambda valid: 3,
    "normalize: true": lambda valid: valid,
    "normalize: false normalization: NONE": lambda valid: 1,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weight", [1, 2.5])
def test_softmax_with_loss(mode, weight):
    more = f"loss_param {{ ignore_label: 9 {mode} }}" + (f" loss_weight: {weight}" * (weight != 1))
    loss, gradient = loss_and_gradient("SoftmaxWithLoss", {"x": SCORES, "y": LABELS}, more)
    p = softmax(SCORES.astype(float), 1)
    counted = LABELS[:, 0] != 9
    onehot = (np.arange(4)[None, :, None, None] == LABELS).astype(float)
    divisor = MODES[mode](counted.sum())
    expected = -(np.log(p) * onehot).sum() / divisor * weight
    assert loss == pytest.approx(expected, rel=1e-5)
    slopes = (p - onehot) * counted[:, None] / divisor * weight
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-7)


def test_softmax_with_loss_caps_the_loss_but_not_its_gradient():
    """-log of the smallest float, where the probability is less (softmax_loss_layer.cpp)."""
    arrays = {"x": np.array([[200.0, 0.0]]), "y": np.array([1.0])}
    loss, gradient = loss_and_gradient("SoftmaxWithLoss", arrays)
    assert loss == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6)
    np.testing.assert_allclose(gradient, [[1, -1]])


@pytest.mark.parametrize("mode", MODES)
def test_sigmoid_cross_entropy_loss(mode):
    x = SCORES[:, :2, :, 0].reshape(3, 4)
    targets = np.array([[0, 1, 0.25, 9], [1, 1, 0, 0], [9, 0.5, 1, 0]], np.float32)
    arrays = {"x": x, "y": targets}
    loss, gradient = loss_and_gradient(
        "SigmoidCrossEntropyLoss", arrays, f"loss_param {{ ignore_label: 9 {mode} }}"
    )
    counted = targets.astype(int) != 9
    p = 1 / (1 + np.exp(-x.astype(float)))
    each = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    divisor = 3 if mode == "" else MODES[mode](counted.sum())
    assert loss == pytest.approx(each[counted].sum() / divisor, rel=1e-5)
    np.testing.assert_allclose(gradient, (p - targets) * counted / divisor, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_loss(norm):
    x, labels = SCORES.reshape(3, 16)[:, :5], np.array([1.0, 4.0, 0.0])
    more = f"hinge_loss_param {{ norm: {norm} }}"
    loss, gradient = loss_and_gradient("HingeLoss", {"x": x, "y": labels}, more)
    signs = np.where(labels[:, None] == np.arange(5), -1, 1)
    lack = np.maximum(0, 1 + signs * x)
    expected, slope = (lack, lack > 0) if norm == "L1" else (lack**2, 2 * lack)
    assert loss == pytest.approx(expected.sum() / 3, rel=1e-5)
    np.testing.assert_allclose(gradient, slope * signs / 3, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("given_by", ["bottom", "file"])
def test_infogain_loss(given_by, tmp_path):
    matrix = RNG.random((4, 4)).astype(np.float32)
    arrays = {"x": SCORES, "y": LABELS}
    more = "loss_param { ignore_label: 9 }"
    if given_by == "bottom":
        arrays["h"] = matrix
    else:
        blob = BlobProto(data=matrix.ravel(), shape={"dim": [1, 1, 4, 4]})
        (tmp_path / "h.binaryproto").write_bytes(blob.SerializeToString())
        more += f' infogain_loss_param {{ source: "{tmp_path / "h.binaryproto"}" }}'
    loss, gradient = loss_and_gradient("InfogainLoss", arrays, more)
    p = softmax(SCORES.astype(float), 1)
    counted = LABELS[:, 0] != 9
    rows = np.moveaxis(matrix[np.where(counted, LABELS[:, 0], 0).astype(int)], -1, 1)
    rows = rows * counted[:, None]
    assert loss == pytest.approx(-(rows * np.log(p)).sum() / counted.sum(), rel=1e-5)
    slopes = (p * rows.sum(1, keepdims=True) - rows) / counted.sum()
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("content", [None, b"\xff\xff", b""])
def test_an_infogain_matrix_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "h"
    if content is not None:
        path.write_bytes(content)
    more = f'infogain_loss_param {{ source: "{path}" }}'
    with pytest.raises(NetError, match="layer 'loss': its matrix"):
        loss_and_gradient("InfogainLoss", {"x": SCORES, "y": np.zeros((3, 1, 2, 2))}, more)


def test_multinomial_logistic_loss():
    x = np.array([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]], np.float32)
    labels = np.array([1.0, 1.0, 0.0])
    loss, gradient = loss_and_gradient("MultinomialLogisticLoss", {"x": x, "y": labels})
    own = np.maximum([0.8, 0.0, 0.5], 1e-20)
    assert loss == pytest.approx(-np.log(own).sum() / 3, rel=1e-5)
    expected = np.array([[0, -1 / 0.8], [0, -1e20], [-2, 0]]) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wanted", ["x", "z"])
def test_contrastive_loss(legacy, wanted):
    a, b = RNG.standard_normal((2, 5, 3)).astype(np.float32) * 0.5
    similar = np.array([1.0, 0, 0, 1, 0])
    more = f"contrastive_loss_param {{ margin: 1.5 legacy_version: {str(legacy).lower()} }}"
    arrays = {"x": a, "z": b, "y": similar}
    loss, gradient = loss_and_gradient("ContrastiveLoss", arrays, more, wanted)
    difference = (a - b).astype(float)
    squared = (difference**2).sum(1)
    distance = np.sqrt(squared)
    if legacy:
        lack = np.maximum(1.5 - squared, 0)
        apart, slope = lack, np.where(lack > 0, -1.0, 0.0)
    else:
        lack = np.maximum(1.5 - distance, 0)
        apart, slope = lack**2, -lack / (distance + 1e-4)  # contrastive_loss_layer.cpp
    assert loss == pytest.approx(np.where(similar, squared, apart).sum() / 10, rel=1e-5)
    factor = np.where(similar, 1.0, slope)[:, None] / 5 * (1 if wanted == "x" else -1)
    np.testing.assert_allclose(gradient, factor * difference, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("wanted", ["x", "z"])
def test_euclidean_loss(wanted):
    a, b = RNG.standard_normal((2, 5, 3)).astype(np.float32)
    loss, gradient = loss_and_gradient("EuclideanLoss", {"x": a, "z": b}, "", wanted)
    assert loss == pytest.approx(((a - b) ** 2).sum() / 10, rel=1e-5)
    np.testing.assert_allclose(gradient, (a - b) / 5 * (1 if wanted == "x" else -1), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_deeplabs_loss_ignores_a_label(seed):
    """The mean over the other labels, of batches whose images have unlike numbers of them."""
    rng = np.random.default_rng(seed)
    arrays = {"x": rng.standard_normal((2, 3, 4, 5)), "y": rng.integers(0, 3, (2, 1, 4, 5)) * 1.0}
    arrays["y"][0, 0, :3] = 255
    loss, gradient = loss_and_gradient(
        "SoftmaxWithLoss", arrays, "softmaxloss_param { ignore_label: 255 }"
    )
    counted = arrays["y"][:, 0] != 255
    truth = np.where(counted, arrays["y"][:, 0], 0).astype(int)
    chances = softmax(arrays["x"], 1)
    own = np.take_along_axis(chances, truth[:, None], 1)[:, 0]
    assert loss == pytest.approx(-np.log(own)[counted].mean(), rel=1e-5)
    expected = (chances - np.eye(3)[truth].transpose(0, 3, 1, 2)) * counted[:, None] / counted.sum()
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("reset", [True, False])
def test_seg_accuracy_is_three_measures_of_a_confusion_matrix(reset):
    """Counted pixel by pixel; of the classes 0 to 3 the last neither occurs nor is predicted."""
    rng = np.random.default_rng(0)
    more = f'top: "a" seg_accuracy_param {{ ignore_label: 255 reset: {str(reset).lower()} }}'
    net = loss_net("SegAccuracy", {"x": (2, 4, 3, 5), "y": (2, 1, 3, 5)}, more)
    matrix = np.zeros((4, 4))
    for _ in range(3):
        scores, labels = rng.integers(0, 3, (2, 4, 3, 5)) * 1.0, rng.integers(0, 3, (2, 1, 3, 5))
        scores[:, 3], labels[:, :, 0] = -1, 255
        matrix *= not reset
        for image, row, column in np.argwhere(labels[:, 0] != 255):
            pixel = scores[image, :, row, column]
            best = max(range(4), key=lambda c, pixel=pixel: (pixel[c], c))
            matrix[labels[image, 0, row, column], best] += 1
        found = net.run(net.take({"x": scores, "y": labels * 1.0})).blobs["a"]
    hits, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    expected = [hits.sum() / matrix.sum(), (hits / matrix.sum(1).clip(1))[:3].mean()]
    expected.append((np.append((hits / union.clip(1))[:3], 1)).mean())
    np.testing.assert_allclose(found.reshape(3), expected, rtol=1e-6)
    assert found.shape == (1, 1, 1, 3)


def test_accuracy_counts_ties_against_the_label():
    """Other classes with the same score come before it (accuracy_layer.cpp)."""
    scores = np.array([[1.0, 1, 0], [0, 2, 1], [3, 1, 2], [0, 0, 1]])
    labels = np.array([0.0, 1, 2, 9])
    more = 'top: "a" top: "b" accuracy_param { top_k: %d ignore_label: 9 }'
    for top_k, whole, each in ((1, 1 / 3, [0, 1, 0]), (2, 1, [1, 1, 1])):
        net = loss_net("Accuracy", {"x": scores.shape, "y": labels.shape}, more % top_k)
        blobs = net.run(net.take({"x": scores, "y": labels})).blobs
        assert float(blobs["a"]) == pytest.approx(whole)
        np.testing.assert_allclose(blobs["b"], each)


# Everything else without a golden gradient: finite differences in float64 -----------------------

DIFFERENCES = {
    "BatchNorm": [('type: "BatchNorm"', [(4, 2, 3)])],
    "LSTM": [
        ('type: "LSTM" bottom: "b" recurrent_param { num_output: 2 }', [(3, 2, 2), "marks"]),
        ('type: "LSTM" bottom: "b" bottom: "c" recurrent_param { num_output: 2 }',
         [(3, 2, 2), "marks", (2, 3)]),
        ('type: "LSTM" bottom: "b" bottom: "c" bottom: "d" top: "u" top: "v"'
         " recurrent_param { num_output: 2 expose_hidden: true }",
         [(3, 2, 2), "marks", (1, 2, 2), (1, 2, 2)]),
    ],
    "RNN": [('type: "RNN" bottom: "b" recurrent_param { num_output: 2 }', [(3, 2, 2), "marks"])],
    "LSTMUnit": [('type: "LSTMUnit" bottom: "b" bottom: "c" top: "u"',
                  [(1, 2, 3), (1, 2, 12), "row"])],
    "SPP": [('type: "SPP" spp_param { pyramid_height: 2 pool: AVE }', [(1, 2, 4, 5)]),
            ('type: "SPP" spp_param { pyramid_height: 3 }', [(1, 2, 4, 6)])],
    "Embed": [('type: "Embed" embed_param { input_dim: 3 num_output: 2 }', ["row"])],
    "BatchReindex": [('type: "BatchReindex" bottom: "b"', [(2, 3), "index"])],
    "Filter": [('type: "Filter" bottom: "b"', [(2, 3), "index"])],
    "Padding": [('type: "Padding" padding_param { pad_beg: 1 pad_end: 2 }', [(1, 2, 3, 3)]),
                ('type: "Padding" padding_param { pad_beg: -1 }', [(1, 2, 3, 3)])],
    "Parameter": [('type: "Parameter" parameter_param { shape { dim: 2 } }', [])],
    "Bias": [('type: "Bias" bottom: "b"', [(2, 3, 2), (3,)])],
    "Eltwise": [('type: "Eltwise" bottom: "b" bottom: "c" eltwise_param { operation: PROD }',
                 [(2, 3), (2, 3), (2, 3)])],
    "Convolution": [
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 axis: 2 }',
         [(2, 2, 3, 4, 3)]),
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 pad: 1 }',
         [(1, 2, 3, 2, 3)]),
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 5 stride: 3 }',
         [(1, 1, 3, 4)]),
        ('type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 dilation: 0 }',
         [(1, 2, 3, 3)]),
        ('type: "Convolution" convolution_param { num_output: 2 }', [(2, 3)]),
    ],
    "Deconvolution": [
        ('type: "Deconvolution" convolution_param { num_output: 2 kernel_size: 3 stride: 2 }',
         [(2, 2, 3)]),
    ],
    "LRN": [('type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 1.5 }', [(1, 4, 2, 2)])],
    "Im2col": [
        ('type: "Im2col" convolution_param { kernel_size: 2 dilation: 2 pad: 1 }', [(2, 2, 4, 3)]),
    ],
    "BN": [('type: "BN" bn_param { bn_mode: LEARN } top: "u" top: "v"', [(2, 2, 2, 3)]),
           ('type: "BN" bn_param { frozen: false }', [(2, 2, 2, 3)])],
    "Upsample": [('type: "Upsample" upsample_param { scale: 2 }', [(1, 2, 2, 3)])],
}  # fmt: skip


def bottom(shape, rng):
    special = {
        "marks": np.array([[0.0, 1], [1, 1], [1, 0]]),
        "row": np.array([[1.0, 0]]),
        "index": np.array([1.0, 0]),
    }
    return special[shape] if isinstance(shape, str) else rng.standard_normal(shape)


def tools():
    generator = torch.Generator()
    generator.manual_seed(3)
    rng = np.random.default_rng(3)
    return Torch(torch, torch.nn.functional, torch.device("cpu"), generator, rng, {})


@pytest.mark.parametrize(
    ("text", "given"), [case for cases in DIFFERENCES.values() for case in cases]
)
def test_gradients_are_those_of_small_differences(text, given):
    first = 'bottom: "a"' if given else ""
    proto = text_format.Parse(f'name: "l" {first} top: "t" {text}', LayerParameter())
    layer = layer_types()[proto.type](proto, Context(TRAIN))
    rng = np.random.default_rng(2)
    bottoms = [torch.tensor(bottom(shape, rng)) for shape in given]
    moving = [not isinstance(shape, str) for shape in given]
    sizes = [tuple(each.shape) for each in bottoms]
    weights = [torch.tensor(rng.standard_normal(each.shape)) for each in layer.weights(sizes)]
    learned = [layer.param_spec(index).lr_mult != 0 for index in range(len(weights))]
    for tensor, moves in zip([*bottoms, *weights], [*moving, *learned], strict=True):
        tensor.requires_grad_(moves)

    def compute(*tensors):
        own = [tensor.clone() for tensor in tensors[len(bottoms) :]]
        return tuple(layer.torch(tools(), tensors[: len(bottoms)], own))

    assert torch.autograd.gradcheck(compute, (*bottoms, *weights))
    tops = compute(*bottoms, *weights)
    for top, shape in zip(tops, layer.output_shapes(sizes), strict=True):
        assert tuple(top.shape) == shape or proto.type == "Filter"


def test_of_equal_maxima_the_second_of_the_first_two_takes_the_gradient():
    """Then only what is greater (eltwise_layer.cpp)."""
    text = 'type: "Eltwise" bottom: "b" bottom: "c" eltwise_param { operation: MAX }'
    bottoms = [torch.ones(1, requires_grad=True) for _ in range(3)]
    layer_of(text).torch(tools(), bottoms, ())[0].sum().backward()
    assert [float(x.grad) for x in bottoms] == [0, 1, 0]


# Chance ---------------------------------------------------------------------------------------


def layer_of(text, phase=TRAIN):
    proto = text_format.Parse(f'name: "l" bottom: "a" top: "t" {text}', LayerParameter())
    return layer_types()[proto.type](proto, Context(phase))


def test_dropout_keeps_the_mean_in_training_and_all_in_test():
    layer, x = layer_of('type: "Dropout" dropout_param { dropout_ratio: 0.3 }'), torch.ones(20000)
    (top,) = layer.torch(tools(), [x], ())
    assert top.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert float(top.mean()) == pytest.approx(1, abs=0.02)
    test = layer_of('type: "Dropout"', TEST)
    assert test.torch(tools(), [x], ())[0] is x


def test_selu_dropout_is_alpha_dropout_in_training_and_nothing_in_test():
    layer = layer_of('type: "SeLuDropout" selu_dropout_param { dropout_ratio: 0.3 }')
    x = torch.nn.functional.selu(torch.randn(40000, generator=torch.Generator().manual_seed(5)))
    (top,) = layer.torch(tools(), [x], ())
    theirs = torch.nn.functional.alpha_dropout(x, 0.3, training=True)
    dropped, other = (each == each.mode().values for each in (top, theirs))
    assert float(dropped.double().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(top[dropped][0]) == pytest.approx(float(theirs[other][0]), rel=1e-5)
    both = ~dropped & ~other
    torch.testing.assert_close(top[both], theirs[both], rtol=1e-5, atol=1e-6)
    assert abs(float(top.mean())) < 0.02 and float(top.var()) == pytest.approx(1, abs=0.03)
    test = layer_of('type: "SeLuDropout"', TEST)
    assert test.torch(tools(), [x], ())[0] is x


def test_stochastic_pooling_draws_by_size():
    text = 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }'
    x = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).repeat(1, 1, 100, 100)
    (top,) = layer_of(text).torch(tools(), [x], ())
    assert set(top.unique().tolist()) == {1.0, 3.0}
    assert float((top == 3).float().mean()) == pytest.approx(0.75, abs=0.02)
    (expected,) = layer_of(text, TEST).torch(tools(), [x], ())
    np.testing.assert_allclose(expected, 2.5)


def test_dummy_data_are_what_their_fillers_give():
    text = (
        'type: "DummyData" top: "u" dummy_data_param { shape { dim: 2 dim: 3 }'
        ' data_filler { value: 4 } data_filler { type: "gaussian" std: 1 } }'
    )
    proto = text_format.Parse(f'name: "l" top: "t" {text}', LayerParameter())
    layer = layer_types()["DummyData"](proto, Context(TRAIN))
    constant, drawn = layer.torch(tools(), [], ())
    assert (constant == 4).all()
    assert float(drawn.std()) > 0


def test_a_sequence_goes_on_where_the_pass_before_stopped():
    layer = layer_of('type: "RNN" bottom: "b" recurrent_param { num_output: 2 }')
    rng = np.random.default_rng(0)
    x, marks = torch.tensor(rng.standard_normal((4, 1, 3))), torch.ones(4, 1)
    weights = [
        torch.tensor(rng.standard_normal(w.shape)) for w in layer.weights([(4, 1, 3), (4, 1)])
    ]
    (whole,) = layer.torch(tools(), [x, marks], weights)
    halves = tools()
    parts = [layer.torch(halves, [x[i : i + 2], marks[i : i + 2]], weights)[0] for i in (0, 2)]
    np.testing.assert_allclose(torch.cat(parts), whole, rtol=1e-6)


# In place: what a backward pass finds in memory --------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_a_backward_pass_in_place_reads_what_was_written_last(seed):
    """Sigmoid, then Power in place: Sigmoid's gradient takes Power's top for its own.

    Power in place multiplies its derivative, 3, by itself (power_layer.cpp).
    """
    x = np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32)
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "s" type: "Sigmoid" bottom: "x" top: "s" }'
        'layer { name: "p" type: "Power" bottom: "s" top: "s" power_param { scale: 3 } }'
        'layer { name: "r" type: "Reduction" bottom: "s" top: "r" loss_weight: 1 }'
    )
    net = Net(parse_net(text), State(TRAIN))
    values = net.take({"x": x})
    values["x"].requires_grad_()
    net.run(values).loss.backward()
    last = 3 / (1 + np.exp(-x.astype(float)))
    np.testing.assert_allclose(values["x"].grad, 9 * last * (1 - last), rtol=1e-4, atol=1e-6)


# Every type -----------------------------------------------------------------------------------

LOSSES = {
    "SoftmaxWithLoss",
    "SigmoidCrossEntropyLoss",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "ContrastiveLoss",
    "EuclideanLoss",
    "Accuracy",
    "SegAccuracy",
}
BY_HAND = {"Dropout", "DummyData", "SeLuDropout", *LOSSES}


def test_every_type_with_a_pytorch_form_is_compared():
    golden = {
        layer.type
        for path in CASES
        for layer in parse_net(path.with_suffix(".prototxt").read_text()).net.layer
    }
    for name, kind in layer_types().items():
        has_form = kind.torch is not Layer.torch
        assert not has_form or name in golden | DIFFERENCES.keys() | BY_HAND, name
        trains = not issubclass(kind, Known) and name not in WITHOUT
        assert has_form or not trains or name.endswith("Data") or kind.fork is not None, name


WITHOUT = {"Input", "Python", "HDF5Output"}
"""Fed from without, or written to a file."""


@pytest.mark.parametrize("name", sorted(layer_types()))
def test_what_cannot_be_trained_says_so(name):
    kind = layer_types()[name]
    if kind.torch is Layer.torch:
        layer = kind(LayerParameter(type=name))
        with pytest.raises(LayerError, match=f"{name} do not have a PyTorch form"):
            layer.torch(tools(), [], ())
