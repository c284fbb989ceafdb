"""Nets and solvers from files: what they are, where their layers stand, what cannot be read."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from paths import TESTS

from fcnproto.errors import FcnprotoError, NetError, PrototxtError, Severity
from fcnproto.proto import reader
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.proto.source import (
    NetSource,
    SolverSource,
    is_solver,
    parse_net,
    parse_solver,
    read_any,
    read_binary_net,
    read_net,
    read_solver,
    upgrade_file,
)

WEIGHTS = TESTS / "golden/weights"
UPGRADES = TESTS / "golden/upgrade"


def written(tmp_path: Path, content: bytes | str, name: str = "net.prototxt") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(function, *arguments) -> str:
    with pytest.raises(FcnprotoError) as caught:
        function(*arguments)
    return str(caught.value)


# Lines and problems ---------------------------------------------------------------------------


def test_layers_know_their_lines_through_an_upgrade():
    source = parse_net(
        "name: 'n'\ninput: 'x'\ninput_dim: [1, 1, 4, 4]\n"
        "layers { layer { type: 'padding' pad: 1 } bottom: 'x' top: 'p' }\n"
        "layers {\n layer { type: 'conv' } bottom: 'p' top: 'c' }\n\n"
        "layers { layer { type: 'relu' num_output: 2 name: 'r' } bottom: 'c' top: 'c' }\n",
        "old.prototxt",
    )
    assert [layer.type for layer in source.net.layer] == ["Input", "Convolution", "ReLU"]
    assert source.lines == (2, 5, 8)
    (problem,) = source.problems
    assert problem.severity is Severity.WARNING
    assert (problem.path, "num_output" in problem.message) == ("old.prototxt", True)


def test_what_caffe_cannot_upgrade_is_refused_with_its_line_and_with_all_else():
    said = refusal(
        parse_net,
        "colour: 1\nlayers { layer { name: 'a' type: 'swish' } }\n"
        "layers {\n layer { name: 'b' type: 'relu' } bottom: 'x' }\n",
        "f",
    )
    assert said.splitlines() == [
        "f:1:1: error: NetParameter has no field 'colour'",
        "f:3: error: layer 'b': bottom 'x' is made by no layer before it",
        "f:2: error: layer 'a': unknown V0 layer type 'swish'",
    ]


def test_fewer_sizes_than_inputs_are_refused_at_their_line():
    said = refusal(parse_net, "input: 'x'\ninput_dim: 3\n", "f")
    assert said == "f:2: error: the inputs need 4 input_dim entries, found 1"


def test_unknown_fields_do_not_raise_and_lenient_makes_them_warnings():
    content = "layer { name: 'a' kernal_size: 3 }"
    (problem,) = parse_net(content).problems
    assert problem.severity is Severity.ERROR
    (problem,) = parse_net(content, lenient=True).problems
    assert problem.severity is Severity.WARNING


def test_names_that_are_not_utf8_are_made_readable_with_a_warning():
    source = parse_net(r"layer { name: 'caf\351' top: 'a' top: '\377' }")
    assert source.net.layer[0].name == r"caf\xe9"
    assert list(source.net.layer[0].top) == ["a", r"\xff"]
    assert [problem.severity for problem in source.problems] == [Severity.WARNING] * 2


def test_an_empty_text_is_an_empty_net():
    source = parse_net("")
    assert (source.net, source.lines, source.problems) == (NetParameter(), (), ())


# Files ----------------------------------------------------------------------------------------


def test_a_net_is_read_from_a_file_and_from_standard_input(tmp_path, monkeypatch):
    path = written(tmp_path, "# Ä\r\nname: 'n'\r\nlayer { name: 'é' }\r\n")
    source = read_net(path)
    assert (source.path, source.net.layer[0].name, source.lines) == (str(path), "é", (3,))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    source = read_net("-")
    assert (source.path, source.net.name) == ("<stdin>", "n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name: 'n'\n# caf\xe9\n", ":2:6: error: is not UTF-8: found the byte 0xe9"),
        ("name: 'n'".encode("utf-16"), "error: is UTF-16"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "error: is an HDF5 file, expected a prototxt"),
        (b"\n\x02v2\xa2\x06\x04\n\x02ab", "error: is a binary file, expected a prototxt"),
        (b"layer { name: 'a'", ":1:18: error: layer 'a': expected a field's name or the '}'"),
        (b"# " + bytes(10) + b"\n", "is a binary file"),
        (b" " * (reader.LONGEST_TEXT + 1), f"at most {reader.LONGEST_TEXT} are read"),
    ],
)
def test_what_is_no_prototxt_is_refused_in_one_line(tmp_path, content, words):
    path = written(tmp_path, content)
    said = refusal(read_net, path)
    assert said.startswith(str(path))
    assert words in said
    assert "\n" not in said


def test_what_cannot_be_opened_is_refused(tmp_path):
    assert refusal(read_net, tmp_path / "gone").endswith(
        "cannot be read: No such file or directory"
    )
    assert refusal(read_net, tmp_path).endswith("cannot be read: Is a directory")
    assert "cannot be read" in refusal(read_net, "a\0b")


@pytest.mark.parametrize("name", ["v0_legacy", "v1_legacy", "v2_shape"])
def test_caffemodels_are_no_nets_to_read(name):
    assert "is a binary file" in refusal(read_net, WEIGHTS / f"{name}.caffemodel")


# Solvers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((TESTS / "published").glob("*/*.prototxt")), ids=str)
def test_solvers_are_told_from_nets(path):
    assert is_solver(path.read_text()) == (path.name == "solver.prototxt")
    assert isinstance(read_any(path), SolverSource if path.name == "solver.prototxt" else NetSource)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", False),
        ("debug_info: true", False),
        ("debug_info: net", False),
        ("net: 'n' learning_rate: 3", True),
        ("learning_rate: 3 base_lr: 1", True),
        ("base_lr: 1 lr_policy: 'fixed' type: 'Adam' }}", True),
        ("layer { type: 'ReLU' } momentum: 1", False),
        ("net_param { layer { } layer { } input: 'x' name: 'n' }", True),
        ("solver_mode: net", True),
        ("name: 'net: 3' # base_lr: 1 lr_policy: 2\nlayer { }", False),
        ("input: ['a', 'b'] input_dim: [1] stage: <", False),
    ],
)
def test_a_solver_is_told_by_its_outermost_fields(content, expected):
    assert is_solver(content) == expected


def test_a_solver_is_upgraded_and_holds_nets_with_their_lines():
    source = parse_solver(
        "solver_type: ADAM\nnet_param {\n layer { name: 'a' type: 'ReLU' }\n}\n"
        "test_net_param { }\ntest_net_param {\n layer { }\n"
        " layer { name: 'b' }\n colour: 1 }\n",
        "s",
    )
    assert source.solver.type == "Adam"
    assert [str(problem) for problem in source.problems] == [
        "s:9:2: error: NetParameter has no field 'colour'"
    ]
    assert (source.line("net_param"), source.line("test_net_param", 1)) == (2, 6)
    net = source.embedded("net_param")
    assert (net.path, net.net.layer[0].type, net.lines) == ("s", "ReLU", (3,))
    assert source.embedded("test_net_param", 1).lines == (7, 8)
    assert source.embedded("test_net_param", 1).problems == ()


def test_a_net_in_a_solver_is_not_upgraded():
    # solver.cpp copies it, while nets from files go through UpgradeNetAsNeeded.
    source = parse_solver(
        "net_param {\n input: 'x' input_shape { dim: 1 }\n layers { type: RELU }\n"
        " layer { type: 'BatchNorm' param { } param { } param { } }\n}\n",
        "s",
    )
    net = source.embedded("net_param")
    assert [str(problem) for problem in net.problems] == [
        "s:3: warning: 'layers' is not read: Caffe upgrades no net that stands in a solver",
        "s:2: warning: 'input' is not read: Caffe upgrades no net that stands in a solver",
    ]
    (layer,) = net.net.layer
    assert (layer.type, layer.param[0].lr_mult, net.lines) == ("BatchNorm", 1, (4,))


def test_a_solver_with_both_types_is_refused_at_its_line(tmp_path):
    path = written(tmp_path, "net: 'n'\ntype: 'Adam'\nsolver_type: ADAM\n")
    assert refusal(read_solver, path).startswith(f"{path}:3: error: type and the old solver_type")


# Upgrading files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v0_legacy", "v1_legacy", "v2_shape"])
def test_binary_nets_become_what_caffe_makes_of_them(name):
    upgraded = upgrade_file(WEIGHTS / f"{name}.caffemodel")
    expected = WEIGHTS / f"{name}.upgraded.caffemodel"
    assert upgraded.content == expected.read_bytes()
    assert upgraded.changed == (name != "v2_shape")
    assert read_binary_net(expected).name == name[:2]


@pytest.mark.parametrize("name", ["v0_convnet", "v1_fcn", "solver_nesterov", "format_strings"])
def test_texts_become_what_caffe_makes_of_them(name):
    upgraded = upgrade_file(UPGRADES / f"{name}.before.prototxt")
    assert upgraded.content == (UPGRADES / f"{name}.after.prototxt").read_bytes()
    if name == "format_strings":
        assert [problem.severity for problem in upgraded.problems] == [Severity.NOTE]
    assert upgraded.changed == (name != "format_strings")


def test_what_an_upgrade_loses_is_warned_of():
    upgraded = upgrade_file(UPGRADES / "v0_unsupported_fields.before.prototxt")
    assert {problem.severity for problem in upgraded.problems} == {Severity.WARNING}
    assert len(upgraded.problems) == 8


def test_unknown_fields_are_not_dropped_by_an_upgrade_unless_told(tmp_path):
    path = written(tmp_path, "layers { name: 'a' colour: 1 }")
    with pytest.raises(PrototxtError, match="colour"):
        upgrade_file(path)
    upgraded = upgrade_file(path, lenient=True)
    assert upgraded.content == b'layer {\n  name: "a"\n}\n'
    assert "colour" in upgraded.problems[0].message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n\x02v1\x12\x7f\n", "is no binary net"),
        (b"\x08\x01\x10\x01", "has no layers"),
        (b"\xa2\x06\x08\xa2\x09\x05\x0d\x00\x00\x80\x3f", "lacks a field"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is HDF5"),
    ],
)
def test_damaged_binary_nets_are_refused(tmp_path, content, words):
    with pytest.raises(PrototxtError, match=words):
        upgrade_file(written(tmp_path, content, "a.caffemodel"))


def test_a_cut_caffemodel_is_refused(tmp_path):
    content = (WEIGHTS / "v1_legacy.caffemodel").read_bytes()
    with pytest.raises(PrototxtError, match="cut off, damaged"):
        read_binary_net(written(tmp_path, content[:-3]))
    with pytest.raises(PrototxtError, match="is empty"):
        read_binary_net(written(tmp_path, b""))


def test_a_binary_mixture_is_refused(tmp_path):
    net = NetParameter()
    net.layer.add().name = "a"
    net.layers.add().name = "b"
    with pytest.raises(NetError, match="both 'layer' and the old 'layers'"):
        upgrade_file(written(tmp_path, b"\x0a\x01\x01" + net.SerializeToString()))
