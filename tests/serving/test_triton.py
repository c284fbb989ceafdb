"""Repositories of Triton, read with Triton's own schema."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import fcnproto
from fcnproto.cli import main
from fcnproto.serving.triton import Config, Tensor

schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")


def run(*arguments):
    return CliRunner().invoke(main, ["triton", *map(str, arguments)])


def config_in(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())


def parameters(config):
    return {key: value.string_value for key, value in config.parameters.items()}


def tensors(values):
    return [(each.name, schema.DataType.Name(each.data_type), list(each.dims)) for each in values]


def files(folder):
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*"))


@pytest.fixture(scope="module")
def net():
    name = "shapes-fcn8s"
    return fcnproto.load_net(name), fcnproto.load_weights(name)


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "shapes.onnx"
    fcnproto.export(*net).save(path)
    return path


def model_of(path, inputs, outputs, nodes=None, arrays=()):
    """A model that gives its first input, or what nodes say."""
    nodes = nodes or [helper.make_node("Identity", [inputs[0][0]], [outputs[0][0]])]
    values = [
        [helper.make_tensor_value_info(*value) for value in each] for each in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "net", *values, list(arrays))
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


FLOAT = TensorProto.FLOAT


def test_a_repository_as_triton_reads_it(path, tmp_path):
    done = run(path, "-o", tmp_path / "repository")
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "repository" / "shapes"
    assert files(folder) == ["1", "1/model.onnx", "config.pbtxt", "labels.txt"]
    assert (folder / "1" / "model.onnx").read_bytes() == path.read_bytes()
    assert (folder / "labels.txt").read_text() == "background\ndisc\nbar\ntriangle\nring\n"
    config = config_in(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("shapes", "onnxruntime", 8)
    assert tensors(config.input) == [("data", "TYPE_FP32", [3, -1, -1])]
    assert tensors(config.output) == [("score", "TYPE_FP32", [5, -1, -1])]
    assert config.output[0].label_filename == "labels.txt"
    assert config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.gpus)) == (1, group.KIND_AUTO, [])
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})
    about = parameters(config)
    assert about["mean"] == '{"data": [112.0, 120.0, 122.0]}'
    assert about["channel_order"] == "BGR"
    assert about["cudnn_conv_algo_search"] == "1"  # HEURISTIC


@pytest.mark.parametrize(
    ("result", "outputs"),
    [
        ("labels", [("labels", "TYPE_UINT8", [-1, -1])]),
        ("both", [("score", "TYPE_FP32", [5, -1, -1]), ("labels", "TYPE_UINT8", [-1, -1])]),
    ],
)
def test_results_of_a_model_that_takes_images(net, result, outputs, tmp_path):
    model = fcnproto.export(*net, result=result, image_input=True)
    version = fcnproto.triton(model, tmp_path, max_batch=2, instances=3, device="cpu")
    assert version.path == tmp_path / "shapes-fcn8s" / "1"
    assert version.notes == ()
    config = config_in(version.path.parent)
    assert str(version.config) == (version.path.parent / "config.pbtxt").read_text()
    assert tensors(config.input) == [("data", "TYPE_UINT8", [-1, -1, 3])]
    assert tensors(config.output) == outputs
    assert {each.label_filename for each in config.output} == {"labels.txt"}
    (group,) = config.instance_group
    assert (config.max_batch_size, group.count, group.kind) == (2, 3, group.KIND_CPU)
    assert not config.HasField("optimization")
    # Its mean is built in, and it takes RGB.
    assert not {"mean", "channel_order"} & set(parameters(config))
    # What stands in the repository can be run.
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    served = fcnproto.Segmenter(version.path / "model.onnx", device="cpu")(image)
    assert (served.labels == fcnproto.Segmenter(model, device="cpu")(image).labels).all()


def test_a_gpu_by_its_number(path, tmp_path):
    assert run(path, "-o", tmp_path, "--device", "cuda:1", "--max-batch", 0).exit_code == 0
    config = config_in(tmp_path / "shapes")
    (group,) = config.instance_group
    assert (group.kind, list(group.gpus)) == (group.KIND_GPU, [1])
    # Without batches, the number of images is one of the sizes.
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert tensors(config.input) == [("data", "TYPE_FP32", [-1, 3, -1, -1])]


def test_two_label_maps_have_two_files(tmp_path):
    inputs = [("data", FLOAT, ["N", 3, "H", "W"])]
    outputs = [("score_sem", FLOAT, ["N", 33, "H", "W"]), ("score_geo", FLOAT, ["N", 3, "H", "W"])]
    nodes = [
        helper.make_node("Conv", ["data", f"kernel{n}"], [name])
        for n, (name, *_) in enumerate(outputs)
    ]
    arrays = [
        helper.make_tensor(f"kernel{n}", FLOAT, [sizes[1], 3, 1, 1], [0.0] * 3 * sizes[1])
        for n, (_, _, sizes) in enumerate(outputs)
    ]
    model = model_of(tmp_path / "sift.onnx", inputs, outputs, nodes, arrays)
    done = run(model, "-o", tmp_path / "r", "--dataset", "siftflow")
    assert done.exit_code == 0, done.stderr
    config = config_in(tmp_path / "r" / "sift")
    for output, first, count in zip(config.output, ("awning", "sky"), (33, 3), strict=True):
        lines = (tmp_path / "r" / "sift" / output.label_filename).read_text().splitlines()
        assert (lines[0], len(lines)) == (first, count)


def test_the_next_version_is_a_new_one(path, tmp_path):
    for version in (1, 2):
        assert run(path, "-o", tmp_path).exit_code == 0
        assert (tmp_path / "shapes" / str(version) / "model.onnx").is_file()
    # Folders that Triton takes for no versions, and one that stands far ahead.
    for name in ("007", "old", "41"):
        (tmp_path / "shapes" / name).mkdir()
    done = run(path, "-o", tmp_path, "--force")
    assert done.stderr.splitlines()[-1] == f"wrote {tmp_path / 'shapes' / '42'}"


def test_another_configuration_is_not_overwritten(path, tmp_path):
    assert run(path, "-o", tmp_path).exit_code == 0
    file = tmp_path / "shapes" / "config.pbtxt"
    file.write_text(file.read_text() + "# tuned by hand\n")
    before = file.read_text(), files(tmp_path)
    done = run(path, "-o", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"{file}: error: it says something else" in done.stderr
    assert (file.read_text(), files(tmp_path)) == before
    assert run(path, "-o", tmp_path, "--force").exit_code == 0
    assert "by hand" not in file.read_text()
    assert (tmp_path / "shapes" / "2" / "model.onnx").is_file()
    assert run(path, "-o", tmp_path, "--name", "other", "--instances", 2).exit_code == 0
    assert config_in(tmp_path / "other").name == "other"


def test_sizes_that_are_fixed(tmp_path):
    inputs, outputs = [("x", FLOAT, ["N", 3, 227, 227])], [("y", FLOAT, ["N", 3, 227, 227])]
    assert run(model_of(tmp_path / "a.onnx", inputs, outputs), "-o", tmp_path / "r").exit_code == 0
    config = config_in(tmp_path / "r" / "a")
    assert (config.max_batch_size, tensors(config.input)[0][2]) == (8, [3, 227, 227])
    inputs, outputs = [("x", FLOAT, [1, 3, 227, 227])], [("y", FLOAT, [1, 3, 227, 227])]
    done = run(model_of(tmp_path / "b.onnx", inputs, outputs), "-o", tmp_path / "r")
    assert "note: its first axis is no open number of images" in done.stderr
    config = config_in(tmp_path / "r" / "b")
    assert (config.max_batch_size, tensors(config.input)[0][2]) == (0, [1, 3, 227, 227])
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (["N"], ["N"]),  # without the batch nothing is left
        (["N", 2], ["M", 2]),  # two numbers, which may differ
        ([2, 2], [2, 2]),
    ],
)
def test_what_is_no_batch(x, y, tmp_path):
    nodes = [helper.make_node("Abs", ["x"], ["y"])]
    model = model_of(tmp_path / "a.onnx", [("x", FLOAT, x)], [("y", FLOAT, y)], nodes)
    assert run(model, "-o", tmp_path / "r").exit_code == 0
    assert config_in(tmp_path / "r" / "a").max_batch_size == 0


def test_time_is_no_batch(tmp_path):
    text = """
      layer { name: "x" type: "Input" top: "x" top: "continues"
        input_param { shape { dim: 4 dim: 2 dim: 3 } shape { dim: 4 dim: 2 } } }
      layer { name: "y" type: "LSTM" bottom: "x" bottom: "continues" top: "y"
        recurrent_param { num_output: 5 weight_filler { type: "gaussian" std: 0.01 } } }"""
    model = fcnproto.export(text, init=True)
    version = fcnproto.triton(model, tmp_path, name="recurrent")
    assert version.config.max_batch == 0
    assert tensors(config_in(tmp_path / "recurrent").output) == [("y", "TYPE_FP32", [-1, -1, 5])]
    assert any("its first axis is no open number" in note.message for note in version.notes)


def test_a_net_that_is_larger_than_the_first_try_has_batches(tmp_path):
    x, y = ["N", 1, "H", "W"], ["N", 1, "h", "w"]
    kernel = helper.make_tensor("k", FLOAT, [1, 1, 99, 99], np.ones(99 * 99))
    conv = helper.make_node("Conv", ["x", "k"], ["y"])
    model = model_of(tmp_path / "a.onnx", [("x", FLOAT, x)], [("y", FLOAT, y)], [conv], [kernel])
    done = run(model, "-o", tmp_path / "r", "--name", "large")
    assert done.stderr.splitlines()[-1] == f"wrote {tmp_path / 'r' / 'large' / '1'}"
    assert config_in(tmp_path / "r" / "large").max_batch_size == 8


def test_class_names_of_a_classifier_that_is_not_ours(tmp_path):
    (tmp_path / "names.txt").write_text("chat\nébène\n", "utf-8")
    model = model_of(tmp_path / "c.onnx", [("x", FLOAT, ["b", 2])], [("y", FLOAT, ["b", 2])])
    done = run(model, "-o", tmp_path / "r", "--classes", tmp_path / "names.txt")
    assert done.exit_code == 0, done.stderr
    config = config_in(tmp_path / "r" / "c")
    assert config.output[0].label_filename == "labels.txt"
    assert (tmp_path / "r/c/labels.txt").read_text("utf-8") == "chat\nébène\n"
    assert parameters(config)["classes"] == '{"y": ["chat", "ébène"]}'


def test_arrays_in_files_come_with_the_model(path, tmp_path):
    (tmp_path / "in").mkdir()
    model = onnx.load(path)
    onnx.save(
        model,
        tmp_path / "in" / "big.onnx",
        save_as_external_data=True,
        location="big.onnx.data",
        size_threshold=1024,
    )
    assert run(tmp_path / "in" / "big.onnx", "-o", tmp_path / "r").exit_code == 0
    folder = tmp_path / "r" / "big" / "1"
    assert files(folder) == ["big.onnx.data", "model.onnx"]
    image = np.zeros((32, 32, 3), np.uint8)
    fcnproto.Segmenter(folder / "model.onnx", device="cpu")(image)


def no_model(path):
    path.write_text("not a model")


def empty(path):
    path.touch()


def truncated(path):
    model_of(path, [("x", FLOAT, ["N", 3])], [("y", FLOAT, ["N", 3])])
    path.write_bytes(path.read_bytes()[:-20])


def strings(path):
    model_of(path, [("x", TensorProto.STRING, ["N", 3])], [("y", TensorProto.STRING, ["N", 3])])


def scalar(path):
    model_of(path, [("x", FLOAT, [])], [("y", FLOAT, [])])


def name_of_no_text(path):
    model_of(path, [("xxxx", FLOAT, ["N", 3])], [("y", FLOAT, ["N", 3])])
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"x\xff\xfex"))


def outside(path):
    array = helper.make_tensor("k", FLOAT, [3], [1.0, 2.0, 3.0])
    array.ClearField("float_data")
    array.data_location = TensorProto.EXTERNAL
    array.external_data.add(key="location", value="../secret")
    (path.parent.parent / "secret").write_bytes(bytes(12))
    nodes = [helper.make_node("Add", ["x", "k"], ["y"])]
    model_of(path, [("x", FLOAT, ["N", 3])], [("y", FLOAT, ["N", 3])], nodes, [array])


@pytest.mark.parametrize(
    "make", [None, no_model, empty, truncated, strings, scalar, name_of_no_text, outside]
)
def test_what_cannot_be_served_is_said_in_a_line(make, tmp_path):
    model = tmp_path / "in" / "bad.onnx"
    model.parent.mkdir()
    if make is not None:
        make(model)
    done = run(model, "-o", tmp_path / "repository")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == (2 if make in (strings, scalar) else 1), done.stderr
    assert all(line.startswith(f"{model}: error: ") for line in done.stderr.splitlines())
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", ".hidden", "a\nb", "x" * 300])
def test_names_that_no_folder_has(name, path, tmp_path):
    done = run(path, "-o", tmp_path / "r", "--name", name)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert files(tmp_path) == []


def test_places_that_cannot_be_written(path, tmp_path):
    (tmp_path / "file").write_text("")
    done = run(path, "-o", tmp_path / "file")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert files(tmp_path) == ["file"]
    done = run(path, "-o", tmp_path / "r", "--device", "openvino")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert files(tmp_path) == ["file"]


def test_what_is_half_done_goes_again(path, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcnproto.serving.triton.shutil.copyfile", full)
    done = run(path, "-o", tmp_path / "a" / "r")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "No space left" in done.stderr
    assert files(tmp_path) == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=2),
    st.lists(st.integers(-1, 2**40).filter(bool), min_size=1, max_size=4),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text("é\"'\\\n\t\0a")),
)
def test_any_names_are_read_as_they_were(names, dims, about):
    first, second = (Tensor(name, "TYPE_FP32", tuple(dims)) for name in names)
    text = str(Config("net", 4, (first,), (second,), about=about))
    config = text_format.Parse(text, schema.ModelConfig())
    assert [config.input[0].name, config.output[0].name] == names
    assert list(config.input[0].dims) == dims
    read = parameters(config)
    assert {key: read[key] for key in about} == about
