"""LSTM and RNN, exported once and run on many sequences, against their equations in numpy."""

from math import prod

import numpy as np
import onnx
import pytest
from exporting import exported, input_text, layer_text, net_of, operators, run, session_of
from hypothesis import given, settings
from hypothesis import strategies as st

INPUTS, OUTPUTS, STATIC = 3, 5, 4
GATES = {"LSTM": 4, "RNN": 1}
STATES = {"LSTM": ("h", "c"), "RNN": ("h",)}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_unit(cell, gates, mark):
    enter, forget, leave, candidate = np.split(gates, 4, -1)
    cell = mark * sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
    return sigmoid(leave) * np.tanh(cell), cell


def unrolled(kind, weights, x, marks, static=None, states=None):
    """The outputs of all steps, then the last states, as recurrent_layer.cpp unrolls them."""
    weights = [weight.astype(np.float64) for weight in weights]
    steps, streams = marks.shape
    x = x.reshape(steps, streams, -1)
    from_x, bias, *from_static, from_h = weights[: 3 if static is None else 4]
    states = states or [np.zeros((1, streams, OUTPUTS))] * len(STATES[kind])
    hidden, *cell = (state[0] for state in states)
    outputs = []
    for now, mark in zip(x, marks[..., None], strict=True):
        gates = (mark * hidden) @ from_h.T + now @ from_x.T + bias
        if static is not None:
            gates = gates + static.reshape(streams, -1) @ from_static[0].T
        if kind == "LSTM":
            hidden, cell[0] = lstm_unit(cell[0], gates, mark)
            outputs.append(hidden)
        else:
            hidden = np.tanh(gates)
            outputs.append(np.tanh(hidden @ weights[-2].T + weights[-1]))
    return [np.array(outputs), hidden[None], *(state[None] for state in cell)]


def random_weights(kind, static, inputs=INPUTS, seed=0):
    generator = np.random.default_rng(seed)
    rows = GATES[kind] * OUTPUTS
    shapes = [(rows, inputs), (rows,)]
    shapes += [(rows, STATIC)] * static
    shapes += [(rows, OUTPUTS)]
    shapes += [(OUTPUTS, OUTPUTS), (OUTPUTS,)] * (kind == "RNN")
    return [generator.normal(0, 0.7, shape).astype(np.float32) for shape in shapes]


def text_of(kind, steps, streams, *, static=False, exposed=False, inputs=(INPUTS,)):
    shapes = {"x": (steps, streams, *inputs), "m": (steps, streams)}
    if static:
        shapes["s"] = (streams, 2, STATIC // 2)
    tops = ["y"]
    if exposed:
        shapes.update({f"{state}0": (1, streams, OUTPUTS) for state in STATES[kind]})
        tops += STATES[kind]
    settings = f"num_output: {OUTPUTS} expose_hidden: {str(exposed).lower()}"
    layer = layer_text(kind, shapes, tops, f"recurrent_param {{ {settings} }}")
    return input_text(**shapes) + layer, shapes


def marks_of(pattern, steps, streams, generator):
    marks = generator.integers(0, 2, (steps, streams)).astype(np.float32)
    if pattern == "ones":
        marks[:] = 1
    elif pattern == "zeros":
        marks[:] = 0
    elif pattern == "fractions":
        marks *= generator.uniform(0, 2, marks.shape).astype(np.float32)
    return marks


def feeds_of(shapes, steps, streams, pattern, seed=0):
    """Random sequences of another length and number than the net says."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for name, shape in shapes.items():
        start = {"x": (steps, streams), "m": (steps, streams), "s": (streams,)}.get(
            name, (1, streams)
        )
        feeds[name] = generator.normal(size=(*start, *shape[len(start) :])).astype(np.float32)
    return feeds | {"m": marks_of(pattern, steps, streams, generator)}


def check(kind, session, weights, feeds):
    x, marks = feeds["x"], feeds["m"]
    states = [feeds[f"{state}0"] for state in STATES[kind] if f"{state}0" in feeds]
    expected = unrolled(kind, weights, x, marks, feeds.get("s"), states)
    found = list(run(session, feeds).values())
    assert len(found) == (1 + len(STATES[kind]) if states else 1)
    for array, wanted in zip(found, expected, strict=False):
        assert array.shape == wanted.shape
        np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("opset", [13, 14, 16, 19, 21, 23, 24, 26])
def test_any_number_of_steps_and_streams(kind, exposed, opset):
    text, shapes = text_of(kind, 4, 2, exposed=exposed)
    net = net_of(text)
    weights = random_weights(kind, False)
    model = exported(net, {"it": weights}, opset)
    assert all(isinstance(size, str) for size in net.inputs["x"][:2])
    session = session_of(model)
    for steps, streams in ((4, 2), (1, 1), (9, 3), (2, 7)):
        for pattern in ("random", "ones", "zeros", "fractions"):
            check(kind, session, weights, feeds_of(shapes, steps, streams, pattern))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize(("steps", "streams"), [(4, 2), (1, 1), (3, 5)])
def test_static_input(kind, exposed, steps, streams):
    text, shapes = text_of(kind, steps, streams, static=True, exposed=exposed)
    weights = random_weights(kind, True)
    session = session_of(exported(net_of(text), {"it": weights}))
    for pattern in ("random", "ones", "zeros", "fractions"):
        check(kind, session, weights, feeds_of(shapes, steps, streams, pattern))


@pytest.mark.parametrize("kind", GATES)
def test_inputs_of_several_axes_are_one_vector(kind):
    text, shapes = text_of(kind, 3, 2, inputs=(2, 3, 2))
    weights = random_weights(kind, False, inputs=prod((2, 3, 2)))
    session = session_of(exported(net_of(text), {"it": weights}))
    for steps, streams in ((3, 2), (5, 4)):
        check(kind, session, weights, feeds_of(shapes, steps, streams, "random"))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_pattern_of_marks(data):
    kind = data.draw(st.sampled_from(sorted(GATES)))
    steps, streams = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    marks = data.draw(st.lists(st.sampled_from([0, 1]), min_size=24, max_size=24))
    shapes, weights, session = SESSIONS[kind]
    feeds = feeds_of(shapes, steps, streams, "ones", seed=data.draw(st.integers(0, 99)))
    feeds["m"] = np.array(marks[: steps * streams], np.float32).reshape(steps, streams)
    check(kind, session, weights, feeds)


def session_for(kind):
    text, shapes = text_of(kind, 4, 2)
    weights = random_weights(kind, False)
    return shapes, weights, session_of(exported(net_of(text), {"it": weights}))


SESSIONS = {kind: session_for(kind) for kind in GATES}


@pytest.mark.parametrize("kind", GATES)
def test_each_run_starts_from_zero(kind):
    shapes, _, session = SESSIONS[kind]
    feeds = feeds_of(shapes, 4, 2, "ones")
    first, second = (run(session, feeds)["y"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", GATES)
def test_states_that_are_handed_on_continue_a_sequence(kind):
    text, shapes = text_of(kind, 6, 2, exposed=True)
    session = session_of(exported(net_of(text), {"it": random_weights(kind, False)}))
    feeds = feeds_of(shapes, 6, 2, "random")
    whole = run(session, feeds)
    begin = run(session, feeds | {name: feeds[name][:2] for name in "xm"})
    states = {f"{state}0": begin[state] for state in STATES[kind]}
    end = run(session, states | {name: feeds[name][2:] for name in "xm"})
    np.testing.assert_allclose(np.concatenate([begin["y"], end["y"]]), whole["y"], atol=1e-6)
    for state in STATES[kind]:
        np.testing.assert_allclose(end[state], whole[state], atol=1e-6)


def test_two_layers_in_one_net_do_not_mix():
    text, shapes = text_of("LSTM", 4, 2)
    second = text_of("RNN", 4, 2)[0].splitlines()[-1]
    text += (
        second.replace('"it"', '"second"')
        .replace('bottom: "x"', 'bottom: "y"')
        .replace('top: "y"', 'top: "z"')
    )
    first_weights = random_weights("LSTM", False)
    second_weights = random_weights("RNN", False, inputs=OUTPUTS, seed=1)
    model = exported(net_of(text), {"it": first_weights, "second": second_weights})
    session = session_of(model)
    assert operators(model).count("Scan") == 2
    for steps, streams in ((4, 2), (3, 1)):
        feeds = feeds_of(shapes, steps, streams, "random")
        between = unrolled("LSTM", first_weights, feeds["x"], feeds["m"])[0]
        expected = unrolled("RNN", second_weights, between, feeds["m"])[0]
        np.testing.assert_allclose(run(session, feeds)["z"], expected, rtol=1e-4, atol=2e-6)


def test_names_in_the_loop_are_unlike_all_others():
    model = exported(net_of(text_of("LSTM", 4, 2)[0]), {"it": random_weights("LSTM", False)})
    names = [tensor.name for tensor in model.graph.initializer]
    names += [value.name for value in model.graph.input]
    graphs = [model.graph]
    for graph in graphs:
        for node in graph.node:
            names += node.output
            assert node.name
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    graphs.append(attribute.g)
                    names += [value.name for value in attribute.g.input]
    assert len(graphs) == 2
    assert len(names) == len(set(names))


def test_unit():
    shapes = {"c": (1, 3, OUTPUTS), "g": (1, 3, 4 * OUTPUTS), "m": (1, 3)}
    net = net_of(input_text(**shapes) + layer_text("LSTMUnit", shapes, ["cell", "hidden"]))
    session = session_of(exported(net))
    generator = np.random.default_rng(0)
    for streams in (1, 3, 8):
        feeds = {
            name: generator.normal(size=(1, streams, *shape[2:])).astype(np.float32)
            for name, shape in shapes.items()
        }
        feeds["m"] = generator.integers(0, 2, (1, streams)).astype(np.float32)
        hidden, cell = lstm_unit(feeds["c"], feeds["g"], feeds["m"][..., None])
        found = run(session, feeds)
        np.testing.assert_allclose(found["cell"], cell, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["hidden"], hidden, rtol=1e-4, atol=1e-6)
