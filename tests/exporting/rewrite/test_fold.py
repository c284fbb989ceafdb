"""Folded factors, raised crops and dropped layers against the plain net on onnxruntime."""

import numpy as np
import onnx
import pytest
from exporting import input_text, operators, run, session_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from paths import GOLDEN
from rewriting import EXACT, Beside, filled, images, largest_difference

from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite.fold import fold
from fcnproto.exporting.rewrite.matrix_upsampling import upsampling
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net, read_net

CASES = GOLDEN / "layers"
DATA = input_text(data=(1, 3, 40, 40))
BN_TYPES = ("BatchNorm", "BN")


def layer(name, kind, bottoms, top, settings=""):
    names = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {names} top: "{top}" {settings} }}\n'


def conv(name, bottom, top, settings="num_output: 6 kernel_size: 3", kind="Convolution"):
    return layer(name, kind, bottom, top, f"convolution_param {{ {settings} }}")


def filled_at_random(text, seed=0):
    """A net with random arrays of every layer; variances are positive."""
    net = inference(build(parse_net(text)))
    rng = np.random.default_rng(seed)
    weights = {}
    for index, arrays in net.shapes.weights.items():
        kind, name = net.graph.nodes[index].layer.type, net.graph.nodes[index].layer.name
        drawn = [rng.standard_normal(array.shape).astype(np.float32) for array in arrays]
        if kind in BN_TYPES and len(drawn) > 2:
            variance = 1 if kind == "BatchNorm" else 3
            drawn[variance] = np.abs(drawn[variance]) + np.float32(0.1)
        if kind == "BatchNorm":
            drawn[2] = np.array([2.5], np.float32)
        if drawn:
            weights[name] = drawn
    return with_weights(net, weights)


def kinds(net):
    return [step.node.layer.type for step in net.steps if not step.node.layer.feeds]


def compared(text, *, left, sizes=((40, 40), (41, 57)), opset=21, level=EXACT):
    """Rewrite a net, compare it with the plain one, and see which layers are left."""
    plain = filled_at_random(text)
    rewritten = fold(plain)
    assert kinds(rewritten.net) == left
    assert not rewritten.notes
    assert rewritten.net.inference.outputs == plain.inference.outputs
    beside = Beside(plain, rewritten.net, opset)
    for number, (height, width) in enumerate(sizes):
        assert beside.difference(height, width, 1 + number % 3) <= level
    return rewritten.net


BATCH_NORM = layer("bn", "BatchNorm", "c", "c")
SCALE = layer("scale", "Scale", "c", "c", "scale_param { bias_term: true }")
RELU = layer("relu", "ReLU", "c", "c")


@pytest.mark.parametrize("opset", [13, 21, 26])
def test_batch_norm_and_scale_become_a_part_of_the_convolution_before(opset):
    text = DATA + conv("conv", "data", "c", "num_output: 6 kernel_size: 3 bias_term: false")
    net = compared(text + BATCH_NORM + SCALE + RELU, left=["Convolution", "ReLU"], opset=opset)
    assert net.steps[1].node.layer.param.bias_term
    model = write(net, opset=opset).to_proto()
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["Conv", "Relu"]
    feeds = images(net, 9, 12)
    found = dict(
        zip(net.inference.outputs, ReferenceEvaluator(model).run(None, feeds), strict=True)
    )
    assert largest_difference(run(session_of(model), feeds), found) <= EXACT


AFTER = {
    "batch_norm": layer("it", "BatchNorm", "c", "y"),
    "global": layer("it", "BatchNorm", "c", "y", "batch_norm_param { use_global_stats: true }"),
    "scale": layer("it", "Scale", "c", "y"),
    "scalar": layer("it", "Scale", "c", "y", "scale_param { num_axes: 0 }"),
    "bias": layer("it", "Bias", "c", "y"),
    "pspnet": layer("it", "BN", "c", "y", "bn_param { frozen: true }"),
    "segnet": layer("it", "BN", "c", "y", "bn_param { bn_mode: INFERENCE }"),
    "power": layer("it", "Power", "c", "y", "power_param { scale: -2 shift: 3 }"),
}
CONVOLUTIONS = {
    "bias": conv("conv", "data", "c"),
    "no_bias": conv("conv", "data", "c", "num_output: 6 kernel_size: 3 pad: 2 bias_term: false"),
    "groups": conv("conv", "data", "c", "num_output: 6 kernel_size: 2 stride: 2 group: 3"),
    "depthwise": conv("conv", "data", "c", "num_output: 3 group: 3 kernel_size: 3").replace(
        "Convolution", "DepthwiseConvolution"
    ),
    "mobile": conv("conv", "data", "c", "num_output: 3 kernel_size: 3").replace(
        "Convolution", "ConvolutionDepthwise"
    ),
    "deconvolution": conv("conv", "data", "c", "num_output: 4 kernel_size: 3 stride: 2").replace(
        "Convolution", "Deconvolution"
    ),
    "deconvolution_in_groups": conv(
        "conv", "data", "c", "num_output: 6 group: 3 kernel_size: 3 stride: 2 bias_term: false"
    ).replace("Convolution", "Deconvolution"),
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("before", CONVOLUTIONS)
def test_each_layer_is_folded_into_each_convolution(before, after):
    net = compared(
        DATA + CONVOLUTIONS[before] + AFTER[after],
        left=[build(parse_net(DATA + CONVOLUTIONS[before])).nodes[-1].layer.type],
    )
    assert list(net.inference.outputs) == ["y"]


@pytest.mark.parametrize("transpose", ["true", "false"])
def test_layers_are_folded_into_an_inner_product(transpose):
    text = DATA + layer(
        "ip",
        "InnerProduct",
        "data",
        "c",
        f"inner_product_param {{ num_output: 5 transpose: {transpose} bias_term: false }}",
    )
    compared(text + BATCH_NORM + SCALE, left=["InnerProduct"], sizes=((40, 40),))


def test_channels_of_an_inner_product_over_other_axes_are_its_last():
    text = DATA + layer(
        "ip", "InnerProduct", "data", "c", "inner_product_param { num_output: 3 axis: 2 }"
    )
    compared(text + BATCH_NORM, left=["InnerProduct", "BatchNorm"], sizes=((40, 40),))
    last = layer("scale", "Scale", "c", "c", "scale_param { axis: 2 }")
    compared(text + last, left=["InnerProduct"], sizes=((40, 40),))


@pytest.mark.parametrize(
    "settings",
    ["batch_norm_param { use_global_stats: false }", "bn_param { bn_mode: LEARN }"],
)
def test_statistics_of_the_batch_stay(settings):
    kind = "BN" if "bn_mode" in settings else "BatchNorm"
    text = DATA + conv("conv", "data", "c") + layer("it", kind, "c", "y", settings)
    compared(text, left=["Convolution", kind])


@pytest.mark.parametrize(
    "reader",
    [
        layer("other", "ReLU", "c", "z"),
        layer("other", "Eltwise", "c y", "z"),
    ],
)
def test_what_others_read_stays(reader):
    text = DATA + conv("conv", "data", "c") + layer("it", "Scale", "c", "y") + reader
    compared(text, left=["Convolution", "Scale", reader.split('type: "')[1].split('"')[0]])


@pytest.mark.parametrize(
    "it",
    [
        layer("it", "Scale", "c", "y", "scale_param { axis: 2 num_axes: 1 }"),
        layer("it", "Scale", "c", "y", "scale_param { axis: 1 num_axes: 2 }"),
        layer("it", "Power", "c", "y", "power_param { power: 2 }"),
        layer("it", "Power", "c", "y", "power_param { scale: 0 shift: 2 }"),
    ],
)
def test_what_is_not_per_channel_stays(it):
    text = DATA + conv("conv", "data", "c") + it
    kind = "Power" if "Power" in it else "Scale"
    compared(text, left=["Convolution", kind], sizes=((40, 40),))


@pytest.mark.parametrize(
    "settings", ["num_output: 4 kernel_size: 1", "num_output: 6 group: 3 kernel_size: 1"]
)
@pytest.mark.parametrize("scale", ["bias_term: true", "num_axes: 0", "bias_term: false"])
def test_a_scale_becomes_a_part_of_the_convolution_behind(settings, scale):
    """As in the nets that are trained at once."""
    text = DATA + layer("pool", "Pooling", "data", "p", "pooling_param { kernel_size: 2 }")
    text += layer("scale", "Scale", "p", "s", f"scale_param {{ {scale} }}")
    compared(text + conv("conv", "s", "y", settings), left=["Pooling", "Convolution"])


def test_a_shift_stays_before_a_convolution_that_pads():
    scale = layer("scale", "Scale", "data", "s", "scale_param { bias_term: true }")
    padded = conv("conv", "s", "y", "num_output: 4 kernel_size: 3 pad: 100")
    compared(DATA + scale + padded, left=["Scale", "Convolution"])
    factors = layer("scale", "Scale", "data", "s")
    compared(DATA + factors + padded, left=["Convolution"])


def test_a_chain_is_folded_from_both_sides():
    text = DATA + layer("bn", "BatchNorm", "data", "b") + layer("scale", "Scale", "b", "s")
    text += conv("conv", "s", "c") + layer("it", "BatchNorm", "c", "y")
    compared(text, left=["Convolution"])


def test_shared_kernels_are_folded_for_one_layer_alone():
    shared = 'param { name: "w" }'
    text = DATA
    for name, bottom in (("a", "data"), ("b", "data")):
        settings = f"{shared} convolution_param {{ num_output: 3 kernel_size: 1 bias_term: false }}"
        text += layer(name, "Convolution", bottom, name, settings)
    text += layer("scale", "Scale", "a", "y") + layer("sum", "Eltwise", "y b", "z")
    net = inference(build(parse_net(text)))
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((3, 3, 1, 1)).astype(np.float32)
    plain = with_weights(net, {"a": [kernels], "b": [kernels], "scale": [np.float32([1, 2, 3])]})
    rewritten = fold(plain).net
    assert kinds(rewritten) == ["Convolution", "Convolution", "Eltwise"]
    assert Beside(plain, rewritten).difference(20, 30) <= EXACT


def test_numbers_too_large_for_float32_stay():
    text = DATA + conv("conv", "data", "c") + layer("it", "Scale", "c", "y")
    net = inference(build(parse_net(text)))
    arrays = [np.full((6, 3, 3, 3), 1e30, np.float32), np.zeros(6, np.float32)]
    plain = with_weights(net, {"conv": arrays, "it": [np.full(6, 1e30, np.float32)]})
    assert fold(plain).net is plain


# Crops --------------------------------------------------------------------------------------------

UP = conv("up", "data", "u", "num_output: 3 kernel_size: 4 stride: 2 bias_term: false").replace(
    "Convolution", "Deconvolution"
)


def crop(bottom, top="y", axis=2, offset=5):
    return layer(
        "crop", "Crop", f"{bottom} data", top, f"crop_param {{ axis: {axis} offset: {offset} }}"
    )


RAISED = {
    "relu": (layer("it", "ReLU", "u", "r"), ["Deconvolution", "Crop", "ReLU"]),
    "prelu": (layer("it", "PReLU", "u", "r"), ["Deconvolution", "Crop", "PReLU"]),
    "softmax": (layer("it", "Softmax", "u", "r"), ["Deconvolution", "Crop", "Softmax"]),
    "convolution": (
        conv("it", "u", "r", "num_output: 3 kernel_size: 1"),
        ["Deconvolution", "Crop", "Convolution"],
    ),
    "two": (
        layer("one", "TanH", "u", "t") + layer("it", "ReLU", "t", "r"),
        ["Deconvolution", "Crop", "TanH", "ReLU"],
    ),
    "sum": (
        UP.replace('"u"', '"v"').replace('"up"', '"up2"') + layer("it", "Eltwise", "u v", "r"),
        ["Deconvolution", "Deconvolution", "Crop", "Crop", "Eltwise"],
    ),
    "twice": (
        layer("it", "Eltwise", "u u", "r", "eltwise_param { operation: PROD }"),
        ["Deconvolution", "Crop", "Eltwise"],
    ),
}


@pytest.mark.parametrize("case", RAISED)
def test_a_crop_rises_above_what_works_pixel_by_pixel(case):
    between, left = RAISED[case]
    net = compared(DATA + UP + between + crop("r"), left=left, sizes=((1 + 39, 40), (11, 70)))
    assert list(net.inference.outputs) == ["y"]


STAYS = {
    "reads others": conv("it", "u", "r", "num_output: 3 kernel_size: 3"),
    "strides": conv("it", "u", "r", "num_output: 3 kernel_size: 1 stride: 2"),
    "pads": conv("it", "u", "r", "num_output: 3 kernel_size: 1 pad: 1"),
    "has fewer channels than its bottom": conv("it", "u", "r", "num_output: 2 kernel_size: 1"),
    "is read by others": layer("it", "ReLU", "u", "r") + layer("other", "TanH", "r", "z"),
    "sees all": layer("it", "MVN", "u", "r"),
    "shares its bottom": layer("it", "ReLU", "u", "r") + layer("other", "TanH", "u", "z"),
}


@pytest.mark.parametrize("case", STAYS)
def test_a_crop_stays_below_what(case):
    text = DATA + UP + STAYS[case] + crop("r", axis=2, offset=1)
    assert kinds(fold(filled_at_random(text)).net) == kinds(filled_at_random(text))


def test_a_crop_stays_where_it_would_part_a_convolution_from_its_relu():
    text = DATA + conv("conv", "data", "c", "num_output: 3 kernel_size: 3 pad: 9") + RELU
    compared(text + crop("c"), left=["Convolution", "ReLU", "Crop"])


def test_a_crop_stays_below_an_operand_of_the_same_size():
    text = DATA + UP + layer("it", "Scale", "u", "r", "scale_param { axis: 2 }") + crop("r")
    net = filled_at_random(text)
    assert kinds(fold(net).net) == ["Deconvolution", "Scale", "Crop"]


def test_a_crop_of_channels_stays():
    text = DATA + UP + layer("it", "ReLU", "u", "r")
    text += layer("crop", "Crop", "r data", "y", "crop_param { axis: 1 }")
    assert kinds(fold(filled_at_random(text)).net) == ["Deconvolution", "ReLU", "Crop"]


def test_raised_crops_become_a_part_of_upsampling():
    """HED's way: upsample, squash, crop."""
    text = DATA + UP + layer("it", "Sigmoid", "u", "r") + crop("r")
    plain = filled(text)
    net = upsampling(fold(plain).net).net
    assert kinds(net) == ["Upsampling", "Sigmoid"]
    beside = Beside(plain, net)
    assert max(beside.difference(*size) for size in [(40, 40), (11, 12), (64, 31)]) <= EXACT


def test_factors_leave_a_bilinear_kernel_the_same_for_all_channels():
    scale = layer("scale", "Scale", "u", "y", "scale_param { bias_term: true }")
    plain = filled(DATA + UP + scale)
    assert kinds(upsampling(fold(plain).net).net) == ["Upsampling", "Scale"]
    scalar = layer("scale", "Power", "u", "y", "power_param { scale: 3 shift: 1 }")
    plain = filled(DATA + UP + scalar)
    net = upsampling(fold(plain).net).net
    assert kinds(net) == ["Upsampling"]
    assert Beside(plain, net).difference(20, 21) <= EXACT


def test_layers_that_nobody_reads_are_dropped():
    text = DATA + layer("one", "ReLU", "data", "a") + layer("two", "TanH", "data", "b")
    net = filled_at_random(text)
    graph = type(net.graph)(**{**vars_of(net.graph), "outputs": ("b",)})
    net = type(net)(
        type(net.inference)(
            **{**vars_of(net.inference), "graph": graph, "outputs": {"b": (1, 3, "H", "W")}}
        ),
        net.steps,
    )
    assert kinds(fold(net).net) == ["TanH"]


def vars_of(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


@pytest.mark.parametrize("path", sorted(CASES.glob("net_*.prototxt")), ids=lambda path: path.stem)
def test_what_caffe_computed(path):
    with np.load(path.with_suffix(".npz")) as data:
        arrays = {name: data[name] for name in data.files}
    weights = {}
    for name in sorted(key for key in arrays if key.startswith("param/")):
        weights.setdefault(name.split("/")[1], []).append(arrays[name])
    plain = with_weights(inference(build(read_net(path)), weights), weights)
    net = fold(plain).net
    feeds = {name: arrays[f"in/{name}"] for name in plain.inference.inputs}
    found = run(session_of(write(net).to_proto()), feeds)
    assert largest_difference({name: arrays[f"out/{name}"] for name in found}, found) <= EXACT


@settings(deadline=None, max_examples=30, phases=[Phase.explicit, Phase.generate])
@given(st.data())
def test_any_chain(data):
    """Random chains of convolutions, factors and pointwise layers, with a crop at their end."""
    text, blob = DATA, "data"
    for number in range(data.draw(st.integers(1, 7))):
        kind = data.draw(st.sampled_from(["conv", "ReLU", "TanH", *AFTER]))
        top = data.draw(st.sampled_from([blob, f"b{number}"])) if blob != "data" else "b0"
        if kind == "conv":
            kernel, pad = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
            top = f"b{number}"
            bias = str(data.draw(st.booleans())).lower()
            text += conv(
                f"l{number}",
                blob,
                top,
                f"num_output: {data.draw(st.integers(1, 4))} kernel_size: {kernel}"
                f" pad: {pad} bias_term: {bias}",
            )
        elif kind in AFTER:
            it = AFTER[kind].replace('name: "it"', f'name: "l{number}"')
            text += it.replace('"c"', f'"{blob}"').replace('"y"', f'"{top}"')
        else:
            text += layer(f"l{number}", kind, blob, top)
        blob = top
    if data.draw(st.booleans()):
        text += crop(blob, "cut", offset=0)
    plain = filled_at_random(text, data.draw(st.integers(0, 99)))
    beside = Beside(plain, fold(plain).net)
    for _ in range(2):
        size = data.draw(st.integers(8, 40)), data.draw(st.integers(8, 40))
        # TanH behind large numbers is as exact as they are, not as it is itself: of numbers up to
        # 20 a rounding is 20 times one of TanH's.
        most = (20 if "TanH" in text else 4) * EXACT
        assert beside.difference(*size, data.draw(st.integers(1, 3))) <= most
