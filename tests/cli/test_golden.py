"""What real Caffe computed, through the verbs: each net exported, and the model verified."""

import numpy as np
import pytest
from caffe_cases import INFERENCE, arrays_of
from click.testing import CliRunner
from paths import GOLDEN

from fcnproto.cli import main

CASES = [case for case in INFERENCE if case.parent == GOLDEN / "layers2"]


def verb(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_net_that_is_exported_agrees_with_caffe(case, tmp_path):
    model = tmp_path / "net.onnx"
    verb("export-onnx", case, "-o", model)  # its weights lie beside it, and so does the reference
    told = verb("verify", model, "--reference", case.with_suffix(".npz"))
    assert "too far" not in told


def test_a_model_that_differs_is_found_out(tmp_path):
    """The same, once with one number changed: the verb does compare."""
    case = GOLDEN / "layers2" / "conv_dil_hw.prototxt"
    arrays = arrays_of(case)
    blob = next(key for key in arrays if key.startswith("out/"))
    arrays[blob] = arrays[blob].copy()
    arrays[blob].flat[0] += 1e-2 * np.abs(arrays[blob]).max()
    np.savez(tmp_path / "changed.npz", **arrays)
    model = tmp_path / "net.onnx"
    verb("export-onnx", case, "-o", model)
    assert "too far" in verb("verify", model, "--reference", tmp_path / "changed.npz", code=1)
