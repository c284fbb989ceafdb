"""Weight files against what real Caffe read and wrote; and files that no one should read."""

import io
import itertools
import json
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from paths import GOLDEN

from fcnproto import weights
from fcnproto.errors import FcnprotoError, WeightsError
from fcnproto.proto.caffe_pb2 import NetParameter

LISTED = [e for e in json.loads((GOLDEN / "weights/index.json").read_text()) if "net" in e]
SAVED_BY_CAFFE = sorted((GOLDEN / "layers").glob("*.caffemodel"))
ONE_FOLDER = [HealthCheck.function_scoped_fixture]
SUFFIXES = (".npz", ".caffemodel", ".caffemodel.h5", ".safetensors")


def same(found, wanted):
    return {k: (v.shape, v.tobytes()) for k, v in weights.keyed(found)} == {
        k: (v.shape, v.tobytes()) for k, v in weights.keyed(wanted)
    }


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry["file"])
def test_reads_what_caffe_loaded(entry):
    found = dict(weights.keyed(weights.read(GOLDEN / "weights" / entry["file"])))
    with np.load(GOLDEN / "weights" / entry["npz"]) as wanted:
        loaded = {k.removeprefix("loaded/"): wanted[k] for k in wanted if k.startswith("loaded/")}
        sources = [k.removeprefix("source/") for k in wanted if k.startswith("source/")]
    if entry["file"].endswith("saved.caffemodel.h5"):  # its user of shared arrays has none
        found |= {"b/0": found["a/0"], "b/1": found["a/1"]}
    for key in sources:
        assert found[key].dtype == np.float32
        assert found[key].shape == loaded[key].shape, key
        np.testing.assert_array_equal(found[key], loaded[key])
    assert set(found) - set(sources) <= {"not_in_net/0"}


def test_reads_the_means_that_caffe_wrote(tmp_path):
    with np.load(GOLDEN / "weights/mean.npz") as wanted:
        for name, key in (("mean", "mean"), ("mean_legacy", "legacy_read")):
            found = weights.read_blob(GOLDEN / f"weights/{name}.binaryproto")
            np.testing.assert_array_equal(found, wanted[key])
            assert found.shape == wanted[key].shape
    for content in (b"", b"\x2a\x04abcd\x3a\x03\x0a\x01\x02", b"garbage"):
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            weights.read_blob(tmp_path / "m")
        assert "layer" not in str(caught.value)


@pytest.mark.parametrize("path", SAVED_BY_CAFFE, ids=lambda path: path.stem)
def test_reads_and_writes_what_caffe_saved(path, tmp_path):
    found = weights.read(path)
    if path.stem != "net_shared_params":  # where the npz holds what was set before sharing
        with np.load(path.with_suffix(".npz")) as wanted:
            params = {k.removeprefix("param/"): wanted[k] for k in wanted if "param/" in k}
        params = {k: v for k, v in params.items() if not k.startswith("paramdiff")}
        assert {k: v.tobytes() for k, v in weights.keyed(found)} == {
            k: v.tobytes() for k, v in params.items()
        }
    net = NetParameter.FromString(path.read_bytes())
    weights.write(tmp_path / "w.caffemodel", found, net)
    assert (tmp_path / "w.caffemodel").read_bytes() == path.read_bytes()


def test_hdf5_is_what_caffe_wrote(tmp_path):
    saved = GOLDEN / "weights/caffe_saved.caffemodel"
    net = NetParameter.FromString(saved.read_bytes())
    weights.write(tmp_path / "w.h5", weights.read(saved), net)

    def content(path):
        with h5py.File(path) as file:
            return {
                f"{layer}/{i}": (data.dtype.str, data.shape, data[()].tobytes())
                for layer, group in file["data"].items()
                for i, data in group.items()
            } | {layer: len(group) for layer, group in file["data"].items()}

    assert content(tmp_path / "w.h5") == content(GOLDEN / "weights/caffe_saved.caffemodel.h5")


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(SUFFIXES, 2)))
def test_every_pair_of_formats_keeps_every_bit(first, second, tmp_path):
    original = weights.read(GOLDEN / "weights/caffe_saved.caffemodel")
    original["odd"] = [np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)]
    weights.write(tmp_path / f"a{first}", original)
    weights.write(tmp_path / f"b{second}", weights.read(tmp_path / f"a{first}"))
    assert same(
        dict(sorted(weights.read(tmp_path / f"b{second}").items())), dict(sorted(original.items()))
    )


floats = arrays(np.float32, array_shapes(min_dims=0, max_dims=5, max_side=4))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.dictionaries(names, st.lists(floats, min_size=1, max_size=3), min_size=1, max_size=4))
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_name_and_shape_survives(tmp_path, original):
    for suffix in (".npz", ".caffemodel", ".safetensors"):
        weights.write(tmp_path / f"w{suffix}", original)
        assert same(weights.read(tmp_path / f"w{suffix}"), original)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_of_any_number_becomes_float32(tmp_path, version, dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file, file.open("l/0.npy", "w") as member:
        np.lib.format.write_array(member, array, version)
    (found,) = weights.read(tmp_path / "w.npz")["l"]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)


def test_safetensors_half_and_pytorch_kinds(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.numpy import save_file

    save_file({"l/0": np.arange(3, dtype=np.float16)}, tmp_path / "h.safetensors")
    assert weights.read(tmp_path / "h.safetensors")["l"][0].tolist() == [0, 1, 2]
    state = {"l/0": torch.arange(3, dtype=torch.bfloat16), "l/1": torch.ones(2).double()}
    for name, content, options in (
        ("new.pth", state, {}),
        ("old.pth", state, {"_use_new_zipfile_serialization": False}),
        ("checkpoint.pth", {"state_dict": state, "epoch": 3}, {}),
        ("nested.pth", {"model": state, "epoch": 3}, {}),
    ):
        torch.save(content, tmp_path / name, **options)
        assert [a.tolist() for a in weights.read(tmp_path / name)["l"]] == [[0, 1, 2], [1, 1]]


def test_safetensors_of_bfloat16(tmp_path):
    values = np.array([[1, -2, 3.140625], [0, np.inf, 2**-130]], np.float32)  # all exact
    header = json.dumps(
        {
            "l/0": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "l/1": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]},
        }
    ).encode()
    halves = (values.view("<u4") >> 16).astype("<u2")
    content = len(header).to_bytes(8, "little") + header + bytes(4) + halves.tobytes()
    (tmp_path / "w.safetensors").write_bytes(content)
    np.testing.assert_array_equal(weights.read(tmp_path / "w.safetensors")["l"][1], values)


def test_tensors_that_are_more_or_less_than_numbers(tmp_path):
    torch = pytest.importorskip("torch")
    refused = {
        "unfold": torch.ones(1).expand(2**36),
        "no plain tensor": torch.eye(3).to_sparse(),
        "no plain": torch.empty(3, device="meta"),
        "expected plain numbers": torch.ones(3, dtype=torch.bool),
    }
    for message, tensor in refused.items():
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            if tensor.is_meta and options:
                continue
            torch.save({"l/0": tensor}, tmp_path / "w.pth", **options)
            with pytest.raises(WeightsError, match=message):
                weights.read(tmp_path / "w.pth")
    tied = torch.arange(6.0)
    torch.save({"l/0": tied[:3], "l/1": tied.view(2, 3).t()}, tmp_path / "w.pth")
    assert [a.tolist() for a in weights.read(tmp_path / "w.pth")["l"]] == [
        [0, 1, 2],
        [[0, 3], [1, 4], [2, 5]],
    ]


def test_npy_of_plain_fields(tmp_path):
    kinds = [("conv/0", "<f4", (2, 3)), ("conv/1", "<f8", (2,))]
    np.save(tmp_path / "w.npy", np.array((np.ones((2, 3)), [1, 2]), kinds))
    found = weights.read(tmp_path / "w.npy")
    assert [a.shape for a in found["conv"]] == [(2, 3), (2,)]


def test_duplicate_layers_are_said():
    loaded = weights.load(GOLDEN / "weights/duplicate_layers.caffemodel")
    assert [problem.layer for problem in loaded.notes] == ["conv"]
    assert "last one" in str(loaded.notes[0])


def test_not_finite_layers_are_named():
    found = weights.not_finite(weights.read(GOLDEN / "loading/nan_inf.caffemodel"))
    assert [problem.layer for problem in found] == ["conv"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "w.npz"
    target.write_bytes(b"before")
    bad = {"l": [np.zeros((2, 2), np.float32)], "m": [object()]}
    with pytest.raises(Exception):  # noqa: B017  (whatever breaks, the file stays)
        weights.write(target, bad)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_more_than_protobuf_holds(tmp_path):
    huge = np.broadcast_to(np.float32(0), (2**29 + 1,))  # takes no memory
    with pytest.raises(WeightsError, match=r"2\.0 GiB is more.*\.safetensors or \.npz"):
        weights.write(tmp_path / "w.caffemodel", {"l": [huge]})
    assert not list(tmp_path.iterdir())


def test_a_slash_in_hdf5(tmp_path):
    with pytest.raises(WeightsError, match="'conv1/7x7': HDF5 weights of Caffe cannot hold"):
        weights.write(tmp_path / "w.h5", {"conv1/7x7": [np.ones(1, np.float32)]})


def test_unknown_ending(tmp_path):
    with pytest.raises(WeightsError, match=r"ends in \.npz, \.caffemodel"):
        weights.write(tmp_path / "w.bin", {})


# What protobuf merges.


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def layer(*blobs, name=b"conv"):
    return field(100, field(1, name) + b"".join(field(7, blob) for blob in blobs))


def dims(*sizes):
    return field(7, field(1, b"".join(varint(size & 2**64 - 1) for size in sizes)))


ONE = field(5, struct.pack("<f", 1))


def test_doubles_that_are_no_float(tmp_path):
    """Of a signalling NaN the processor says that it is invalid, and NumPy warns."""
    doubles = struct.pack("<Qdd", 0x7FF0000000000001, 1e300, -0.0)
    (tmp_path / "w.caffemodel").write_bytes(layer(field(8, doubles) + dims(3)))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file, file.open("conv/0.npy", "w") as member:
        np.lib.format.write_array(member, np.frombuffer(doubles, "<f8"))
    for name in ("w.caffemodel", "w.npz"):
        nan, inf, zero = weights.read(tmp_path / name)["conv"][0]
        assert (np.isnan(nan), inf, np.signbit(zero)) == (True, np.inf, True)


def test_a_v0_layer_in_several_parts(tmp_path):
    parts = [
        field(1, b"early") + field(50, ONE + dims(1)),
        field(50, ONE + dims(1, 1)) + field(1, b"conv"),
    ]
    content = field(2, field(1, parts[0]) + field(2, b"bottom") + field(1, parts[1]))
    (tmp_path / "w.caffemodel").write_bytes(content)
    (layer,) = NetParameter.FromString(content).layers
    assert (layer.layer.name, len(layer.layer.blobs)) == ("conv", 2)
    found = weights.read(tmp_path / "w.caffemodel")
    assert {name: [a.shape for a in arrays] for name, arrays in found.items()} == {
        "conv": [(1,), (1, 1)]
    }


# Files that are broken, or made to do harm.

HOSTILE = {
    "length 2^60": (varint(100 << 3 | 2) + varint(2**60), "a field of 1152921504606846976 bytes"),
    "length 2^60 inside": (field(100, varint(7 << 3 | 2) + varint(2**60)), "1152921504606846976"),
    "negative": (layer(ONE + dims(-1)), "'conv': blob 0 has a shape of 1 axes, -1"),
    "negative pair": (layer(ONE + dims(-1, -1)), "blob 0 has a shape of 2 axes"),
    "overflow": (layer(ONE + dims(2**32, 2**32)), "1 values for its shape 4294967296×4294967296"),
    "overflow to one": (layer(ONE + dims(2**62, 4, 1)), "1 values for its shape"),
    "many axes": (layer(ONE + dims(*[1] * 33)), "33 axes"),
    "many dims": (layer(ONE + dims(*[1] * 100_000)), "33 axes"),
    "zero": (layer(dims(0)), "which is empty"),
    "no values": (layer(b""), "0 values for its shape () (a scalar)"),
    "odd data": (layer(field(5, b"12345") + dims(1)), "a packed field of 5 bytes"),
    "unfinished varint": (b"\x80" * 11, "a number that does not end"),
    "wire type 7": (b"\x0f", "wire type 7"),
    "field 0": (b"\x02\x00", "field 0"),
    "group without end": (varint(9 << 3 | 3), "a group without an end"),
    "end without group": (varint(9 << 3 | 4), "has not begun"),
    "wrong end": (varint(9 << 3 | 3) + varint(8 << 3 | 4), "has not begun"),
    "no members": (b"PK\x05\x06" + bytes(18), "it holds no arrays"),
    "deep groups": (varint(9 << 3 | 3) * 5000, "nested deeper"),
    "name not UTF-8": (layer(ONE + dims(1), name=b"\xff"), "not UTF-8"),
    "both kinds": (layer() + field(2, field(4, b"conv")), "both 'layer' and 'layers'"),
    "no layers": (field(1, b"net"), "holds no layer"),
    "empty": (b"", "it is empty"),
    "web page": (b"<!DOCTYPE html><html>", "a web page"),
    "prototxt": (b'name: "x"\nlayer { }', "a prototxt"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "gzip": (b"\x1f\x8b\x08\x00", "gzip"),
    "pickle": (b"\x80\x04\x95\x00", "pickle"),
    "npy cut": (b"\x93NUMPY\x01\x00\xff\xff{", "not a whole .npy"),
    "zip cut": (b"PK\x03\x04\x00\x00", "not a whole .npz"),
    "hdf5 cut": (b"\x89HDF\r\n\x1a\n\x00\x00", "HDF5 cannot read it"),
    "safetensors cut": ((10).to_bytes(8, "little") + b'{"a": 1234', "not a whole .safetensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    content, message = HOSTILE[name]
    path = tmp_path / "w.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        weights.read(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: error: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "file",
    ["short_data", "long_data", "no_data", "double_short", "short_diff", "no_shape_at_all",
     "bias_legacy_only_width", "bias_num_zero_and_shape", "garbage", "text_weights", "truncated",
     "mixed_v1_v2", "empty_file"],
)  # fmt: skip
def test_what_caffe_aborts_on_or_should(golden, file):
    with pytest.raises(WeightsError):
        weights.read(golden / "loading" / f"{file}.caffemodel")


def npz_member(tmp_path, header, data=b"", compression=zipfile.ZIP_STORED):
    body = io.BytesIO()
    np.lib.format.write_array_header_1_0(body, header)
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("l/0.npy", body.getvalue() + data)
    return path


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2**40,), "claims the shape"),
        ((2**32, 2**32), "claims the shape"),
        ((-1,), "a shape that Caffe does not"),
        ((0,), "a shape that Caffe does not"),
        ((1,) * 33, "a shape that Caffe does not"),
    ],
)
def test_npz_headers_that_lie(tmp_path, shape, message):
    header = {"shape": shape, "fortran_order": False, "descr": "<f4"}
    with pytest.raises(WeightsError, match=message):
        weights.read(npz_member(tmp_path, header, bytes(4)))


@pytest.mark.parametrize(
    ("descr", "message"), [("|O", "pickled"), ("<U3", "numbers"), ("<c8", "numbers")]
)
def test_npz_of_other_things(tmp_path, descr, message):
    header = {"shape": (1,), "fortran_order": False, "descr": descr}
    with pytest.raises(WeightsError, match=message):
        weights.read(npz_member(tmp_path, header, bytes(16)))


def test_pickled_dictionary(tmp_path):
    np.save(tmp_path / "vgg16.npy", {"conv1_1": [np.ones(1)]}, allow_pickle=True)
    with pytest.raises(WeightsError, match=r"pickled dictionary.*numpy\.savez") as caught:
        weights.read(tmp_path / "vgg16.npy")
    assert "\n" not in str(caught.value)


def test_npz_checksum_is_compared(tmp_path):
    weights.write(tmp_path / "w.npz", {"l": [np.full(64, 3, np.float32)]})
    content = bytearray((tmp_path / "w.npz").read_bytes())
    at = content.index(struct.pack("<f", 3))
    content[at + 3] ^= 1
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(WeightsError, match="CRC"):
        weights.read(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'shape': (",  # tokenize.TokenError
        "{[1]: 2}",  # TypeError
        "{'descr': ('<f4',), 'fortran_order': False, 'shape': (6,), }",  # IndexError
        "-" * 9000 + "1",  # MemoryError or RecursionError
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }" % ("9" * 5000),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2**3,), }",  # "object" in its message
    ],
)
def test_headers_that_numpy_stumbles_over(tmp_path, header):
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(24)
    (tmp_path / "w.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file:
        file.writestr("l/0.npy", content)
    for name in ("w.npy", "w.npz"):
        with pytest.raises(WeightsError) as caught:
            weights.read(tmp_path / name)
        assert len(str(caught.value)) < 400 + len(str(tmp_path))
        assert "pickled" not in str(caught.value)


def test_headers_of_python_2(tmp_path):
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(24)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file:
        file.writestr("l/0.npy", content)
    assert weights.read(tmp_path / "w.npz")["l"][0].shape == (2, 3)


def test_npz_holds_arrays_alone(tmp_path):
    """numpy.savez before 2.1 saves an option that it does not know as an array."""
    weights.write(tmp_path / "w.npz", {"l": [np.ones(2, np.float32)], "m": [np.ones((), "f4")]})
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        assert {key: file[key].shape for key in file} == {"l/0": (2,), "m/0": ()}


def test_zip_bomb(tmp_path):
    zeros = bytes(300 * 2**20)
    header = {"shape": (len(zeros) // 4,), "fortran_order": False, "descr": "<f4"}
    path = npz_member(tmp_path, header, zeros, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match=r"unfold to 300\.0 MiB.*may unfold to 256\.0 MiB"):
        weights.read(path)


def hdf5(path, build):
    with h5py.File(path, "w") as file:
        build(file)
    return path


def test_hdf5_of_a_layer_that_shares_its_first_array_only(tmp_path):
    """Caffe saves the arrays that a layer owns under their numbers (net.cpp, ToHDF5)."""
    net = NetParameter()
    for name in "ab":
        net.layer.add(name=name).param.add(name="w")
    ones = np.ones((2, 3), np.float32)
    given = {"a": [ones, np.zeros(2, "f4")], "b": [ones, np.full(2, 5, np.float32)]}
    weights.write(tmp_path / "w.h5", given, net)
    with h5py.File(tmp_path / "w.h5") as file:
        assert list(file["data/b"]) == ["1"]
    found = weights.read(tmp_path / "w.h5")
    assert [array.size for array in found["b"]] == [0, 2]
    with pytest.raises(WeightsError, match="'b': an array of it has no values"):
        weights.write(tmp_path / "w.npz", found)


def test_hdf5_without_layers(tmp_path):
    with pytest.raises(WeightsError, match="holds no layer"):
        weights.read(hdf5(tmp_path / "w.h5", lambda file: file.create_group("data")))


def test_hdf5_links_are_not_followed(tmp_path):
    secret = hdf5(tmp_path / "other.h5", lambda file: file.create_dataset("x", data=np.ones(3)))
    links = {
        "layer": lambda file: file.create_group("data").__setitem__(
            "conv", h5py.ExternalLink(str(secret), "/")
        ),
        "array": lambda file: file.create_group("data/conv").__setitem__(
            "0", h5py.ExternalLink(str(secret), "/x")
        ),
        "root": lambda file: file.__setitem__("data", h5py.ExternalLink(str(secret), "/")),
        "soft": lambda file: file.create_group("data/conv").__setitem__("0", h5py.SoftLink("/x")),
    }
    for name, link in links.items():
        with pytest.raises(WeightsError, match="not followed"):
            weights.read(hdf5(tmp_path / f"{name}.h5", link))


def test_hdf5_values_in_another_file(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(12))

    def external(file):
        group = file.create_group("data/conv")
        group.create_dataset("0", (3,), "<f4", external=[(str(tmp_path / "raw"), 0, 12)])

    def virtual(file):
        layout = h5py.VirtualLayout((3,), "<f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "raw"), "x", (3,))
        file.create_group("data/conv").create_virtual_dataset("0", layout)

    for build in (external, virtual):
        with pytest.raises(WeightsError, match="another file"):
            weights.read(hdf5(tmp_path / "w.h5", build))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (2**40,), "dtype": "<f4", "chunks": (1024,)}, "unfold"),
        ({"shape": (2**27,), "dtype": "<f4", "chunks": (2**20,), "compression": "gzip"}, "unfold"),
        ({"shape": (3,), "dtype": h5py.string_dtype()}, "expected numbers"),
        ({"shape": (3,), "dtype": np.dtype([("a", "<f4")])}, "expected numbers"),
        ({"data": h5py.Empty("f4")}, "not an array"),
        ({"shape": (0,), "dtype": "<f4"}, "a shape that Caffe does not"),
    ],
)
def test_hdf5_of_other_things(tmp_path, options, message):
    build = lambda file: file.create_group("data/conv").create_dataset("0", **options)  # noqa: E731
    with pytest.raises(WeightsError, match=message):
        weights.read(hdf5(tmp_path / "w.h5", build))


@pytest.mark.parametrize("file", ["h5_named_w_b", "h5_no_data_group", "h5_strings"])
def test_hdf5_that_caffe_refuses(golden, file):
    with pytest.raises(WeightsError):
        weights.read(golden / "loading" / f"{file}.caffemodel.h5")


def test_pickles_are_never_loaded(tmp_path):
    torch = pytest.importorskip("torch")

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"a": Trap()}, tmp_path / "w.pth")
    torch.save({"a": Trap()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.pth", "old.pth"):
        with pytest.raises(WeightsError, match="never loaded"):
            weights.read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_broken_zips_and_pickles_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"l/0": torch.ones(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    key = content.rindex(b"]q\x00X") + len(b"]q\x00X") + 4  # the list of storages, at the end
    (tmp_path / "key.pth").write_bytes(content[:key] + b"x" + content[key + 1 :])
    weights.write(tmp_path / "w.npz", {"l": [np.ones(3, np.float32)]})
    zipped = bytearray((tmp_path / "w.npz").read_bytes())
    zipped[zipped.rindex(b"PK\x01\x02") + 6] = 99  # the version of zip that is needed
    (tmp_path / "new.npz").write_bytes(zipped)
    for name, message in (("key.pth", "torch cannot read it"), ("new.npz", "zip file version")):
        with pytest.raises(WeightsError, match=message):
            weights.read(tmp_path / name)


SEEDS = [
    *(GOLDEN / "weights" / e["file"] for e in LISTED if not e["file"].endswith("h5")),
    GOLDEN / "weights/caffe_saved_caffemodel.npz",
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), max_size=8),
    st.integers(0, 9999),
)
@settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_files_only_ever_give_our_errors(tmp_path, seed, changes, cut):
    content = bytearray(seed.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    path = tmp_path / "w"
    path.write_bytes(content[: cut or len(content)])
    try:
        for _, array in weights.keyed(weights.load(path).weights):
            assert array.dtype == np.float32
    except FcnprotoError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
def test_mutated_hdf5_and_tensors_only_ever_give_our_errors(tmp_path):
    """In a process of its own, since HDF5 is C and could take us with it."""
    code = f"""
import random, sys
from pathlib import Path
from fcnproto import weights
from fcnproto.errors import FcnprotoError
random.seed(1)
original = weights.read({str(GOLDEN / "weights/caffe_saved.caffemodel")!r})
weights.write({str(tmp_path / "s.safetensors")!r}, original)
seeds = [Path({str(GOLDEN / "weights/caffe_saved.caffemodel.h5")!r}),
         Path({str(tmp_path / "s.safetensors")!r})]
target = Path({str(tmp_path / "w")!r})
for seed in seeds:
    for _ in range(300):
        content = bytearray(seed.read_bytes())
        for _ in range(random.randrange(1, 6)):
            content[random.randrange(len(content))] = random.randrange(256)
        target.write_bytes(content[: random.choice([len(content), random.randrange(len(content))])])
        try:
            weights.load(target)
        except FcnprotoError:
            pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_memory_is_bounded_by_the_file(tmp_path):
    """A child with little memory refuses a file that claims terabytes."""
    blob = layer(dims(2**40) + varint(5 << 3 | 2) + varint(2**42))
    (tmp_path / "w.caffemodel").write_bytes(blob)
    code = f"""
from fcnproto import weights
from fcnproto.errors import WeightsError
try:
    weights.read({str(tmp_path / "w.caffemodel")!r})
except WeightsError as error:
    print(error)
"""
    limit = 4 * 2**30
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "4398046511104 bytes" in done.stdout
