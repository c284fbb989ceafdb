"""What people hand in where weights, a prototxt or a model is wanted, told by how it begins."""

from __future__ import annotations

import re

HEAD = 512
"""So many bytes tell."""

_STARTS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"RIFF", "a WebP image or other media"),
    (b"%PDF", "a PDF"),
    (b"MATLAB 5.0", "a MATLAB file (save its arrays as .npz)"),
    (b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (b"BZh", "a bzip2 archive (unpack it first)"),
    (b"\xfd7zXZ", "an xz archive (unpack it first)"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
    (b"Rar!", "a RAR archive (unpack it first)"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"\x7fELF", "a program or library"),
    (b"SQLite format", "an SQLite database"),
    (b"version https://git-lfs", "a pointer of Git LFS (fetch the file itself)"),
    (b"<", "a web page or XML (was the download an error page?)"),
    (b"{\\rtf", "an RTF document"),
    (b"{", "JSON"),
)
_INNER = (
    (4, b"ftyp", "a video or HEIF image"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (257, b"ustar", "a tar archive (unpack it first)"),
)
"""What tells of itself further in, and where."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_MANY_ZEROS = 64
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK"
_WEIGHTS = (b"\n", b"\x12", b"\xa2\x06", _ZIP, _HDF5, b"\x93NUMPY", b"\x80")
"""How .caffemodel, .npz, .pth, HDF5, .npy and pickles begin."""
_ONNX_IR = range(1, 32)
"""Versions of ONNX's format, which its files begin with: field 1."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")
_NET = re.compile(rb"^\s*(layers?\s*\{|name\s*:|input)", re.MULTILINE)
_SOLVER = re.compile(rb"^\s*(net|train_net|base_lr|lr_policy|max_iter)\s*:", re.MULTILINE)


def stranger(head: bytes) -> str | None:
    """What a file is that is neither weights, prototxt nor model; None if nothing tells."""
    if head.startswith(_UTF16):
        return "text in UTF-16 (save it as UTF-8)"
    if len(head) >= _MANY_ZEROS and not head.strip(b"\0"):
        return "a file that begins with zeros alone (did the download break off?)"
    inner = (kind for at, mark, kind in _INNER if head[at : at + len(mark)] == mark)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    starts = (kind for start, kind in _STARTS if text.startswith(start))
    return next(inner, None) or next(starts, None)


def is_state(head: bytes) -> bool:
    """Whether a file begins as a binary SolverState: an iteration, then the name of its weights.

    An ONNX model may too: a version, then a name, but one that no file of weights has.
    """
    name = head.find(b"\x12", 1, 8)
    if head[:1] != b"\x08" or name < 0:
        return False
    learned = head[name + 2 : name + 2 + head[name + 1]] if name + 1 < len(head) else b""
    return learned.endswith((b".caffemodel", b".h5")) or head[1] not in _ONNX_IR


def mistaken(head: bytes) -> str | None:
    """What a file is that is no weight file, by its first bytes; None if nothing tells."""
    if is_state(head):
        return "a solver's state, which train --resume takes (its weights are in the .caffemodel)"
    if (
        head[:1] == b"\x08"
        and len(head) > 2
        and head[1] in _ONNX_IR
        and head[2:3] in (b"\x12", b":")
    ):
        return "an ONNX model (segment --model takes it; weights are in .caffemodel or .npz)"
    kind, head = stranger(head), head.removeprefix(_BOM)
    if kind is not None or _CONTROL.search(head):
        return kind
    if _SOLVER.search(head):
        return "a solver's prototxt"
    if _NET.search(head):
        return "a prototxt"
    return "text" if len(head.split()) > 1 else None  # one word is by chance so


def no_prototxt(head: bytes) -> str | None:
    """What a file is that is no prototxt, by its first bytes; None if nothing tells."""
    head = head.removeprefix(_BOM)
    if head.startswith(_HDF5):
        return "an HDF5 file"
    if head.startswith(_ZIP):
        return "a zip archive, or weights as .npz"
    return mistaken(head) if _CONTROL.search(head) else stranger(head)


def no_model(head: bytes) -> str | None:
    """What a file is that is no ONNX model, by its first bytes; None if nothing tells."""
    if not head:
        return "empty"
    if head.startswith(_WEIGHTS) and _CONTROL.search(head):
        return "weights, as it seems (export-onnx makes a model of them and their net)"
    kind = mistaken(head)
    return None if kind is not None and kind.startswith("an ONNX model") else kind
