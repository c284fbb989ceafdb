"""What each type of solver subtracts from an array, given its gradient (src/caffe/solvers).

One class for each type. `moments` is how many arrays of history it keeps for each learned one; the
histories of all arrays stand one after the other, moment by moment, as in a .solverstate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from torch import Tensor

from fcnproto.proto.caffe_pb2 import SolverParameter


@dataclass(frozen=True)
class Update:
    """A rule; `update` changes the history in place and gives what is to be subtracted."""

    param: SolverParameter

    moments: ClassVar[int] = 1

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """What to subtract; `rate` is the array's own learning rate."""
        raise NotImplementedError


class Sgd(Update):
    """V ← momentum · V + rate · gradient; subtract V (sgd_solver.cpp)."""

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """V."""
        return history[0].mul_(self.param.momentum).add_(gradient, alpha=rate)


class Nesterov(Update):
    """V as in SGD; subtract (1 + momentum) · V less momentum · V before (nesterov_solver.cpp)."""

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """The step ahead, less the one back."""
        momentum = self.param.momentum
        back = history[0] * -momentum
        velocity = history[0].mul_(momentum).add_(gradient, alpha=rate)
        return back.add_(velocity, alpha=1 + momentum)


class AdaGrad(Update):
    """Divided by the root of the sum of all squared gradients (adagrad_solver.cpp)."""

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """rate · gradient / (√sum + delta)."""
        total = history[0].addcmul_(gradient, gradient)
        return gradient / total.sqrt().add_(self.param.delta) * rate


class RmsProp(Update):
    """Divided by the root of the fading mean of squared gradients (rmsprop_solver.cpp)."""

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """rate · gradient / (√mean + delta)."""
        decay = self.param.rms_decay
        mean = history[0].mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        return gradient / mean.sqrt().add_(self.param.delta) * rate


class AdaDelta(Update):
    """As large as the updates before were to their gradients (adadelta_solver.cpp)."""

    moments = 2

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """rate · gradient · √((updates² + delta) / (gradients² + delta)), both fading means."""
        squares, updates = history
        momentum, delta = self.param.momentum, self.param.delta
        squares.mul_(momentum).addcmul_(gradient, gradient, value=1 - momentum)
        step = gradient * ((updates + delta) / (squares + delta)).sqrt_()
        updates.mul_(momentum).addcmul_(step, step, value=1 - momentum)
        return step * rate


class Adam(Update):
    """Kingma and Ba's, the correction of its start put into the rate (adam_solver.cpp)."""

    moments = 2

    def update(
        self, gradient: Tensor, history: Sequence[Tensor], rate: float, iteration: int
    ) -> Tensor:
        """rate · correction · mean / (√mean square + delta)."""
        mean, square = history
        first, second = self.param.momentum, self.param.momentum2
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        done = iteration + 1
        correction = sqrt(1 - second**done) / (1 - first**done)
        return mean / square.sqrt().add_(self.param.delta) * (rate * correction)


TYPES: dict[str, type[Update]] = {
    "SGD": Sgd,
    "Nesterov": Nesterov,
    "AdaGrad": AdaGrad,
    "RMSProp": RmsProp,
    "AdaDelta": AdaDelta,
    "Adam": Adam,
}
