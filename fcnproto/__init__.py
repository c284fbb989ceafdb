"""Every Fully Convolutional Network of Long, Shelhamer and Darrell, without Caffe.

import fcnproto as fp

fp.Segmenter("net.onnx")("photo.jpg")
"""

from importlib import import_module

from fcnproto.version import __version__

# Each name is imported from where it is defined when it is first used, so that importing the
# package stays fast. __init__.pyi says the same to type checkers and editors.
_HOMES = {
    "Bilateral": "fcnproto.crf.dense_crf",
    "DenseCRF": "fcnproto.crf.dense_crf",
    "FcnprotoError": "fcnproto.errors",
    "Fitted": "fcnproto.api.weights",
    "Gaussian": "fcnproto.crf.dense_crf",
    "Model": "fcnproto.api.model",
    "Net": "fcnproto.api.net",
    "Problem": "fcnproto.errors",
    "Prototxt": "fcnproto.api.zoo",
    "Score": "fcnproto.datasets.measures",
    "Segmentation": "fcnproto.runtime.segmentation",
    "Segmenter": "fcnproto.runtime.segmenter",
    "Solver": "fcnproto.api.solver",
    "Weights": "fcnproto.api.weights",
    "check": "fcnproto.api.checks",
    "compare": "fcnproto.api.seen",
    "convert": "fcnproto.api.weights",
    "convolutionize": "fcnproto.api.weights",
    "diff": "fcnproto.api.checks",
    "doctor": "fcnproto.api.doctor",
    "explain_crop": "fcnproto.api.net",
    "explain_field": "fcnproto.api.net",
    "explain_maps": "fcnproto.api.seen",
    "explain_pad": "fcnproto.api.net",
    "export": "fcnproto.api.model",
    "fetch": "fcnproto.api.weights",
    "heatmap": "fcnproto.api.seen",
    "heatmap_windows": "fcnproto.api.seen",
    "load_net": "fcnproto.api.net",
    "load_weights": "fcnproto.api.weights",
    "nets": "fcnproto.api.zoo",
    "render": "fcnproto.api.zoo",
    "score": "fcnproto.api.scoring",
    "scores": "fcnproto.api.scoring",
    "train": "fcnproto.runs.train",
    "triton": "fcnproto.serving.triton",
    "upgrade": "fcnproto.api.checks",
    "verify": "fcnproto.api.verify",
}

__all__ = [
    "Bilateral",
    "DenseCRF",
    "FcnprotoError",
    "Fitted",
    "Gaussian",
    "Model",
    "Net",
    "Problem",
    "Prototxt",
    "Score",
    "Segmentation",
    "Segmenter",
    "Solver",
    "Weights",
    "__version__",
    "check",
    "compare",
    "convert",
    "convolutionize",
    "diff",
    "doctor",
    "explain_crop",
    "explain_field",
    "explain_maps",
    "explain_pad",
    "export",
    "fetch",
    "heatmap",
    "heatmap_windows",
    "load_net",
    "load_weights",
    "nets",
    "render",
    "score",
    "scores",
    "train",
    "triton",
    "upgrade",
    "verify",
]


def __getattr__(name: str) -> object:
    """A name of the front door, imported now (PEP 562); one whose extra is missing says which."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fcnproto' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
