"""The permutohedral lattice (Adams, Baek and Davis 2010): a Gaussian filter in many dimensions.

A point of d features lies in a simplex of the lattice. Its value is spread over the d + 1 vertices,
the vertices are blurred along each axis in turn, and the point gathers what it gave:

    K = α · S · B_d … B_1 B_0 · Sᵀ,    α = 1 / (1 + 2⁻ᵈ)

This computes what the code published with the dense CRF (Krähenbühl and Koltun 2011) computes,
which is not an exact Gaussian. Only vertices that a point touches exist, so the blurs do not
commute, and K is not symmetric. scipy's sparse matrices do the work.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fcnproto.errors import CrfError, FcnprotoError
from fcnproto.parallel import cores, spread
from fcnproto.types import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array  # type: ignore[import-untyped]


_BLOCK = 4  # points that the original handles at once
_LARGEST_KEY = 2**15 - 1
_MOST_CHANNELS = 16  # filtered at once, which bounds the memory
_FEW = 2**17  # numbers, for which a second thread is not worth its start


@dataclass(frozen=True)
class Lattice:
    """The filter K of N points, for any number of channels.

    `spread_out` is Sᵀ (vertices × N), `gather` is S (N × vertices), `blurs` are B_0 to B_d.
    """

    spread_out: csr_array
    gather: csr_array
    blurs: tuple[csr_array, ...]

    @classmethod
    def of(cls, features: Array) -> Lattice:
        """The lattice of N points with d features each (N × d), in units of standard deviations.

        Raises CrfError for features that are not finite, or so large that a vertex's coordinates
        leave the 16 bits that the original keeps them in.
        """
        sparse = _sparse()
        points = _in_blocks(np.asarray(features, np.float32))
        corners, ranks, weights = _simplices(points.T)
        simplices, simplex_of = _distinct(np.concatenate([corners[:-1], ranks[:-1]]))
        vertices, vertex_of = _distinct(_keys(corners[:, simplices], ranks[:, simplices]))
        count, per_point = len(features), len(corners)
        shape = len(features), len(vertices)
        columns = vertex_of.reshape(per_point, -1)[:, simplex_of[:count]].T
        starts = np.arange(0, count * per_point + 1, per_point, dtype=np.int32)
        gather = sparse.csr_array(
            (weights[:, :count].T.ravel(), columns.ravel().astype(np.int32), starts), shape
        )
        keys = _keys(corners[:, simplices], ranks[:, simplices])[:, vertices]
        return cls(gather.T.tocsr(), gather, tuple(_blurs(keys)))

    def filter(self, values: Array) -> Array:
        """K applied to each channel of `values` (C × N); float32."""
        return self._apply(values, self.blurs)

    def filter_transposed(self, values: Array) -> Array:
        """Kᵀ applied to each channel of `values` (C × N): the same blurs, the last one first."""
        return self._apply(values, self.blurs[::-1])

    def _apply(self, values: Array, blurs: Sequence[csr_array]) -> Array:
        result = np.empty(values.shape, np.float32)
        alpha = np.float32(1 / (1 + 2.0 ** (1 - len(blurs))))

        def work(parts: Iterator[slice]) -> None:
            for part in parts:
                vertices = self.spread_out @ np.ascontiguousarray(values[part].T, np.float32)
                for blur in blurs:
                    vertices = blur @ vertices
                np.multiply((self.gather @ vertices).T, alpha, out=result[part])

        workers = 1 if values.size < _FEW else cores()
        step = min(_MOST_CHANNELS, -(-len(values) // workers))
        parts = [slice(first, first + step) for first in range(0, len(values), step)]
        if workers == 1:
            work(iter(parts))  # starting a thread would take as long
        else:
            spread(work, parts, workers=workers)
        return result


def _in_blocks(points: Array) -> Array:
    """The points, and as many of features 0 as make the last block full.

    The original leaves their vertices in its lattice, where other points' values pass through.
    """
    missing = -len(points) % _BLOCK
    return np.concatenate([points, np.zeros((missing, points.shape[1]), np.float32)])


def _simplices(features: Array) -> tuple[Array, Array, Array]:
    """For each point (features: d × N) its simplex's first vertex, the ranks, and the weights.

    All are (d + 1) × N. The first vertex is the nearest whose coordinates are divisible by d + 1;
    row m of the weights is that of the simplex's vertex m.
    """
    dimensions = len(features)
    per_side = np.float32(1 / (dimensions + 1))  # the original multiplies by it
    elevated = _elevated(features)
    limit = _LARGEST_KEY + 2 * dimensions
    if not np.all(np.abs(elevated) < limit):  # NaN compares as false
        raise CrfError(
            "the features are not finite, or beyond the lattice's 16-bit range, which is about"
            " 10,000 standard deviations: a larger theta (or smaller values) is needed"
        )
    corners = np.rint(elevated * per_side).astype(np.int32)
    excess = corners.sum(0, dtype=np.int32)
    corners *= dimensions + 1
    remainders = elevated - corners
    ranks = np.zeros_like(corners)
    for i in range(dimensions + 1):
        for j in range(i + 1, dimensions + 1):
            smaller = remainders[i] < remainders[j]
            ranks[i] += smaller
            ranks[j] += ~smaller
    ranks += excess
    turn = ((ranks < 0).astype(np.int32) - (ranks > dimensions)) * np.int32(dimensions + 1)
    ranks += turn
    corners += turn
    return corners, ranks, _weights((elevated - corners) * per_side, ranks)


def _elevated(features: Array) -> Array:
    """The features on the plane of d + 1 coordinates whose sum is 0.

    In float32 and rounded where the original rounds, which decides in which simplex a point on an
    edge lies: a factor that differs in its last bit moves marginals by 1e-5.
    """
    dimensions = len(features)
    k = np.arange(dimensions)
    deviation = np.float64(np.float32(np.sqrt(2 / 3) * (dimensions + 1)))
    scale = 1 / np.sqrt((k + 1.0) * (k + 2)) * deviation
    scaled = features * scale.astype(np.float32)[:, np.newaxis]
    elevated = np.empty((dimensions + 1, features.shape[1]), np.float32)
    total = np.zeros(features.shape[1], np.float32)
    for j in range(dimensions, 0, -1):
        elevated[j] = total - np.float32(j) * scaled[j - 1]
        total += scaled[j - 1]
    elevated[0] = total
    return elevated


def _weights(offsets: Array, ranks: Array) -> Array:
    """The barycentric coordinates of points that lie so far from their first vertex."""
    sides, count = offsets.shape
    points = np.arange(count)
    weights = np.zeros((sides + 1, count), np.float32)
    for offset, rank in zip(offsets, ranks, strict=True):
        weights[sides - 1 - rank, points] += offset
        weights[sides - rank, points] -= offset
    weights[0] += 1 + weights[sides]
    return weights[:sides]


def _keys(corners: Array, ranks: Array) -> Array:
    """The first d coordinates of the vertices of simplices, one column each: all of vertex 0 first.

    Raises CrfError if one does not fit into 16 bits.
    """
    sides = len(corners)
    keys = np.concatenate(
        [
            corners[:-1] + np.where(ranks[:-1] < sides - vertex, vertex, vertex - sides)
            for vertex in range(sides)
        ],
        axis=1,
    )
    if np.abs(keys).max() > _LARGEST_KEY:
        raise CrfError(
            "the features are beyond the lattice's 16-bit range, which is about 10,000 standard"
            " deviations: a larger theta (or smaller values) is needed"
        )
    return keys


def _blurs(keys: Array) -> Iterator[csr_array]:
    """B_j for each axis: a vertex's value, and half of its two neighbours' along the axis.

    `keys` (d × vertices) are in lexicographic order. A neighbour that does not exist counts as 0.
    """
    sparse = _sparse()
    dimensions, count = keys.shape
    vertices = np.arange(count, dtype=np.int32)
    for axis in range(dimensions + 1):
        step = np.full((dimensions, 1), -1, np.int32)
        if axis < dimensions:
            step[axis] = dimensions
        rows, columns = [vertices], [vertices]
        codes = _codes(np.concatenate([keys, keys + step, keys - step], axis=1))
        own = codes[:count]
        for wanted in (codes[count : 2 * count], codes[2 * count :]):
            place = np.minimum(np.searchsorted(own, wanted), count - 1).astype(np.int32)
            found = own[place] == wanted
            rows.append(vertices[found])
            columns.append(place[found])
        values = np.full(sum(map(len, rows)), 0.5, np.float32)
        values[:count] = 1
        place = np.concatenate(rows), np.concatenate(columns)
        yield sparse.csr_array((values, place), (count, count))


def _distinct(keys: Array) -> tuple[Array, Array]:
    """The distinct columns of whole numbers: where each stands first, and which each column is.

    They are in lexicographic order.
    """
    _, first, which = np.unique(_codes(keys), return_index=True, return_inverse=True)
    return first, which


def _codes(keys: Array) -> Array:
    """One number for each column of whole numbers, in the columns' lexicographic order."""
    codes = np.zeros(keys.shape[1], np.int64)
    size = 1
    for row in keys:
        least = int(row.min())
        extent = int(row.max()) - least + 1
        if size * extent >= 2**63:
            distinct, codes = np.unique(codes, return_inverse=True)
            size = len(distinct)
        codes = codes * extent + (row - least)
        size *= extent
    return codes


@functools.cache
def _sparse() -> Any:
    try:
        from scipy import sparse  # type: ignore[import-untyped]
    except ImportError as error:
        raise FcnprotoError(
            "the dense CRF needs scipy: pip install 'fcnproto[crf]' brings it"
        ) from error
    return sparse
