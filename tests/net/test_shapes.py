"""shapes.py: whole nets against real Caffe's blobs, and what it says of weights that are shared."""

import numpy as np
import pytest
from paths import GOLDEN

from fcnproto.errors import NetError, Severity
from fcnproto.net.graph import build
from fcnproto.net.shapes import Place, infer, walk
from fcnproto.proto.source import parse_net, read_net

CASES = sorted(path for kind in ("layers", "forks") for path in (GOLDEN / kind).glob("*.prototxt"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_blobs_and_weights_have_the_shapes_that_caffe_gave_them(path):
    graph = build(read_net(str(path)))
    shapes = infer(graph)
    with np.load(path.with_suffix(".npz")) as arrays:
        compared = 0
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind == "out":
                assert shapes.blobs[name] == arrays[key].shape
                compared += 1
            elif kind == "param":
                layer, _, number = name.rpartition("/")
                indices = [i for i, node in enumerate(graph.nodes) if node.layer.name == layer]
                assert shapes.weights[indices[0]][int(number)].shape == arrays[key].shape
    assert compared


CONV = """layer { name: "%s" type: "Convolution" bottom: "data" top: "%s" param { %s }
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
"""
DATA = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
"""


def test_weights_of_one_name_are_one_array():
    text = DATA + "".join(CONV % (name, name, 'name: "w"') for name in "abc")
    shapes = infer(build(parse_net(text)))
    owner = Place(1, 0)
    assert shapes.owners == {Place(1, 0): owner, Place(2, 0): owner, Place(3, 0): owner}


def test_rates_of_shared_weights_must_agree():
    text = DATA + CONV % ("a", "a", 'name: "w"')
    text += CONV % ("b", "b", 'name: "w" decay_mult: 2') + CONV % (
        "c",
        "c",
        'name: "w" decay_mult: 3',
    )
    with pytest.raises(NetError, match=r"layer 'c': param 'w' is shared, but its decay_mult is 2"):
        infer(build(parse_net(text)))


def test_what_lies_below_unknown_data_is_skipped_and_that_is_noted():
    text = """layer { name: "lmdb" type: "Data" top: "data"
      data_param { source: "x" batch_size: 1 } }
    layer { name: "r" type: "Convolution" bottom: "data" top: "r" convolution_param { } }"""
    shapes, problems = walk(build(parse_net(text)))
    assert shapes.blobs == {"data": None, "r": None}
    assert [(p.layer, p.severity) for p in problems] == [("lmdb", Severity.NOTE)]


def test_blobs_too_large_for_caffe_are_refused():
    text = DATA.replace("dim: 4 dim: 4", "dim: 30000 dim: 30000")
    with pytest.raises(NetError, match="more than 2147483647 numbers"):
        infer(build(parse_net(text)))


def test_every_layer_with_a_problem_is_named_at_once():
    text = DATA + "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}" '
        f"convolution_param {{ num_output: 2 kernel_size: 9 }} }}\n"
        for name in "abc"
    )
    with pytest.raises(NetError) as caught:
        infer(build(parse_net(text)))
    assert [problem.layer for problem in caught.value.problems] == ["a", "b", "c"]
