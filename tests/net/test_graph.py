"""graph.py against what real Caffe kept for each phase, level and stage, and its in-place rules."""

import json

import pytest
from paths import GOLDEN

from fcnproto.errors import NetError
from fcnproto.net import solver_rules
from fcnproto.net.graph import State, assemble, build
from fcnproto.proto.caffe_pb2 import TEST, TRAIN
from fcnproto.proto.source import parse_net, parse_solver, read_net

NETSTATE = GOLDEN / "netstate"
CASES = json.loads((NETSTATE / "netstate.json").read_text())


def kept(graph):
    return [node.layer.name for node in graph.nodes]


@pytest.mark.parametrize(
    "case",
    CASES["nets"],
    ids=lambda c: f"{c['net'][9:-9]}-{c['phase']}-{c['level']}-{'+'.join(c['stages'])}",
)
def test_net_keeps_the_layers_that_caffe_keeps(case):
    source = read_net(str(NETSTATE / case["net"]))
    phase = TRAIN if case["phase"] == "TRAIN" else TEST
    graph, problems = assemble(source, State(phase, case["level"], tuple(case["stages"])))
    assert case["aborted"] == bool([p for p in problems if p.severity.value == "error"])
    if not case["aborted"]:
        assert kept(graph) == case["layers"]


@pytest.mark.parametrize("case", CASES["solvers"], ids=lambda case: case["name"])
def test_solver_builds_its_nets_in_the_states_that_caffe_does(case, monkeypatch):
    monkeypatch.chdir(NETSTATE)
    source = parse_solver(case["solver"])
    train = solver_rules.train_net(source)
    assert kept(build(train.source, train.state)) == case["train"]
    tests = [kept(build(net.source, net.state)) for net in solver_rules.test_nets(source)]
    assert tests == case["test"]


RELUS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "a" type: "ReLU" bottom: "data" top: "x" }
layer { name: "b" type: "ReLU" bottom: "x" top: "x" }
layer { name: "c" type: "TanH" bottom: "x" top: "x" }
layer { name: "d" type: "TanH" bottom: "x" top: "y" }
layer { name: "e" type: "TanH" bottom: "x" top: "z" }
"""


def test_each_writer_of_a_blob_makes_a_version_and_readers_get_the_newest():
    graph = build(parse_net(RELUS))
    assert [(node.bottoms, node.tops) for node in graph.nodes] == [
        ((), ("data",)),
        (("data",), ("x@a",)),
        (("x@a",), ("x@b",)),
        (("x@b",), ("x",)),
        (("x",), ("y",)),
        (("x",), ("z",)),
    ]
    assert graph.inputs == ("data",)
    assert graph.outputs == ("y", "z")
    assert graph.producers["x@b"].layer.name == "b"
    assert [node.layer.name for node in graph.readers["x"]] == ["d", "e"]


def test_a_version_never_gets_the_name_of_another_blob():
    graph = build(parse_net(RELUS.replace('top: "y"', 'top: "x@a"')))
    names = [top for node in graph.nodes for top in node.tops]
    assert len(set(names)) == len(names)


def test_overwriting_a_blob_that_another_layer_reads_is_refused():
    text = RELUS + 'layer { name: "f" type: "ReLU" bottom: "data" top: "data" }'
    with pytest.raises(NetError, match=r":8: error: layer 'f': it overwrites .*'data'.*'a'"):
        build(parse_net(text))


def test_overwriting_a_blob_that_the_layer_itself_reads_twice_is_refused():
    text = INPUT + 'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "x" top: "x" }'
    with pytest.raises(NetError, match="'x', which another of its own bottoms also reads"):
        build(parse_net(text))


INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n'


def test_all_structural_problems_are_reported_at_once():
    text = """layer { name: "a" type: "Relu" bottom: "nothing" top: "x" }
    layer { name: "b" type: "ReLU" bottom: "y" top: "x" }
    layer { name: "c" type: "ReLU" bottom: "x" top: "y" top: "z" }"""
    with pytest.raises(NetError) as caught:
        build(parse_net(text))
    lines = [(problem.line, problem.layer) for problem in caught.value.problems]
    assert lines == [(1, "a"), (1, "a"), (2, "b"), (2, "b"), (3, "c")]
    assert "did you mean 'ReLU'?" in str(caught.value)
    assert "layer 'c' makes it, but stands further down" in str(caught.value)


SPLIT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "s" type: "Split" bottom: "data" top: "u" top: "v" }
layer { name: "early" type: "TanH" bottom: "v" top: "early" }
layer { name: "r" type: "ReLU" bottom: "u" top: "u" }
layer { name: "late" type: "Eltwise" bottom: "u" bottom: "v" top: "late" }
"""


def test_overwriting_one_top_of_a_split_overwrites_the_others():
    # tests/golden/layers/net_inplace_chain has what real Caffe computes then.
    graph = build(parse_net(SPLIT.replace("early", "quiet").replace("TanH", "Sigmoid")))
    assert graph.node("late").bottoms == ("u", "u")


def test_what_was_read_before_it_was_overwritten_stays():
    text = SPLIT.replace('bottom: "u" bottom: "v"', 'bottom: "u" bottom: "early"')
    graph = build(parse_net(text))
    assert graph.node("early").bottoms == ("v",)


def test_a_blob_overwritten_in_another_shape_is_a_warning():
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 } } }
layer { name: "t" type: "TanH" bottom: "data" top: "t" }
layer { name: "f" type: "Flatten" bottom: "t" top: "f" }
layer { name: "r" type: "ReLU" bottom: "f" top: "f" }
layer { name: "again" type: "TanH" bottom: "t" top: "again" }
"""
    _, problems = assemble(parse_net(text))
    assert ["layer 'r' overwrites" in p.message for p in problems] == [True]
    assert problems[0].severity.value == "warning"
