"""CRF as RNN (Zheng et al. 2015): mean-field iterations as a layer, with its backward pass.

    x(0) = Q0,  x(t) = unary − M (W_s s + W_b b),  s = K̃_s q,  b = K̃_b q,  q = softmax(x(t−1))

with kernels K̃ that are normalised after filtering and W_s, W_b, M that are C × C. The result x(T)
are scores: no softmax follows (torrvision/caffe, multi_stage_meanfield.cpp and
meanfield_iteration.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from fcnproto.crf.kernels import (
    MOST_ITERATIONS,
    Kernel,
    Normalization,
    bilateral_features,
    built,
    check_positive,
    checked_scores,
    softmax,
    spatial_features,
)
from fcnproto.crf.memory import COPIES, check_memory
from fcnproto.errors import CrfError
from fcnproto.types import Array, show


@dataclass(frozen=True)
class Weights:
    """What is learned: spatial W_s, bilateral W_b and compatibility M, each C × C float32."""

    spatial: Array
    bilateral: Array
    compatibility: Array

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.spatial, self.bilateral, self.compatibility)}
        (first, *others) = shapes
        if others or len(first) != 2 or first[0] != first[1]:
            found = ", ".join(sorted(map(show, shapes)))
            raise CrfError(f"the mean field's three matrices must be C × C, found {found}")

    @property
    def classes(self) -> int:
        """C."""
        return len(self.compatibility)


@dataclass(frozen=True)
class Kernels:
    """The two normalised kernels of one image."""

    size: tuple[int, int]
    spatial: Kernel
    bilateral: Kernel


@dataclass(frozen=True)
class Passed:
    """What the backward pass needs of a forward pass: the softmax of x(0) to x(T−1), each C × N."""

    kernels: Kernels
    marginals: tuple[Array, ...]


@dataclass(frozen=True)
class Gradients:
    """The loss's gradient with respect to unary and Q0 (C × H × W), and to the three matrices."""

    unary: Array
    q0: Array
    weights: Weights


@dataclass(frozen=True)
class MeanField:
    """The settings of the layer: standard deviations in pixels and in the image's own values."""

    theta_alpha: float
    """Of the bilateral kernel's places."""
    theta_beta: float
    """Of the bilateral kernel's channels."""
    theta_gamma: float
    """Of the spatial kernel's places."""
    iterations: int

    def __post_init__(self) -> None:
        for name in ("theta_alpha", "theta_beta", "theta_gamma"):
            check_positive(name, getattr(self, name))
        if self.iterations < 2:  # as in Caffe
            raise CrfError(f"num_iterations must be greater than 1, found {self.iterations}")
        if self.iterations > MOST_ITERATIONS:
            message = f"num_iterations must be at most {MOST_ITERATIONS}, found {self.iterations}"
            raise CrfError(message)

    @property
    def reach(self) -> int:
        """How far apart pixels are that matter to each other: three deviations of the widest."""
        return ceil(3 * max(self.theta_alpha, self.theta_gamma))

    def kernels(self, image: Array, first: tuple[int, int] = (0, 0)) -> Kernels:
        """The kernels of an image as the net takes it (channels × H × W: less the mean, BGR).

        `first` is the row and column of its first pixel, if it is a part of a larger image.
        """
        if image.ndim != 3 or 0 in image.shape:
            shape = show(image.shape)
            raise CrfError(f"an image must be channels × height × width, found {shape}")
        channels, height, width = image.shape
        places = self.theta_gamma, self.theta_gamma
        spatial = spatial_features((height, width), places, first)
        bilateral = bilateral_features(
            image.transpose(1, 2, 0),
            (self.theta_alpha,) * 2,
            (self.theta_beta,) * channels,
            first,
        )
        after = Normalization.AFTER
        return Kernels((height, width), *built([(spatial, after), (bilateral, after)]))

    def __call__(
        self,
        unary: Array,
        q0: Array,
        image: Array,
        weights: Weights,
        first: tuple[int, int] = (0, 0),
    ) -> Array:
        """The scores x(T) (C × H × W float32) of one image; unary and q0 are C × H × W scores.

        Raises CrfError for sizes or numbers of classes that do not fit each other.
        """
        unary = checked_scores(unary, image.shape[1:])
        return self._forward(self.kernels(image, first), unary, q0, weights, [])

    def forward(
        self, unary: Array, q0: Array, image: Array, weights: Weights
    ) -> tuple[Array, Passed]:
        """As calling it, and what `backward` needs: T arrays of classes × pixels."""
        unary = checked_scores(unary, image.shape[1:])
        check_memory(*unary.shape, copies=COPIES + self.iterations)
        kernels, kept = self.kernels(image), list[Array]()
        scores = self._forward(kernels, unary, q0, weights, kept, keep=True)
        return scores, Passed(kernels, tuple(kept))

    def _forward(
        self,
        kernels: Kernels,
        unary: Array,
        q0: Array,
        weights: Weights,
        kept: list[Array],
        *,
        keep: bool = False,
    ) -> Array:
        q0 = checked_scores(q0, kernels.size)
        if unary.shape != q0.shape or len(unary) != weights.classes:
            raise CrfError(
                f"unary has {len(unary)} classes, Q0 {len(q0)}, and the mean field's matrices"
                f" are for {weights.classes}"
            )
        flat = unary.reshape(len(unary), -1)
        x = q0.reshape(flat.shape).copy()
        for _ in range(self.iterations):
            q = softmax(x)
            if keep:
                kept.append(q)
            message = weights.spatial @ kernels.spatial(q)
            message += weights.bilateral @ kernels.bilateral(q)
            x = flat - weights.compatibility @ message
        return x.reshape(unary.shape)

    def backward(self, gradient: Array, passed: Passed, weights: Weights) -> Gradients:
        """The gradients, for the loss's with respect to x(T) (C × H × W).

        The image gets none, and the normalisation counts as constant, as in the original.
        """
        spatial, bilateral = passed.kernels.spatial, passed.kernels.bilateral
        g = np.asarray(gradient, np.float32).reshape(len(gradient), -1)
        total = np.zeros_like(g)
        of_spatial, of_bilateral, of_compatibility = (
            np.zeros((weights.classes,) * 2, np.float32) for _ in range(3)
        )
        for q in reversed(passed.marginals):
            s, b = spatial(q), bilateral(q)
            message = weights.spatial @ s + weights.bilateral @ b
            total += g
            of_compatibility -= g @ message.T
            of_message = -(weights.compatibility.T @ g)
            of_spatial += of_message @ s.T
            of_bilateral += of_message @ b.T
            of_q = spatial.transposed(weights.spatial.T @ of_message)
            of_q += bilateral.transposed(weights.bilateral.T @ of_message)
            g = q * (of_q - (of_q * q).sum(axis=0))
        matrices = Weights(of_spatial, of_bilateral, of_compatibility)
        return Gradients(total.reshape(gradient.shape), g.reshape(gradient.shape), matrices)


@dataclass(frozen=True)
class OnScores:
    """A mean field that follows a model's scores, which the model itself cannot compute."""

    field: MeanField
    weights: Weights
    top: str
    """What the net calls the result."""
    start: str
    """The output that it starts from: the scores themselves, mostly."""
    image: str
    """The input whose image it reads."""
