"""Training as Caffe does it, on PyTorch: solver.prototxt and its nets, snapshots Caffe can read.

PyTorch and Matplotlib are the extra `train`; importing this package without them says so.
"""

from fcnproto.errors import FcnprotoError

try:
    import matplotlib as _matplotlib  # noqa: F401
    import torch as _torch  # noqa: F401
except ImportError as error:
    _name = "Matplotlib" if error.name == "matplotlib" else "PyTorch"
    raise FcnprotoError(f"training needs {_name}: pip install 'fcnproto[train]'") from error

from fcnproto.training.net import Feed
from fcnproto.training.solver import Solver

__all__ = ["Feed", "Solver"]
