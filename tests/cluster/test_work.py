"""What is sent to workers."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fcnproto.cluster.work import Files, How
from fcnproto.errors import FcnprotoError


def external(path, location):
    """A model whose one array is a constant that lies in another file."""
    array = numpy_helper.from_array(np.arange(3, dtype=np.float32), "k")
    (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
    (path.parent / location).write_bytes(array.raw_data)
    array.ClearField("raw_data")
    array.data_location = TensorProto.EXTERNAL
    array.external_data.add(key="location", value=location)
    nodes = [
        helper.make_node("Constant", [], ["k"], value=array),
        helper.make_node("Add", ["x", "k"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )


@pytest.mark.parametrize("location", ["k.bin", "arrays/k.bin"])
def test_arrays_in_files_go_with_the_model(tmp_path, location):
    (tmp_path / "in").mkdir()
    external(tmp_path / "in" / "m.onnx", location)
    files = Files.of(tmp_path / "in" / "m.onnx")
    assert list(files.content) == ["m.onnx", location]
    (tmp_path / "out").mkdir()
    copy = files.write(tmp_path / "out")
    onnx.load(copy)  # with its arrays
    assert (copy.parent / location).read_bytes() == (tmp_path / "in" / location).read_bytes()
    (found,) = files.session(How(device="cpu")).run({"x": np.zeros((1, 3), np.float32)}).values()
    np.testing.assert_array_equal(found, [[0, 1, 2]])


@pytest.mark.parametrize("location", ["../k.bin", "/k.bin"])
def test_files_elsewhere_are_not_sent(tmp_path, location):
    (tmp_path / "in").mkdir()
    external(tmp_path / "in" / "m.onnx", "k.bin")
    path = tmp_path / "in" / "m.onnx"
    content = onnx.load(path, load_external_data=False)
    content.graph.node[0].attribute[0].t.external_data[0].value = location
    path.write_bytes(content.SerializeToString())
    with pytest.raises(FcnprotoError, match=r"in/m\.onnx: error: its arrays lie outside"):
        Files.of(path)
