"""Upsampling as matrix products against the plain net on onnxruntime, and against real Caffe."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from exporting import input_text, run, session_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from paths import GOLDEN
from rewriting import EXACT, Beside, images, largest_difference

from fcnproto.errors import LayerError, Severity
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.rewrite.matrix_upsampling import Upsampling, separated, upsampling
from fcnproto.exporting.write import write
from fcnproto.layers.fillers import bilinear_kernel
from fcnproto.layers.spatial import Window
from fcnproto.net.graph import build
from fcnproto.proto.source import parse_net, read_net

CASES = GOLDEN / "layers"
CHANNELS = 3
RNG = np.random.default_rng(0)


def head_text(stride, deconvolution, offset=0, *, pad=0, crop=True, size=64):
    """Scores at a stride, upsampled, and cropped to the image if `crop`."""
    text = input_text(data=(1, 2, size, size)) + (
        f'layer {{ name: "score" type: "Convolution" bottom: "data" top: "score"'
        f" convolution_param {{ num_output: {CHANNELS} kernel_size: {stride} stride: {stride}"
        f" pad: {pad} }} }}\n"
        f'layer {{ name: "up" type: "Deconvolution" bottom: "score" top: "up"'
        f" convolution_param {{ num_output: {CHANNELS} {deconvolution} }} }}\n"
    )
    if crop:
        text += (
            'layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "out"'
            f" crop_param {{ axis: 2 offset: {offset} }} }}\n"
        )
    return text


def filled_with(text, kernels, bias=None):
    net = inference(build(parse_net(text)))
    score = [RNG.standard_normal(array.shape).astype(np.float32) for array in net.shapes.weights[1]]
    arrays = [np.asarray(kernels, np.float32)]
    if bias is not None:
        arrays.append(np.asarray(bias, np.float32))
    return with_weights(net, {"score": score, "up": arrays})


def dense(kernel, channels=CHANNELS):
    kernels = np.zeros((channels, channels, *kernel.shape), np.float32)
    kernels[np.arange(channels), np.arange(channels)] = kernel
    return kernels


def grouped(kernel, channels=CHANNELS):
    return np.broadcast_to(kernel, (channels, 1, *kernel.shape))


def bilinear(factor, storage, *, pad=0, offset=0, crop=True, kernel=None):
    """A head whose kernel upsamples by a factor, with as much room around as its crop needs."""
    kernel = kernel or 2 * factor - factor % 2
    group = CHANNELS if storage is grouped else 1
    setting = f"bias_term: false kernel_size: {kernel} stride: {factor} pad: {pad} group: {group}"
    text = head_text(factor, setting, offset, pad=4 * factor, crop=crop)
    return filled_with(text, storage(bilinear_kernel(kernel)))


def check_models(net, opset):
    model = write(net, opset=opset).to_proto()
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


def layers(net):
    return [type(step.node.layer).__name__ for step in net.steps]


def sizes(seed):
    """Every residue mod 32 on both axes, from 1×1 to 600×600, odd and not square."""
    rng = np.random.default_rng(seed)
    rows, columns = (32 * rng.integers(0, 18, 32) + rng.permutation(32) + 1 for _ in range(2))
    return [(1, 1), (1, 600), (600, 599), *zip(rows.tolist(), columns.tolist(), strict=True)]


@pytest.mark.parametrize("storage", [dense, grouped])
@pytest.mark.parametrize(("factor", "pad", "offset"), [(8, 0, 31), (2, 1, 5), (32, 16, 19)])
def test_scores_are_the_same_at_every_size(factor, pad, offset, storage):
    plain = bilinear(factor, storage, pad=pad, offset=offset)
    rewritten = upsampling(plain)
    assert not rewritten.notes
    assert layers(rewritten.net) == ["Input", "Convolution", "Upsampling"]
    beside = Beside(plain, rewritten.net)
    for number, (height, width) in enumerate(sizes(factor)):
        assert beside.difference(height, width, 1 + number % 3) <= EXACT, (height, width)


def test_large_images_are_deconvolved_and_small_ones_multiplied():
    plain = bilinear(2, dense, offset=2)
    net = upsampling(plain).net
    layer = net.steps[-1].node.layer
    beside = Beside(plain, net)
    products = []
    for height, width in [(20, 30), (600, 600), (20, 900), (900, 20)]:
        assert beside.difference(height, width) <= EXACT
        bottoms = [(1, CHANNELS, height // 2 + 8, width // 2 + 8), (1, 2, height, width)]
        cost = layer.multiply_adds(bottoms, layer.output_shapes(bottoms))
        products.append(cost != CHANNELS * (height // 2 + 8) * (width // 2 + 8) * 16)
    assert products[0] and not products[1]


@pytest.mark.parametrize("opset", [13, 21, 26])
@pytest.mark.parametrize("crop", [True, False])
def test_models_are_valid_and_run_in_the_reference_runtime(opset, crop):
    plain = bilinear(4, grouped, pad=1, offset=7, crop=crop)
    net = upsampling(plain).net
    model = check_models(net, opset)
    reference = ReferenceEvaluator(model)
    wanted = session_of(write(plain, opset=opset).to_proto())
    names = [output.name for output in model.graph.output]
    for height, width, num in [(1, 1, 1), (13, 40, 2), (400, 30, 1)]:
        feeds = images(plain, height, width, num)
        found = dict(zip(names, reference.run(None, feeds), strict=True))
        assert largest_difference(run(wanted, feeds), found) <= EXACT


@pytest.mark.parametrize("wrong", [{"offset": 1}, {"offset": -1}, {"pad": 1}])
def test_a_wrong_offset_or_pad_is_found(wrong):
    """The comparison itself: one pixel away is far more than it allows."""
    plain = bilinear(8, dense, pad=2, offset=20)
    net = upsampling(plain).net
    step = net.steps[-1]
    deconvolution, crop = step.node.layer.deconvolution, step.node.layer.crop
    off = bilinear(8, dense, pad=2 + wrong.get("pad", 0), offset=20 + wrong.get("offset", 0))
    other = {type(each.node.layer).__name__: each.node.layer for each in off.steps}
    if "pad" in wrong:
        deconvolution = other["Deconvolution"]
    else:
        crop = other["Crop"]
    layer = Upsampling(deconvolution, crop)
    broken = net.rewritten([*net.steps[:-1], replace(step, node=replace(step.node, layer=layer))])
    for height, width in [(16, 16), (33, 70), (100, 41)]:
        assert Beside(plain, net).difference(height, width) <= EXACT
        assert Beside(plain, broken).difference(height, width) > 1000 * EXACT


CASES = sorted(CASES.glob("deconv*.prototxt")) + sorted(CASES.glob("net_fcn8s*.prototxt"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_caffe_computed(path):
    with np.load(path.with_suffix(".npz")) as data:
        arrays = {name: data[name] for name in data.files}
    weights = {}
    for name in sorted(key for key in arrays if key.startswith("param/")):
        weights.setdefault(name.split("/")[1], []).append(arrays[name])
    plain = with_weights(inference(build(read_net(path)), weights), weights)
    rewritten = upsampling(plain)
    upsamples = "bilinear" in path.stem
    assert ("Upsampling" in layers(rewritten.net)) == upsamples
    assert bool(rewritten.notes) != upsamples
    feeds = {name: arrays[f"in/{name}"] for name in plain.inference.inputs}
    found = run(session_of(write(rewritten.net).to_proto()), feeds)
    wanted = {name: arrays[f"out/{name}"] for name in found}
    assert largest_difference(wanted, found) <= EXACT


@settings(deadline=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
@given(st.data())
def test_any_separable_kernel_at_any_window(data):
    factor, kernel = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    dilation = data.draw(st.integers(1, 3))
    window = Window(kernel, factor, 0, dilation)
    pad = data.draw(st.integers(0, (window.extent - 1) // 2))
    offset = data.draw(st.integers(0, 9))
    crop, bias = data.draw(st.booleans()), data.draw(st.booleans())
    lines = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((2, kernel))
    setting = (
        f"kernel_size: {kernel} stride: {factor} pad: {pad} dilation: {dilation}"
        f" bias_term: {str(bias).lower()}"
    )
    room = 4 * factor + offset + 2 * pad  # so that the crop finds enough at every size
    text = head_text(factor, setting, offset, pad=room, crop=crop)
    kernels = dense(np.outer(*lines))
    plain = filled_with(text, kernels, np.arange(1, 1 + CHANNELS) if bias else None)
    rewritten = upsampling(plain)
    assert not rewritten.notes
    beside, (blob,) = Beside(plain, rewritten.net), plain.inference.outputs
    for _ in range(3):
        height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
        feeds = images(plain, height, width, data.draw(st.integers(1, 3)))
        wanted, found = (run(session, feeds)[blob] for session in beside.sessions)
        # No tap may reach any pixel that the crop keeps: then all scores are 0.
        assert np.abs(found - wanted).max() <= EXACT * np.abs(wanted).max()


def test_rows_and_columns_have_windows_of_their_own():
    setting = "kernel_h: 5 kernel_w: 2 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 0 bias_term: false"
    text = head_text(2, setting, pad=12, crop=False)
    plain = filled_with(text, dense(np.outer([1, 2, 3, 2, 1], [1, -4])))
    beside = Beside(plain, upsampling(plain).net)
    assert max(beside.difference(*size) for size in [(1, 1), (9, 20), (50, 7)]) <= EXACT


def test_a_crop_of_columns_alone():
    text = head_text(2, "kernel_size: 4 stride: 2 pad: 1 bias_term: false", pad=0, crop=False)
    text += (
        'layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "out"'
        " crop_param { axis: 3 offset: 0 } }\n"
    )
    plain = filled_with(text, dense(bilinear_kernel(4)))
    net = upsampling(plain).net
    assert layers(net)[-1] == "Upsampling"
    assert Beside(plain, net).difference(64, 64) <= EXACT


def test_a_crop_of_channels_stays():
    text = head_text(2, "kernel_size: 4 stride: 2 pad: 1 bias_term: false", crop=False)
    text += input_text(reference=(1, 2, 64, 64)) + (
        'layer { name: "crop" type: "Crop" bottom: "up" bottom: "reference" top: "out"'
        " crop_param { axis: 1 } }\n"
    )
    plain = filled_with(text, dense(bilinear_kernel(4)))
    net = upsampling(plain).net
    assert layers(net)[-2:] == ["Input", "Crop"] or layers(net)[-1] == "Crop"
    assert "Upsampling" in layers(net)
    assert Beside(plain, net).difference(64, 64) <= EXACT


def test_what_others_read_too_is_not_cropped():
    text = head_text(4, "kernel_size: 8 stride: 4 bias_term: false", 3, pad=8) + (
        'layer { name: "relu" type: "ReLU" bottom: "up" top: "all" }\n'
    )
    plain = filled_with(text, dense(bilinear_kernel(8)))
    net = upsampling(plain).net
    assert layers(net)[2:] == ["Upsampling", "Crop", "ReLU"]
    assert Beside(plain, net).difference(50, 31) <= EXACT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kernels: kernels[0, 1, 2].__setitem__(2, 1), "it mixes channels"),
        (lambda kernels: kernels[1, 1, 2].__setitem__(2, 1), "from channel to channel"),
        (lambda kernels: kernels[:, :, 0, 0].__iadd__(np.eye(3, dtype="f")), "of two lines"),
        (lambda kernels: kernels[0, 0, 0].__setitem__(0, np.nan), "not finite"),
    ],
)
def test_other_kernels_are_left_alone_and_named(change, message):
    kernels = dense(bilinear_kernel(8))
    change(kernels)
    text = head_text(4, "kernel_size: 8 stride: 4 bias_term: false", 3, pad=8)
    plain = filled_with(text, kernels)
    rewritten = upsampling(plain)
    assert rewritten.net is plain
    (note,) = rewritten.notes
    assert note.severity is Severity.NOTE
    assert note.layer == "up"
    assert message in note.message


def test_lines_are_found_again():
    lines = np.array([0.25, 0.75, 0.75, 0.25])
    for kernels, group in [
        (dense(np.outer(lines, lines)), 1),
        (grouped(np.outer(lines, lines)), CHANNELS),
    ]:
        for line in separated(kernels, group):
            assert line.tolist() == lines.tolist()
    rows, columns = separated(grouped(np.outer([1, -2], [3, 4, -5])), CHANNELS)
    np.testing.assert_allclose(np.outer(rows, columns), np.outer([1, -2], [3, 4, -5]))
    assert not np.any(separated(np.zeros((3, 1, 2, 2)), 3)[0])
    with pytest.raises(LayerError, match="makes 4 channels of 2"):
        separated(np.ones((2, 4, 1, 1)), 1)


def test_the_layer_is_not_for_prototxt():
    from fcnproto.layers import layer_types

    assert "Upsampling" not in layer_types()
    layer = upsampling(bilinear(8, dense, offset=31)).net.steps[-1].node.layer
    rows = layer.coord_map().rows
    assert (rows.scale, rows.shift) == (1 / 8, (31 - 7.5) / 8)
    (plane, size) = layer.reaches([(1, 3, 20, 20), (1, 2, 90, 90)])
    assert size is None
    # Pixel 0 is pixel 31 of what is upsampled, which pixels 2 and 3 reach with their 16 taps.
    assert plane[0].of(0) == (2, 3)
