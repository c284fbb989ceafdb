"""What people hand in where weights are wanted, told by how it begins."""

from __future__ import annotations

HEAD = 512
"""So many bytes tell."""

_STARTS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF", "a PDF"),
    (b"MATLAB 5.0", "a MATLAB file (save its arrays as .npz)"),
    (b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (b"BZh", "a bzip2 archive (unpack it first)"),
    (b"\xfd7zXZ", "an xz archive (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
    (b"Rar!", "a RAR archive (unpack it first)"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"version https://git-lfs", "a pointer of Git LFS (fetch the file itself)"),
    (b"<", "a web page or XML (was the download an error page?)"),
    (b"{", "JSON"),
    (b"name:", "a prototxt"),
    (b"layer", "a prototxt"),
    (b"input", "a prototxt"),
    (b"net:", "a solver's prototxt"),
    (b"train_net:", "a solver's prototxt"),
    (b"#", "text"),
)
_TAR = 257
"""Where a tar archive says that it is one."""
_ONNX_IR = range(1, 32)
"""Versions of ONNX's format, which its files begin with: field 1."""


def mistaken(head: bytes) -> str | None:
    """What a file is that is no weight file, by its first bytes; None if nothing tells."""
    if head[_TAR : _TAR + 5] == b"ustar":
        return "a tar archive (unpack it first)"
    if (
        head[:1] == b"\x08"
        and len(head) > 2
        and head[1] in _ONNX_IR
        and head[2:3] in (b"\x12", b":")
    ):
        return "an ONNX model (segment --model takes it; weights are in .caffemodel or .npz)"
    if head[:1] == b"\x08" and b"\x12" in head[1:8]:
        return "a solver's state, which train --resume takes (its weights are in the .caffemodel)"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((kind for start, kind in _STARTS if text.startswith(start)), None)
