"""What people hand in where weights are wanted."""

import struct
import zipfile

import numpy as np
import pytest

from fcnproto import weights
from fcnproto.errors import WeightsError

KINDS = {
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(40),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "a MATLAB file": b"MATLAB 5.0 MAT-file" + bytes(200),
    "a web page": b"\n<!DOCTYPE html><html>",
    "a tar archive": bytes(257) + b"ustar\0" + bytes(300),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "an ONNX model": b"\x08\x0a\x12\x08fcnproto" + bytes(40),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_weights_is_called_what_it_is(kind, tmp_path):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(KINDS[kind])
    with pytest.raises(WeightsError, match=kind):
        weights.load(path)


def test_a_zip_of_weights_is_to_be_unpacked(tmp_path):
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net.caffemodel", b"x")
    with pytest.raises(WeightsError, match=r"net\.caffemodel \(unpack it first\)"):
        weights.load(path)


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_data(kind, dtype, tmp_path):
    """NVIDIA's blobs: raw_data_type is field 10, raw_data field 12."""
    raw = np.array([1, -2.5, 0.125], dtype).tobytes()
    shape = b"\x3a\x03\x0a\x01\x03"
    blob = shape + b"\x50" + bytes([kind]) + b"\x62" + bytes([len(raw)]) + raw
    layer = b"\x0a\x01c\x3a" + bytes([len(blob)]) + blob
    path = tmp_path / "w.caffemodel"
    path.write_bytes(b"\xa2\x06" + struct.pack("B", len(layer)) + layer)
    (array,) = weights.read(path)["c"]
    assert array.dtype == np.float32
    assert array.tolist() == [1, -2.5, 0.125]
