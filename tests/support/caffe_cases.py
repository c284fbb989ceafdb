"""Nets that real Caffe ran: their texts, the arrays that went in and came out, their weights."""

import numpy as np
import onnxruntime
from paths import GOLDEN

CASES = [
    path
    for folder in ("layers", "layers2", "forks", "forks2")
    for path in sorted((GOLDEN / folder).glob("*.prototxt"))
]


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def arrays_of(path):
    with np.load(path.with_suffix(".npz")) as data:
        return {name: data[name] for name in data.files}


def weights_of(arrays):
    weights = {}
    for name in sorted(key for key in arrays if key.startswith("param/")):
        layer, _, index = name.removeprefix("param/").rpartition("/")
        weights.setdefault(layer, {})[int(index)] = arrays[name]
    return {layer: [these[i] for i in sorted(these)] for layer, these in weights.items()}


MEASURES = ("accuracy", "contrastive", "euclidean", "hinge", "infogain", "sigmoidce", "softmaxloss")


def is_measure(path):
    """Nets of a loss or a measure alone, of which nothing is left that infers."""
    return path.stem.startswith(MEASURES)


INFERENCE = [case for case in CASES if not is_measure(case)]
