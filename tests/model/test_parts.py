"""Parts of models compute what the whole computes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fcnproto.errors import FcnprotoError
from fcnproto.model.outline import outline
from fcnproto.model.parts import divided, part, read_by, reads_only_sizes
from fcnproto.runtime.session import Session


def model_of(nodes, inputs, outputs, tensors):
    def values(names):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in names
        ]

    graph = helper.make_graph(
        nodes,
        "net",
        values(inputs),
        values(outputs),
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_operatorsetid("", 21)], ir_version=10
    )


@pytest.fixture
def chosen():
    """y = the double of x's square if x has more than 2 rows, else its triple; both in an If."""

    def branch(factor):
        node = helper.make_node("Mul", ["square", factor], ["scaled"])
        output = helper.make_tensor_value_info("scaled", TensorProto.FLOAT, [None] * 4)
        return helper.make_graph([node], "branch", [], [output])

    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Shape", ["x"], ["sizes"], end=1),
        helper.make_node("Squeeze", ["sizes"], ["rows"]),
        helper.make_node("Greater", ["rows", "limit"], ["many"]),
        helper.make_node(
            "If", ["many"], ["y"], then_branch=branch("two"), else_branch=branch("three")
        ),
        helper.make_node("Neg", ["square"], ["unused"]),
    ]
    tensors = {
        "two": np.float32(2),
        "three": np.float32(3),
        "limit": np.int64(2),
        "other": np.float32(9),
    }
    return model_of(nodes, ["x"], ["y"], tensors)


@pytest.mark.parametrize("rows", [1, 4])
def test_two_parts_make_the_whole(chosen, rows):
    onnx.checker.check_model(chosen, full_check=True)
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2, 1, 1)
    session = Session(chosen.SerializeToString(), "cpu")
    expected = session.run({"x": x})["y"]
    first, second = (
        part(chosen, ["x"], ["square"]),
        part(chosen, ["square"], ["y"]),
    )
    assert [node.op_type for node in first.graph.node] == ["Mul"]
    assert not first.graph.initializer
    assert {tensor.name for tensor in second.graph.initializer} == {"two", "three", "limit"}
    assert [value.name for value in second.graph.input] == ["square", "x"]
    square = Session(first.SerializeToString(), "cpu").run({"x": x})["square"]
    feeds = {"square": square, "x": np.zeros_like(x)}
    found = Session(second.SerializeToString(), "cpu").run(feeds)["y"]
    np.testing.assert_array_equal(found, expected)


def test_what_reads_only_sizes(chosen):
    assert reads_only_sizes(part(chosen, ["square"], ["y"]), {"x"})
    assert not reads_only_sizes(chosen, {"x"})


def test_graphs_inside_read_from_outside(chosen):
    (branching,) = (node for node in chosen.graph.node if node.op_type == "If")
    assert read_by(branching) == {"many", "square", "two", "three"}


def test_values_that_are_not_there(chosen):
    with pytest.raises(FcnprotoError, match="no values none, nothing"):
        part(chosen, ["none"], ["nothing"])


# Convolutions in parts ----------------------------------------------------------------------------


def convolutions(**settings):
    """Three convolutions, the last two by the same kernels: x → a → b, c."""
    rng = np.random.default_rng(0)
    tensors = {
        "large": rng.standard_normal((96, 8, 3, 3)).astype(np.float32),
        "bias": rng.standard_normal(96).astype(np.float32),
        "shared": rng.standard_normal((64, 96, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "large", "bias"], ["a"], name="a", pads=[1] * 4, **settings),
        helper.make_node("Conv", ["a", "shared"], ["b"], name="b", strides=[2, 2]),
        helper.make_node("Conv", ["a", "shared"], ["c"], name="c"),
    ]
    return model_of(nodes, ["x"], ["b", "c"], tensors)


def test_large_convolutions_in_parts_give_the_same(tmp_path):
    model = convolutions()
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    in_parts = divided(onnx.load_from_string(outline(path)), 8000)
    kinds = [node.op_type for node in in_parts.graph.node]
    # 27,648 bytes are divided once, since 96 channels are 6 blocks of 16; 24,576 twice.
    assert kinds == [*["Conv"] * 2, "Concat", *["Conv"] * 4, "Concat", *["Conv"] * 4, "Concat"]
    (tmp_path / "parts.onnx").write_bytes(in_parts.SerializeToString())
    onnx.checker.check_model(str(tmp_path / "parts.onnx"), full_check=True)
    x = np.random.default_rng(1).standard_normal((2, 8, 9, 7)).astype(np.float32)
    expected = Session(model.SerializeToString(), "cpu").run({"x": x})
    found = Session(tmp_path / "parts.onnx", "cpu").run({"x": x})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=5e-6 * np.abs(array).max())


def test_sessions_divide_what_is_large(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(convolutions().SerializeToString())
    x = np.ones((1, 8, 9, 7), np.float32)
    expected = Session(path, "cpu").run({"x": x})
    monkeypatch.setattr("fcnproto.runtime.source._LARGE", 8000)
    found = Session(path, "cpu").run({"x": x})
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=5e-6 * np.abs(array).max())


def test_what_is_not_divided(tmp_path):
    path = tmp_path / "net.onnx"
    in_memory = convolutions()
    assert divided(in_memory, 100).graph.node == in_memory.graph.node
    path.write_bytes(in_memory.SerializeToString())
    whole = onnx.load_from_string(outline(path))
    assert divided(whole, 10**6) == whole
    path.write_bytes(convolutions(group=1).SerializeToString())
    assert len(divided(onnx.load_from_string(outline(path)), 100).graph.node) > len(
        whole.graph.node
    )
    path.write_bytes(convolutions(group=2).SerializeToString())
    first = divided(onnx.load_from_string(outline(path)), 100).graph.node[0]
    assert first.name == "a"
