"""Upgrades of old nets and solvers, against what real Caffe's tools wrote."""

from __future__ import annotations

import json

import pytest
from paths import GOLDEN

from fcnproto.errors import NetError, PrototxtError
from fcnproto.proto import printer, schema, upgrade, upgrade_v0
from fcnproto.proto import reader as text
from fcnproto.proto.caffe_pb2 import (
    NetParameter,
    SolverParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from fcnproto.proto.copying import UpgradeError
from fcnproto.proto.upgrade import upgrade_net, upgrade_solver

UPGRADE = GOLDEN / "upgrade"
CASES = json.loads((UPGRADE / "index.json").read_text())
NETS = [case for case in CASES if case["kind"] == "net"]
SOLVERS = [case for case in CASES if case["kind"] == "solver"]


def read(content: str) -> NetParameter:
    document = text.parse(content, "f", NetParameter)
    assert not document.problems
    return document.message


def upgraded(content: str) -> str:
    return printer.format(upgrade_net(read(content)).message)


def current(content: str) -> str:
    """A current net, as it is written."""
    return printer.format(read(content))


def before(case: dict[str, str]) -> str:
    return (UPGRADE / f"{case['name']}.before.prototxt").read_text()


def after(case: dict[str, str]) -> str:
    return (UPGRADE / f"{case['name']}.after.prototxt").read_text()


def is_current(case) -> bool:
    return any("already in latest proto format" in line for line in case["log"])


# Against real Caffe -------------------------------------------------------------------------


@pytest.mark.parametrize("case", NETS, ids=lambda case: case["name"])
def test_nets_become_what_caffe_makes_of_them(case):
    net = read(before(case))
    kept = net.SerializeToString()
    if case["aborted"]:
        with pytest.raises(NetError):
            upgrade_net(net)
        return
    result = upgrade_net(net)
    assert printer.format(result.message) == after(case)
    assert result.changed != is_current(case)
    assert len(result.origins) == len(result.message.layer)
    assert net.SerializeToString() == kept
    again = upgrade_net(result.message)
    assert printer.format(again.message) == after(case)


@pytest.mark.parametrize("case", NETS, ids=lambda case: case["name"])
def test_there_is_a_warning_where_caffe_complains_of_a_field(case):
    complaints = [line.split() for line in case["log"] if "Unknown parameter" in line]
    if case["aborted"] or not complaints:
        return
    # "E upgrade_proto.cpp:237] Unknown parameter num_output for layer type relu"
    wanted = [(words[4], words[-1]) for words in complaints]
    warnings = upgrade_net(read(before(case))).warnings
    for field, kind in wanted:
        assert any(field in warning and f"'{kind}'" in warning for warning in warnings)


@pytest.mark.parametrize("case", SOLVERS, ids=lambda case: case["name"])
def test_solvers_become_what_caffe_makes_of_them(case):
    document = text.parse(before(case), "f", SolverParameter)
    if not case["written"] and not case["aborted"]:
        assert document.problems  # Caffe does not even read it
        return
    if case["aborted"]:
        with pytest.raises(PrototxtError, match="solver_type"):
            upgrade_solver(document.message)
        return
    result = upgrade_solver(document.message)
    assert printer.format(result.message) == after(case)
    assert result.changed != is_current(case)


# V0 -----------------------------------------------------------------------------------------


def test_every_v0_field_has_a_rule():
    ruled = {*upgrade_v0._V0_SETTINGS, *upgrade_v0._V0_TRANSFORMS, *upgrade_v0._V0_KEPT}
    ruled |= {"type", "hdf5_output_param"}
    assert ruled == set(V0LayerParameter.DESCRIPTOR.fields_by_name)


def v0_layer_with(name: str, kind: str) -> NetParameter:
    """A net of one V0 layer that has one setting."""
    net = NetParameter()
    layer = net.layers.add().layer
    layer.name, layer.type = "l", kind
    if name.endswith("_filler"):
        getattr(layer, name).type = "xavier"
    else:
        setattr(layer, name, "a word" if isinstance(getattr(layer, name), str) else 1)
    return net


@pytest.mark.parametrize("name", upgrade_v0._V0_SETTINGS)
def test_v0_settings_go_to_the_messages_of_their_types_and_to_no_other(name):
    new, takers = upgrade_v0._V0_SETTINGS[name]
    for kind in upgrade_v0._V0_TYPES:
        result = upgrade_net(v0_layer_with(name, kind))
        layer = result.message.layer[0]
        settings = [field.name for field, _ in schema.set_fields(layer) if field.is_message]
        if kind in takers:
            assert settings == [upgrade_v0._V0_MESSAGES[kind]]
            ((field, (value,)),) = schema.set_fields(getattr(layer, settings[0]))
            assert (field.name, value) == (
                new,
                getattr(v0_layer_with(name, kind).layers[0].layer, name),
            )
            assert not result.warnings
        else:
            assert not settings
            assert len(result.warnings) == 1


@pytest.mark.parametrize("name", ["new_height", "new_width"])
def test_a_negative_size_wraps_as_in_cpp(name):
    """int32 in V0 and uint32 after it (upgrade_proto.cpp sets one to the other)."""
    net = v0_layer_with(name, "images")
    setattr(net.layers[0].layer, name, -2)
    (layer,) = upgrade_net(net).message.layer
    assert getattr(layer.image_data_param, name) == 2**32 - 2


def test_v0_transforms_and_weights_belong_to_any_type():
    assert upgraded(
        "layers { layer { name: 'r' type: 'relu' scale: 2 meanfile: 'm' cropsize: 3 mirror: true"
        " blobs { data: 1 } blobs_lr: 1 weight_decay: 2 weight_decay: 3 } }"
    ) == current(
        "layer { name: 'r' type: 'ReLU' blobs { data: 1 }"
        " param { lr_mult: 1 decay_mult: 2 } param { decay_mult: 3 }"
        " transform_param { scale: 2 mean_file: 'm' crop_size: 3 mirror: true } }"
    )


PADDING = "layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'x' top: 'xp' }"


def test_padding_moves_into_every_reader_and_its_origin_is_skipped():
    net = read(
        f"input: 'x' {PADDING}"
        "layers { layer { type: 'conv' pad: 7 } bottom: 'xp' top: 'c' }"
        "layers { layer { type: 'relu' } bottom: 'c' top: 'c' }"
        "layers { layer { type: 'pool' } bottom: 'xp' top: 'm' }"
    )
    result = upgrade_net(net)
    layers = result.message.layer
    assert [list(layer.bottom) for layer in layers] == [["x"], ["c"], ["x"]]
    assert list(layers[0].convolution_param.pad) == [2]
    assert layers[2].pooling_param.pad == 2
    assert result.origins == (1, 2, 3)


def test_padding_without_a_pad_sets_none_and_a_later_top_hides_it():
    result = upgraded(
        "input: 'x' layers { layer { type: 'padding' } bottom: 'x' top: 'y' }"
        "layers { layer { type: 'conv' } bottom: 'y' top: 'y' }"
        "layers { layer { type: 'relu' } bottom: 'y' top: 'y' }"
    )
    assert result == current(
        "layer { type: 'Convolution' bottom: 'x' top: 'y' convolution_param { pad: 0 } }"
        "layer { type: 'ReLU' bottom: 'y' top: 'y' }"
    )


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        ("layer { type: 'relu' } bottom: 'xp'", "only conv and pool layers"),
        ("layer { type: 'padding' } bottom: 'xp'", "only conv and pool layers"),
        ("layer { type: 'conv' } bottom: 'xp' bottom: 'x'", "no other bottom"),
        ("type: CONVOLUTION bottom: 'xp'", "only conv and pool layers"),
    ],
)
def test_padding_that_cannot_move_is_refused(reader, words):
    with pytest.raises(UpgradeError, match=words) as caught:
        upgrade_net(read(f"input: 'x' {PADDING} layers {{ {reader} top: 'y' }}"))
    assert caught.value.places == (("layers", 1),)


def test_padding_with_two_tops_is_refused_when_read():
    two = PADDING.replace("top: 'xp'", "top: 'xp' top: 'xq'")
    with pytest.raises(UpgradeError, match="one bottom and one top, found 1 and 2"):
        upgrade_net(read(f"input: 'x' {two} layers {{ layer {{ type: 'conv' }} bottom: 'xq' }}"))


def test_all_that_is_wrong_with_a_v0_net_is_said_at_once():
    with pytest.raises(UpgradeError) as caught:
        upgrade_net(
            read(
                "layers { layer { name: 'a' type: 'swish' } bottom: 'x' }"
                "layers { layer { name: 'b' type: 'conv2' } bottom: 'y' }"
            )
        )
    said = [(problem.layer, problem.message.split("'")[1]) for problem in caught.value.problems]
    assert said == [("a", "x"), ("b", "y"), ("a", "swish"), ("b", "conv2")]


def test_what_a_v0_net_loses_is_warned_of():
    result = upgrade_net(
        read(
            "state { level: 1 } layers { layer { name: 'a' type: 'relu' } include { } top: 'a' }"
            "layers { name: 'b' type: RELU top: 'b' } layer { name: 'c' }"
        )
    )
    assert printer.format(result.message) == current(
        "layer { name: 'a' type: 'ReLU' top: 'a' } layer { top: 'b' }"
    )
    lost = [warning.split(" is dropped")[0] for warning in result.warnings]
    assert lost == [
        "state of a V0 net",
        "layer of a V0 net",
        "layer 'a': include",
        "layer 'b': name",
        "layer 'b': type",
    ]


# V1 -----------------------------------------------------------------------------------------


def test_every_v1_type_has_a_name():
    assert set(upgrade._V1_TYPES) == set(V1LayerParameter.LayerType.keys())


def test_v1_param_lists_are_zipped_whatever_their_lengths():
    assert upgraded(
        "layers { param: 'w' blob_share_mode: STRICT blob_share_mode: PERMISSIVE"
        " blobs_lr: 1 blobs_lr: 2 blobs_lr: 0 weight_decay: 0.5 }"
    ) == current(
        "layer { param { name: 'w' share_mode: STRICT lr_mult: 1 decay_mult: 0.5 }"
        " param { share_mode: PERMISSIVE lr_mult: 2 } param { lr_mult: 0 } }"
    )


def test_if_one_data_layer_moves_its_transforms_all_get_both_messages():
    assert upgraded(
        "layers { type: DATA } layers { type: WINDOW_DATA window_data_param { mirror: false } }"
        "layers { type: IMAGE_DATA transform_param { scale: 3 } }"
        "layers { type: HDF5_DATA data_param { scale: 3 } }"
    ) == current(
        "layer { type: 'Data' data_param {} transform_param {} }"
        "layer { type: 'WindowData' window_data_param {} transform_param { mirror: false } }"
        "layer { type: 'ImageData' image_data_param {} transform_param { scale: 3 } }"
        "layer { type: 'HDF5Data' data_param { scale: 3 } }"
    )


def test_transforms_of_a_current_net_stay():
    content = "layer { type: 'Data' data_param { scale: 0.5 } }"
    assert upgraded(content) == current(content)


def test_names_that_are_not_utf8_survive():
    result = upgraded(r"layers { name: '\377' bottom: '\376' top: 'a' param: '\375' }")
    assert result == current(
        r"layer { name: '\377' bottom: '\376' top: 'a' param { name: '\375' } }"
    )
    result = upgraded(
        r"input: '\377' layers { layer { type: 'padding' } bottom: '\377' top: 'p' }"
        r"layers { layer { type: 'conv' } bottom: 'p' top: '\376' }"
    )
    assert r'bottom: "\377"' in result


# Inputs and BatchNorm ---------------------------------------------------------------------------


def test_several_input_shapes_make_one_layer_at_the_front():
    result = upgrade_net(
        read("input: 'a' input: 'b' input_shape {} input_shape { dim: 3 } layer { name: 'l' }")
    )
    assert printer.format(result.message) == current(
        "layer { name: 'input' type: 'Input' top: 'a' top: 'b'"
        " input_param { shape {} shape { dim: 3 } } } layer { name: 'l' }"
    )
    assert result.origins == (None, 0)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ("input_dim: 1 input_dim: 2 input_dim: 3", "need 8 input_dim entries, found 3"),
        ("input_dim: [1, 2, 3, 4, 5]", "need 8 input_dim entries, found 5"),
        ("input_shape { dim: 1 } input_dim: [1, 2, 3, 4, 5, 6, 7, 8]", "need 2 input_shape"),
    ],
)
def test_fewer_sizes_than_inputs_are_refused(sizes, words):
    with pytest.raises(UpgradeError, match=words):
        upgrade_net(read(f"input: 'a' input: 'b' {sizes}"))


def test_more_sizes_than_inputs_are_warned_of():
    result = upgrade_net(read("input: 'a' input_dim: [1, 2, 3, 4, 5]"))
    assert list(result.message.layer[0].input_param.shape[0].dim) == [1, 2, 3, 4]
    assert len(result.warnings) == 1


def test_three_params_of_a_batch_norm_stop_learning_in_any_vintage_that_has_it():
    net = read("layer { type: 'BatchNorm' param {} param {} param { name: 'n' } }")
    result = upgrade_net(net)
    assert result.changed
    zero = "lr_mult: 0 decay_mult: 0"
    assert printer.format(result.message) == current(
        f"layer {{ type: 'BatchNorm' param {{ {zero} }} param {{ {zero} }}"
        f" param {{ name: 'n' {zero} }} }}"
    )


@pytest.mark.parametrize("loss", ["layers { type: SOFTMAX_LOSS", "layer { type: 'SoftmaxWithLoss'"])
def test_what_deeplab_ignores_is_ignored(loss):
    """Its loss is the mean over all other labels, as loss_param's VALID is."""
    given = f"{loss} softmaxloss_param {{ ignore_label: 255 ignore_label: 255 }} }}"
    found = text.parse(given, "f", NetParameter).message  # with a note on the fork
    assert printer.format(upgrade_net(found).message) == current(
        "layer { type: 'SoftmaxWithLoss' loss_param { ignore_label: 255 } }"
    )


def test_an_empty_net_is_current():
    result = upgrade_net(NetParameter())
    assert (result.origins, result.warnings, result.changed) == ((), (), False)


@pytest.mark.parametrize(
    ("fork", "ours"),
    [
        ("kernel_size: 3 hole: 2", "kernel_size: 3 dilation: 2"),
        ("kernel_size: 3 hole_h: 2 hole_w: 4", "kernel_size: 3 dilation: 2 dilation: 4"),
    ],
)
def test_what_deeplab_called_a_hole_is_a_dilation(fork: str, ours: str) -> None:
    """And the hole is gone: BVLC Caffe knows no such field."""
    layer = 'layer {{ name: "c" type: "Convolution" convolution_param {{ num_output: 1 {} }} }}'
    found = text.parse(layer.format(fork), "f", NetParameter).message  # with a note on the fork
    changed = printer.format(upgrade_net(found).message)
    assert "hole" not in changed
    assert changed == current(layer.format(ours))
