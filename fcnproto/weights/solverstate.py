""".solverstate: where training stopped, and the history of every learned array.

In the binary form a message of blobs like a layer's, so that caffemodel's walker reads it; in the
HDF5 form datasets /iter, /learned_net, /current_step and /history/<i> (sgd_solver.cpp).
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcnproto.errors import Problem, WeightsError, reason
from fcnproto.files import replacing
from fcnproto.kinds import HEAD, is_state, mistaken
from fcnproto.proto.caffe_pb2 import SolverState
from fcnproto.types import Floats, Shape, show
from fcnproto.weights import apart, caffemodel, caffemodel_writer
from fcnproto.weights.arrays import broken
from fcnproto.weights.hdf5_library import h5py_module

_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4  # fields of SolverState


@dataclass(frozen=True)
class Stop:
    """Where training stopped: how many iterations were done, and what they left behind.

    `learned_net` names the file of weights, as it was called from the working directory.
    `current_step` counts the steps that the learning rate has taken.
    """

    iteration: int
    learned_net: str
    current_step: int
    history: list[Floats]


def read(path: Path) -> Stop:
    """A solver's state in either form; WeightsError if it is none, or not whole."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        is_hdf5 = head.startswith(b"\x89HDF\r\n\x1a\n")
        if not head:
            raise broken(path, "it is empty")
        kind = None if is_state(head) else mistaken(head)
        if kind is not None:
            raise broken(path, f"this is {kind}, not a solver's state")
        return _read_hdf5(path) if is_hdf5 else _read_binary(path)
    except OSError as error:
        raise broken(path, f"cannot be read: {reason(error)}") from error


def write(path: Path, stop: Stop) -> None:
    """Write a state, whole or not at all: HDF5 if the name ends in .h5, else binary."""
    with replacing(path) as temporary:
        if path.name.endswith(".h5"):
            _write_hdf5(temporary, stop)
        else:
            _write_binary(temporary, stop)


def _read_binary(path: Path) -> Stop:
    with (
        path.open("rb", buffering=0) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        numbers, net, history = caffemodel.blobs_of(
            path, file, content, _LEARNED_NET, _HISTORY, (_ITER, _CURRENT_STEP)
        )
    if _ITER not in numbers and not history:
        raise broken(path, "it has no iteration, as a solver's state has: weights go to --weights")
    return Stop(numbers.get(_ITER, 0), net, numbers.get(_CURRENT_STEP, 0), history)


def _write_binary(path: Path, stop: Stop) -> None:
    head = SolverState(iter=stop.iteration, learned_net=stop.learned_net)
    tail = SolverState(current_step=stop.current_step)
    caffemodel_writer.write_blobs(path, head, stop.history, _HISTORY, tail)


def _read_hdf5(path: Path) -> Stop:
    (iteration, steps, learned_net), history = apart.ask(path, "state")
    return Stop(iteration, learned_net, steps, history)


def _write_hdf5(path: Path, stop: Stop) -> None:
    h5py = h5py_module()
    with h5py.File(path, "w") as file:
        for name, number in (("iter", stop.iteration), ("current_step", stop.current_step)):
            file.create_dataset(name, data=np.array([number], np.int32))
        text = stop.learned_net.encode()
        # One byte more, for the zero with which C ends a text.
        file.create_dataset("learned_net", data=np.array(text, f"S{len(text) + 1}"))
        group = file.create_group("history")
        for index, array in enumerate(stop.history):
            group.create_dataset(str(index), data=array)


def misfit(path: Path, expected: Sequence[Shape], history: Sequence[Floats]) -> WeightsError:
    """The error of a history that does not fit a solver whose arrays have the `expected` shapes."""
    if len(history) != len(expected):
        message = f"its history has {len(history)} arrays, expected {len(expected)}"
    else:
        pairs = zip(expected, history, strict=True)
        number, (shape, array) = next(
            (number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1].shape
        )
        message = f"array {number} of its history is {show(array.shape)}, expected {show(shape)}"
    hint = "it is of another net or of another type of solver"
    return WeightsError(Problem(f"{message}: {hint}", str(path)))
