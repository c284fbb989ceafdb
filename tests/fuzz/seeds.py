"""What fuzzing starts from: the golden data, and files that are made once."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np

from tests.fuzz.mutators import archive, picture
from tests.fuzz.mutators.parts import joined

GOLDEN = Path(__file__).parents[1] / "golden"
_SMALL = 20_000


def _files(pattern: str, under: str = "", largest: int = _SMALL) -> list[bytes]:
    paths = sorted((GOLDEN / under).rglob(pattern))
    return [path.read_bytes() for path in paths if path.stat().st_size <= largest]


@cache
def nets() -> list[bytes]:
    """Texts of nets and solvers."""
    return _files("*.prototxt", largest=8000)


@cache
def pairs() -> list[bytes]:
    """Nets with weights of theirs."""
    found = []
    for path in sorted(GOLDEN.rglob("*.caffemodel")):
        net = path.with_suffix(".prototxt")
        if net.exists() and path.stat().st_size < _SMALL:
            found.append(joined(net.read_bytes(), path.read_bytes()))
    return found


@cache
def caffemodels() -> list[bytes]:
    """Binary weights of every vintage."""
    return _files("*.caffemodel")


@cache
def states() -> list[bytes]:
    """A solver's states, binary and HDF5, and means."""
    from fcnproto.weights import solverstate

    stop = solverstate.Stop(7, "net.caffemodel", 2, [np.ones((2, 3), np.float32)])
    found = []
    with TemporaryDirectory() as folder:
        for name in ("a.solverstate", "a.solverstate.h5"):
            solverstate.write(Path(folder, name), stop)
            found.append(Path(folder, name).read_bytes())
    return found + _files("*.binaryproto")


@cache
def hdf5() -> list[bytes]:
    """Caffe's HDF5 weights, and odd ones."""
    return _files("*.h5", largest=30_000) + [archive.built(Random(number)) for number in range(20)]


@cache
def numpy_files() -> list[bytes]:
    """Weights as .npz and .npy."""
    record = np.zeros((), [("a", "<f4", (2, 3)), ("b", "<f4", (3,))])
    single = io.BytesIO()
    np.lib.format.write_array(single, record)
    found = [single.getvalue()]
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{"a/0": np.ones((2, 3), np.float32), "a/1": np.ones(2, np.float16)})
        found.append(buffer.getvalue())
    return found


@cache
def tensors() -> list[bytes]:
    """Weights as .safetensors."""
    header = {"a/0": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
              "a/1": {"dtype": "BF16", "shape": [2], "data_offsets": [24, 28]}}  # fmt: skip
    text = json.dumps(header).encode()
    return [len(text).to_bytes(8, "little") + text + bytes(28)]


@cache
def matlab() -> list[bytes]:
    """MATLAB's files: a matrix, a structure with one, compressed or not, and 7.3's."""
    from scipy.io import savemat

    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = [archive.built(Random(number)) for number in range(5)]
    for value in (labels, {"Segmentation": labels, "Boundaries": labels}, "text", [[1], [2, 3]]):
        for compressed in (False, True):
            buffer = io.BytesIO()
            content = {"GTcls": value, "LabelMap": labels.astype(np.float64)}
            savemat(buffer, content, do_compression=compressed)
            found.append(buffer.getvalue())
    return found


@cache
def datums() -> list[bytes]:
    """Items of a database: numbers of both kinds, and an image."""
    from fcnproto.proto.caffe_pb2 import Datum

    size = {"channels": 3, "height": 2, "width": 4}
    found = (
        Datum(**size, data=bytes(24), label=3),
        Datum(**size, float_data=[0.5] * 24),
        Datum(data=picture.drawn(Random(0), "PNG", "RGB"), encoded=True, label=1),
    )
    return [each.SerializeToString() for each in found]


def database(items: Sequence[bytes]) -> bytes:
    """An LMDB's one file."""
    import lmdb

    with TemporaryDirectory() as folder:
        with lmdb.open(folder, map_size=2**20) as file, file.begin(write=True) as write:
            for number, item in enumerate(items):
                write.put(f"{number:08}".encode(), item)
        return Path(folder, "data.mdb").read_bytes()


@cache
def databases() -> list[bytes]:
    """LMDBs of items as Caffe's tools make them."""
    return [database(datums()), database([])]


@cache
def images() -> list[bytes]:
    """Images of every format and mode."""
    rng = Random(0)
    return [picture.drawn(rng) for _ in range(120)]


@cache
def labels() -> list[bytes]:
    """Label maps as PNG."""
    rng = Random(0)
    return [picture.drawn(rng, "PNG", mode) for mode in ("L", "P", "1", "I;16") for _ in range(4)]


_SCORES = """name: "fcn32s"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 16, 16] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "score" type: "Convolution" bottom: "conv" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
"""


@cache
def models() -> list[bytes]:
    """Models that segment, as scores and as labels, with all that one can say of itself."""
    from fcnproto.api.model import export
    from fcnproto.api.net import load_net

    found = []
    for settings in ({}, {"result": "labels"}, {"image_input": True}, {"result": "both"}):
        model = export(load_net(_SCORES), init=True, **settings)  # type: ignore[arg-type]
        buffer = io.BytesIO()
        model.write(buffer)
        found.append(buffer.getvalue())
    return found


def metadata() -> list[bytes]:
    """What models say of themselves, as JSON of texts and of what the texts hold."""
    weights = {"spatial": [1.0, 0.0, 0.0, 1.0], "bilateral": [[1.0]], "compatibility": [[-1.0]]}
    field = {"theta_alpha": 160.0, "theta_beta": 3.0, "theta_gamma": 3.0, "iterations": 2}
    pair = [1, 1]
    kept = {"blob": "conv", "stride": pair, "before": pair, "after": pair, "more": [0, 0]}
    said = {
        "net": "fcn8s", "dataset": "voc", "channel_order": "BGR", "fcnproto_version": "1",
        "images": {"data": "color"}, "mean": {"data": [104.0, 116.5, 122.5]},
        "classes": {"score": ["background", "dog", "cat"]},
        "palette": [[0, 0, 0], [255, 0, 0], [0, 0, 255]],
        "tiling": {"stride": [8, 8], "before": [3, 3], "after": [3, 3],
                   "stages": {"kept": [kept], "before": [1, 1], "after": [1, 1]}},
        "thresholds": {"score": 0.5},
        "label_maps": {"labels": 3}, "no_scores": ["greatest"],
        "mean_fields": {"score": {**field, **weights, "top": "pred", "start": "", "image": "data"}},
    }  # fmt: skip
    return [json.dumps(said).encode()]


PRESETS = (
    b'default = "own"\n[own]\nnormalization = "symmetric"\niterations = 5\nclip = 1e-5\n'
    b"[own.gaussian]\nsxy = 3\ncompat = 3\n[own.bilateral]\nsxy = [80, 80]\nsrgb = 13\n"
    b"compat = [10.0]\n",
)


@cache
def specs() -> list[bytes]:
    """Nets, datasets and recipes of the zoo."""
    found = sorted((GOLDEN.parents[1] / "models").rglob("*.toml"))
    return [path.read_bytes() for path in found if path.stat().st_size < 30_000]


LISTS = (
    b"background 0 0 0\nroad 128 64 128\nvoid 255 255 255\n",
    b"a\nb\nc\n",
    b"# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n",
    b"0 0\n1 15\n2 7 # dog\n",
    b"0 0 0\n#ff8000\n128,64,128\n",
    b"images/a.png labels/a.png\nb\n./images/c.jpg\n",
)

LABELME = json.dumps({
    "version": "5.0", "imagePath": "a.png", "imageHeight": 9, "imageWidth": 12, "shapes": [
        {"label": "dog", "shape_type": "polygon", "points": [[1, 1], [8, 1], [4, 7.5]]},
        {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [3, 3]]},
        {"label": "cow", "shape_type": "circle", "points": [[5, 5], [7, 5]]},
        {"label": "dot", "shape_type": "point", "points": [[5, 5]]},
    ]}).encode()  # fmt: skip
COCO = json.dumps({
    "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 12}],
    "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "cat"}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "area": 9.0, "segmentation": [[1, 1, 8, 1, 4, 7.5]]},
        {"image_id": 1, "category_id": 5,
         "segmentation": {"size": [9, 12], "counts": [50, 10, 48]}},
        {"image_id": 1, "category_id": 5, "segmentation": {"size": [9, 12], "counts": "b1:"}},
    ]}).encode()  # fmt: skip
CVAT = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>dog</name><color>#ff0000</color></label><label><name>cat</name></label>
</labels></task></meta>
<image id="0" name="a.png" width="12" height="9">
<polygon label="dog" points="1.0,1.0;8.0,1.0;4.0,7.5" z_order="1"></polygon>
<box label="cat" xtl="1" ytl="1" xbr="3" ybr="3" z_order="0"></box>
<ellipse label="cat" cx="5" cy="5" rx="2" ry="3" rotation="30" z_order="2"></ellipse>
<mask label="dog" rle="2, 3, 4" left="1" top="1" width="3" height="3" z_order="3"></mask>
</image></annotations>
"""
