"""The names of fcnproto, for type checkers and editors; __init__.py has where each lives."""

from fcnproto.api.checks import check, diff, upgrade
from fcnproto.api.doctor import doctor
from fcnproto.api.model import Model, export
from fcnproto.api.net import Net, explain_crop, explain_field, explain_pad, load_net
from fcnproto.api.scoring import score, scores
from fcnproto.api.seen import compare, explain_maps, heatmap, heatmap_windows
from fcnproto.api.solver import Solver
from fcnproto.api.verify import verify
from fcnproto.api.weights import Fitted, Weights, convert, convolutionize, fetch, load_weights
from fcnproto.api.zoo import Prototxt, nets, render
from fcnproto.crf.dense_crf import Bilateral, DenseCRF, Gaussian
from fcnproto.datasets.measures import Score
from fcnproto.errors import FcnprotoError, Problem
from fcnproto.runs.train import train
from fcnproto.runtime.segmentation import Segmentation
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.serving.triton import triton

__version__: str

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
