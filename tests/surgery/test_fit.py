"""Net surgery against what real Caffe loads and refuses, and against the published surgeries."""

import json
import tracemalloc
from math import prod

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from paths import GOLDEN

from fcnproto import weights
from fcnproto.cli import main
from fcnproto.errors import FcnprotoError, NetError, WeightsError
from fcnproto.layers import fillers
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.caffe_pb2 import FillerParameter
from fcnproto.proto.source import parse_net, read_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery import classes_map
from fcnproto.surgery import fit as surgery
from fcnproto.surgery.fit import Action, WeightSource

LOADING = json.loads((GOLDEN / "loading/loading.json").read_text())
COPIED = {case["case"]: case for case in LOADING["cases"] if case["how"] == "copy_from"}

RESHAPED = {"same_count_other_shape", "bias_shape_1_1_1_N", "ip_legacy_M_N_1_1", "ip_shape_1_1_M_N",
            "ip_shape_M_N_1_1", "fc_into_conv_legacy", "fc_into_conv_shape", "scalar_as_shape_1",
            "h5_same_count", "h5_bias_1_1_1_N"}  # fmt: skip
"""What Caffe refuses, and surgery is for: the same numbers in the same order."""
SHARED = {"shared_empty_user"}  # what HDF5 files may leave out, Caffe asks of binary ones
NOTHING = {"nothing_in_common", "fc_renamed", "empty_file"}  # Caffe loads nothing, without a word
TWINS = {"net_duplicate", "h5_net_duplicate"}  # Caffe gives weights to one of the two


def net_of(text):
    graph = build(parse_net(text))
    return graph, infer(graph)


def fit(text, *sources, **options):
    made = [each if isinstance(each, WeightSource) else WeightSource("w", each) for each in sources]
    return surgery.fit(made, *net_of(text), **options)


def load(case):
    graph = build(read_net(GOLDEN / "loading" / case["net"]))
    loaded = weights.load(GOLDEN / "loading" / case["file"])
    return surgery.fit([WeightSource(case["file"], loaded.weights)], graph, infer(graph))


@pytest.mark.parametrize("name", COPIED)
def test_loading_as_caffe_does_or_saying_why_not(name):
    case = COPIED[name]
    if name in NOTHING | TWINS or (case["aborted"] and name not in RESHAPED | SHARED):
        with pytest.raises(FcnprotoError):
            load(case)
        return
    fitted = load(case)
    if name in RESHAPED:
        assert any(entry.action is Action.RESHAPED for entry in fitted.report)
        return
    found = {key: array.reshape(-1)[0] for key, array in weights.keyed(fitted.weights)}
    left = {e.layer for e in fitted.report if e.action is Action.FILLER}
    for key, (value, *_) in (case["after"] or {}).items():
        layer = key.rpartition("/")[0]
        assert (layer in left) == (value == LOADING["start"]), key
        if layer not in left:
            np.testing.assert_array_equal(found[key], np.float32(value))


def test_a_shared_array_that_the_file_leaves_to_its_owner():
    alone = DATA + CONV.format(name="b", more="")
    net = (CONV.format(name="a", more="") + CONV.format(name="b", more="")).replace(
        'type: "Convolution"', 'type: "Convolution" param { name: "w" }'
    )
    net = DATA + net
    kernel, mine = np.ones((2, 3, 1, 1), np.float32), np.full(2, 5, np.float32)
    missing = np.empty(0, np.float32)
    fitted = fit(net, {"a": [kernel, np.zeros(2, np.float32)], "b": [missing, mine]})
    np.testing.assert_array_equal(fitted.weights["b"][0], kernel)
    np.testing.assert_array_equal(fitted.weights["b"][1], mine)
    with pytest.raises(WeightsError, match="'b': the net has 2 arrays for it; found 1"):
        fit(net, {"b": [missing, mine]})
    with pytest.raises(WeightsError, match="'b': the net has 2 arrays for it"):
        fit(alone, {"b": [missing, mine]})


def test_every_misfit_is_said_with_both_shapes():
    with pytest.raises(WeightsError) as caught:
        load(COPIED["wrong_shape_second_layer"])
    assert [str(problem) for problem in caught.value.problems] == [
        "wrong_shape_second_layer.caffemodel: error: layer 'ip': array 0 is 3×36, the net has 2×36;"
        " --classes-map says which classes to keep",
        "wrong_shape_second_layer.caffemodel: error: layer 'ip': array 1 is 3, the net has 2;"
        " --classes-map says which classes to keep",
    ]


@pytest.mark.parametrize("name", ["embedded_bad", "embedded_legacy_bias"])
def test_blobs_of_the_net_itself_that_caffe_refuses(name):
    net = (GOLDEN / f"loading/{name}.prototxt").read_text() + CONV.format(name="x", more="")
    with pytest.raises(WeightsError, match="no array of"):
        fit(net, {"x": [np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32)]})


def test_blobs_of_the_net_itself():
    net = (GOLDEN / "loading/embedded.prototxt").read_text() + CONV.format(name="x", more="")
    fitted = fit(net, {"x": [np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32)]})
    assert fitted.weights["conv"][0].ravel().tolist() == [1, 2, 3]


CONV = """
layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}"
  convolution_param {{ num_output: 2 kernel_size: 1 {more} }} }}
"""

DATA = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
"""

NET = """
name: "n"
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: {channels} dim: 8 dim: 8 }} }} }}
layer {{ name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param {{ num_output: 5 kernel_size: 3 {c1} }} }}
layer {{ name: "score" type: "Convolution" bottom: "c1" top: "score"
  convolution_param {{ num_output: {classes} kernel_size: 1 {score} }} }}
layer {{ name: "up" type: "Deconvolution" bottom: "score" top: "up" {rate}
  convolution_param {{ num_output: {classes} kernel_size: {kernel} stride: 2 bias_term: false {up} }} }}
"""  # noqa: E501


def net(classes=3, channels=3, kernel=4, c1="", score="", up="", rate=""):
    return NET.format(**locals())


def grouped(classes=3, **options):
    return net(classes, up=f"group: {classes}", **options)


def random_weights(text, seed=0):
    rng = np.random.default_rng(seed)
    graph, shapes = net_of(text)
    return {
        graph.nodes[index].layer.name: [rng.standard_normal(w.shape, np.float32) for w in arrays]
        for index, arrays in shapes.weights.items()
        if arrays
    }


def actions(fitted):
    return {entry.layer: entry.action for entry in fitted.report}


def test_what_has_the_nets_shape_is_the_same_array():
    source = random_weights(net())
    fitted = fit(net(), source)
    assert all(
        fitted.weights[n][i] is a for n, arrays in source.items() for i, a in enumerate(arrays)
    )
    assert set(actions(fitted).values()) == {Action.COPIED}


def test_wider_score_layers_keep_the_old_classes_first():
    source = random_weights(net())
    filled = 'weight_filler { type: "constant" value: 7 } bias_filler { type: "constant" value: 8 }'
    fitted = fit(net(5, score=filled), source)
    kernel, bias = fitted.weights["score"]
    np.testing.assert_array_equal(kernel[:3], source["score"][0])
    np.testing.assert_array_equal(bias[:3], source["score"][1])
    assert (kernel[3:] == 7).all()
    assert (bias[3:] == 8).all()
    up = fitted.weights["up"][0]
    np.testing.assert_array_equal(up[:3, :3], source["up"][0])
    np.testing.assert_array_equal(up[3, 3], fillers.bilinear_kernel(4))
    np.testing.assert_array_equal(up[4, 4], fillers.bilinear_kernel(4))
    assert not up[3:, :3].any()
    assert not up[:3, 3:].any()
    assert actions(fitted)["score"] is actions(fitted)["up"] is Action.WIDENED


def test_only_score_layers_widen():
    source = random_weights(net())
    source["c1"] = [source["c1"][0][:4], source["c1"][1][:4]]
    with pytest.raises(WeightsError, match="'c1': array 0 is 4×3×3×3, the net has 5×3×3×3"):
        fit(net(), source)


def test_narrower_score_layers_need_a_map():
    source = random_weights(net(5))
    with pytest.raises(WeightsError, match=r"5×5×1×1, the net has 3×5×1×1; --classes-map"):
        fit(net(3), source)
    fitted = fit(net(3), source, classes_map={0: 4, 2: 1})
    np.testing.assert_array_equal(fitted.weights["score"][0][[0, 2]], source["score"][0][[4, 1]])
    assert not fitted.weights["score"][0][1].any()
    np.testing.assert_array_equal(
        fitted.weights["up"][0][np.ix_([0, 2], [0, 2])], source["up"][0][np.ix_([4, 1], [4, 1])]
    )


def test_classes_change_places():
    source = random_weights(net())
    fitted = fit(net(), source, classes_map={0: 2, 1: 1, 2: 0})
    np.testing.assert_array_equal(fitted.weights["score"][0], source["score"][0][::-1])
    np.testing.assert_array_equal(fitted.weights["c1"][0], source["c1"][0])


@pytest.mark.parametrize("classes_map", [{0: 0, 5: 1}, {0: 9}])
def test_a_map_of_classes_that_are_not_there(classes_map):
    with pytest.raises(
        WeightsError, match=r"--classes-map makes class .*'score' 3×5×1×1 → 3×5×1×1"
    ):
        fit(net(), random_weights(net()), classes_map=classes_map)


def test_classes_map_files(tmp_path):
    path = tmp_path / "map"
    path.write_text("# new old\n0 4\n\n2 1  # the second\n")
    assert classes_map.read_classes_map(path) == {0: 4, 2: 1}
    path.write_text("0 4\n0 5\nx 1\n1 -2\n")
    with pytest.raises(WeightsError) as caught:
        classes_map.read_classes_map(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]
    path.write_text("\ufeff0 4\n", "utf-8")
    assert classes_map.read_classes_map(path) == {0: 4}
    path.write_text(f"0 {'9' * 5000}\n")
    with pytest.raises(WeightsError, match="expected NEW OLD"):
        classes_map.read_classes_map(path)
    path.write_text("# nothing\n")
    with pytest.raises(WeightsError, match="maps no class"):
        classes_map.read_classes_map(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        classes_map.read_classes_map(tmp_path / "none")


def test_depth_takes_the_mean_of_the_colors():
    source = random_weights(net())
    fitted = fit(net(channels=4), source)
    kernel = fitted.weights["c1"][0]
    np.testing.assert_array_equal(kernel[:, :3], source["c1"][0])
    np.testing.assert_allclose(kernel[:, 3], source["c1"][0].mean(axis=1), rtol=1e-6)
    assert actions(fitted)["c1"] is Action.WIDENED


def test_depth_is_only_for_the_layer_that_sees_the_image():
    text = net(classes=4)
    source = random_weights(text)
    deeper = CONV.format(name="next", more="").replace('bottom: "data"', 'bottom: "up"')
    source["next"] = [np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32)]
    with pytest.raises(WeightsError, match="'next': array 0 is 2×3×1×1, the net has 2×4×1×1"):
        fit(text + deeper, source)


def test_dense_and_grouped_upsampling():
    source = random_weights(grouped())
    dense = fit(net(), source).weights["up"][0]
    assert dense.shape == (3, 3, 4, 4)
    assert np.count_nonzero(dense) == source["up"][0].size
    back = fit(grouped(), {"up": [dense]}).weights["up"][0]
    np.testing.assert_array_equal(back, source["up"][0])
    with pytest.raises(WeightsError, match="connect different channels"):
        fit(grouped(), random_weights(net()))
    wider = fit(grouped(5), {"up": [dense]}).weights["up"][0]
    np.testing.assert_array_equal(wider[:3], source["up"][0])
    np.testing.assert_array_equal(wider[3, 0], fillers.bilinear_kernel(4))


@pytest.mark.parametrize("make", [net, grouped])
@pytest.mark.parametrize("kernel", [3, 4, 5, 16, 63, 64])
@pytest.mark.parametrize("filler", ["", 'weight_filler { type: "bilinear" }'])
def test_bilinear_kernels_are_caffes(make, kernel, filler):
    text = make(kernel=kernel).replace("bias_term: false", f"bias_term: false {filler}")
    fitted = fit(text, {"c1": random_weights(net())["c1"]})
    up = fitted.weights["up"][0]
    with np.load(GOLDEN / "fillers.npz") as golden:
        wanted = golden[f"bilinear/{kernel}"].reshape(kernel, kernel)
    for channel in range(3):
        mine = up[channel, channel if up.shape[1] > 1 else 0]
        np.testing.assert_array_equal(mine, wanted)
    assert np.count_nonzero(up) == 3 * np.count_nonzero(wanted)
    assert actions(fitted)["up"] is Action.GENERATED


def test_fixed_kernels_of_another_size_are_made_anew():
    source = random_weights(net(kernel=6))
    with pytest.raises(WeightsError, match=r"'up': array 0 is 3×3×6×6, the net has 3×3×4×4"):
        fit(net(), source)
    fitted = fit(net(rate="param { lr_mult: 0 }"), source)
    assert actions(fitted)["up"] is Action.GENERATED
    assert "in place of 3×3×6×6" in str(fitted.report[-1])


def test_upsampling_with_a_filler_of_its_own():
    text = net(up='weight_filler { type: "gaussian" std: 0.01 }')
    fitted = fit(text, {"c1": random_weights(net())["c1"]})
    assert actions(fitted)["up"] is Action.FILLER
    assert fitted.weights["up"][0].all()


def test_fillers_depend_on_seed_and_name_alone():
    text = net(c1='weight_filler { type: "xavier" }', score='weight_filler { type: "msra" }')
    source = {"up": random_weights(net())["up"]}
    first, again = fit(text, source, seed=3), fit(text, source, seed=3)
    other = fit(text, source, seed=4)
    np.testing.assert_array_equal(first.weights["c1"][0], again.weights["c1"][0])
    assert not np.array_equal(first.weights["c1"][0], other.weights["c1"][0])
    given = fit(text, source | {"c1": random_weights(net())["c1"]}, seed=3)
    np.testing.assert_array_equal(given.weights["score"][0], first.weights["score"][0])


def test_layers_left_at_zero_are_named():
    fitted = fit(net(), {"up": random_weights(net())["up"]})
    assert [str(note) for note in fitted.notes] == [
        "warning: left at zero: 'c1', 'score'; they say nothing until they are trained"
    ]


def test_strict_names_what_is_dropped_and_what_is_left():
    source = random_weights(net())
    del source["score"]
    source["other"] = [np.ones(3, np.float32)]
    fitted = fit(net(), source)
    assert [p.layer for p in surgery.strict_problems(fitted.report)] == ["score", "other"]


def test_a_later_source_goes_first():
    first, second = random_weights(net(), 1), {"c1": random_weights(net(), 2)["c1"]}
    fitted = fit(net(), WeightSource("a", first), WeightSource("b", second))
    np.testing.assert_array_equal(fitted.weights["c1"][0], second["c1"][0])
    np.testing.assert_array_equal(fitted.weights["score"][0], first["score"][0])
    assert str(fitted.notes[0]) == "b: note: layer 'c1': it is in a too, which gives way"


def test_transposed_inner_product():
    text = """
    layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 6 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip"
      inner_product_param { num_output: 4 transpose: true } }
    """
    upright = np.arange(24, dtype=np.float32).reshape(4, 6)
    fitted = fit(text, {"ip": [upright, np.zeros(4, np.float32)]})
    np.testing.assert_array_equal(fitted.weights["ip"][0], upright.T)
    assert actions(fitted)["ip"] is Action.TRANSPOSED


def test_two_layers_of_one_name():
    text = (GOLDEN / "loading/twins.prototxt").read_text()
    with pytest.raises(NetError, match="another layer with weights has its name"):
        fit(text, {"conv": []})


# The one direction in which counts that are equal may be reshaped.

sizes = st.integers(1, 5)


def one_layer(kind, *shape):
    dims = " ".join(f"dim: {size}" for size in (1, *shape))
    return f"""
    layer {{ name: "d" type: "Input" top: "d" input_param {{ shape {{ {dims} }} }} }}
    layer {{ name: "l" bottom: "d" top: "l" {kind} }}
    """


def convolution(outputs, inputs, height, width):
    kind = (
        f'type: "Convolution" convolution_param {{ num_output: {outputs} kernel_h: {height}'
        f" kernel_w: {width} bias_term: false }}"
    )
    return one_layer(kind, inputs, height, width)


def dense(outputs, inputs):
    kind = f'type: "InnerProduct" inner_product_param {{ num_output: {outputs} bias_term: false }}'
    return one_layer(kind, inputs)


@given(sizes, sizes, sizes, sizes)
def test_matrix_and_kernel_hold_the_same_numbers(outputs, inputs, height, width):
    matrix = np.arange(outputs * inputs * height * width, dtype=np.float32).reshape(outputs, -1)
    kernel = fit(convolution(outputs, inputs, height, width), {"l": [matrix]}).weights["l"][0]
    assert kernel.shape == (outputs, inputs, height, width)
    np.testing.assert_array_equal(kernel.ravel(), matrix.ravel())
    back = fit(dense(outputs, inputs * height * width), {"l": [kernel]}).weights["l"][0]
    np.testing.assert_array_equal(back, matrix)
    old = matrix.reshape(1, 1, *matrix.shape)
    again = fit(convolution(outputs, inputs, height, width), {"l": [old]}).weights["l"][0]
    np.testing.assert_array_equal(again, kernel)


@given(st.lists(sizes, min_size=1, max_size=4), st.lists(sizes, min_size=4, max_size=4))
@example([2, 1, 1, 1], [1, 1, 2, 1])  # two outputs are not one kernel of two rows
def test_no_other_shape_fits(found, wanted):
    array = np.zeros(found, np.float32)

    def plain(shape):
        return list(shape[next((i for i, n in enumerate(shape) if n != 1), len(shape)) :])

    matrix = found[2:] if len(found) == 4 and found[:2] == [1, 1] else found
    legal = plain(found) == plain(wanted) or (
        len(matrix) == 2 and matrix[0] == wanted[0] and prod(matrix) == prod(wanted)
    )
    widens = len(found) == 4 and found[0] < wanted[0] and found[1:] == wanted[1:]
    deepens = found[0] == wanted[0] and len(found) == 4 and (found[1], wanted[1]) == (3, 4)
    if widens or (deepens and found[2:] == wanted[2:]):
        return
    if legal:
        fit(convolution(*wanted), {"l": [array]})
    else:
        with pytest.raises(WeightsError):
            fit(convolution(*wanted), {"l": [array]})


# Fillers, against what real Caffe drew.


@pytest.mark.parametrize(
    "case", json.loads((GOLDEN / "fillers.json").read_text())["random"], ids=lambda c: c["filler"]
)
def test_random_fillers_are_distributed_as_caffes(case):
    from google.protobuf import text_format

    param = text_format.Parse(case["filler"], FillerParameter())
    shape = tuple(case["shape"])
    rng = np.random.default_rng(0)
    count = max(1, -(-case["count"] // prod(shape)))
    drawn = np.stack([fillers.fill(param, shape, rng) for _ in range(count)]).astype(np.float64)
    noise = 5 / np.sqrt(drawn.size)
    if "low" in case:
        assert case["low"] * (1 + 1e-6) <= drawn.min() or drawn.min() >= case["low"] - 1e-6
        assert drawn.max() <= case["high"] + 1e-6
    if "row_sum_min" in case:
        rows = drawn.reshape(-1, case["dim"]).sum(axis=1)
        np.testing.assert_allclose(rows, 1, rtol=1e-5)
        np.testing.assert_allclose(drawn.std(), case["std"], rtol=0.05)
        return
    spread = case["expected_std"]
    assert abs(drawn.mean() - case["expected_mean"]) <= noise * spread + 1e-12
    np.testing.assert_allclose(drawn.std(), spread, rtol=4 * noise, atol=1e-12)
    if "expected_zeros" in case:
        assert abs((drawn == 0).mean() - case["expected_zeros"]) < noise


def test_exact_fillers_are_caffes():
    with np.load(GOLDEN / "fillers.npz") as golden:
        for key in golden:
            if key.startswith("bilinear") and golden[key].ndim == 4:
                shape = golden[key].shape
                made = fillers.fill(
                    FillerParameter(type="bilinear"), shape, np.random.default_rng(0)
                )
                np.testing.assert_array_equal(made, golden[key])


# The published surgeries, whole.


def published(name, seed=0, skip=()):
    source = random_weights(render(name), seed)
    return {layer: arrays for layer, arrays in source.items() if layer not in skip}


def fit_published(name, *sources, **options):
    graph = build(parse_net(render(name)))
    return surgery.fit(sources, graph, infer(graph), **options)


@pytest.mark.slow
def test_stage_to_stage():
    coarse = published("voc-fcn32s")
    fitted = fit_published("voc-fcn16s", WeightSource("32s", coarse))
    np.testing.assert_array_equal(fitted.weights["score_fr"][0], coarse["score_fr"][0])
    assert actions(fitted)["score_pool4"] is Action.FILLER
    assert actions(fitted)["upscore2"] is actions(fitted)["upscore16"] is Action.GENERATED
    assert actions(fitted)["upscore"] is Action.DROPPED


@pytest.mark.slow
def test_published_weights_and_our_grouped_nets():
    ours = published("fcn8s")
    there = fit_published("voc-fcn8s", WeightSource("ours", ours)).weights
    back = fit_published("fcn8s", WeightSource("theirs", there)).weights
    for name, arrays in back.items():
        for mine, other in zip(arrays, ours[name], strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("options", [(), ("--init",)])
def test_more_than_a_file_of_weights_holds_is_not_filled(tmp_path, options):
    """One line before anything is allocated: the text has two hundred bytes."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "i" type: "Input" top: "a" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4'
        ' } } } layer { name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param {'
        " num_output: 1 kernel_size: 40000 pad: 25000 } }"
    )
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = CliRunner().invoke(main, ["export-onnx", "net.prototxt", *options])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.exit_code == 1 and "layer 'c': no file gives its weights, 6.0 GiB" in done.output
    assert done.output.count("error") == 1 and most < 2**28
