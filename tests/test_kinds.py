"""What people hand in where weights are wanted."""

import struct
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto import weights
from fcnproto.cli import main
from fcnproto.errors import WeightsError

KINDS = {
    "a JPEG image": b"\xff\xd8\xff\xe0" + bytes(40),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "a MATLAB file": b"MATLAB 5.0 MAT-file" + bytes(200),
    "a web page": b"\n<!DOCTYPE html><html>",
    "a tar archive": bytes(257) + b"ustar\0" + bytes(300),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "a file that begins with zeros alone": bytes(600),
    "text in UTF-16": "layer { }".encode("utf-16"),
    "an RTF document": b"{\\rtf1\\ansi layer }",
    "a prototxt": b'\xef\xbb\xbflayer { name: "a" }',
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


STRANGERS = {
    "a JPEG image": KINDS["a JPEG image"],
    "a pointer of Git LFS": KINDS["a pointer of Git LFS"],
    "a web page": KINDS["a web page"],
    "JSON": b'{"message": "Not Found"}\n',
    "a PDF": b"%PDF-1.4\n",
    "a zstd archive": b"\x28\xb5\x2f\xfd" + bytes(40),
    "a WebP image": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(40),
    "a TensorFlow Lite model": b"\x1c\0\0\0TFL3" + bytes(40),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_one_line_says_what_a_file_is_wherever_it_is_handed_in(kind, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(STRANGERS[kind])
    image = tmp_path / "image.png"
    Image.new("RGB", (4, 4)).save(image)
    verbs = [
        ["check", path],
        ["train", path],
        ["segment", image, "--model", path, "-o", tmp_path / "out"],
    ]
    for verb in verbs:
        result = CliRunner().invoke(main, [*map(str, verb)])
        assert result.exit_code == 1
        (line,) = result.output.splitlines()
        assert line.startswith(f"{path}: error: is {kind}"), line


def test_weights_and_models_that_change_places(tmp_path):
    weights.write(tmp_path / "w.npz", {"c": [np.zeros((2, 2))]})
    weights.write(tmp_path / "w.caffemodel", {"c": [np.zeros((2, 2))]})
    (tmp_path / "m.onnx").write_bytes(KINDS["an ONNX model"])
    (tmp_path / "n.prototxt").write_text("# mine\nlayer { name: 'a' }\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "i.png")
    said = {
        "w.npz": "is weights, as it seems",
        "w.caffemodel": "is weights, as it seems",
        "n.prototxt": "is a prototxt, no ONNX model",
    }
    for name, wanted in said.items():
        arguments = ["segment", str(tmp_path / "i.png"), "--model", str(tmp_path / name)]
        assert wanted in CliRunner().invoke(main, arguments).output
    said = {"w.npz": "weights as .npz", "m.onnx": "an ONNX model"}
    for name, wanted in said.items():
        assert wanted in CliRunner().invoke(main, ["check", str(tmp_path / name)]).output
    with pytest.raises(WeightsError, match="this is a prototxt"):
        weights.load(tmp_path / "n.prototxt")


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (("CONVOLUTIONN", "RELU"), ["did you mean 'CONVOLUTION'?"]),
        (("BATCHNORM", "RELU"), ["write layer for layers"]),
        (('"Convolution"', '"ReLU"'), ["write layer for layers"] * 2),
    ],
)
def test_a_type_that_cannot_be_read_is_one_error(types, said, tmp_path):
    path = tmp_path / "n.prototxt"
    layers = (
        f"layers {{ name: 'l{n}' type: {kind} bottom: 'data' top: 'l{n}' }}"
        for n, kind in enumerate(types)
    )
    path.write_text(
        "input: 'data' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n" + "\n".join(layers)
    )
    output = CliRunner().invoke(main, ["check", str(path)]).output
    errors = [line for line in output.splitlines() if " error: " in line]
    assert len(errors) == len(said)
    assert all(each in line for each, line in zip(said, errors, strict=True)), output
