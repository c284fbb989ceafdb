"""A prototxt of 100 kB takes seconds at the most in every verb, whatever it has much of."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.bounds import judge
from tests.fuzz.large import texts
from tests.fuzz.targets import Target, verb

VERBS = {
    "check": ("check", "in.prototxt"),
    "upgrade": ("upgrade", "in.prototxt", "-o", "out.prototxt"),
    "diff": ("diff", "in.prototxt", "other.prototxt"),
    "summary": ("summary", "in.prototxt"),
    "draw": ("draw", "in.prototxt", "-o", "out.dot"),
    "explain crop": ("explain", "crop", "in.prototxt"),
    "explain pad": ("explain", "pad", "in.prototxt"),
    "explain field": ("explain", "field", "in.prototxt", "b5"),
    "export-onnx": ("export-onnx", "in.prototxt", "--init", "-o", "out.onnx"),
    "convert-weights": ("convert-weights", "in.npz", "--net", "in.prototxt", "-o", "out.npz"),
    "convolutionize": ("convolutionize", "in.prototxt", "in.npz", "-o", "out"),
    "doctor": ("doctor", "in.prototxt", "in.npz"),
}
TEXTS = dict(texts())
PATIENCE = 3  # for a busy machine; what is quadratic takes ten times as long


def _run(text: str, arguments: tuple[str, ...], room: Path) -> None:
    def run(data: bytes) -> str:
        Path("in.prototxt").write_bytes(data)
        Path("other.prototxt").write_bytes(data.replace(b'name:"', b'name:"other '))
        buffer = io.BytesIO()
        np.savez(buffer, **{"b0/0": np.ones((3, 3, 3, 3), np.float32)})
        Path("in.npz").write_bytes(buffer.getvalue())
        return verb(*arguments)

    target = Target("large", run, list, lambda data, others, rng: data)
    failure = judge(target, text.encode(), room, PATIENCE)
    assert failure is None, f"{failure.kind}\n{failure.detail}"


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("title", TEXTS)
def test_every_verb_bears_much_of_anything(title: str, name: str, tmp_path: Path) -> None:
    _run(TEXTS[title], VERBS[name], tmp_path / "room")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("missing bottoms", "check"),
        ("unknown types", "check"),
        ("unknown fields", "upgrade"),
        ("nested unknown", "summary"),
        ("bottoms without tops", "draw"),
        ("strides 65536", "explain pad"),
    ],
)
def test_what_took_long_is_borne(title: str, name: str, tmp_path: Path) -> None:
    _run(TEXTS[title], VERBS[name], tmp_path / "room")
