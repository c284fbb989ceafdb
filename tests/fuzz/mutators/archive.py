"""Files whose parts have sizes and sums: .npz, .npy, MATLAB's, HDF5, .safetensors."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from random import Random

import numpy as np

from tests.fuzz.mutators import tree, values

_SHAPES = ("()", "(3,)", "(0,)", "(-1,)", "(2, 2)", "(4294967296, 4294967296)", "(1,)*3", "(1.5,)")
_TYPES = ("<f4", ">f8", "<f2", "|O", "|S5", "<U3", "<c8", "<M8[s]", "|V4", "<i8", "|b1", "i,i")


def npy(data: bytes, rng: Random) -> bytes:
    """An .npy whose header says something else, or whose bytes are others."""
    if not data.startswith(b"\x93NUMPY") or len(data) < 10 or rng.random() < 0.3:
        return values.changed_bytes(data, rng)
    (length,) = struct.unpack_from("<H", data, 8)
    header = data[10 : 10 + length].decode("latin1")
    kind = rng.randrange(5)
    if kind == 0:
        header = header.replace("'shape': ", f"'shape': {rng.choice(_SHAPES)} or ", 1)
    elif kind == 1:
        before, _, after = header.partition("'shape': ")
        header = f"{before}'shape': {rng.choice(_SHAPES)}{after[after.find(')') + 1 :]}"
    elif kind == 2:
        header = header.replace("<f4", rng.choice(_TYPES))
    elif kind == 3:
        header = header.replace("False", rng.choice(("True", "None", "0", "'x'", "(" * 300)))
    else:
        header = values.changed_bytes(header.encode("latin1"), rng).decode("latin1")
    encoded = header.encode("latin1")[:65535]
    return data[:8] + struct.pack("<H", len(encoded)) + encoded + data[10 + length :]


def zipped(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A zip with members changed, renamed, added or left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except Exception:  # the zip may be one of ours already
        return values.changed_bytes(data, rng)
    if not members or rng.random() < 0.25:
        return values.changed_bytes(data, rng)
    name = rng.choice(list(members))
    kind = rng.randrange(8)
    if kind < 5:
        members[name] = npy(members[name], rng)
    elif kind == 5:
        del members[name]
    elif kind == 6:
        members[rng.choice(("a/0", "a/1", "0", values.name(rng))) + ".npy"] = members[name]
    else:
        members[values.name(rng)] = members.pop(name)
    buffer = io.BytesIO()
    how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    try:
        with zipfile.ZipFile(buffer, "w", how) as file:
            for each, content in members.items():
                file.writestr(each, content)
    except (ValueError, IndexError):  # of names that zipfile does not take
        return values.changed_bytes(data, rng)
    return buffer.getvalue()


def numpy_file(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """An .npz or .npy."""
    return npy(data, rng) if data.startswith(b"\x93NUMPY") else zipped(data, others, rng)


def safetensors(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A .safetensors whose header, which is JSON, says something else."""
    if len(data) < 8 or rng.random() < 0.2:
        return values.changed_bytes(data, rng)
    length = int.from_bytes(data[:8], "little")
    header = tree.mutate(data[8 : 8 + length], others, rng)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def matlab(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A file of MATLAB 5 with words of its elements changed, also in those that are compressed."""
    if len(data) < 136 or rng.random() < 0.3 or data[124:128] == b"\x00\x02IM":
        return values.changed_bytes(data, rng)
    head, body = data[:128], data[128:]
    kind, size = struct.unpack_from("<II", body)
    if kind == 15:
        try:
            inner = _words(zlib.decompress(body[8 : 8 + size]), rng)
        except zlib.error:
            return values.changed_bytes(data, rng)
        packed = zlib.compress(inner)
        return head + struct.pack("<II", 15, len(packed)) + packed + body[8 + size :]
    return head + _words(body, rng)


def _words(content: bytes, rng: Random) -> bytes:
    """Elements whose tags, sizes or numbers are changed; most stand at multiples of four."""
    if len(content) < 4:
        return content
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = 4 * rng.randrange(min(len(content), 256) // 4)
        word = rng.choice((rng.randrange(20), abs(values.integer(rng)) % 2**32, 14, 9, 0x10005))
        changed[place : place + 4] = struct.pack("<I", word)
    return bytes(changed)


def hdf5(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """An HDF5 file built anew from parts at random, or with bytes changed."""
    if rng.random() < 0.5:
        return values.changed_bytes(data, rng, 3)
    return built(rng)


def built(rng: Random) -> bytes:
    """An HDF5 file as Caffe and MATLAB write them, with one thing or another that they do not."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for top in rng.sample(
            ("data", "iter", "current_step", "history", "learned_net", "LabelMap"), 5
        ):
            if top in ("data", "history"):
                group = file.create_group(top)
                names = ("conv1", "fc") if top == "data" else ("0", "1")
                for name in names:
                    inner = (
                        group.create_group(name) if rng.random() < 0.8 and top == "data" else group
                    )
                    for index in range(rng.randrange(3)):
                        _member(inner, f"{index}" if rng.random() < 0.9 else "x", rng)
            else:
                _member(file, top, rng)
    return buffer.getvalue()


def _member(group: object, name: str, rng: Random) -> None:
    import h5py

    assert isinstance(group, h5py.Group)
    if name in group:
        return
    kind = rng.randrange(14)
    shape = rng.choice(((), (1,), (2, 3), (1, 1, 3), (4, 2, 3, 3), (0,), (1,) * 32))
    if kind < 5:
        group[name] = np.zeros(shape, rng.choice(("f4", "f8", "i4", "u1", "f2", ">f4", "?", "c8")))
    elif kind == 5:
        large = rng.choice(((2**20,), (2**31, 4), (2**40,), (2**16, 2**16)))
        group.create_dataset(name, large, "f4", chunks=tuple(min(each, 64) for each in large))
    elif kind == 6:
        group[name] = h5py.SoftLink(rng.choice(("/data", "/nowhere", "/", f"/data/{name}")))
    elif kind == 7:
        group[name] = h5py.ExternalLink(rng.choice(("in", "/etc/passwd", "in.h5")), "/data")
    elif kind == 8:
        group.create_dataset(name, dtype=h5py.string_dtype(), shape=())
        group[name][()] = values.name(rng).replace("\0", "")
    elif kind == 9:
        group.create_dataset(name, (8,), "f4", chunks=(4,), compression="gzip", maxshape=(None,))
    elif kind == 10:
        group[name] = h5py.Empty("f4")
    elif kind == 11:
        group[name] = np.zeros(1, [("a", "f4"), ("b", "i4")])
    elif kind == 12:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("in", "/data/0", (4,))
        group.create_virtual_dataset(name, layout)
    else:
        group[name] = np.array([b"net.caffemodel", b"\xff\xfe", b""][rng.randrange(3)])
