"""Training as Caffe does it, on PyTorch: solver.prototxt and its nets, snapshots Caffe can read.

PyTorch is the extra `train`; importing this package without it says so.
"""

from fcnproto.errors import FcnprotoError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise FcnprotoError("training needs PyTorch: pip install 'fcnproto[train]'") from error

from fcnproto.training.net import Feed
from fcnproto.training.solver import Solver

__all__ = ["Feed", "Solver"]
