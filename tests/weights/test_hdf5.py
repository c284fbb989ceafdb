"""HDF5 files of other programs than Caffe."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from fcnproto import weights
from fcnproto.errors import WeightsError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_weights/conv/conv/kernel:0", r"it holds 'model_weights' \(Keras's\): save"),
        ("conv.weight", r"it holds 'conv\.weight': save its arrays as \.npz, for convert-weights"),
        ("", "it holds nothing$"),
    ],
)
def test_what_is_in_a_file_of_others_is_said(tmp_path: Path, name: str, said: str) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        if name:
            file[name] = np.zeros((3, 3, 3, 4), np.float32)
    with pytest.raises(WeightsError, match=f"expected a group '/data', as Caffe writes it; {said}"):
        weights.load(tmp_path / "w.h5")
