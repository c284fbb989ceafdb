"""HDF5 files on which its library comes to no end."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py


def write(path: Path, place: str, *, userblock: int = 0) -> Path:
    """A file in which asking for `place` has no end.

    It is a virtual dataset; the names of its sources stand in a heap of objects, one after the
    other, in which one says that the next begins where it does (H5HGcache.c).
    """
    with h5py.File(path, "w", userblock_size=userblock) as file:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("in", "/x", (4,))
        file.create_virtual_dataset(place, layout)
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    (size,) = struct.unpack_from("<Q", content, first + 8)
    second = first + 16 + size + -size % 8
    struct.pack_into("<Q", content, second + 8, 0)
    path.write_bytes(content)
    return path
