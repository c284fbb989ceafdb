"""summary.py, field.py, formula.py: against published counts, reckoning, loops and autograd."""

import json
import time
from itertools import product
from math import prod

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnproto.cli import main
from fcnproto.errors import NetError, Severity
from fcnproto.insight.summary import as_json, summarize, table
from fcnproto.layers.spatial import Window
from fcnproto.net.graph import State, assemble, build
from fcnproto.net.receptive_field import fields, view
from fcnproto.net.shapes import infer, walk
from fcnproto.net.size_formula import Formula, Traced
from fcnproto.proto.caffe_pb2 import TRAIN
from fcnproto.proto.source import parse_net, read_net
from fcnproto.rendering.fcn import render


def net(text, size=None):
    return build(parse_net(text), size=size)


def image(*shape, name="data"):
    dims = " ".join(f"dim: {size}" for size in shape)
    return layer("Input", f"input_param {{ shape {{ {dims} }} }}", (), name)


def layer(kind, settings="", bottoms=("data",), top="top", name=None):
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name or top}" type: "{kind}" {reads} top: "{top}" {settings} }}'


# Counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("vgg16", 138_357_544), ("alexnet", 60_965_224), ("googlenet", 6_998_552)],
)
def test_classifiers_have_the_parameters_that_are_published(name, parameters):
    assert summarize(net(render(name))).parameters == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("bvlc_alexnet", 60_965_224), ("bvlc_googlenet", 6_998_552)]
)
def test_bvlcs_deploy_nets_too(published, name, parameters):
    path = published / name / "deploy.prototxt"
    assert summarize(build(read_net(path))).parameters == parameters


def test_fcn8s_at_500x500_by_hand():
    """Sizes, parameters and multiply-adds reckoned here, with no help from the code."""
    found = {row.name: row for row in summarize(net(render("voc-fcn8s"), (500, 500))).rows}
    size, channels, parameters, adds = 500 + 2 * 100, 3, 0, 0
    for block, (convolutions, width) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]
    ):
        for number in range(convolutions):
            if (block, number) == (0, 0):
                size -= 2  # 3×3 without a pad of its own, the 100 are counted
            weights = width * channels * 9
            row = found[f"conv{block + 1}_{number + 1}"]
            assert row.tops[0].shape == (1, width, size, size)
            assert row.parameters == weights + width
            assert row.multiply_adds == weights * size * size
            parameters, adds, channels = (
                parameters + weights + width,
                adds + weights * size**2,
                width,
            )
        size = -(-size // 2)
        assert found[f"pool{block + 1}"].tops[0].shape == (1, width, size, size)
    assert size == 22
    for name, kernel, inputs, outputs in [
        ("fc6", 7, 512, 4096),
        ("fc7", 1, 4096, 4096),
        ("score_fr", 1, 4096, 21),
    ]:
        size -= kernel - 1
        weights = outputs * inputs * kernel**2
        assert found[name].multiply_adds == weights * size**2
        parameters, adds = parameters + weights + outputs, adds + weights * size**2
    assert size == 16
    for name, kernel, factor in [("upscore2", 4, 2), ("upscore_pool4", 4, 2), ("upscore8", 16, 8)]:
        weights = 21 * 21 * kernel**2
        assert found[name].parameters == weights
        assert found[name].multiply_adds == weights * size**2
        parameters, adds = parameters + weights, adds + weights * size**2
        size = factor * (size - 1) + kernel
        assert found[name].tops[0].shape == (1, 21, size, size)
    for name, inputs, there in [("score_pool4", 512, 44), ("score_pool3", 256, 88)]:
        parameters, adds = parameters + inputs * 21 + 21, adds + inputs * 21 * there**2
        assert found[name].multiply_adds == inputs * 21 * there**2
    whole = summarize(net(render("voc-fcn8s"), (500, 500)))
    assert (whole.parameters, whole.multiply_adds) == (parameters, adds)
    assert whole.parameters == 134_489_759


def count_convolution(channels, outputs, group, size, window, out):
    """One product for each output, input channel of its group, and tap, zeros of the pad too."""
    return sum(
        1
        for _ in product(range(outputs), range(out), range(out))
        for _ in product(range(channels // group), range(window.kernel), range(window.kernel))
    )


def count_deconvolution(channels, outputs, group, size, window, out):
    """One product for each input, output channel of its group, and tap."""
    return sum(
        1
        for _ in product(range(channels), range(size), range(size))
        for _ in product(range(outputs // group), range(window.kernel), range(window.kernel))
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["Convolution", "Deconvolution"]),
    st.sampled_from([(2, 4, 1), (4, 2, 2), (4, 4, 4), (1, 3, 1)]),
    st.builds(Window, st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2)),
)
def test_convolutions_count_as_loops_do(kind, widths, window):
    channels, outputs, group = widths
    size = 7
    settings = (
        f"convolution_param {{ num_output: {outputs} group: {group} kernel_size: {window.kernel}"
        f" stride: {window.stride} pad: {window.pad} dilation: {window.dilation} }}"
    )
    row = summarize(net(image(1, channels, size, size) + layer(kind, settings))).rows[1]
    out = row.tops[0].shape[2]
    count = count_convolution if kind == "Convolution" else count_deconvolution
    assert row.multiply_adds == count(channels, outputs, group, size, window, out)


NUMBERS = 2 * 4 * 3 * 5
ONES = {
    ("ReLU", ""): 0,
    ("ReLU", "relu_param { negative_slope: 0.1 }"): NUMBERS,
    ("PReLU", ""): NUMBERS,
    ("TanH", ""): 0,
    ("ELU", ""): NUMBERS,
    ("Power", "power_param { power: 2 }"): 0,
    ("Power", "power_param { scale: 3 }"): NUMBERS,
    ("Exp", "exp_param { scale: 2 }"): NUMBERS,
    ("Log", ""): 0,
    ("Dropout", ""): 0,
    ("Softmax", ""): NUMBERS,
    ("BatchNorm", ""): NUMBERS,
    ("Scale", ""): NUMBERS,
    ("Bias", ""): 0,
    ("MVN", ""): 2 * NUMBERS,
    ("MVN", "mvn_param { normalize_variance: false }"): 0,
    ("LRN", "lrn_param { local_size: 3 }"): 5 * NUMBERS,
    ("LRN", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"): 11 * NUMBERS,
    ("Pooling", "pooling_param { kernel_size: 3 }"): 0,
    ("Pooling", "pooling_param { pool: AVE kernel_size: 3 }"): 2 * 4 * 1 * 3,
    ("Pooling", "pooling_param { pool: AVE global_pooling: true }"): 2 * 4,
    ("InnerProduct", "inner_product_param { num_output: 7 }"): 2 * 7 * 60,
    ("InnerProduct", "inner_product_param { num_output: 7 transpose: true }"): 2 * 7 * 60,
    ("InnerProduct", "inner_product_param { num_output: 7 axis: 2 }"): 8 * 7 * 15,
    ("Reduction", "reduction_param { operation: SUMSQ axis: 1 }"): NUMBERS,
    ("Reduction", "reduction_param { operation: MEAN axis: 1 }"): 2,
    ("Flatten", ""): 0,
    ("Interp", "interp_param { zoom_factor: 2 }"): 4 * 2 * 4 * 5 * 9,
}


@pytest.mark.parametrize(("kind", "settings"), ONES)
def test_layers_of_one_bottom_count_their_products(kind, settings):
    row = summarize(net(image(2, 4, 3, 5) + layer(kind, settings))).rows[1]
    assert row.multiply_adds == ONES[kind, settings]


@pytest.mark.parametrize(
    ("settings", "adds"),
    [
        ("", 0),
        ("eltwise_param { operation: MAX }", 0),
        ("eltwise_param { operation: PROD }", 2 * 60),
        ("eltwise_param { coeff: 1 coeff: -1 coeff: 0.5 }", 2 * 60),
    ],
)
def test_eltwise_counts_its_products(settings, adds):
    text = "".join(image(1, 4, 3, 5, name=name) for name in "abc")
    row = summarize(net(text + layer("Eltwise", settings, "abc"))).rows[3]
    assert row.multiply_adds == adds


@pytest.mark.parametrize(("kind", "gates", "extra"), [("LSTM", 4, 3), ("RNN", 1, 5)])
def test_recurrent_layers_count_step_by_step(kind, gates, extra):
    steps, streams, inputs, outputs, static = 3, 2, 7, 5, 4
    text = image(steps, streams, inputs) + image(steps, streams, name="cont")
    text += image(streams, static, name="static")
    settings = f"recurrent_param {{ num_output: {outputs} }}"
    graph = net(text + layer(kind, settings, ("data", "cont", "static")))
    count = 0
    for _ in range(streams):
        count += gates * outputs * static  # what the static input gives is the same at every step
        for _ in range(steps):
            count += gates * outputs * (inputs + outputs)
            count += extra * outputs  # LSTM: f·c, i·g, o·tanh(c); RNN: the output's matrix below
    assert summarize(graph).rows[3].multiply_adds == count


def test_every_layer_of_the_golden_nets_can_be_summed_up(golden):
    """No layer type that Caffe computed breaks the summary, whatever its settings."""
    files = [*golden.glob("layers/*.prototxt"), *golden.glob("forks/*.prototxt")]
    assert len(files) > 100
    for path in files:
        graph, problems = assemble(read_net(path), State())
        if any(problem.severity is Severity.ERROR for problem in problems):
            continue
        _, spatial = walk(graph)
        if any(problem.severity is Severity.ERROR for problem in spatial):
            continue
        summary = summarize(graph)
        json.dumps(as_json(summary))
        assert table(summary).count("\n") > len(summary.rows)
        assert all((row.multiply_adds or 0) >= 0 for row in summary.rows)


def test_shared_weights_count_once_and_are_said_to_be_shared():
    settings = 'param { name: "w" } param { name: "b" } inner_product_param { num_output: 7 }'
    text = image(1, 5) + layer("InnerProduct", settings, top="a")
    text += layer("InnerProduct", settings, top="b")
    summary = summarize(net(text))
    assert summary.parameters == 7 * 5 + 7
    assert [row.parameters for row in summary.rows] == [0, 42, 0]
    assert summary.rows[2].shared == ("a",)
    assert "= a" in table(summary)


# Memory ---------------------------------------------------------------------------------------

SMALL = (
    image(1, 1, 4, 4)
    + layer("Convolution", "convolution_param { num_output: 2 kernel_size: 1 }", top="a")
    + layer("ReLU", bottoms=("a",), top="a", name="relu")
    + layer("Convolution", "convolution_param { num_output: 3 kernel_size: 1 }", ("a",), "b")
    + layer("Flatten", "", ("b",), "flat")
    + layer("InnerProduct", "inner_product_param { num_output: 5 }", ("flat",), "c")
)


def test_memory_by_hand():
    """data 16, a 32 (ReLU in place), b 48 (Flatten shares it), c 5 numbers of four bytes."""
    summary = summarize(net(SMALL))
    weights = (2 + 2) + (3 * 2 + 3) + (5 * 48 + 5)
    assert summary.parameters == weights
    assert [row.memory for row in summary.rows] == [64, 128, 0, 192, 0, 20]
    assert summary.activations == 4 * (16 + 32 + 48 + 5)
    assert summary.inference == 4 * (weights + 32 + 48)
    # The image needs no gradient; all else does, and weights a gradient and momentum.
    assert summary.training == 4 * (16 + 32 + 48 + 5 + 32 + 48 + 5 + 3 * weights)


def test_what_is_not_learned_has_no_gradient():
    fixed = SMALL.replace(
        'name: "a" type: "Convolution"',
        'name: "a" type: "Convolution" param { lr_mult: 0 } param { lr_mult: 0 }',
    )
    weights = (2 + 2) + (3 * 2 + 3) + (5 * 48 + 5)
    summary = summarize(net(fixed))
    assert summary.training == 4 * (16 + 32 + 48 + 5 + 48 + 5 + weights + 2 * (weights - 4))


# Fields ---------------------------------------------------------------------------------------

KINDS = {"conv": "Convolution", "deconv": "Deconvolution", "pool": "Pooling"}
windows = st.builds(
    Window, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
)
steps = st.lists(st.tuples(st.sampled_from(list(KINDS)), windows), min_size=1, max_size=4)


def poolable(window):
    """The nearest window that both Caffe and PyTorch pool with."""
    return Window(window.kernel, window.stride, min(window.pad, window.kernel // 2))


def chain(steps, size):
    text, bottom = image(1, 1, size, size), "data"
    for index, (kind, window) in enumerate(steps):
        settings = f"kernel_size: {window.kernel} stride: {window.stride} pad: {window.pad}"
        if kind == "pool":
            settings = f"pooling_param {{ pool: AVE {settings} }}"
        else:
            dilation = f"dilation: {window.dilation} num_output: 1 bias_term: false"
            settings = f"convolution_param {{ {settings} {dilation} }}"
        text += layer(KINDS[kind], settings, (bottom,), f"top{index}")
        bottom = f"top{index}"
    return text, bottom


@settings(max_examples=100, deadline=None)
@given(steps, st.data())
def test_a_pixel_sees_what_autograd_says_it_depends_on(steps, data):
    torch = pytest.importorskip("torch")
    size = 24
    steps = [(kind, poolable(w) if kind == "pool" else w) for kind, w in steps]
    text, blob = chain(steps, size)
    try:
        graph = net(text)
        shapes = infer(graph)
    except NetError:
        return
    if any(0 in shape for shape in shapes.blobs.values()):
        return  # Caffe lets blobs be empty, PyTorch does not
    pixels = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    value = pixels
    for index, (kind, w) in enumerate(steps):
        if index and tuple(value.shape) != shapes.blobs[f"top{index - 1}"]:
            return  # PyTorch and Caffe differ where a last pooling window starts past the image
        if kind == "pool":
            value = torch.nn.functional.avg_pool2d(value, w.kernel, w.stride, w.pad, ceil_mode=True)
            continue
        ones = torch.ones(1, 1, w.kernel, w.kernel, dtype=torch.float64)
        apply = (
            torch.nn.functional.conv2d if kind == "conv" else torch.nn.functional.conv_transpose2d
        )
        if kind == "conv" and w.extent > value.shape[2] + 2 * w.pad:
            return  # Caffe's division makes one output of it, PyTorch refuses
        value = apply(value, ones, stride=w.stride, padding=w.pad, dilation=w.dilation)
    if tuple(value.shape) != shapes.blobs[blob]:
        return
    row, column = (data.draw(st.integers(0, n - 1)) for n in value.shape[2:])
    gradient = torch.zeros_like(pixels)
    if value[0, 0, row, column].requires_grad:
        (gradient,) = torch.autograd.grad(value[0, 0, row, column], pixels)
    (found,) = view(graph, shapes, blob, (row, column))
    touched = torch.nonzero(gradient[0, 0])
    if len(touched) == 0:
        # Dilated taps may step over all pixels: the span is that of the outermost taps.
        return
    assert found.inside is not None
    for axis, (first, last) in enumerate(found.inside):
        seen = touched[:, axis]
        # Taps or windows that leave pixels out between them are said to see these as well.
        gaps = any(w.dilation > 1 or w.stride > w.kernel for _, w in steps)
        if gaps:
            assert first <= seen.min() and seen.max() <= last
        else:
            assert (first, last) == (seen.min(), seen.max())
    spans = found.rows, found.columns
    assert all(s[0] <= i[0] and i[1] <= s[1] for s, i in zip(spans, found.inside, strict=True))


@pytest.mark.parametrize(
    ("blob", "size", "stride", "offset"),
    [
        ("conv1_1", 3, 1, -100),
        ("pool1", 6, 2, -101),
        ("pool5", 212, 32, -189),
        ("fc7", 404, 32, -189),  # 404 is the field that the papers' readers know
        ("score", 436, 1, -221),
    ],
)
def test_fields_of_fcn32s(blob, size, stride, offset):
    graph = net(render("voc-fcn32s"))
    rows, columns = fields(graph, infer(graph))[blob]["data"]
    assert rows == columns
    assert (rows.size, rows.stride, rows.of(0)[0]) == (size, stride, offset)


def test_what_reads_all_of_an_image_has_no_stride():
    graph = net(image(1, 3, 8, 9) + layer("InnerProduct", "inner_product_param { num_output: 2 }"))
    rows, columns = fields(graph, infer(graph))["top"]["data"]
    assert (rows.stride, rows.of(0), columns.of(0)) == (0, (0, 7), (0, 8))


def test_what_only_gives_its_size_is_not_seen():
    text = image(1, 1, 9, 9, name="a") + image(1, 1, 4, 4, name="b") + layer("Crop", "", ("a", "b"))
    graph = net(text)
    assert set(fields(graph, infer(graph))["top"]) == {"a"}


# Formulas -------------------------------------------------------------------------------------

sizes = st.builds(
    Formula,
    st.just("H"),
    st.sampled_from([1, 1, -1, 2, 8, -2]),
    st.integers(-40, 40),
    st.integers(1, 32),
    st.integers(-40, 40),
)


@given(sizes, st.integers(0, 500), st.integers(-9, 9), st.integers(1, 16))
def test_arithmetic_on_formulas_is_that_on_numbers(formula, value, number, divisor):
    assert formula.plus(number)(value) == formula(value) + number
    assert formula.times(number)(value) == formula(value) * number
    divided = formula.over(divisor)
    if divided is not None:
        assert divided(value) == formula(value) // divisor


@given(sizes, st.integers(0, 500))
def test_a_formula_as_text_says_what_it_computes(formula, value):
    import math
    import re

    text = str(formula).replace("−", "-").replace("H", str(value))
    text = re.sub(r"⌊\(?(-?\d+)( \+ \d+)?\)?/(\d+)⌋", r"math.floor((\1\2)/\3)", text)
    text = re.sub(r"⌈(-?\d+)/(\d+)⌉", r"math.ceil(\1/\2)", text)
    text = re.sub(r"^(-?\d+) (math|\d)", r"\1 * \2", text)
    assert eval(text, {"math": math}) == formula(value)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(30, 60))
def test_formulas_hold_at_other_sizes(steps, other):
    steps = [(kind, poolable(w) if kind == "pool" else w) for kind, w in steps]
    text, _ = chain(steps, 29)
    try:
        summary = summarize(net(text))
        shapes = infer(net(text, (other, other)))
    except NetError:
        return
    for row in summary.rows:
        sizes = row.tops[0].sizes or ()
        values = tuple(size(other) if isinstance(size, Formula) else size for size in sizes)
        if min(values, default=1) < 1:
            return  # a kernel larger than its input: Caffe's division then may make 1 of 0
        assert values in ((), shapes.blobs[row.tops[0].blob])


def test_what_is_lost_is_not_claimed():
    size = Traced(7, Formula("H"))
    assert (size * size).formula is None
    assert (100 // size).formula is None
    assert (size % 2).formula is None
    assert (size + 2 - size).formula is None
    assert size - size == 0


# The verb -------------------------------------------------------------------------------------


def resnet(units):
    """A net of as many layers as ResNet-269 has: bottlenecks of convolution, norm, scale, ReLU."""
    text = [image(1, 3, 224, 224)]

    def unit(name, bottom, outputs, kernel=1, stride=1, relu=True):
        text.append(
            layer(
                "Convolution",
                f"convolution_param {{ num_output: {outputs} kernel_size: {kernel}"
                f" pad: {kernel // 2} stride: {stride} bias_term: false }}",
                (bottom,),
                name,
            )
        )
        text.append(layer("BatchNorm", "", (name,), name, f"{name}_bn"))
        text.append(layer("Scale", "scale_param { bias_term: true }", (name,), name, f"{name}_s"))
        if relu:
            text.append(layer("ReLU", "", (name,), name, f"{name}_relu"))
        return name

    bottom = unit("conv1", "data", 64, 7, 2)
    text.append(layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (bottom,), "pool1"))
    bottom = "pool1"
    for stage, count in enumerate(units):
        width = 64 * 2**stage
        for index in range(count):
            stride = 2 if stage and not index else 1
            side = bottom
            if not index:
                side = unit(f"s{stage}_side", bottom, 4 * width, 1, stride, relu=False)
            name = f"s{stage}_{index}"
            way = unit(f"{name}a", bottom, width, 1, stride)
            way = unit(f"{name}b", way, width, 3)
            way = unit(f"{name}c", way, 4 * width, relu=False)
            text.append(layer("Eltwise", "", (side, way), f"{name}_sum"))
            text.append(layer("ReLU", "", (f"{name}_sum",), f"{name}_sum", f"{name}_relu"))
            bottom = f"{name}_sum"
    text.append(layer("Pooling", "pooling_param { pool: AVE kernel_size: 7 }", (bottom,), "pool5"))
    text.append(layer("InnerProduct", "inner_product_param { num_output: 1000 }", ("pool5",), "fc"))
    return "\n".join(text)


def test_a_net_of_hundreds_of_layers_takes_less_than_two_seconds(tmp_path):
    path = tmp_path / "resnet269.prototxt"
    path.write_text(resnet((3, 30, 48, 8)))
    start = time.process_time()  # other work on the machine does not count
    result = CliRunner().invoke(main, ["summary", str(path), "--json"])
    took = time.process_time() - start
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["layers"]) > 1000
    assert took < 2


def test_resnet50_has_the_parameters_that_are_known():
    """25,557,032 learned, and a mean and a variance for each of 26,560 channels, and factors."""
    summary = summarize(net(resnet((3, 4, 6, 3))))
    assert summary.parameters == 25_557_032 + 2 * 26_560 + 53


def test_the_verb_prints_tables_and_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    plain = run(main, ["summary", "fcn32s", "--size", "64x96"])
    assert plain.exit_code == 0
    assert "1×21×64×96" in plain.stdout
    assert "parameters: 134,432,597" in plain.stdout
    markdown = run(main, ["summary", "fcn32s", "--markdown"]).stdout.splitlines()
    assert markdown[0].startswith("| layer | type |")
    assert markdown[1].count("---:") == 6
    found = json.loads(run(main, ["summary", "vgg16", "--json"]).stdout)
    assert found["parameters"] == 138_357_544
    assert found["layers"][1]["field"] == {
        "of": "data", "size": [3, 3], "stride": ["1", "1"], "offset": [-1, -1],
    }  # fmt: skip


def test_phases_levels_and_stages_choose_the_layers(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        image(1, 1, 4, 4)
        + layer("ReLU", 'include { stage: "deep" min_level: 2 }', top="a")
        + layer("Dropout", "include { phase: TRAIN }", top="b")
    )

    def types(*words):
        result = CliRunner().invoke(main, ["summary", str(path), "--json", *words])
        return [row["type"] for row in json.loads(result.stdout)["layers"]]

    assert types() == ["Input"]
    assert types("--stage", "deep") == ["Input"]
    assert types("--stage", "deep", "--level", "2") == ["Input", "ReLU"]
    assert types("--phase", "train") == ["Input", "Dropout"]


def test_a_training_net_of_the_papers_can_be_summed_up(published):
    graph = build(read_net(published / "voc-fcn8s" / "train.prototxt"), State(TRAIN))
    summary = summarize(graph)
    assert summary.parameters == 134_489_759
    assert summary.uncounted == ()
    assert summary.training > summary.inference


def test_layers_of_unknown_shape_are_named_and_not_guessed():
    text = 'layer { name: "who" type: "Python" top: "x" python_param { module: "m" layer: "L" } }'
    summary = summarize(net(text + layer("ReLU", bottoms=("x",))))
    assert summary.uncounted == ("who", "top")
    assert "not counted, for their shapes are unknown: who, top" in table(summary)


def test_brute_force_helpers_count_what_they_say():
    assert count_convolution(2, 4, 2, 5, Window(3), 3) == 4 * 9 * 1 * 9
    assert count_deconvolution(2, 4, 2, 5, Window(3), 7) == prod((2, 5, 5, 2, 9))
