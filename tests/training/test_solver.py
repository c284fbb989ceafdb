"""Training: every iteration of real Caffe's traces, its snapshots, and what is refused.

The oracle is golden/solver: nets, solvers, inputs, losses, rates and weights of real Caffe.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from paths import GOLDEN

from fcnproto import weights
from fcnproto.cli import main
from fcnproto.errors import FcnprotoError, NetError, PrototxtError, WeightsError
from fcnproto.proto.caffe_pb2 import NetParameter, SolverParameter, SolverState
from fcnproto.proto.source import parse_solver
from fcnproto.training import Solver
from fcnproto.training.rates import rate
from fcnproto.weights import read as read_weights
from fcnproto.weights import solverstate

SOLVER = GOLDEN / "solver"
CASES = {case["name"]: case for case in json.loads((SOLVER / "index.json").read_text())}
TRACES = [name for name, case in CASES.items() if case.get("kind") != "log"]
RATES = json.loads((SOLVER / "lr_table.json").read_text())
RTOL = 1e-4


def trace(name):
    return dict(np.load(SOLVER / f"{name}.npz"))


def prefixed(arrays, prefix):
    """{layer: [arrays]} of the arrays under a prefix."""
    found = {}
    for key in sorted(key for key in arrays if key.startswith(prefix + "/")):
        layer, _, _ = key.removeprefix(prefix + "/").rpartition("/")
        found.setdefault(layer, []).append(arrays[key])
    return found


def feeds_of(arrays, iteration, iter_size, prefix="in"):
    blobs = [key for key in arrays if key.startswith(prefix + "/")]
    rows = range(iteration * iter_size, (iteration + 1) * iter_size)
    return [{key.removeprefix(prefix + "/"): arrays[key][row] for key in blobs} for row in rows]


def close(found, expected, sensitivity=0.0):
    """Within RTOL, and within what a relative error of 1e-6 at the start grows to, if more."""
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=max(1e-6, 10 * sensitivity))


def assert_weights(found, expected, sensitivity):
    for layer, arrays in expected.items():
        for own, theirs in zip(found[layer], arrays, strict=True):
            close(own, theirs, sensitivity)


def started(name, arrays):
    """A solver where a trace begins."""
    solver = Solver.from_file(SOLVER / f"{name}.solver.prototxt")
    resumed = CASES[name]["resume_from"]
    if resumed:
        solver.restore(SOLVER / resumed[1])
    else:
        solver.load_weights(prefixed(arrays, "init"))
    return solver


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_of_caffe_is_followed(name):
    case, arrays = CASES[name], trace(name)
    solver = started(name, arrays)
    assert solver.iteration == case["restored_iter"]
    trajectory = prefixed(arrays, "traj")
    for iteration in range(case["iters"]):
        if "lr" in arrays:
            close(solver.learning_rate, arrays["lr"][iteration])
        loss = solver.step(feeds_of(arrays, iteration, case["iter_size"]))
        close(loss, arrays["loss"][iteration], case["sensitivity"])
        if iteration < 4:
            now = {layer: [a[iteration] for a in each] for layer, each in trajectory.items()}
            assert_weights(solver.weights, now, case["sensitivity"])
    assert solver.iteration == case["restored_iter"] + case["iters"]
    assert_weights(solver.weights, prefixed(arrays, "final"), case["sensitivity"])


@pytest.mark.parametrize("name", TRACES)
def test_the_learned_arrays_stand_in_caffes_order(name):
    solver = Solver.from_file(SOLVER / f"{name}.solver.prototxt")
    assert [each.title for each in solver.net.parameters] == CASES[name]["learnable"]


@pytest.mark.parametrize("name", [name for name in TRACES if not CASES[name]["resume_from"]])
def test_gradients_are_caffes(name):
    arrays = trace(name)
    solver = started(name, arrays)
    values = [solver.net.take(f) for f in feeds_of(arrays, 0, CASES[name]["iter_size"])]
    solver._passes(values)
    gradients = [gradient.numpy() for gradient in solver._gradients()]
    norm = math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in gradients))
    close(norm, arrays["gradnorm"][0])
    for parameter, gradient in zip(solver.net.parameters, gradients, strict=True):
        close(gradient, arrays[f"grad0/{parameter.title}"])


def test_the_loss_is_averaged_as_caffe_logs_it():
    arrays, log = (
        trace("log_average_test"),
        json.loads((SOLVER / "log_average_test.json").read_text()),
    )
    solver = Solver.from_file(SOLVER / "log_average_test.solver.prototxt")
    solver.load_weights(prefixed(arrays, "init"))
    tests = {each["iter"]: each["outputs"] for each in log["tests"]}
    tested = 0
    for iteration in range(12):
        if iteration in tests:
            rows = [feeds_of(arrays, row, 1, "test_in")[0] for row in (tested, tested + 1)]
            tested += 2
            outputs = solver.test(rows)
            assert outputs.keys() == tests[iteration].keys()
            for blob, value in tests[iteration].items():
                assert outputs[blob] == pytest.approx(value, rel=1e-5)
        solver.step(feeds_of(arrays, iteration, 1))
        # The log has six digits.
        assert solver.smoothed_loss == pytest.approx(log["smoothed_loss"][str(iteration)], rel=1e-5)
    assert_weights(solver.weights, prefixed(arrays, "final"), 1e-6)


@pytest.mark.parametrize(
    "case", json.loads((SOLVER / "lr_table.json").read_text()), ids=lambda c: c["name"]
)
def test_the_learning_rate_is_that_of_caffes_table(case):
    solver, step = parse_solver(case["solver"]).solver, 0
    for iteration, expected in enumerate(case["rate"]):
        found, step = rate(solver, iteration, step)
        np.testing.assert_allclose(found * case["lr_mult"], float(expected), rtol=1e-5)


# Snapshots ------------------------------------------------------------------------------------

SNAPSHOTS = sorted(SOLVER.glob("snapshot_*_iter_6.solverstate*"))


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.name)
def test_going_on_from_caffes_snapshot_continues_its_trace(path):
    name = path.name.split("_iter_")[0]
    case, arrays = CASES[name], trace(name)
    solver = Solver.from_file(SOLVER / f"{name}.solver.prototxt")
    solver.restore(path)
    assert solver.iteration == 6
    for iteration in range(6, case["iters"]):
        close(solver.learning_rate, arrays["lr"][iteration])
        loss = solver.step(feeds_of(arrays, iteration, 1))
        close(loss, arrays["loss"][iteration], case["sensitivity"])
    assert_weights(solver.weights, prefixed(arrays, "final"), case["sensitivity"])


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.name)
def test_our_snapshot_says_what_caffes_says(path, tmp_path, monkeypatch):
    name = path.name.split("_iter_")[0]
    case, arrays = CASES[name], trace(name)
    monkeypatch.chdir(tmp_path)
    solver = Solver.from_file(SOLVER / f"{name}.solver.prototxt")
    solver.load_weights(prefixed(arrays, "init"))
    for iteration in range(6):
        solver.step(feeds_of(arrays, iteration, 1))
    ours = solver.snapshot(name)
    assert ours == Path(path.name)
    found, expected = solverstate.read(ours), solverstate.read(path)
    assert found.iteration == expected.iteration
    assert found.learned_net == expected.learned_net
    assert found.current_step == expected.current_step
    for own, theirs in zip(found.history, expected.history, strict=True):
        assert own.shape == theirs.shape
        close(own, theirs, case["sensitivity"])
    weights = read_weights(SOLVER / expected.learned_net)
    mine = read_weights(found.learned_net)
    for layer, theirs in weights.items():
        for own, array in zip(mine.get(layer, []), theirs, strict=True):
            close(own, array, case["sensitivity"])


@pytest.mark.parametrize("path", [p for p in SNAPSHOTS if p.suffix != ".h5"], ids=lambda p: p.name)
def test_a_binary_state_is_written_byte_for_byte(path, tmp_path):
    written = tmp_path / path.name
    solverstate.write(written, solverstate.read(path))
    assert written.read_bytes() == path.read_bytes()


def test_protobuf_reads_our_snapshot(tmp_path):
    arrays = trace("snapshot_adam")
    solver = started("snapshot_adam", arrays)
    solver.step(feeds_of(arrays, 0, 1))
    state = SolverState.FromString(solver.snapshot(tmp_path / "s").read_bytes())
    assert (state.iter, len(state.history)) == (1, 10)
    net = NetParameter.FromString(Path(state.learned_net).read_bytes())
    assert [layer.name for layer in net.layer if layer.blobs] == ["conv1", "score", "up"]
    loss = next(layer for layer in net.layer if layer.type == "SoftmaxWithLoss")
    assert (list(loss.loss_weight), loss.HasField("phase")) == ([1.0], True)


@pytest.mark.parametrize("name", ["snapshot_sgd", "snapshot_adadelta", "snapshot_hdf5"])
def test_stopping_and_going_on_changes_nothing(name, tmp_path):
    arrays = trace(name)
    whole = started(name, arrays)
    for iteration in range(8):
        whole.step(feeds_of(arrays, iteration, 1))
        if iteration == 4:
            state = whole.snapshot(tmp_path / "half")
    second = Solver.from_file(SOLVER / f"{name}.solver.prototxt")
    second.restore(state)
    for iteration in range(5, 8):
        second.step(feeds_of(arrays, iteration, 1))
    for layer, expected in whole.weights.items():
        for own, theirs in zip(second.weights[layer], expected, strict=True):
            np.testing.assert_array_equal(own, theirs)


def test_a_state_of_another_kind_of_solver_is_refused():
    solver = Solver.from_file(SOLVER / "snapshot_sgd.solver.prototxt")
    before = solver.weights
    with pytest.raises(WeightsError, match="has 10 arrays, expected 5"):
        solver.restore(SOLVER / "snapshot_adam_iter_6.solverstate")
    assert solver.iteration == 0
    np.testing.assert_array_equal(solver.weights["up"][0], before["up"][0])


@pytest.mark.parametrize(
    "content", [b"", b"\x0a", b"\x1a\x05abc", b"layer { }", b"\x89HDF\r\n\x1a\n"]
)
def test_a_broken_state_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "x.solverstate"
    path.write_bytes(content)
    solver = Solver.from_file(SOLVER / "snapshot_sgd.solver.prototxt")
    with pytest.raises(WeightsError, match=r"x\.solverstate: error: ") as caught:
        solver.restore(path)
    assert "\n" not in str(caught.value)


# Rules ----------------------------------------------------------------------------------------


def solver_of(tmp_path, net, text='base_lr: 0.1 lr_policy: "fixed"', **options):
    (tmp_path / "n.prototxt").write_text(net)
    path = tmp_path / "s.prototxt"
    path.write_text(f'net: "{tmp_path / "n.prototxt"}" {text}')
    return Solver.from_file(path, **options)


def layer(kind, name, bottoms="", tops=None, more=""):
    tops = name if tops is None else tops
    links = "".join(f' bottom: "{b}"' for b in bottoms.split())
    links += "".join(f' top: "{t}"' for t in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}"{links} {more} }}\n'


def given(name, *dims):
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return layer("Input", name, more=f"input_param {{ shape {{ {shape} }} }}")


MLP = (
    given("x", 4, 3)
    + given("y", 4)
    + layer(
        "InnerProduct",
        "ip",
        "x",
        more='inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } }',
    )
    + layer("SoftmaxWithLoss", "loss", "ip y")
)


def mlp_feed(seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((4, 3)), "y": rng.integers(0, 5, 4)}


def test_a_seed_makes_a_run_repeatable(tmp_path):
    net = MLP.replace('"ip y"', '"d y"') + layer("Dropout", "drop", "ip", "ip")
    net = (
        given("x", 4, 3)
        + given("y", 4)
        + layer(
            "InnerProduct",
            "ip",
            "x",
            more='inner_product_param { num_output: 5 weight_filler { type: "xavier" } }',
        )
        + layer("Dropout", "drop", "ip", "ip")
        + layer("SoftmaxWithLoss", "loss", "ip y")
    )
    text = 'base_lr: 0.1 lr_policy: "fixed" random_seed: 7'
    runs = []
    for _ in range(2):
        solver = solver_of(tmp_path, net, text)
        runs.append([solver.step([mlp_feed(i)]) for i in range(5)])
    assert runs[0] == runs[1]
    other = solver_of(tmp_path, net, text.replace("7", "8"))
    assert runs[0] != [other.step([mlp_feed(i)]) for i in range(5)]


def test_a_run_that_went_on_draws_the_same_numbers(tmp_path):
    net = (
        given("x", 4, 3)
        + given("y", 4)
        + layer(
            "InnerProduct",
            "ip",
            "x",
            more='inner_product_param { num_output: 5 weight_filler { type: "xavier" } }',
        )
        + layer("Dropout", "drop", "ip", "ip")
        + layer("SoftmaxWithLoss", "loss", "ip y")
    )
    text = 'base_lr: 0.1 lr_policy: "fixed" random_seed: 7'
    whole = solver_of(tmp_path, net, text)
    losses = []
    for i in range(6):
        losses.append(whole.step([mlp_feed(i)]))
        if i == 2:
            state = whole.snapshot(tmp_path / "w")
    half = solver_of(tmp_path, net, text)
    half.restore(state)
    assert [half.step([mlp_feed(i)]) for i in range(3, 6)] == losses[3:]


def test_batch_statistics_are_kept_as_caffe_keeps_them(tmp_path):
    """By hand: factor ← factor · fraction + 1, mean and unbiased variance likewise."""
    net = (
        given("x", 6, 2)
        + layer("BatchNorm", "bn", "x", more="batch_norm_param { moving_average_fraction: 0.9 }")
        + layer("Scale", "sc", "bn")
        + layer("Reduction", "r", "sc", more="loss_weight: 1 reduction_param { operation: SUMSQ }")
    )
    solver = solver_of(tmp_path, net)
    mean = variance = factor = 0
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((6, 2)).astype(np.float32)
        solver.step([{"x": x}])
        mean, variance = 0.9 * mean + x.mean(0), 0.9 * variance + x.var(0, ddof=1)
        factor = 0.9 * factor + 1
    for found, expected in zip(solver.weights["bn"], (mean, variance, [factor]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_images_may_differ_in_size(tmp_path):
    net = (
        given("x", 1, 1, 4, 4)
        + given("y", 1, 1, 4, 4)
        + layer("Convolution", "c", "x", more="convolution_param { num_output: 2 kernel_size: 1 }")
        + layer("SoftmaxWithLoss", "loss", "c y")
    )
    solver = solver_of(tmp_path, net)
    for size in (4, 7, 4):
        loss = solver.step([{"x": np.ones((1, 1, size, 9)), "y": np.zeros((1, 1, size, 9))}])
        assert math.isfinite(loss)


def test_a_layer_that_shares_an_array_may_leave_it_as_it_is(tmp_path):
    """Its own param has lr_mult 0: no gradient of it, though the shared array learns elsewhere."""
    shared = 'param {{ name: "w" {} }} inner_product_param {{ num_output: 1 bias_term: false }}'
    net = (
        given("x", 2, 1)
        + given("z", 2, 1)
        + layer("InnerProduct", "a", "x", more=shared.format(""))
        + layer("InnerProduct", "b", "z", more=shared.format("lr_mult: 0"))
        + layer("Eltwise", "e", "a b")
        + layer("Reduction", "r", "e", more="loss_weight: 1")
    )
    solver = solver_of(tmp_path, net)
    (parameter,) = solver.net.parameters
    assert parameter.lr_mult == 0
    solver._passes([solver.net.take({"x": [[1.0], [2.0]], "z": [[10.0], [20.0]]})])
    assert float(solver._gradients()[0]) == 3.0


# Refusals -------------------------------------------------------------------------------------


def test_labels_of_classes_that_are_not_there_are_named(tmp_path):
    solver = solver_of(tmp_path, MLP)
    feed = mlp_feed() | {"y": np.array([0, 1, 5, 2])}
    with pytest.raises(NetError, match="layer 'loss': 'y' holds the label 5, but there are 5"):
        solver.step([feed])
    assert solver.iteration == 0


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({"x": np.zeros((4, 3))}, "its blob 'y' is not fed"),
        ({**mlp_feed(), "z": np.zeros(3)}, "'z' is fed, but the net takes no such blob"),
        ({**mlp_feed(), "y": np.zeros(3)}, "first axis"),
        ({**mlp_feed(), "x": np.zeros((4, 2))}, "layer 'ip'"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(feed, message, tmp_path):
    solver = solver_of(tmp_path, MLP)
    with pytest.raises(NetError, match=message):
        solver.step([feed])


def test_an_iteration_needs_its_feeds(tmp_path):
    solver = solver_of(tmp_path, MLP, 'base_lr: 1 lr_policy: "fixed" iter_size: 3')
    with pytest.raises(FcnprotoError, match="iter_size 3 feeds, found 1"):
        solver.step([mlp_feed()])


MALFORMED = [
    case
    for case in json.loads((SOLVER.parent / "malformed.json").read_text())
    if case["kind"] == "solver" and case["aborted"]
]


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["case"])
def test_what_caffe_refuses_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = (SOLVER.parent / "malformed_solver_net.prototxt").read_text()
    Path("_n.prototxt").write_text(net)
    Path("s.prototxt").write_text(case["prototxt"])

    def use():
        solver = Solver.from_file("s.prototxt")
        solver.test_net()

    with pytest.raises(FcnprotoError):
        use()


def test_a_solver_without_a_policy_is_refused(tmp_path):
    with pytest.raises(PrototxtError, match="there is no lr_policy"):
        solver_of(tmp_path, MLP, "base_lr: 1")


def test_layers_that_cannot_be_trained_are_all_named(tmp_path):
    net = (
        given("x", 1, 3, 8, 8)
        + layer("PriorBox", "p", "x x")
        + layer("HDF5Output", "h", "x x", "", 'hdf5_output_param { file_name: "f" }')
    )
    with pytest.raises(NetError) as caught:
        solver_of(tmp_path, net)
    assert "'h'" in str(caught.value)


def test_weights_that_do_not_fit_are_refused_and_change_nothing(tmp_path):
    solver = solver_of(tmp_path, MLP)
    before = solver.weights["ip"]
    with pytest.raises(WeightsError, match=re.escape("its array 0 is 5×3 in the net and 3×5")):
        solver.load_weights({"ip": [np.zeros((3, 5), np.float32), np.zeros(5, np.float32)]})
    with pytest.raises(WeightsError, match="1 in the weights and 2 in the net"):
        solver.load_weights({"ip": [np.zeros((5, 3), np.float32)]})
    for own, old in zip(solver.weights["ip"], before, strict=True):
        np.testing.assert_array_equal(own, old)
    assert solver.load_weights({"other": [np.zeros(1, np.float32)]}) == ["ip"]


def test_the_prefix_of_snapshots_is_caffes(tmp_path):
    assert solver_of(tmp_path, MLP).prefix == str(tmp_path / "s")
    text = f'base_lr: 1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}"'
    assert solver_of(tmp_path, MLP, text).prefix == str(tmp_path / "s")
    assert solver_of(tmp_path, MLP, text.replace(str(tmp_path), "a/b")).prefix == "a/b"
    assert SolverParameter().snapshot_prefix == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["there is no lr_policy", "give one of net"]),
        ("lr_policy: 'fixed'", ["give one of net"]),
        ("lr_policy: 'fixed' net: ''", ["net names no file"]),
        ("net: 'n.prototxt'", ["there is no lr_policy"]),
    ],
)
def test_the_verb_says_once_what_a_solver_lacks(text, said, tmp_path):
    """A solver without a net was told that the directory '' is one, and of its policy twice."""
    path = tmp_path / "solver.prototxt"
    path.write_text(text)
    result = CliRunner().invoke(main, ["train", str(path)])
    lines = result.output.splitlines()
    assert result.exit_code == 1 and len(lines) == len(said), result.output
    assert all(each in line for each, line in zip(said, lines, strict=True)), lines


def test_weights_and_states_that_change_places(tmp_path):
    """A state of a small iteration begins like an ONNX model."""
    state, stored = tmp_path / "a.solverstate", tmp_path / "a.caffemodel"
    for iteration in (3, 40, 4000):
        solverstate.write(state, solverstate.Stop(iteration, "a.caffemodel", 0, []))
        with pytest.raises(WeightsError, match="a solver's state, which train --resume takes"):
            weights.load(state)
        assert solverstate.read(state).iteration == iteration
    weights.write(stored, {"c": [np.zeros((2, 2), np.float32)]})
    with pytest.raises(WeightsError, match="weights go to --weights"):
        solverstate.read(stored)
    stored.write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    with pytest.raises(WeightsError, match="a JPEG image, not a solver's state"):
        solverstate.read(stored)
