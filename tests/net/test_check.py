"""check.py against what real Caffe refuses and accepts, and against the published nets."""

import json
from pathlib import Path

import pytest
from paths import TESTS

from fcnproto.errors import FcnprotoError, Severity
from fcnproto.net.check import check_net, check_solver
from fcnproto.net.nodes import State
from fcnproto.proto.source import is_solver, parse_net, parse_solver

CASES = json.loads((TESTS / "golden" / "malformed.json").read_text())
# A net's forward and backward passes refuse more than its construction; check does not run them.
CHECKED = [case for case in CASES if case["kind"] == "solver" or case["stage"] == "construct"]


def problems_of(text):
    try:
        if is_solver(text):
            return check_solver(parse_solver(text, "case.prototxt"))
        return check_net(parse_net(text, "case.prototxt"))
    except FcnprotoError as error:
        return list(error.problems)


def errors(problems):
    return [str(problem) for problem in problems if problem.severity is Severity.ERROR]


@pytest.fixture
def solver_net(tmp_path, monkeypatch):
    """The net that the golden solvers name, in the working directory."""
    text = (TESTS / "golden" / "malformed_solver_net.prototxt").read_text()
    (tmp_path / "_n.prototxt").write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("solver_net")
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case["case"])
def test_what_caffe_refuses_is_an_error_and_what_it_accepts_is_none(case):
    # Without an lr_policy Caffe builds a solver, and stops at the first iteration.
    found = errors(problems_of(case["prototxt"]))
    if case["kind"] == "solver" and not case["aborted"]:
        found = [line for line in found if "no lr_policy" not in line]
    assert bool(found) == case["aborted"], found or case["caffe_message"]
    assert all(line.count("\n") == 0 for line in found)


NONSENSE = {
    "field_of_other_layer_accepted": "does not read pooling_param",
    "name_missing_accepted": "no name",
    "no_layers_accepted": "no layers",
    "empty_file_accepted": "no layers",
    "inplace_conv_other_shape_accepted": "computes nonsense",
    "inplace_pooling_accepted": "computes nonsense",
    "inplace_innerproduct_accepted": "computes nonsense",
    "inplace_deconv_accepted": "computes nonsense",
    "conv_dilation_zero_accepted": "dilation",
    "conv_kernel_one_too_big_nobias_accepted": "empty",
    "pool_kernel_one_too_big_accepted": "empty",
    "eltwise_coeff_max_accepted": "coeff",
    "input_no_shape_accepted": "shape",
    "dropout_ratio_above_one_accepted": "dropout_ratio",
    "solver_step_without_gamma_accepted": "gamma",
    "solver_poly_without_max_iter_accepted": "max_iter",
    "solver_base_lr_missing_accepted": "base_lr",
    "solver_regularization_unknown_no_decay_accepted": "regularization_type",
    "solver_iter_size_zero_accepted": "iter_size",
}


@pytest.mark.usefixtures("solver_net")
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_that_caffe_accepts_is_a_warning(name):
    (case,) = [case for case in CASES if case["case"] == name]
    warnings = [p.message for p in problems_of(case["prototxt"]) if p.severity is Severity.WARNING]
    assert any(NONSENSE[name] in warning for warning in warnings), warnings


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embedded", None),
        ("embedded_bad", "its blobs must be 1×3×1×1 and 1, found 3 and 1"),
        ("embedded_legacy_bias", "its blobs must be 1×3×1×1 and 1, found 1×3×1×1 and 1×1×1×1"),
    ],
)
def test_weights_in_the_prototxt(name, message):
    text = (TESTS / "golden" / "loading" / f"{name}.prototxt").read_text()
    found = errors(problems_of(text))
    assert [message in line for line in found] == [True] * (message is not None)
    (short,) = errors(problems_of(text.replace("data: 4", "data: 4 data: 5")))[:1]
    assert "blob 1 is" in short
    assert "but holds 2 numbers" in short


@pytest.mark.parametrize("kind", ["Split", "Flatten", "Reshape", "Slice", "Concat"])
def test_a_layer_that_hands_on_its_bottom_and_has_none(kind):
    (error,) = errors(problems_of(f'layer {{ name: "l" type: "{kind}" top: "x" }}'))
    assert "bottoms, found 0" in error


def test_a_data_layer_that_makes_its_own_tops_is_no_loss():
    # PSPNet's and DeepLab's; only losses have a loss_weight of 1 by default.
    text = 'layer { name: "d" type: "ImageSegData" top: "data" top: "label" }'
    assert not errors(problems_of(text))


@pytest.mark.usefixtures("solver_net")
def test_what_a_solver_holds_of_an_older_form_is_not_upgraded():
    net = 'lr_policy: "fixed" net_param { input: "data" input_dim: [1, 3, 8, 8] %s }'
    (error,) = errors(problems_of(net % 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'))
    assert "no layer before it makes its bottom 'data'" in error
    assert not errors(problems_of(net % 'layers { type: RELU bottom: "nowhere" top: "r" }'))


@pytest.mark.usefixtures("solver_net")
def test_a_net_that_cannot_be_upgraded_does_not_hide_what_else_is_wrong():
    Path("mixed.prototxt").write_text("layer { } layers { }")
    solver = 'lr_policy: "fixed" test_iter: 1 test_interval: 1'
    solver += ' train_net: "mixed.prototxt" test_net: "gone.prototxt"'
    found = errors(problems_of(solver))
    assert len(found) == 2
    assert "'layers' are used" in found[0]
    assert "gone.prototxt" in found[1]


DATA = {
    "Data": 'data_param { source: "x" batch_size: 4 }',
    "HDF5Data": 'hdf5_data_param { source: "x" batch_size: 4 }',
    "ImageData": 'image_data_param { source: "x" batch_size: 4 }',
    "ImageSegData": 'top: "dim" image_data_param { source: "x" batch_size: 4 }',
    "DenseImageData": 'dense_image_data_param { source: "x" batch_size: 4 }',
    "ImageLabelmapData": 'image_data_param { source: "x" batch_size: 4 }',
    "ImageLabelData": 'image_label_data_param { image_list_path: "x" label_list_path: "y" }',
    "Python": 'python_param { module: "mine" layer: "MyData" }',
}


@pytest.mark.parametrize("kind", DATA)
def test_a_size_stands_in_for_that_of_images_nobody_has_read(kind):
    """What lies below is then checked, whatever layer brings the images."""
    text = (
        f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" {DATA[kind]} }}'
        'layer { name: "p" type: "Pooling" bottom: "data" top: "p"'
        " pooling_param { kernel_size: 2 stride: 2 } }"
        'layer { name: "u" type: "Deconvolution" bottom: "p" top: "u"'
        " convolution_param { num_output: 3 kernel_size: 2 stride: 2 } }"
        'layer { name: "e" type: "Eltwise" bottom: "data" bottom: "u" top: "e" }'
    )
    assert errors(check_net(parse_net(text), State(), None)) == []
    (told,) = errors(check_net(parse_net(text), State(), (45, 60)))
    assert "layer 'e'" in told and "×3×45×60 and" in told and "×3×46×60" in told
    assert errors(check_net(parse_net(text), State(), (46, 60))) == []
