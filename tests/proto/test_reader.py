"""The text format: what it reads and writes, against real Caffe's and protobuf's answers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import TESTS

from fcnproto.errors import PrototxtError, Severity
from fcnproto.proto import caffe_pb2, printer, reader, schema
from fcnproto.proto.caffe_pb2 import BlobProto, LayerParameter, NetParameter, SolverParameter

NAMES = sorted((TESTS / "published").glob("*/*.prototxt"))
FORMATS = sorted((TESTS / "golden/upgrade").glob("format_*.before.prototxt"))
MALFORMED = json.loads((TESTS / "golden/malformed.json").read_text())


def kind_of(path: Path) -> type[NetParameter] | type[SolverParameter]:
    return SolverParameter if "solver" in path.name else NetParameter


def errors(content: str, kind: type[Message] = NetParameter, lenient: bool = False) -> list[str]:
    """Every ERROR of a text, as line:column: message."""
    try:
        problems = reader.parse(content, "f", kind, lenient=lenient).problems
    except PrototxtError as error:
        problems = error.problems
    return [
        f"{problem.line}:{problem.column}: {problem.message}"
        for problem in problems
        if problem.severity is Severity.ERROR
    ]


# Against real Caffe -------------------------------------------------------------------------


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["case"])
def test_refuses_what_caffe_refuses_to_read(case):
    kind = SolverParameter if case["kind"] == "solver" else NetParameter
    found = errors(case["prototxt"], kind)
    message = case["caffe_message"] or ""
    if not message.startswith("text_format.cc"):
        assert not found  # what is wrong comes later than reading, if anything is
        return
    assert found
    place = re.search(r"Parameter: (\d+):\d+: ", message)
    if place:  # what lacks a field has no place in Caffe's message
        assert [problem.split(":")[0] for problem in found] == [place[1]]


@pytest.mark.parametrize("before", FORMATS, ids=lambda path: path.name)
def test_writes_what_caffe_writes(before):
    document = reader.parse(before.read_text(), before.name, NetParameter)
    after = before.with_name(before.name.replace("before", "after"))
    assert printer.format(document.message) == after.read_text()


@pytest.mark.parametrize("path", NAMES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_published_files_read_as_by_protobuf_and_survive_a_round_trip(path):
    document = reader.parse(path.read_text(), path.name, kind_of(path))
    assert not document.problems
    assert document.message == text_format.Parse(path.read_text(), kind_of(path)())
    written = printer.format(document.message)
    again = reader.parse(written, path.name, kind_of(path)).message
    assert again == document.message
    assert printer.format(again) == written


DOUBLES = {  # as protoc prints them
    0.123456789012345: "0.123456789012345",
    0.1 + 0.2: "0.30000000000000004",
    1e15: "1e+15",
    123456789.0: "123456789",
    5e-324: "4.94065645841247e-324",
}


@pytest.mark.parametrize("value", DOUBLES)
def test_doubles_are_written_in_fifteen_digits_or_seventeen(value):
    assert printer.format(BlobProto(double_data=[value])) == f"double_data: {DOUBLES[value]}\n"


# Syntax: each line was tried on protoc, whose reader is Caffe's -----------------------------------

ACCEPTED = {
    "": b"",
    "input_dim: - 7": b"\x20\xf9\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "input_dim: -2147483648": b"\x20\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01",
    "input_dim: 0x1F input_dim: 017;": b"\x20\x1f\x20\x0f",
    "force_backward: 01": b"\x28\x01",
    "input: [] input_dim: [1, 2],": b"\x20\x01\x20\x02",
    r"""input: "\377\x4\?\u00e9" 'b' """: b"\x1a\x06\xff\x04?\xc3\xa9b",
    r'''input: "\ud83d\ude00\U0001F600"''': b"\x1a\x08\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
    'input: "é"#é\n': b"\x1a\x02\xc3\xa9",
    'input: "\x01\r"': b"\x1a\x02\x01\r",
    "state: < phase: 1, level:-3 > layer {}": b"\x32\x0d\x08\x01\x10\xfd\xff\xff\xff\xff\xff\xff"
    b"\xff\xff\x01\xa2\x06\x00",
    "layer { loss_weight: [INFINITY, -0, 99999999999999999999, 1.f, 3E2f] }": b"\xa2\x06\x19"
    b"\x2d\x00\x00\x80\x7f\x2d\x00\x00\x00\x80\x2d\xec\x78\xad\x60\x2d\x00\x00\x80\x3f\x2d\x00\x00\x96\x43",
}

REFUSED = {
    "input_dim: +7": "1:12: expected a whole number from -2147483648 to 2147483647, found '+'",
    "input_dim: 1_000": "1:12: '1_000' is not a number",
    "input_dim: 08": "1:12: '08' is not a number",
    "input_dim: 2147483648": "1:12: input_dim must be a whole number from",
    "input_dim: 1.0": "1:12: input_dim must be a whole number from",
    "input_dim: 1 2": "1:14: expected a field's name, found '2'",
    "input_dim: 3name: 'a'": "1:12: '3name' is not a number",
    "layer { loss_weight: 1.2.3 }": "1:22: '1.2.3' is not a number",
    "layer { loss_weight: 1e }": "1:22: '1e' is not a number",
    "layer { loss_weight: 017 }": "1:22: loss_weight must be a decimal number, found '017'",
    "layer { loss_weight: [1 2] }": "1:25: expected ',' after a value of loss_weight, or ']'",
    "layer { loss_weight: [1,] }": "1:25: expected a number, found ']'",
    'name: ["a"]': "1:7: expected a string in quotes, found '['",
    "name: 'a": "1:7: this string has no closing quote on its line",
    "name: 'a\n'": "1:7: this string has no closing quote on its line",
    r"name: '\8'": "1:7: name has an escape sequence that is not one of C",
    r"name: '\u12'": "1:7: name has an escape sequence that is not one of C",
    "name: 'a' name: 'b'": "1:11: name was given in line 1 already",
    "force_backward: TRUE": "1:17: force_backward must be true or false, found 'TRUE'",
    "force_backward: 2": "1:17: force_backward must be a whole number from 0 to 1, found 2",
    "state { phase: 2 }": "1:16: phase cannot be '2'; it may be TRAIN, TEST",
    "state { phase: test }": "1:16: phase cannot be 'test'; did you mean 'TEST'?",
    "state { level: 1 >": "1:18: expected a field's name or the '}' that closes state of line 1",
    "state\n{ level: 1": "2:11: expected a field's name or the '}' that closes state of line 1",
    "layer: 3": "1:8: expected '{' after layer, found '3'",
    "}": "1:1: expected a field's name, found '}'",
    "[a.b]: 1": "1:1: expected a field's name, found '['",
    "1: 2": "1:1: expected a field's name, found '1'",
    "é: 1": "1:1: expected a field's name, found 'é'",
    "name: 'a'\x01": r"1:10: expected a field's name, found '\x01'",
    "name: 'a'\n\n // c": "3:2: expected a field's name, found '/'",
    "\ufeffname: 'a'": "1:1: the file begins with a byte-order mark",
}


@pytest.mark.parametrize("content", ACCEPTED)
def test_accepts_what_the_cpp_reader_accepts(content):
    document = reader.parse(content, "f", NetParameter)
    assert not document.problems
    assert document.message.SerializeToString() == ACCEPTED[content]


@pytest.mark.parametrize("content", REFUSED)
def test_refuses_what_the_cpp_reader_refuses(content):
    (found,) = errors(content)
    assert found.startswith(REFUSED[content])


def test_a_field_that_must_be_there_is_missed_where_its_message_stands():
    assert errors("layer {\n clip_param { max: 1 } }") == [
        "2:2: clip_param lacks min, which it must have"
    ]


def test_a_bool_may_be_written_in_six_ways():
    words = "true True t 1 false False f 0"
    content = "".join(f"propagate_down: {word} " for word in words.split())
    message = reader.parse(content, "f", LayerParameter).message
    assert list(message.propagate_down) == [True] * 4 + [False] * 4


# Problems, all at once -----------------------------------------------------------------------

SEVERAL = """\
name: "n"
colour: "red" "dish"
layer {
  kernal_size: 3
  name: "c"
  convolution_param {
    num_ouput: 3
    engine: CUDA
    stuff { a: [1, { b: "}" }] < c: 1 > }
    weird: [ -1, 2 ],
    stride: 2
  }
  pooling_param { pool: MEDIAN pool: MAX }
}
layers { type: PRELU top: "t" }
"""


def test_all_problems_of_a_text_are_reported_together_in_order():
    document = reader.parse(SEVERAL, "net.prototxt", NetParameter)
    assert [str(problem) for problem in document.problems] == [
        "net.prototxt:2:1: error: NetParameter has no field 'colour'",
        "net.prototxt:4:3: error: layer 'c': LayerParameter has no field 'kernal_size'",
        "net.prototxt:7:5: error: layer 'c': ConvolutionParameter has no field 'num_ouput';"
        " did you mean 'num_output'?",
        "net.prototxt:8:13: error: layer 'c': engine cannot be 'CUDA'; did you mean 'CUDNN'?",
        "net.prototxt:9:5: error: layer 'c': ConvolutionParameter has no field 'stuff'",
        "net.prototxt:10:5: error: layer 'c': ConvolutionParameter has no field 'weird'",
        "net.prototxt:13:25: error: layer 'c': pool cannot be 'MEDIAN';"
        " it may be MAX, AVE, STOCHASTIC",
        "net.prototxt:13:32: error: layer 'c': pool was given in line 13 already;"
        " it stands only once",
        "net.prototxt:15:16: error: type cannot be 'PRELU'; did you mean 'RELU'?",
    ]
    assert document.message.layer[0].convolution_param.stride == [2]
    assert document.message.layers[0].top == ["t"]


def test_problems_before_a_syntax_error_are_reported_with_it():
    found = errors("colour: 1\nlayer { name: 'a' type }\n")
    assert found == [
        "1:1: NetParameter has no field 'colour'",
        "2:24: expected ':' after type, found '}'",
    ]


def test_lenient_skips_unknown_fields_with_a_warning_each_and_nothing_else():
    document = reader.parse(
        "layer { name: 'c' colour: < a: [1] > kernal: 2 pooling_param { pool: X } }",
        "f",
        NetParameter,
        lenient=True,
    )
    assert [(problem.severity, problem.column) for problem in document.problems] == [
        (Severity.WARNING, 19),
        (Severity.WARNING, 38),
        (Severity.ERROR, 70),
    ]
    assert "skipped" in document.problems[0].message
    assert all(problem.layer == "c" for problem in document.problems)


def test_fields_of_forks_are_noted_once_each():
    document = reader.parse(
        "layer { bn_param { frozen: true } }\n"
        "layer { interp_param { zoom_factor: 8 } }\n"
        "layer { pooling_param { ceil_mode: false } }\n"
        "layer { bn_param { } }\n",
        "f",
        NetParameter,
    )
    assert [str(problem) for problem in document.problems] == [
        "f:1:9: note: bn_param is not in BVLC Caffe (pspnet, segnet); it stands in 2 places",
        "f:2:9: note: interp_param is not in BVLC Caffe (pspnet)",
        "f:3:25: note: ceil_mode is not in BVLC Caffe (other forks)",
    ]


def test_every_field_numbered_as_a_forks_names_its_fork():
    for descriptor in caffe_pb2.DESCRIPTOR.message_types_by_name.values():
        for field in schema.fields(descriptor).values():
            assert (field.fork is not None) == (field.number >= 10000), field.name


def test_positions_name_every_field():
    document = reader.parse(
        'name: "n"\n  layer {\n top: "a" top: ["b",\n"c"] }\n layer <>', "f", NetParameter
    )
    assert document.positions == {
        ("name",): (1, 1),
        ("layer", 0): (2, 3),
        ("layer", 0, "top", 0): (3, 2),
        ("layer", 0, "top", 1): (3, 17),
        ("layer", 0, "top", 2): (4, 1),
        ("layer", 1): (5, 2),
    }
    assert document.line("layer", 0, "top", 7) == 2
    assert document.line("input") is None


# Hostile texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "a{" * 200_000,
        "a:[" * 200_000,
        "a{" * 200_000 + "}" * 200_000,
        "input_dim:" + "9" * 1_000_000,
        "layer { loss_weight: x" + "9" * 1_000_000 + "}",
        "a" * 1_000_000,
        '"' * 1_000_000,
        'name: "' + "\\a" * 500_000,
        "ab:1 " * 100_000,
        "name: '" + "a" * reader.LONGEST_TEXT + "'",
    ],
    ids=lambda content: content[:10],
)
def test_hostile_texts_are_refused_in_few_and_short_words(content):
    found = errors(content)
    assert 1 <= len(found) <= 1001
    assert max(map(len, found)) < 300


def test_a_float_of_a_million_digits_is_infinite():
    message = reader.parse(f"loss_weight: {'9' * 1_000_000}", "f", LayerParameter).message
    assert message.loss_weight == [math.inf]


# Round trips of any message -------------------------------------------------------------------

_NUMBERS = {
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False) | st.just(math.nan),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | st.just(math.nan),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
}


def fill(draw: st.DrawFn, message: Message, strings: st.SearchStrategy[str | bytes]) -> Message:
    """Set a few fields of a message, any that its type has, to any values that they may have."""
    known = schema.fields(message.DESCRIPTOR)
    needed = [name for name, field in known.items() if field.required]
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True))
    for name in dict.fromkeys([*needed, *chosen]):
        field = known[name]
        for _ in range(draw(st.integers(1, 3)) if field.repeated else 1):
            if field.is_message:
                target = getattr(message, name)
                target = target.add() if field.repeated else target
                target.SetInParent()
                fill(draw, target, strings)
            elif field.values:
                schema.put(message, name, draw(st.sampled_from(sorted(field.values.values()))))
            elif field.kind == FieldDescriptor.TYPE_STRING:
                schema.put(message, name, draw(strings))
            else:
                schema.put(message, name, draw(_NUMBERS[field.kind]))
    return message


characters = st.text(max_size=8)


@st.composite
def messages(draw, strings):
    kind = draw(st.sampled_from([NetParameter, LayerParameter, SolverParameter, BlobProto]))
    return fill(draw, kind(), strings)


@settings(max_examples=300, deadline=None)
@given(messages(characters | st.binary(max_size=8)))
def test_any_message_survives_being_written_and_read(message):
    written = printer.format(message)
    assert written.isascii()
    document = reader.parse(written, "f", type(message))
    assert not [problem for problem in document.problems if problem.severity is Severity.ERROR]
    # Bytes are compared, because nan is not equal to itself.
    assert document.message.SerializeToString() == message.SerializeToString()
    assert printer.format(document.message) == written


@settings(max_examples=200, deadline=None)
@given(messages(characters))
def test_what_is_written_reads_the_same_by_protobuf(message):
    theirs = text_format.Parse(printer.format(message), type(message)())
    assert theirs.SerializeToString() == message.SerializeToString()


@settings(max_examples=200, deadline=None)
@given(messages(characters))
def test_what_protobuf_writes_reads_the_same(message):
    theirs = text_format.MessageToString(message)
    assert reader.parse(theirs, "f", type(message)).message.SerializeToString() == (
        message.SerializeToString()
    )
