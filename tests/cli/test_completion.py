"""What shells are told when Tab is pressed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from fcnproto.cli import main


def completed(line: str) -> list[tuple[str, str]]:
    """(type, value) of each completion of a line's last word, as bash asks for them."""
    words = line.split(" ")
    environment = {
        "_FCNPROTO_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(main, env=environment, prog_name="fcnproto")
    assert result.exit_code == 0 and result.stderr == ""
    return [tuple(each.split(",")) for each in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fcnproto seg", ["segment"]),
        ("fcnproto --ver", ["--version"]),
        ("fcnproto dataset s", ["split"]),
        ("fcnproto explain ", ["crop", "field", "maps", "pad"]),
        ("fcnproto render siftflow-", ["siftflow-fcn16s", "siftflow-fcn32s", "siftflow-fcn8s"]),
        ("fcnproto render fcn8s --dataset n", ["nyud"]),
        ("fcnproto render fcn8s --backbone vgg-s", ["vgg-small"]),
        ("fcnproto check net.prototxt --phase t", ["train"]),
        ("fcnproto fetch shapes-fcn8", ["shapes-fcn8s"]),
        ("fcnproto segment photo.jpg --device cp", ["cpu"]),
        ("fcnproto segment photo.jpg --no-", ["--no-cache"]),
    ],
)
def test_names_are_completed(line, expected):
    assert completed(line) == [("plain", name) for name in expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fcnproto check crf", ["crfrnn"]),
        ("fcnproto summary shapes-fcn8", ["shapes-fcn8s"]),
        ("fcnproto export-onnx voc-fcn8s-a", ["voc-fcn8s-atonce"]),
        ("fcnproto export-onnx --weights voc-fcn16", ["voc-fcn16s"]),
        ("fcnproto score --classes cla", []),
    ],
)
def test_what_may_be_a_file_is_completed_by_both(line, expected):
    first, *names = completed(line)
    assert first == ("file", line.split(" ")[-1])
    assert [("plain", name) for name in expected] == names


def test_folders_are_completed():
    assert completed("fcnproto render fcn8s --data-dir da") == [("dir", "da")]
